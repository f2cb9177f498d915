"""Answers that come piece by piece through chat: its events become those of Completions and Responses.

Shapes: `ChatCompletionChunk`, `Completion` and `ResponseStreamEvent` of OpenAI's SDK 3.52. The last event of a Response
holds it whole, as `responses_answers` makes it of the completion that the chunks come to.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.openai import responses_answers
from proxy_plugin.providers.formats.openai.through_chat import COMPLETIONS, RESPONSES

Block = dict[str, Any]
DONE = b"data: [DONE]\n\n"
_ENDS = ("stop", "length", "content_filter")  # of a text
MOST_BYTES = 16 * 2**20  # of one event


def through_chat(endpoint: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the events of an endpoint; those of chat are as they came."""
    if endpoint == COMPLETIONS:
        return _texts(pieces)
    return _responses(pieces) if endpoint == RESPONSES else pieces


async def chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[Block]:
    """Yield the chunks of chat, to the end that they say themselves. What is no JSON object is passed over."""
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        *lines, rest = waiting.split(b"\n")
        waiting = bytearray(rest[:MOST_BYTES])
        for line in lines:
            name, _, text = bytes(line).strip().partition(b":")
            if name == b"data" and (found := _object(text)) is not None:
                yield found


def _object(text: bytes) -> Block | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


async def _texts(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks(pieces):
        if "error" in chunk:
            yield b"data: " + write(chunk) + b"\n\n"
            continue
        made: Block = {key: chunk[key] for key in ("id", "created", "model", "usage") if key in chunk}
        choices = [_text_choice(each) for each in _dicts(chunk.get("choices"))]
        yield b"data: " + write({**made, "object": "text_completion", "choices": choices}) + b"\n\n"
    yield DONE


def _text_choice(choice: Block) -> Block:
    delta, reason = _dict(choice.get("delta")), choice.get("finish_reason")
    ended = reason if reason is None or reason in _ENDS else "stop"
    text = delta.get("content")
    return {
        "text": text if isinstance(text, str) else "",
        "index": choice.get("index", 0),
        "logprobs": None,
        "finish_reason": ended,
    }


async def _responses(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    made = ResponseEvents()
    async for chunk in chunks(pieces):
        for event in made.take(chunk):
            yield event
    for event in made.end():
        yield event


class ResponseEvents:
    """The events of one Response. What was said so far makes the completion that the Response is made of."""

    def __init__(self) -> None:
        self._number = 0
        self._head: Block | None = None  # of the completion
        self._text, self._calls = "", dict[int, Block]()
        self._text_place: Block = {}
        self._ends: list[Callable[[], Iterator[bytes]]] = []  # of the items that have begun
        self._places = dict[int, int]()  # of the calls among the items
        self._reason: str | None = None
        self._error: Block | None = None

    def take(self, chunk: Block) -> Iterator[bytes]:
        """Yield the events of a chunk."""
        if self._head is None:
            self._head = {key: chunk.get(key) for key in ("id", "created", "model", "usage")}
            empty = self._response() | {"status": "in_progress", "usage": None, "output": []}
            yield self._event("response.created", response=empty)
            yield self._event("response.in_progress", response=empty)
        if isinstance(chunk.get("error"), dict):
            self._error = chunk["error"]
        if isinstance(chunk.get("usage"), dict):
            self._head["usage"] = chunk["usage"]
        for choice in _dicts(chunk.get("choices"))[:1]:
            self._reason = choice.get("finish_reason") or self._reason
            yield from self._said(_dict(choice.get("delta")))

    def end(self) -> Iterator[bytes]:
        """Yield what ends the items, and the Response."""
        if self._head is None:
            yield from self.take({})
        for end in self._ends:
            yield from end()
        whole = self._response()
        yield self._event(f"response.{whole['status']}", response=whole)

    def _said(self, delta: Block) -> Iterator[bytes]:
        if isinstance(text := delta.get("content"), str) and text:
            if not self._text:
                yield from self._begin_text()
            self._text += text
            yield self._event("response.output_text.delta", **self._text_place, delta=text, logprobs=[])
        for call in _dicts(delta.get("tool_calls")):
            yield from self._called(call)

    def _begin_text(self) -> Iterator[bytes]:
        self._text_place = {"item_id": self._name("msg"), "output_index": len(self._ends), "content_index": 0}
        item = {"id": self._name("msg"), "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        yield self._event("response.output_item.added", output_index=len(self._ends), item=item)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._event("response.content_part.added", **self._text_place, part=part)
        self._ends.append(self._end_text)

    def _end_text(self) -> Iterator[bytes]:
        part = {"type": "output_text", "text": self._text, "annotations": [], "logprobs": []}
        yield self._event("response.output_text.done", **self._text_place, text=self._text, logprobs=[])
        yield self._event("response.content_part.done", **self._text_place, part=part)
        item = {"id": self._name("msg"), "type": "message", "role": "assistant", "status": "completed"}
        done = item | {"content": [part]}
        yield self._event("response.output_item.done", output_index=self._text_place["output_index"], item=done)

    def _called(self, delta: Block) -> Iterator[bytes]:
        index, function = delta.get("index", 0), _dict(delta.get("function"))
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = {"id": delta.get("id") or "", "name": "", "arguments": ""}
            call["name"] = function.get("name") or ""
            self._places[index] = len(self._ends)
            yield self._event("response.output_item.added", output_index=len(self._ends), item=self._call(index))
            self._ends.append(partial(self._end_call, index))
        if isinstance(more := function.get("arguments"), str) and more:
            call["arguments"] += more
            place = {"item_id": self._call(index)["id"], "output_index": self._places[index]}
            yield self._event("response.function_call_arguments.delta", **place, delta=more)

    def _end_call(self, index: int) -> Iterator[bytes]:
        item = self._call(index) | {"status": "completed"}
        place = {"item_id": item["id"], "output_index": self._places[index]}
        told = {"name": item["name"], "arguments": item["arguments"]}
        yield self._event("response.function_call_arguments.done", **place, **told)
        yield self._event("response.output_item.done", output_index=self._places[index], item=item)

    def _call(self, index: int) -> Block:
        call = self._calls[index]
        told = {"call_id": call["id"], "name": call["name"], "arguments": call["arguments"]}
        return {"id": self._name(f"fc_{index}"), "type": "function_call", "status": "in_progress", **told}

    def _name(self, kind: str) -> str:
        assert self._head is not None
        return f"{kind}_{self._head.get('id') or 'stream'}"

    def _response(self) -> Block:
        """Return the Response that what was said so far comes to."""
        assert self._head is not None
        calls = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in self._calls.values()
        ]
        message = {"role": "assistant", "content": self._text or None}
        choice = {"index": 0, "message": message | {"tool_calls": calls}, "finish_reason": self._reason}
        completion = self._head | {"choices": [choice], "error": self._error}
        made: Block = json.loads(responses_answers.to_response(write(completion)).body)
        return made | {"id": self._name("resp"), "output": self._named(made["output"])}

    def _named(self, output: list[Block]) -> list[Block]:
        """Return the items under the ids that they had while they came."""
        calls = iter(self._calls)
        names = {"message": lambda: self._name("msg"), "function_call": lambda: self._name(f"fc_{next(calls)}")}
        return [item | {"id": names[item["type"]]()} if item["type"] in names else item for item in output]

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), write(event))


def _dict(value: object) -> Block:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[Block]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
