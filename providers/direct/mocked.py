"""Answers that an operator wrote in the place of a provider's: `mock_response` of an entry of LiteLLM's `model_list`.

As in litellm 1.110.2 (`main.py`: `mock_completion`, `mock_embedding`; `utils.py`: `mock_completion_streaming_obj`): a
text is what is said, in pieces of three characters where a stream is asked for; a list is a vector; an object is a
whole chat.completion; and three texts are errors. Nothing is sent to anybody.
"""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

from proxy_plugin.providers.direct import streams
from proxy_plugin.providers.direct.base import Reply, Stream
from proxy_plugin.providers.direct.ways import EMBEDDINGS
from proxy_plugin.providers.formats.json_text import read, write
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.rows import tokens_of
from proxy_plugin.providers.formats.shapes import Answer

ID, PIECE, MOST_CHOICES = "chatcmpl-mock", 3, 128
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}  # litellm's own, whatever is said
Block = dict[str, Any]


class _Failure(NamedTuple):
    status: int
    type: str
    code: str | None
    words: str


FAILURES: Mapping[object, _Failure] = {
    "litellm.RateLimitError": _Failure(429, "rate_limit_error", None, "this is a mock rate limit error"),
    "litellm.InternalServerError": _Failure(500, "server_error", None, "this is a mock internal server error"),
    "litellm.ContextWindowExceededError": _Failure(
        400, "invalid_request_error", "context_length_exceeded", "this is a mock context window exceeded error"
    ),
}


class Mocked:
    """Gives the answer that was written, to everybody."""

    def __init__(self, said: object) -> None:
        self._said = said

    async def call(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Reply:  # noqa: ARG002
        """Return the answer in the shape of the endpoint."""
        given, refusal = read(body), self._refusal(endpoint)
        if refusal is not None:
            return refusal
        if endpoint == EMBEDDINGS:
            return Reply(200, {}, write(self._vectors(given)))
        answer = Answer(write(self._completion(given)), tokens_of(USAGE), _model(given))
        return Reply(200, {}, through_chat.answer(endpoint, answer).body)

    async def stream(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Stream | Reply:  # noqa: ARG002
        """Return the answer piece by piece."""
        given, refusal = read(body), self._refusal(endpoint)
        if refusal is not None:
            return refusal
        return Stream(streams.through_chat(endpoint, _events(self._completion(given), given)), _nothing)

    async def close(self) -> None:
        """There is nothing to give back."""

    def _refusal(self, endpoint: str) -> Reply | None:
        """Return why there is no answer: the error that was written, or an answer of another kind."""
        failure = FAILURES.get(self._said) if isinstance(self._said, str) else None
        fits = isinstance(self._said, list) if endpoint == EMBEDDINGS else isinstance(self._said, str | dict)
        if failure is None and not fits:
            wanted = "list of numbers" if endpoint == EMBEDDINGS else "text"
            words = f"The mock_response of this model answers no {endpoint}; that would be a {wanted}."
            failure = _Failure(400, "invalid_request_error", "unsupported_endpoint", words)
        if failure is None:
            return None
        error = {"message": failure.words, "type": failure.type, "param": None, "code": failure.code}
        return Reply(failure.status, {}, write({"error": error}))

    def _completion(self, given: Block) -> Block:
        head = {"id": ID, "object": "chat.completion", "created": int(time.time()), "model": _model(given)}
        if isinstance(self._said, dict):
            return head | self._said
        message = {"role": "assistant", "content": self._said}
        wanted = given.get("n")
        many = min(max(wanted, 1), MOST_CHOICES) if isinstance(wanted, int) else 1
        choices = [{"index": index, "message": message, "finish_reason": "stop"} for index in range(many)]
        return head | {"choices": choices, "usage": USAGE}

    def _vectors(self, given: Block) -> Block:
        said, texts = self._said, given.get("input")
        assert isinstance(said, list)
        vector = said if given.get("encoding_format") != "base64" else _packed(said)
        many = len(texts) if isinstance(texts, list) and not (texts and isinstance(texts[0], int)) else 1
        data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(many)]
        usage = {"prompt_tokens": USAGE["prompt_tokens"], "total_tokens": USAGE["prompt_tokens"]}
        return {"object": "list", "data": data, "model": _model(given), "usage": usage}


async def _events(completion: Block, given: Block) -> AsyncIterator[bytes]:
    options = given.get("stream_options")
    for chunk in _chunks(completion, usage=isinstance(options, dict) and options.get("include_usage") is True):
        yield b"data: %b\n\n" % write(chunk)
    yield streams.DONE


def _chunks(completion: Block, *, usage: bool) -> Iterator[Block]:
    head = {name: completion[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choices = completion.get("choices") or []
    texts = [str((each.get("message") or {}).get("content") or "") for each in choices]
    for at in range(0, max(map(len, texts), default=0), PIECE):
        deltas = [{"role": "assistant", "content": text[at : at + PIECE]} for text in texts]
        yield head | {"choices": [_choice(index, delta) for index, delta in enumerate(deltas)]}
    yield head | {"choices": [_choice(index, {}, "stop") for index in range(len(texts))]}
    if usage:
        yield head | {"choices": [], "usage": completion.get("usage") or USAGE}


def _choice(index: int, delta: Block, reason: str | None = None) -> Block:
    return {"index": index, "delta": delta, "finish_reason": reason}


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _model(given: Block) -> str:
    return str(given.get("model") or "")


async def _nothing() -> None:
    """Close nothing."""
