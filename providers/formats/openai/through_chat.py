"""Endpoints that a lane serves through chat: Responses and Completions bodies become chat bodies, and so back again.

For lanes whose format has a translation of chat alone. Refusals and dropped parameters keep the caller's own names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.json_text import read, write
from proxy_plugin.providers.formats.losses import joined
from proxy_plugin.providers.formats.openai import completions, responses_answers, responses_chat, responses_words
from proxy_plugin.providers.formats.shapes import Answer, Translated

_UNSUPPORTED = "unsupported_parameter"
_TOP = re.compile(r"[.\[]")
_NEEDED = frozenset({"input", "prompt", "model"})  # without these the rest is no line
CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
ENDPOINTS = frozenset({CHAT, RESPONSES, COMPLETIONS})


class _Way(NamedTuple):
    """The steps between an endpoint and chat.

    `refusal` (of the caller's body) and `names` put what a later step says into the endpoint's words.
    """

    to_chat: Callable[..., Translated]
    back: Callable[[bytes], Answer]
    refusal: Callable[[LineRejected, bytes], LineRejected]
    names: Callable[[tuple[str, ...]], tuple[str, ...]]


_WAYS: Mapping[str, _Way] = {
    RESPONSES: _Way(
        responses_chat.to_chat, responses_answers.to_response, responses_words.own_refusal, responses_words.own_names
    ),
    COMPLETIONS: _Way(
        completions.to_chat, completions.to_text_completion, completions.own_refusal, completions.own_names
    ),
}


def translate(
    endpoint: str,
    body: bytes,
    to_native: Callable[[bytes], Translated],
    *,
    drop_params: bool,
    strict_params: bool = False,
) -> Translated:
    """Return the native body of a line; `to_native` translates a chat body. Raises LineRejected."""
    way = _WAYS.get(endpoint)
    if way is None:
        return to_native(body)
    try:
        chat = way.to_chat(body, drop_params=drop_params, strict_params=strict_params)
    except LineRejected as error:
        rest = _rest(body, error)
        if rest is None:
            raise
        switches = {"drop_params": drop_params, "strict_params": strict_params}
        raise _with_later(error, endpoint, rest, to_native, switches) from None
    try:
        native = to_native(chat.body)
    except LineRejected as error:
        raise way.refusal(error, body) from None
    return Translated(native.body, tuple(dict.fromkeys((*chat.dropped, *way.names(native.dropped)))))


def _rest(body: bytes, error: LineRejected) -> bytes | None:
    """Return a body without the parameters that the first step refuses; None where nothing else can be told of it."""
    given = read(body)
    refused = {_TOP.split(param)[0] for param in error.params}
    if error.code != _UNSUPPORTED or not isinstance(given, dict) or not refused.isdisjoint(_NEEDED):
        return None
    try:
        return write({key: value for key, value in given.items() if key not in refused})
    except ValueError:
        return None


def _with_later(
    first: LineRejected,
    endpoint: str,
    rest: bytes,
    to_native: Callable[[bytes], Translated],
    switches: Mapping[str, bool],
) -> LineRejected:
    """Return the refusal of the first step, with what a later one refuses too: one message names them all."""
    try:
        translate(endpoint, rest, to_native, **switches)
    except LineRejected as later:
        return joined(first, later) if later.code == _UNSUPPORTED else first
    return first


def answer(endpoint: str, completion: Answer) -> Answer:
    """Return a chat.completion as the answer of the endpoint that was asked; errors and tokens stay."""
    way = _WAYS.get(endpoint)
    if way is None:
        return completion
    return way.back(completion.body)._replace(usage=completion.usage, status=completion.status, code=completion.code)
