"""A provider that speaks OpenAI's API for ordinary calls, in the test's own process: strict about what it is asked.

A stream waits before each chunk for the test, so that what has come proves that it was passed on at once. Written from
the API reference (chat, completions, embeddings, responses; platform.openai.com, 2026-11-20).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]
KEY = "sk-of-the-account-at-the-provider"
WORDS = ("Hello", " from", " here")
_REFUSED = {"x-portkey-api-key", "x-portkey-virtual-key", "x-portkey-config", "x-portkey-provider"}


@dataclass
class Talker:
    """`fails`: the statuses of the next answers, 200 among them; `gate` lets one chunk of a stream pass a release."""

    name: str = "one"
    key: str = KEY
    url: str = ""
    seen: list[tuple[str, Json]] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    fails: list[int] = field(default_factory=list)
    fail_headers: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Semaphore | None = None
    breaks_after: int | None = None  # chunks, then the connection goes
    hangs: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)  # a client has gone before its answer was whole

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any call below /v1."""
        body = await request.json()
        self.seen.append((request.path, body))
        self.headers.append(request.headers)
        assert not _REFUSED & {name.lower() for name in request.headers}
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            sent = request.headers.get("Authorization", "")
            return web.json_response({"error": {"message": f"Incorrect API key provided: {sent}."}}, status=401)
        status = self.fails.pop(0) if self.fails else 200
        if status != 200:
            error = {"message": f"said of {self.key}", "type": "t", "param": None, "code": "its_code"}
            return web.json_response({"error": error}, status=status, headers=self.fail_headers)
        try:
            if self.hangs:
                await asyncio.Event().wait()
            if body.get("stream"):
                return await self._stream(request, body)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        made = _ANSWERS[request.path](self, body)
        return web.json_response(made, headers={"x-request-id": "req_theirs", "x-ratelimit-remaining-requests": "9"})

    async def _stream(self, request: web.Request, body: Json) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number, event in enumerate(self.events(request.path, body)):
            if number == self.breaks_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            if self.gate is not None:
                await self.gate.acquire()
            await response.write(event)
        return response

    def events(self, path: str, body: Json) -> list[bytes]:
        """Return the events of a stream, one for each chunk."""
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if path == "/v1/responses":
            kinds = [{"type": "response.output_text.delta", "delta": word} for word in WORDS]
            return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in kinds]
        if path == "/v1/completions":
            made = [head | {"object": "text_completion", "choices": [{"index": 0, "text": word}]} for word in WORDS]
        else:
            chunk = head | {"object": "chat.completion.chunk"}
            made = [
                chunk | {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in WORDS
            ]
            made.append(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        return [*(f"data: {json.dumps(each)}\n\n".encode() for each in made), b"data: [DONE]\n\n"]

    def chat(self, body: Json) -> Json:
        """Return a chat completion."""
        assert isinstance(body["messages"], list)
        message = {"role": "assistant", "content": f"{self.name}: {body['messages'][-1]['content']}"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        return {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices} | {
            "usage": usage
        }

    def completion(self, body: Json) -> Json:
        """Return a text completion."""
        choices = [{"index": 0, "text": f"{self.name}: {body['prompt']}", "logprobs": None, "finish_reason": "stop"}]
        return {"id": "t", "object": "text_completion", "created": 1, "model": body["model"], "choices": choices}

    def vectors(self, body: Json) -> Json:
        """Return embeddings as numbers."""
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0, 2.0]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "model": body["model"], "data": data, "usage": usage}

    def response(self, body: Json) -> Json:
        """Return a response."""
        part = {"type": "output_text", "text": f"{self.name}: {body['input']}", "annotations": []}
        message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        told = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": body["model"]}
        return told | {"output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}


_ANSWERS = {
    "/v1/chat/completions": Talker.chat,
    "/v1/completions": Talker.completion,
    "/v1/embeddings": Talker.vectors,
    "/v1/responses": Talker.response,
}


@asynccontextmanager
async def talking(*talkers: Talker) -> AsyncIterator[None]:
    """Serve them, each on a port of its own."""
    runners = []
    try:
        for talker in talkers:
            app = web.Application(client_max_size=2**27)
            app.router.add_post("/{path:v1/.*}", talker.answer)
            runners.append(web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1))
            await runners[-1].setup()
            await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
            talker.url = f"http://127.0.0.1:{runners[-1].addresses[0][1]}/v1"
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
