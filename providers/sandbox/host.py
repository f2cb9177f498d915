"""The process that hosts the stand-ins: command line, requests, faults. The manual is README.md beside this."""

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from proxy_plugin.providers.sandbox.clock import Clock
from proxy_plugin.providers.sandbox.control import control_routes
from proxy_plugin.providers.sandbox.dialect import Act, Dialect, Route, Services
from proxy_plugin.providers.sandbox.faults import Faults, Rule
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY
from proxy_plugin.providers.sandbox.records import AcceptedCreates, Accounts, Requests, extension_headers, violations_of
from proxy_plugin.providers.sandbox.replies import Refused, Reply, Shape, hang_up, send
from proxy_plugin.providers.sandbox.stand_ins import copies, every
from proxy_plugin.providers.sandbox.work import Work

DIALECTS = {each.provider: each.dialect for each in every()}
PARENT_CHECK_SECONDS = 0.2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host:
    """All dialects of one process by the names under which they are served, and what they share."""

    def __init__(
        self, served: Mapping[str, str], keys: Sequence[str], options: Mapping[str, Any], directory: Path
    ) -> None:
        """`served`: name -> whose dialect is spoken under it."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._keys = keys
        self.clock, self.work, self.accounts = Clock(), Work(), Accounts(keys)
        self.faults, self.requests, self.violations = Faults(), Requests(), list[dict[str, Any]]()
        self._awaited = dict[tuple[str, str], asyncio.Event]()  # answers of operations
        self.accepted: dict[str, AcceptedCreates] = {}
        self.dialects: dict[str, Dialect] = {}
        for name, dialect in served.items():
            self._add(name, dialect, options.get(name, {}), directory)

    def _add(self, name: str, dialect: str, options: Mapping[str, Any], directory: Path) -> None:
        folder = directory / name
        folder.mkdir(parents=True, exist_ok=True)
        self.accepted[name] = AcceptedCreates(name, directory / f"accepted-{name}.jsonl")
        services = Services(name, self.clock, self.work, self.accepted[name], self.accounts, folder, self.spawn)
        module, _, attribute = DIALECTS[dialect].partition(":")
        build = getattr(importlib.import_module(module), attribute)
        traits = copies()[name].traits if name in copies() else {}
        self.dialects[name] = cast("Dialect", build(services, {**traits, **options}))

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background until done or `reset`. A failure is a bug of the sandbox and shows on stderr."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            handler = asyncio.get_running_loop().call_exception_handler
            handler({"message": "a background task failed", "exception": error, "task": task})

    async def close(self) -> None:
        await self._cancel_tasks()
        self.work.close()

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def reset(self) -> None:
        await self._cancel_tasks()
        self._awaited.clear()
        for name, dialect in self.dialects.items():
            dialect.reset()
            self.accepted[name].reset()
        self.faults.replace([], ())
        self.accounts.replace(self._keys)
        self.requests.entries.clear()
        self.violations.clear()
        self.clock.reset()

    # One request

    def handler(self, dialect: Dialect, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            account, subject = dialect.account(request), next(iter(request.match_info.values()), None)
            self._note_violations(dialect, route.operation, account, request)
            rule = self.faults.pick(dialect.name, route.operation, account, subject)
            entry = self.requests.open(dialect.name, route.operation, account, subject)
            entry["fault"] = rule.kind if rule else None
            entry["headers"] = extension_headers(request)
            try:
                reply = await self._outcome(dialect, route, request, rule)
            except (ConnectionError, web.RequestPayloadError):
                reply = None  # the client went away, or broke its own framing, in the middle of a request
            if reply is None:
                return _hung_up(request, rule)
            entry["status"], entry["id"] = reply.status, reply.subject or subject
            if awaited := self._awaited.pop((dialect.name, route.operation), None):
                awaited.set()
            headers = {**dialect.headers(), **reply.headers}
            return await send(request, replace(reply, headers=headers), _shape(rule))

        return handle

    def _note_violations(self, dialect: Dialect, operation: str, account: str | None, request: web.Request) -> None:
        for what in violations_of(request, dialect.credentials):
            self.violations.append({"provider": dialect.name, "op": operation, "account": account, "what": what})

    async def _outcome(self, dialect: Dialect, route: Route, request: web.Request, rule: Rule | None) -> Reply | None:
        """The reply to send; None when the connection is to be closed instead."""
        kind = rule.kind if rule else None
        if rule and kind in {"status", "redirect", "drop"}:
            return await _without_acting(dialect, request, rule)
        try:
            act = await route.prepare(request, dialect.admit(request))
        except Refused as refused:
            act = _always(refused.reply)
        if rule and kind == "late":
            self.spawn(self._act_later(dialect, act, rule))
            return None
        reply = await _acted(act)
        if rule and kind == "stall":
            await asyncio.sleep(rule.seconds)
        if rule and kind == "status_after":
            return _failure(dialect, rule)
        return None if kind == "drop_after" else reply

    async def _act_later(self, dialect: Dialect, act: Act, rule: Rule) -> None:
        if rule.behind:
            await self._awaited.setdefault((dialect.name, rule.behind), asyncio.Event()).wait()
        await asyncio.sleep(rule.seconds)
        await _acted(act)


async def _without_acting(dialect: Dialect, request: web.Request, rule: Rule) -> Reply | None:
    if rule.drain:
        async for _ in request.content.iter_any():
            pass
    if rule.kind == "drop":
        return None
    return Reply(307, headers={"location": rule.url}) if rule.kind == "redirect" else _failure(dialect, rule)


def _failure(dialect: Dialect, rule: Rule) -> Reply:
    reply = dialect.refusal(rule.status, rule.message, rule.code)
    headers = {**reply.headers, **rule.headers}
    if rule.retry_after is not None:
        headers["retry-after"] = f"{rule.retry_after:g}"
    if rule.retry_after_ms is not None:
        headers["retry-after-ms"] = str(rule.retry_after_ms)
    if rule.body is None:
        return Reply(rule.status, reply.body, headers)
    return Reply(rule.status, rule.body.encode(), {**headers, "content-type": "text/html"})


async def _acted(act: Act) -> Reply:
    try:
        return await act()
    except Refused as refused:
        return refused.reply


def _always(reply: Reply) -> Act:
    async def act() -> Reply:
        return reply

    return act


def _shape(rule: Rule | None) -> Shape:
    if rule is None or rule.kind not in {"truncate", "truncate_chunked", "slow", "endless"}:
        return Shape()
    if rule.kind == "endless":
        return Shape(chunked=True, endless=True)
    if rule.kind == "slow":
        return Shape(rate=rule.rate)
    return Shape(limit=rule.size, chunked=rule.kind == "truncate_chunked")


def _hung_up(request: web.Request, rule: Rule | None) -> web.StreamResponse:
    hang_up(request, reset=rule is not None and rule.reset)
    return web.Response()  # goes nowhere: the connection is closing


# The process


def build_app(host: Host) -> web.Application:
    app = web.Application(client_max_size=2**20)
    for dialect in host.dialects.values():
        for route in dialect.routes:
            app.router.add_route(route.method, dialect.prefix + route.path, host.handler(dialect, route))
        app.router.add_route("*", dialect.prefix + "/{tail:.*}", host.handler(dialect, _unknown(dialect)))
    app.add_routes(control_routes(host))
    return app


def _unknown(dialect: Dialect) -> Route:
    async def prepare(request: web.Request, _account: str) -> Act:
        return _always(dialect.not_found(request))

    return Route("*", "", "unknown", prepare)


async def serve(arguments: argparse.Namespace, directory: Path) -> None:
    """Serve until SIGTERM, SIGINT or, with `--with-parent`, the end of the parent."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host = Host(arguments.provider, arguments.key, arguments.options, directory)
    # Clients may hold connections and stalled answers open; nothing here is worth waiting for.
    # Bodies reach the dialects as they were sent, so that those decide about compressed ones.
    runner = web.AppRunner(build_app(host), access_log=None, shutdown_timeout=0.1, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, arguments.host, arguments.port).start()
    url = f"http://{arguments.host}:{runner.addresses[0][1]}"
    facts = {"url": url, "providers": {name: url + dialect.prefix for name, dialect in host.dialects.items()}}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    while not stop.is_set() and arguments.with_parent in {None, os.getppid()}:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PARENT_CHECK_SECONDS)
    await runner.cleanup()
    await host.close()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("proxy_plugin.providers.sandbox", description="Stand-ins for provider services.")
    parser.add_argument("--provider", action="append", type=_served, help="NAME or NAME=DIALECT; default: all")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--dir", type=Path, help="default: a temporary directory")
    parser.add_argument("--key", action="append", help=f"KEY or ACCOUNT=KEY, repeatable; default {DEFAULT_KEY}")
    parser.add_argument("--options", type=json.loads, default={}, help='JSON, such as {"openai": {"run_seconds": 5}}')
    parser.add_argument(
        "--with-parent",
        type=int,
        nargs="?",
        const=os.getppid(),
        metavar="PID",
        help="end when the parent process ends; its PID is safer than asking for it when it may be dead already",
    )
    found = parser.parse_args(argv)
    found.provider, found.key = dict(found.provider or map(_served, DIALECTS)), found.key or [DEFAULT_KEY]
    if unknown := set(found.options) - {*DIALECTS, *found.provider}:
        parser.error(f"--options: no provider is called {', '.join(sorted(unknown))}")
    return found


def _served(text: str) -> tuple[str, str]:
    """The name under which a dialect is served, and whose dialect it is."""
    name, _, dialect = text.partition("=")
    dialect = dialect or (copies()[name].like if name in copies() else name)
    if dialect not in DIALECTS:
        known = ", ".join([*DIALECTS, *copies()])
        raise argparse.ArgumentTypeError(f"no stand-in is called {dialect}; there are {known}")
    return name, dialect


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = _arguments(argv)
    with contextlib.ExitStack() as stack:
        if (directory := arguments.dir) is None:
            made = tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True)
            directory = Path(stack.enter_context(made))
        try:
            asyncio.run(serve(arguments, directory))
        except (OSError, ValueError) as wrong:  # the address is taken, the directory is not ours, an option is unknown
            sys.exit(f"proxy_plugin.providers.sandbox: {wrong}")
