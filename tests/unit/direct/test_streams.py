"""Events of chat that become those of Completions and of Responses: what is said stays whole, however it is cut."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.direct.streams import through_chat
from proxy_plugin.providers.formats.openai.through_chat import CHAT, COMPLETIONS, RESPONSES

Json = dict[str, Any]
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}


def chunk(reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "c", "created": 7, "model": "m", "choices": [choice]}).encode() + b"\n\n"


TAIL = [b"data: " + json.dumps({"id": "c", "choices": [], "usage": USAGE}).encode() + b"\n\n", b"data: [DONE]\n\n"]


async def told(endpoint: str, pieces: Sequence[bytes]) -> bytes:
    async def come() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return b"".join([piece async for piece in through_chat(endpoint, come())])


def events(text: bytes) -> list[Json]:
    lines = [line.removeprefix(b"data: ") for line in text.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


@given(st.lists(st.text(max_size=5), max_size=6), st.lists(st.integers(0, 2_000), max_size=6))
async def test_a_text_is_the_same_in_deltas_and_in_the_whole(words: list[str], cuts: list[int]) -> None:
    whole = b"".join([*(chunk(content=word) for word in words), chunk("stop"), *TAIL])
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[start:end] for start, end in pairwise(places)]
    found = events(await told(RESPONSES, pieces))
    said = "".join(each["delta"] for each in found if each["type"] == "response.output_text.delta")
    last = found[-1]["response"]
    texts = [part["text"] for item in last["output"] for part in item["content"]]
    assert (found[-1]["type"], said, "".join(texts)) == ("response.completed", "".join(words), "".join(words))
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    assert last["usage"]["total_tokens"] == USAGE["total_tokens"]
    completions = events(await told(COMPLETIONS, pieces))
    assert "".join(choice["text"] for each in completions for choice in each["choices"]) == "".join(words)
    assert await told(CHAT, pieces) == whole


async def test_tools_are_called_piece_by_piece() -> None:
    more = [{"index": 0, "function": {"arguments": text}} for text in ('{"a"', ": 1}")]
    pieces = [chunk(tool_calls=[CALL]), *(chunk(tool_calls=[each]) for each in more), chunk("tool_calls"), *TAIL]
    found = events(await told(RESPONSES, pieces))
    kinds = [each["type"].removeprefix("response.") for each in found]
    assert kinds == [
        *("created", "in_progress", "output_item.added"),
        *("function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    (item,) = found[-1]["response"]["output"]
    assert (item["call_id"], item["name"], item["arguments"]) == ("call_1", "look", '{"a": 1}')
    assert item == found[-2]["item"], "the item that was told is the item that is there in the end"


@pytest.mark.parametrize(("reason", "end"), [("stop", "completed"), ("length", "incomplete")])
async def test_an_answer_that_was_cut_short_says_so(reason: str, end: str) -> None:
    found = events(await told(RESPONSES, [chunk(content="x"), chunk(reason)]))
    assert (found[-1]["type"], found[-1]["response"]["status"]) == (f"response.{end}", end)


async def test_an_error_within_a_stream_is_told() -> None:
    piece = b'data: {"error": {"message": "overloaded"}}\n\n'
    found = events(await told(RESPONSES, [chunk(content="x"), piece]))
    assert (found[-1]["type"], found[-1]["response"]["error"]["message"]) == ("response.failed", "overloaded")
    assert events(await told(COMPLETIONS, [piece])) == [{"error": {"message": "overloaded"}}]
