"""Make the calls of the direct lane through the real litellm, before stand-ins on this machine: `make test-oracles`.

OpenAI's and Anthropic's dialects answer as the sandbox's models do; Anthropic's checks what it is asked as its API.
Each case says what the call must come to, and how many requests the provider may see for it: one, or none. Exits with 1
if any differs. The last lines are what a call costs this process: litellm's own work, without the stand-in's.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp import web
from rich.console import Console

from proxy_plugin.providers import catalog
from proxy_plugin.providers.direct import ways
from proxy_plugin.providers.direct.base import Caller, Lost, NotSent, Outgoing, Reply
from proxy_plugin.providers.direct.litellm_caller import loaded
from proxy_plugin.providers.direct.litellm_providers import FILE, providers
from proxy_plugin.providers.sandbox.anthropic.messages import message
from proxy_plugin.providers.sandbox.anthropic.params import Rules, check_params
from proxy_plugin.providers.sandbox.openai.bodies import error_body, response_body
from proxy_plugin.providers.sandbox.replies import Refused
from tools.litellm_names import MADE_FROM, made

Json = dict[str, Any]
KEY = "sk-the-account-of-the-calls"
CHAT, IMAGES = "/v1/chat/completions", "/v1/images/generations"
CONSOLE = Console(width=200, markup=False, highlight=False)
ID = "abcdefghij00000001"
CALLS, AT_ONCE = 400, 16
SLOW = 2.0  # seconds
KNOWN = 0.8  # of the names in our list: an older litellm lacks some (1.106.2: 16 of 118)
SAID: list[Json] = [{"role": "user", "content": "hi"}]


@dataclass(slots=True)
class StandIn:
    """Both dialects on one port, on a thread of its own. `how` chooses what becomes of the next requests."""

    how: str = "answer"
    seen: list[tuple[str, Mapping[str, str], Json]] = field(default_factory=list)
    url: str = ""

    async def serve(self, ready: threading.Event) -> None:
        app = web.Application()
        app.router.add_post("/openai{endpoint:/v1/.*}", self._openai)
        app.router.add_post("/anthropic/v1/messages", self._anthropic)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await asyncio.Event().wait()

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        body, endpoint = await request.json(), request.match_info["endpoint"]
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response(error_body(401, "no such key"), status=401)

        def made() -> Json:
            if endpoint == IMAGES:  # litellm wants more of a usage than a model of the sandbox tells
                return {"created": 1, "data": [{"b64_json": "aGk="}]}
            if endpoint.endswith("/rerank"):
                return {"id": "r", "results": [{"index": 0, "relevance_score": 0.5}]}
            return response_body(endpoint, body, identity="1", created=1, style="echo")[0]

        return await self._answer(request, endpoint, body, made)

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.headers.get("x-api-key") != KEY or request.headers.get("anthropic-version") != "2023-06-01":
            return web.json_response({"type": "error", "error": {"type": "authentication_error"}}, status=401)
        try:
            check_params(body, Rules())
        except Refused as refused:
            told = {"type": "invalid_request_error", "message": str(refused)}
            return web.json_response({"type": "error", "error": told}, status=400)
        return await self._answer(request, "/v1/messages", body, lambda: message(body, "1", "echo"))

    async def _answer(
        self, request: web.Request, path: str, body: Json, made: Callable[[], Json]
    ) -> web.StreamResponse:
        self.seen.append((path, dict(request.headers), body))
        if self.how == "drop":
            assert request.transport is not None
            request.transport.close()
        if self.how == "slow":
            await asyncio.sleep(SLOW * 3)
        if self.how == "unreadable":
            return web.Response(text="<html>")
        if self.how.isdigit():
            told = error_body(int(self.how), f"said of {KEY}", code="its_code", param="its_param")
            wait = {"Retry-After": "7", "x-ratelimit-remaining-requests": "0"}
            return web.json_response(told, status=int(self.how), headers=wait)
        return web.json_response(made(), headers={"x-request-id": "req_1", "x-ratelimit-remaining-requests": "9"})


@dataclass(frozen=True, slots=True)
class Case:
    """What one call must come to. `seen`: requests at the provider."""

    name: str
    account: str
    endpoint: str
    body: Json
    holds: Callable[[Reply | Exception], bool]
    how: str = "answer"
    seen: int = 1


def _is(status: int, *texts: str, **headers: str) -> Callable[[Reply | Exception], bool]:
    def holds(found: Reply | Exception) -> bool:
        if not isinstance(found, Reply) or found.status != status or KEY.encode() in found.body:
            return False
        told = all(found.headers.get(name.replace("_", "-")) == value for name, value in headers.items())
        return told and all(text.encode() in found.body for text in texts) and bool(json.loads(found.body))

    return holds


def _raises(kind: type[Exception]) -> Callable[[Reply | Exception], bool]:
    return lambda found: isinstance(found, kind)


def _cases() -> Iterator[Case]:
    chat: Json = {"model": "m", "messages": SAID, "temperature": 0.5, "max_tokens": 64}
    own = {"api_base": "http://127.0.0.1:9", "mock_response": "x", "fallbacks": ["y"], "num_retries": 3}
    spent = '"prompt_tokens":'
    yield Case("chat", "openai", CHAT, chat, _is(200, "echo: hi", spent, x_request_id="req_1"))
    yield Case("chat", "anthropic", CHAT, {**chat, "model": "claude-haiku-4-5"}, _is(200, "echo: hi", spent))
    for given in ("hi", ["hi", "ho"]):
        yield Case("embeddings", "openai", "/v1/embeddings", {"model": "m", "input": given}, _is(200, '"embedding"'))
    yield Case("what litellm would obey goes to the provider", "openai", CHAT, {**chat, **own}, _is(200, "echo: hi"))
    yield Case(
        "or is refused", "anthropic", CHAT, {**chat, "model": "claude-haiku-4-5", **own}, _is(400, "api_base"), seen=0
    )
    yield Case("what a model does not take", "anthropic", CHAT, {**chat, "model": "claude-haiku-4-5", "seed": 1},
               _is(400, "seed"), seen=0)  # fmt: skip
    dropped = {**chat, "model": "claude-haiku-4-5", "seed": 1, "drop_params": True}
    yield Case("or may be dropped", "anthropic", CHAT, dropped, _is(200, "echo: hi"))
    for account, model in (("openai", "m"), ("anthropic", "claude-haiku-4-5")):
        body = {**chat, "model": model}
        for status in (400, 404, 422, 500, 503):
            yield Case(f"HTTP {status}", account, CHAT, body, _is(status, "said of"), str(status))
        waiting = _is(429, "said of", retry_after="7", x_ratelimit_remaining_requests="0")
        yield Case("HTTP 429", account, CHAT, body, waiting, "429")
        yield Case("a lost answer", account, CHAT, body, _raises(Lost), "drop")
        yield Case("an answer that cannot be read", account, CHAT, body, _raises(Lost), "unreadable")
        yield Case("no answer in time", account, CHAT, body, _raises(Lost), "slow")
        yield Case("nobody there", f"{account} away", CHAT, body, _raises(NotSent), seen=0)
    image = {"model": "m", "prompt": "a cat"}
    yield Case("images", "proxy", IMAGES, image, _is(200, '"data"'))
    yield Case("HTTP 500", "proxy", IMAGES, image, _is(500, "said of"), "500")
    yield Case(
        "rerank", "openai", "/v1/rerank", {"model": "m", "query": "q", "documents": ["a"]}, _is(200, '"results"')
    )
    for account, endpoint, more in (("openai", "/v1/embeddings", {"input": "hi"}), ("proxy", IMAGES, image)):
        yield Case("a lost answer", account, endpoint, {"model": "m", **more}, _raises(Lost), "drop")


def _callers(url: str) -> Mapping[str, Caller]:
    def caller(name: str, **told: str) -> Caller:
        lane = catalog.direct(name)
        return lane.caller(lane.credentials.model_validate({"api_key": KEY, **told}), "", Outgoing())

    away = "http://127.0.0.1:1"
    return {
        "openai": caller("hosted_vllm", api_base=f"{url}/openai/v1"),
        "anthropic": caller("anthropic", custom_host=f"{url}/anthropic/v1"),
        "proxy": caller("litellm_proxy", api_base=f"{url}/openai/v1"),
        "openai away": caller("hosted_vllm", api_base=f"{away}/openai/v1"),
        "anthropic away": caller("anthropic", custom_host=f"{away}/anthropic/v1"),
    }


async def _tried(case: Case, caller: Caller, stand_in: StandIn) -> str:
    """Return what is wrong, empty where nothing is."""
    stand_in.how, before = case.how, len(stand_in.seen)
    found: Reply | Exception
    try:
        found = await caller.call(
            case.endpoint, json.dumps(case.body).encode(), ID, SLOW if case.how == "slow" else 60.0
        )
    except (Lost, NotSent) as error:
        found = error
    await asyncio.sleep(0.05)  # a request that should not come may come late
    seen = len(stand_in.seen) - before
    return "" if case.holds(found) and seen == case.seen else f"{seen} requests, {found!r:.600}"


async def _cost(caller: Caller, model: str) -> float:
    """Return the milliseconds of CPU of one call, 16 at once."""
    body = json.dumps({"model": model, "messages": SAID, "max_tokens": 64}).encode()
    left = iter(range(CALLS))

    async def some() -> None:
        for _ in left:
            assert (await caller.call(CHAT, body, ID, 60.0)).status == 200

    began = time.thread_time()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return (time.thread_time() - began) / CALLS * 1000


def _unknown() -> list[str]:
    litellm = loaded(None, None)
    known = {getattr(each, "value", each) for each in litellm.provider_list}
    ours = {way.litellm for way in ways.WAYS.values() if way.litellm}
    missing = [*providers().keys() - known]
    CONSOLE.print(
        f"{len(providers()) - len(missing)} of {len(providers())} names are known to this litellm", *sorted(missing)
    )
    few = [] if len(missing) <= len(providers()) * (1 - KNOWN) else missing
    return [*sorted(ours - known), *few, *_stale(Path(litellm.__file__).parent)]


def _stale(folder: Path) -> list[str]:
    """Return the names whose facts the list has otherwise than the litellm that it was made from."""
    if version("litellm") != MADE_FROM:
        return []
    found, listed = made(folder), json.loads(FILE.read_text())
    return [name for name in {**found, **listed} if found.get(name) != listed.get(name)]


async def _run(stand_in: StandIn) -> int:
    callers, wrong = _callers(stand_in.url), 0
    for case in _cases():
        complaint = await _tried(case, callers[case.account], stand_in)
        wrong += bool(complaint)
        CONSOLE.print(f"{'WRONG' if complaint else 'good '} {case.account}: {case.endpoint}, {case.name} {complaint}")
    stand_in.how = "answer"
    for account, model in (("openai", "m"), ("anthropic", "claude-haiku-4-5")):
        CONSOLE.print(f"{account}: {await _cost(callers[account], model):.2f} ms of CPU a call, {AT_ONCE} at once")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    CONSOLE.print(f"{memory} MB at most, after {len(stand_in.seen):,} calls")
    return wrong


def main() -> int:
    """Return 0 if every case comes to what it must."""
    stand_in, ready = StandIn(), threading.Event()
    serve: Callable[[], Awaitable[None]] = lambda: stand_in.serve(ready)  # noqa: E731
    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()  # type: ignore[arg-type]
    ready.wait()
    if unknown := _unknown():
        CONSOLE.print("the list and litellm differ over:", *unknown)
    wrong = asyncio.run(_run(stand_in))
    return int(bool(unknown) or wrong > 0 or _left_open(stand_in))


def _left_open(stand_in: StandIn) -> bool:
    """Tell whether tasks of a worker, each with an event loop of its own, leave connections open."""
    open_files = []
    for _ in range(3):
        asyncio.run(_task(stand_in))
        open_files.append(len([*Path("/proc/self/fd").iterdir()]))
    CONSOLE.print(f"open files after each of three tasks: {open_files}")
    return open_files[-1] > open_files[0]


async def _task(stand_in: StandIn) -> None:
    callers = _callers(stand_in.url)
    for account, model in (("openai", "m"), ("anthropic", "claude-haiku-4-5")):
        body = json.dumps({"model": model, "messages": SAID, "max_tokens": 64}).encode()
        assert (await callers[account].call(CHAT, body, ID, 60.0)).status == 200
    for caller in callers.values():
        await caller.close()


if __name__ == "__main__":
    sys.exit(main())
