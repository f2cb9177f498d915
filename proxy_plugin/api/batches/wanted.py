"""What a create asks for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy_plugin.access import headers
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.routing.endpoints import asked_endpoint

WINDOW, WINDOW_SECONDS = "24h", 86_400
PAIRS_MAX, NAME_MAX, VALUE_MAX = 16, 64, 512  # metadata, same description
EXPIRY_MIN, EXPIRY_MAX = 3_600, 2_592_000


class Wanted(msgspec.Struct, frozen=True):
    """A checked create body. `endpoint` is as it is stored (`endpoints`), `output_expires_after` in seconds."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None
    output_expires_after: int | None


def wanted_in(body: Mapping[str, Any]) -> Wanted:
    """Return what a create's body wants. Raises BadRequest."""
    return Wanted(
        input_file_id=_text(body, "input_file_id"),
        endpoint=_endpoint(body),
        completion_window=_window(body),
        metadata=metadata(body.get("metadata")),
        output_expires_after=expiry(body.get("output_expires_after")),
    )


def idempotency_key(asked: headers.RequestHeaders) -> str | None:
    """Return the request's Idempotency-Key, None for none. Raises BadRequest for what cannot be one."""
    key = asked.idempotency_key
    if key is not None and not key.isprintable():  # bytes that are no UTF-8 reach us as lone surrogates
        raise BadRequest(f"{headers.IDEMPOTENCY_KEY} must be printable text.", param=headers.IDEMPOTENCY_KEY)
    return key


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise BadRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not isinstance(value, str) or not value:
        raise BadRequest(f"'{name}' must be a non-empty string.", param=name)
    return value


def _endpoint(body: Mapping[str, Any]) -> str:
    return asked_endpoint(_text(body, "endpoint") if isinstance(body.get("endpoint"), str | None) else body["endpoint"])


def _window(body: Mapping[str, Any]) -> str:
    window = body.get("completion_window")
    if window not in (None, WINDOW):
        raise BadRequest(f"'completion_window' must be '{WINDOW}'.", param="completion_window")
    return WINDOW


def metadata(value: object) -> dict[str, str] | None:
    """Return checked metadata, None for none."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRequest("'metadata' must be an object of strings.", param="metadata")
    if len(value) > PAIRS_MAX:
        raise BadRequest(f"'metadata' may have at most {PAIRS_MAX} pairs.", param="metadata")
    for name, text in value.items():
        if len(name) > NAME_MAX:
            raise BadRequest(f"A key of 'metadata' may have at most {NAME_MAX} characters.", param="metadata")
        if not isinstance(text, str) or len(text) > VALUE_MAX:
            raise BadRequest(
                f"Every value of 'metadata' must be a string of at most {VALUE_MAX} characters.", param="metadata"
            )
    return value


def expiry(value: object) -> int | None:
    """Return the seconds that output files are kept, None for the default."""
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("anchor") != "created_at":
        raise BadRequest(
            "'output_expires_after' must be an object with 'anchor': 'created_at' and 'seconds'.",
            param="output_expires_after",
        )
    seconds = value.get("seconds")
    if type(seconds) is not int or not EXPIRY_MIN <= seconds <= EXPIRY_MAX:
        raise BadRequest(
            f"'output_expires_after.seconds' must be an integer from {EXPIRY_MIN} to {EXPIRY_MAX}.",
            param="output_expires_after",
        )
    return seconds
