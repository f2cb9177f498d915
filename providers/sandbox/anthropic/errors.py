"""Errors of Anthropic's shape, and the checks of headers, bodies and queries that end in them.

Types and statuses: "Errors", Claude Platform documentation, 2026-09-26, and the types of the SDK (2.11). The wording is
that of the service where the project's reference page quotes it, and in its style elsewhere.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from aiohttp import web

from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

OLD, NEW = "2023-06-01", "2026-10-21"
VERSIONS = (OLD, NEW)

ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Listed(Protocol):
    """An object that a list shows."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Listed)


def error_type(status: int) -> str:
    """The word for an HTTP status; statuses that the documentation does not name get that of their class."""
    return ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def error_body(kind: str, message: str, request_id: str | None, code: str | None = None) -> dict[str, Any]:
    """The error envelope. `code` is what the SDK calls `error_code`."""
    error: dict[str, Any] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": request_id}


def new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


def error_reply(status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    request_id = new_request_id()
    body = error_body(error_type(status), message, request_id, code)
    return json_reply(body, status, {"request-id": request_id, **(headers or {})})


def refused(status: int, message: str, headers: Mapping[str, str] | None = None) -> Refused:
    return Refused(error_reply(status, message, None, headers))


def check_version(request: web.Request) -> None:
    """Every call names a version: it decides which parameters exist ("Versions", documentation)."""
    version = request.headers.get("anthropic-version")
    if version is None:
        raise refused(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise refused(400, f"anthropic-version: {version!r} is not a valid version")


def check_json_body(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise refused(400, "content-type: must be application/json")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise refused(400, "content-encoding: compressed requests are not supported")


def check_query(request: web.Request, known: Collection[str]) -> None:
    """Unknown and repeated parameters are refused: whoever sends one expects something that will not happen."""
    for name in request.query:
        if name not in known or len(request.query.getall(name)) > 1:
            raise refused(400, f"{name}: Extra inputs are not permitted")


def query_limit(request: web.Request, default: int, most: int) -> int:
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise refused(400, "limit: Input should be a valid integer, unable to parse string as an integer")
    if int(text) < 1:
        raise refused(400, "limit: Input should be greater than or equal to 1")
    if int(text) > most:
        raise refused(400, f"limit: Input should be less than or equal to {most}")
    return int(text)


def page(request: web.Request, items: Sequence[T], limit: int) -> tuple[Sequence[T], bool]:
    """`limit` of `items` next to the cursor, in their own order, and whether there are more on that side."""
    after, before = request.query.get("after_id"), request.query.get("before_id")
    if after is not None and before is not None:
        raise refused(400, "Only one of `before_id` and `after_id` may be given")
    if before is not None:
        end = _place(items, "before_id", before)
        return items[max(0, end - limit) : end], end > limit
    start = 0 if after is None else _place(items, "after_id", after) + 1
    return items[start : start + limit], start + limit < len(items)


def _place(items: Sequence[T], name: str, cursor: str) -> int:
    places = (place for place, item in enumerate(items) if item.id == cursor)
    if (found := next(places, None)) is None:
        raise refused(400, f"{name}: no such object")
    return found


def list_reply(data: list[dict[str, Any]], more: bool) -> Reply:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return json_reply({"data": data, "has_more": more, **ends})
