"""What every translator gives back, whatever format it speaks."""

from __future__ import annotations

from typing import Any, NamedTuple

from proxy_plugin.providers.base import Usage


class Translated(NamedTuple):
    """A native body as one line of JSON, and the names of the parameters that are not in it, as `Losses` keeps them."""

    body: bytes
    dropped: tuple[str, ...] = ()


class Answer(NamedTuple):
    """An OpenAI response body (a chat.completion, a list of embeddings) as JSON text, its token counts, its model.

    With a `status` other than 200 the row is an error: the model was paid and gave nothing that can be used. Then the
    body holds an `error` beside all that came, and `code` names the reason, for the ledger.
    """

    body: bytes
    usage: Usage
    model: str
    status: int = 200
    code: str = ""


class ErrorAnswer(NamedTuple):
    """A failed request as OpenAI would answer it: HTTP status, `{"error": {...}}` as JSON text, the error's code."""

    status: int
    body: bytes
    code: str


UNUSABLE = 500  # the status of an answer that the model spoiled: a second try may well do better


def spoiled(reason: str, words: str) -> dict[str, Any]:
    """Return the `error` of an answer that ended with the provider's `reason`; `words` are its own, if any."""
    message = f"The model gave no usable answer ({reason}){': ' + words if words else '.'}"
    return {"message": message, "type": "server_error", "param": None, "code": reason}


def chat_tokens(usage: Usage) -> dict[str, Any]:
    """Return the `usage` object of a chat.completion."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def count(counts: object, name: str) -> int:
    """Return a token count of a provider's; what is no whole number above 0 counts as 0."""
    found = counts.get(name) if isinstance(counts, dict) else None
    return found if type(found) is int and found > 0 else 0
