"""Endpoints that a lane serves through chat: Responses and Completions bodies become chat bodies, and so back again.

For lanes whose format has a translation of chat alone. Refusals and dropped parameters keep the caller's own names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.openai import completions, responses_answers, responses_chat, responses_words
from proxy_plugin.providers.formats.shapes import Answer, Translated

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
    chat = way.to_chat(body, drop_params=drop_params, strict_params=strict_params)
    try:
        native = to_native(chat.body)
    except LineRejected as error:
        raise way.refusal(error, body) from None
    return Translated(native.body, tuple(dict.fromkeys((*chat.dropped, *way.names(native.dropped)))))


def answer(endpoint: str, completion: Answer) -> Answer:
    """Return a chat.completion as the answer of the endpoint that was asked; errors and tokens stay."""
    way = _WAYS.get(endpoint)
    if way is None:
        return completion
    return way.back(completion.body)._replace(usage=completion.usage, status=completion.status, code=completion.code)
