"""Which answers are whole, and so worth giving again: one that was cut short would be cut short for ever."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

_ENDED = {"stop", "tool_calls", "function_call"}  # not `length`, `content_filter`, or what a provider invents
_TURN_ENDED = {"end_turn", "tool_use", "stop_sequence"}  # of a message in Anthropic's own shape


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    index: int | None = None


class _Entry(msgspec.Struct, gc=False):
    index: int | None = None


class _Body(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    status: str | None = None
    stop_reason: str | None = None
    data: list[_Entry] = []
    results: list[msgspec.Raw] = []


class _Response(msgspec.Struct, gc=False):
    status_code: int
    body: _Body


_decode = msgspec.json.Decoder(_Response).decode


def _choices(body: _Body) -> bool:
    return bool(body.choices) and all(each.finish_reason in _ENDED for each in body.choices)


def _data(body: _Body) -> bool:
    """Tell whether there are vectors, each in its place."""
    return bool(body.data) and all(each.index in (None, at) for at, each in enumerate(body.data))


_WHOLE: dict[str, Callable[[_Body], bool]] = {
    "/v1/chat/completions": _choices,
    "/v1/completions": _choices,
    "/v1/responses": lambda body: body.status == "completed",
    "/v1/messages": lambda body: body.stop_reason in _TURN_ENDED,
    "/v1/embeddings": _data,
    "/v1/moderations": lambda body: bool(body.results),
}
ENDPOINTS = frozenset(_WHOLE)  # of which answers are kept; pictures and videos are links that expire


def checker(endpoint: str) -> Callable[[bytes], bool]:
    """Return what tells whether a `response` of an output row, of this endpoint, is a whole answer."""
    return partial(_is_whole, _WHOLE[endpoint]) if endpoint in _WHOLE else lambda _: False


def _is_whole(whole: Callable[[_Body], bool], text: bytes) -> bool:
    try:
        response = _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return 200 <= response.status_code < 300 and whole(response.body)
