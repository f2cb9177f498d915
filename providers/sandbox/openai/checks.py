"""Errors of OpenAI's shape, and the checks of request bodies and queries that end in them.

Codes and messages follow the published OpenAPI description (2026-08-21) and the reference page; where neither names
a code, the one that the service's own parameter errors use.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from aiohttp import web

from proxy_plugin.providers.sandbox.openai.bodies import error_body
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

LONGEST_BODY = 1024 * 1024  # bytes of a JSON request; a batch create is far below

_NAMES: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


class Listed(Protocol):
    """An object that a list shows."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Listed)


def error_reply(
    status: int,
    message: str,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    return json_reply(error_body(status, message, code=code, param=param), status, headers)


def refused(status: int, message: str, code: str | None = None, param: str | None = None) -> Refused:
    return Refused(error_reply(status, message, code, param))


def unknown_parameter(name: str) -> Refused:
    return refused(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)


def missing_parameter(name: str) -> Refused:
    return refused(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)


def wrong_type(name: str, wanted: type, value: Any) -> Refused:
    got = _NAMES.get(type(value), "something else")
    message = f"Invalid type for '{name}': expected {_NAMES[wanted]}, but got {got} instead."
    return refused(400, message, "invalid_type", name)


def wrong_value(name: str, allowed: Collection[str]) -> Refused:
    choices = ", ".join(f"'{value}'" for value in allowed)
    return refused(400, f"Invalid value for '{name}'. Supported values are: {choices}.", "invalid_value", name)


def rate_limited(what: str) -> Refused:
    reply = error_reply(429, f"Rate limit reached for {what}. Please try again later.", headers={"retry-after": "1"})
    return Refused(reply)


def check_bounds(name: str, value: int, least: int, most: int) -> int:
    if value < least:
        message = (
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
        )
        raise refused(400, message, "integer_below_min_value", name)
    if value > most:
        message = f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} instead."
        raise refused(400, message, "integer_above_max_value", name)
    return value


def check_known(given: Collection[str], known: Collection[str], prefix: str = "") -> None:
    for name in given:
        if name not in known:
            raise unknown_parameter(prefix + name)


def check_plain_encoding(request: web.Request) -> None:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise refused(415, "Request bodies must not be compressed.", "unsupported_content_encoding")


async def json_object(request: web.Request) -> dict[str, Any]:
    """The request's JSON object. Raises `Refused` for any other body or content type."""
    check_plain_encoding(request)
    if request.content_type != "application/json":
        raise refused(400, "The request must have the content type application/json.")
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > LONGEST_BODY:
            raise refused(413, "The request body is too large.")
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError):
        raise refused(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(value, dict):
        raise refused(400, "The JSON body of your request is not an object.")
    return value


def expiry_seconds(name: str, value: Mapping[str, Any]) -> int:
    """The seconds of an `expires_after` policy: anchor `created_at`, 3600 to 2592000 seconds."""
    check_known(value, ("anchor", "seconds"), f"{name}.")
    for part, kind in (("anchor", str), ("seconds", int)):
        if part not in value:
            raise missing_parameter(f"{name}.{part}")
        if type(value[part]) is not kind:
            raise wrong_type(f"{name}.{part}", kind, value[part])
    if value["anchor"] != "created_at":
        raise wrong_value(f"{name}.anchor", ("created_at",))
    return check_bounds(f"{name}.seconds", value["seconds"], 3600, 2_592_000)


def query_limit(request: web.Request, default: int, most: int) -> int:
    text = request.query.get("limit", str(default))
    try:
        limit = int(text)
    except ValueError:
        raise wrong_type("limit", int, text) from None
    return check_bounds("limit", limit, 1, most)


def check_query(request: web.Request, known: Collection[str]) -> None:
    """Unknown and repeated query parameters are refused: whoever sends one expects something that will not happen."""
    for name in request.query:
        if name not in known or len(request.query.getall(name)) > 1:
            raise unknown_parameter(name)


def page(request: web.Request, items: Sequence[T], limit: int, cursor: str = "after") -> tuple[list[T], bool]:
    """At most `limit` of `items` behind the one that the parameter `cursor` names, and whether there are more."""
    start = 0
    if (after := request.query.get(cursor)) is not None:
        places = (place for place, item in enumerate(items) if item.id == after)
        if (found := next(places, None)) is None:
            raise refused(400, f"Invalid '{cursor}': no such object in this list.", "invalid_value", cursor)
        start = found + 1
    return list(items[start : start + limit]), start + limit < len(items)


def list_reply(data: list[dict[str, Any]], more: bool) -> Reply:
    return json_reply(listed(data, more))


def listed(data: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """OpenAI's list object."""
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": more}
