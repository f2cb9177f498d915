"""Stream answers through the real litellm, before a stand-in on this machine: `make test-oracles`.

Anthropic's events are written from "Streaming messages" (platform.claude.com, 2026-11-20). The stand-in gives the next
one only when the text before it has come out here, so that what ends proves that every piece was passed on at once. Our
events are held to the types of OpenAI's SDK. Exits with 1 if anything differs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, NamedTuple

from aiohttp import web
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter
from rich.console import Console

from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import LineIn, Target
from proxy_plugin.providers.direct.base import Lost, NotSent, Outgoing, Reply, Streams

Json = dict[str, Any]
KEY, ID, MODEL = "sk-the-account-of-the-streams", "abcdefghij00000001", "claude-haiku-4-5"
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
NEEDS_NO_MCP = "1.110"  # before, litellm takes chats with tools for those of its proxy, and wants one more package
TOKENS, HTTP_ERROR = 8, 400
WORDS = ("Hello", " from", " here")
CONSOLE = Console(width=200, markup=False, highlight=False)
TYPES = {
    CHAT: TypeAdapter[Any](ChatCompletionChunk),
    COMPLETIONS: TypeAdapter[Any](Completion),
    RESPONSES: TypeAdapter[Any](ResponseStreamEvent),
}


@dataclass(slots=True)
class StandIn:
    """One account at Anthropic. `how`: answer, a status, break, hang or tool; `said` counts what has come out."""

    how: str = "answer"
    url: str = ""
    said: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def messages(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        assert (body["stream"], request.headers["x-api-key"]) == (True, KEY)
        if self.how.isdigit():
            error = {"type": "error", "error": {"type": "overloaded_error", "message": f"said of {KEY}"}}
            return web.json_response(error, status=int(self.how))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._events(response, request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response

    async def _events(self, response: web.StreamResponse, request: web.Request) -> None:
        for event in _head():
            await response.write(_sse(event))
        for number, event in enumerate(_tool() if self.how == "tool" else _text()):
            while self.how != "tool" and self.said < number:
                self.came.clear()
                await self.came.wait()
            if number == 2 and self.how == "break":
                assert request.transport is not None
                request.transport.abort()
                return
            await response.write(_sse(event))
            if self.how == "hang":
                await asyncio.Event().wait()
        for event in _tail("tool_use" if self.how == "tool" else "end_turn"):
            await response.write(_sse(event))

    def heard(self) -> None:
        """Note that a piece of text has come out."""
        self.said += 1
        self.came.set()


def _sse(event: Json) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _head() -> Iterator[Json]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    usage = {"input_tokens": 5, "output_tokens": 1}
    yield {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None, "usage": usage}}
    yield {"type": "ping"}


def _text() -> Iterator[Json]:
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}} | {}
    for word in WORDS:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}


def _tool() -> Iterator[Json]:
    block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for part in ('{"a"', ": 1}"):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": part}}


def _tail(reason: str) -> Iterator[Json]:
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": 3},
    }
    yield {"type": "message_stop"}


class Case(NamedTuple):
    """`body` beside its model; `holds` judges (events, what it ended with)."""

    name: str
    endpoint: str
    body: Json
    holds: Callable[[list[Json], object], bool]
    how: str = "answer"


def _cases() -> Iterator[Case]:
    chat: Json = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 64}
    asked: Json = {"input": "hi", "max_output_tokens": 64}
    usage = {"stream_options": {"include_usage": True}}
    yield Case("text", CHAT, chat, lambda events, end: end is None and _said(events) == WORDS)
    yield Case("usage", CHAT, chat | usage, lambda events, _: _spent(events[-1]) == TOKENS)
    yield Case("text", COMPLETIONS, {"prompt": "hi", "max_tokens": 64}, lambda events, _: _said(events) == WORDS)
    yield Case("text", RESPONSES, asked, lambda events, _: _whole(events))
    if version("litellm") >= NEEDS_NO_MCP:
        look = {"name": "look", "parameters": {"type": "object", "properties": {}}}
        called = chat | {"tools": [{"type": "function", "function": look}]}
        yield Case("tools", CHAT, called, lambda events, _: _arguments(events) == '{"a": 1}', "tool")
        called = asked | {"tools": [{"type": "function", "strict": False, **look}]}
        yield Case("tools", RESPONSES, called, lambda events, _: _item(events)["arguments"] == '{"a": 1}', "tool")
    for status in ("400", "429", "529"):
        yield Case(f"HTTP {status}", CHAT, chat, lambda _, end: _refused(end), status)
    yield Case("broken off", CHAT, chat, lambda events, end: _lost(end) and _said(events) == WORDS[:1], "break")


def _lost(end: object) -> bool:
    return isinstance(end, Lost)


def _spent(told: Json) -> int:
    return int(told["usage"]["total_tokens"])


def _said(events: list[Json]) -> tuple[str, ...]:
    choices = [choice for event in events for choice in event.get("choices", ())]
    texts = [choice.get("text") or choice.get("delta", {}).get("content") for choice in choices]
    texts += [event["delta"] for event in events if event.get("type") == "response.output_text.delta"]
    return tuple(text for text in texts if text)


def _arguments(events: list[Json]) -> str:
    calls = [
        each for event in events for choice in event["choices"] for each in choice["delta"].get("tool_calls") or ()
    ]
    return "".join(each["function"].get("arguments") or "" for each in calls)


def _item(events: list[Json]) -> Json:
    item: Json = events[-1]["response"]["output"][0]
    return item


def _whole(events: list[Json]) -> bool:
    last = events[-1]
    text = _item(events)["content"][0]["text"]
    return (last["type"], text, _spent(last["response"])) == ("response.completed", "".join(WORDS), TOKENS)


def _refused(end: object) -> bool:
    if not isinstance(end, Reply):
        return False
    return end.status >= HTTP_ERROR and b"said of" in end.body and KEY.encode() not in end.body


async def _streamed(case: Case, stand_in: StandIn) -> tuple[list[Json], object]:
    """Return the events that came, and what the call ended with: None, a reply, or what was raised."""
    lane = catalog.direct("anthropic")
    caller = lane.caller(lane.credentials.model_validate({"api_key": KEY, "custom_host": stand_in.url}), "", Outgoing())
    assert isinstance(caller, Streams)
    options = case.body.get("stream_options")
    body = json.dumps(
        {"model": MODEL, **{key: case.body[key] for key in case.body if key != "stream_options"}}
    ).encode()
    record = json.loads(lane.translate(LineIn(ID, case.endpoint, body, MODEL), Target()).data)
    sent = json.dumps(record["body"]).encode()
    asked = lane.streamed(case.endpoint, sent, None if options is None else json.dumps(options).encode())
    events: list[Json] = []
    try:
        found = await caller.stream(record["url"], asked, ID, 20.0)
        if isinstance(found, Reply):
            return events, found
        async for event in _parsed(lane.events(case.endpoint, found.pieces)):
            TYPES[case.endpoint].validate_python(_ended(event))
            events.append(event)
            if _said([event]):
                stand_in.heard()
        await found.close()
    except (Lost, NotSent) as error:
        return events, error
    return events, None


def _ended(event: Json) -> Json:
    """Return an event for OpenAI's type of a text, which knows of none that goes on, as its API has them."""
    if event.get("object") != "text_completion":
        return event
    choices = [each | {"finish_reason": each["finish_reason"] or "stop"} for each in event["choices"]]
    return event | {"choices": choices}


async def _parsed(pieces: AsyncIterator[bytes]) -> AsyncIterator[Json]:
    async for piece in pieces:
        for line in piece.split(b"\n"):
            if line.startswith(b"data: {"):
                yield json.loads(line.removeprefix(b"data: "))


async def _leaves(stand_in: StandIn) -> bool:
    """Tell whether a call that is given up ends at the provider, too."""
    stand_in.how, stand_in.said = "hang", 9
    case = next(_cases())
    task = asyncio.create_task(_streamed(case, stand_in))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    try:
        await asyncio.wait_for(stand_in.left.wait(), 20)
    except TimeoutError:
        return False
    return True


async def _run() -> int:
    stand_in, app, wrong = StandIn(), web.Application(), 0
    app.router.add_post("/v1/messages", stand_in.messages)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    for case in _cases():
        stand_in.how, stand_in.said = case.how, 1
        events, end = await _streamed(case, stand_in)
        good = case.holds(events, end)
        wrong += not good
        CONSOLE.print(f"{'good ' if good else 'WRONG'} {case.endpoint}, {case.name}", "" if good else (events, end))
    left = await _leaves(stand_in)
    CONSOLE.print(f"{'good ' if left else 'WRONG'} a call that is given up ends at the provider")
    await runner.cleanup()
    return int(wrong > 0 or not left)


if __name__ == "__main__":
    sys.exit(asyncio.run(_run()))
