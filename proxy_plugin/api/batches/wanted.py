"""What a create asks for, checked; what is wrong is told in OpenAI's sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy_plugin.access import headers, litellm_words
from proxy_plugin.ground import sentences
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.routing.endpoints import asked_endpoint
from proxy_plugin.routing.route import Route, by_calls

WINDOW = "24h"
WINDOWS = {WINDOW: 86_400, "1h": 3_600, "immediate": 86_400}  # seconds
HURRIED = frozenset({"1h", "immediate"})  # too short for jobs: ordinary calls, at full price
PAIRS_MAX, NAME_MAX, VALUE_MAX = 16, 64, 512  # metadata, same description
EXPIRY_MIN, EXPIRY_MAX = 3_600, 2_592_000
ANCHOR = "created_at"


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
        input_file_id=litellm_words.opened(_text(body, "input_file_id"))[0],
        endpoint=endpoint_in(body),
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
        raise sentences.missing(name).refusal()
    if not isinstance(value, str):
        raise sentences.wrong_type(name, sentences.STRING, value).refusal()
    if not value:
        raise sentences.empty_string(name).refusal()
    return value


def endpoint_in(body: Mapping[str, Any]) -> str:
    """Return a create's `endpoint` as it is stored. Raises BadRequest."""
    return asked_endpoint(_text(body, "endpoint") if isinstance(body.get("endpoint"), str | None) else body["endpoint"])


def _window(body: Mapping[str, Any]) -> str:
    window, name = body.get("completion_window"), "completion_window"
    if window is not None and not isinstance(window, str):
        raise sentences.wrong_type(name, sentences.STRING, window).refusal()
    if window is not None and window not in WINDOWS:
        raise sentences.wrong_value(name, window, list(WINDOWS)).refusal()
    return window or WINDOW


def in_time(route: Route, window: str) -> Route:
    """Return the route as a completion window wants it."""
    return by_calls(route) if window in HURRIED else route


def metadata(value: object) -> dict[str, str] | None:
    """Return checked metadata, None for none."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise sentences.wrong_type("metadata", "a metadata object", value).refusal()
    if len(value) > PAIRS_MAX:
        raise sentences.too_many("metadata", PAIRS_MAX, len(value)).refusal()
    for name, text in value.items():
        if len(name) > NAME_MAX:
            raise sentences.long_name("metadata", NAME_MAX, len(name)).refusal()
        path = sentences.below("metadata", name)
        if not isinstance(text, str):
            raise sentences.wrong_type(path, sentences.STRING, text).refusal()
        if len(text) > VALUE_MAX:
            raise sentences.too_long(path, VALUE_MAX, len(text)).refusal()
    return value


def expiry(value: object) -> int | None:
    """Return the seconds that output files are kept, None for the default."""
    name = "output_expires_after"
    if value is None:
        return None
    if not isinstance(value, dict):
        raise sentences.wrong_type(name, sentences.OBJECT, value).refusal()
    anchor, seconds = value.get("anchor"), value.get("seconds")
    for part, found in (("anchor", anchor), ("seconds", seconds)):
        if found is None:
            raise sentences.missing(f"{name}.{part}").refusal()
    if not isinstance(anchor, str):
        raise sentences.wrong_type(f"{name}.anchor", sentences.STRING, anchor).refusal()
    if anchor != ANCHOR:
        raise sentences.wrong_value(f"{name}.anchor", anchor, [ANCHOR]).refusal()
    if type(seconds) is not int:
        raise sentences.wrong_type(f"{name}.seconds", sentences.INTEGER, seconds).refusal()
    if not EXPIRY_MIN <= seconds <= EXPIRY_MAX:
        raise sentences.out_of_range(f"{name}.seconds", seconds, EXPIRY_MIN, EXPIRY_MAX).refusal()
    return seconds
