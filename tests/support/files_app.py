"""A gateway with the Files and Uploads routes only: real registry and blobs, a short entrance, no engine, no providers.

As a process of its own (`python -m tests.support.files_app DATA_DIR`) it prints its port, and tells at `/self`
what it costs: the resident bytes now, their peak, and what it did since the last question.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from proxy_plugin.access import headers
from proxy_plugin.access.callers import Callers
from proxy_plugin.api import uploads as uploads_api
from proxy_plugin.api.files import routes as files_api
from proxy_plugin.config import Config, parse
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.ground.errors import GatewayError
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.opening import registry_of
from proxy_plugin.storage.tables import files, uploads
from proxy_plugin.web.entrance import _close_after
from proxy_plugin.web.keys import CALLER, HEADERS

ALICE, BOB = "key-of-alice", "key-of-bob"
BOUNDARY = "test-boundary-1f7c"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
ROUTES = (*files_api.ROUTES, *uploads_api.ROUTES)
LINE = b'{"custom_id":"r-1","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n'


class IdleEngine:
    """Counts how often it was told that there is something to do."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        """Take note."""
        self.woken += 1

    def leave(self) -> None:
        """Leave nothing: it has nothing."""


def build(data_dir: Path, limits: Mapping[str, Any] | None = None, *, blobs: Blobs | None = None) -> web.Application:
    """Return the application; `app[GATEWAY].registry` is open while it runs. Two callers, each with a workspace."""
    config = _config(data_dir, limits or {})
    gateway = Gateway(
        config=config,
        callers=Callers(config),
        clock=SystemClock(),
        registry=registry_of(data_dir),
        blobs=blobs or Blobs(data_dir),
        workers=cast("Any", None),
        answerers=cast("Any", None),
        http=cast("Any", None),
        secret=b"",
    )
    gateway.engine = IdleEngine()
    app = web.Application(middlewares=[_entrance])
    app[GATEWAY] = gateway
    app.cleanup_ctx.append(_running)
    for route in ROUTES:
        app.router.add_route(route.method, f"/v1{route.path}", route.handler, expect_handler=_expect)
    return app


@web.middleware
async def _entrance(request: web.Request, handler: Any) -> web.StreamResponse:
    """Name the caller and give errors their shape. A client that has gone gets nothing, like in production."""
    request[HEADERS] = headers.read(request.headers)
    request[CALLER] = request.app[GATEWAY].callers.authenticate(request.headers, request.remote)
    try:
        response: web.StreamResponse = await handler(request)
    except GatewayError as error:
        if request.writer.output_size:
            raise
        refusal = web.json_response(error.body(), status=error.status, headers=error.headers())
        if not request.content.is_eof():
            await _close_after(request, refusal)
        return refusal
    except ConnectionError:
        return web.Response()
    return response


async def _expect(request: web.Request) -> web.StreamResponse | None:
    resource = request.match_info.route.resource
    assert resource is not None
    path = resource.canonical.removeprefix("/v1")
    precheck = next(route.precheck for route in ROUTES if (route.method, route.path) == (request.method, path))
    assert precheck is not None
    try:
        await precheck(request)
    except GatewayError as error:
        return web.json_response(error.body(), status=error.status, headers=error.headers())
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0
    return None


def _config(data_dir: Path, limits: Mapping[str, Any]) -> Config:
    keys = [{"name": name, "key": key, "workspace": name} for name, key in (("alice", ALICE), ("bob", BOB))]
    section = {
        "storage": {"data_dir": str(data_dir)},
        "api_keys": keys,
        "limits": {"disk_reserve_bytes": 0, **limits},
    }
    return parse({"proxy_plugin": section}, {})


async def _running(app: web.Application) -> AsyncIterator[None]:
    gateway = app[GATEWAY]
    gateway.registry.open()
    gateway.blobs.sweep(await gateway.registry.read(files.kept) | await gateway.registry.read(uploads.kept))
    yield
    gateway.registry.close()
    gateway.blobs.close()


@asynccontextmanager
async def serving(app: web.Application, *, auto_decompress: bool = False) -> AsyncIterator[int]:
    """Serve the application on a free loopback port. `auto_decompress` True is what a host application has."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, lingering_time=2, auto_decompress=auto_decompress)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield site.port
    finally:
        await runner.cleanup()


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    """Return one part of a form, as a client writes it."""
    ending = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{ending}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def form(data: bytes = LINE, *more: bytes, purpose: str = "batch", filename: str = "in.jsonl") -> bytes:
    """Return the body of an upload; `more` are parts between the purpose and the file."""
    return part("purpose", purpose.encode()) + b"".join(more) + part("file", data, filename) + closing()


def closing() -> bytes:
    """Return the closing boundary."""
    return f"--{BOUNDARY}--\r\n".encode()


def auth(key: str = ALICE) -> dict[str, str]:
    """Return the header that names a caller."""
    return {"x-portkey-api-key": key}


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection for as long as the context lasts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def send(port: int, body: bytes, path: str = "/v1/files", **headers: str) -> tuple[int, dict[str, Any]]:
    """POST a form over a socket of its own; return the status and the JSON of the answer."""
    async with connected(port) as (reader, writer):
        writer.write(post_head(len(body), path, **headers))
        writer.write(body)
        return await answer(reader)


def post_head(length: int | None, path: str = "/v1/files", **headers: str) -> bytes:
    """Return the head of an upload request; None means chunked. `a_b=` is the header `a-b`."""
    size = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"host": "gateway", "content-type": FORM_TYPE, **auth(), **size, **given}
    return f"POST {path} HTTP/1.1\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode() + b"\r\n"


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """Read one answer from a socket."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().lower()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
    return int(head.split()[1]), json.loads(await asyncio.wait_for(reader.readexactly(length), 20))


def leftovers(data_dir: Path) -> list[str]:
    """Return every file below `files` and `tmp`."""
    return sorted(path.name for folder in ("files", "tmp") for path in (data_dir / folder).rglob("*") if path.is_file())


# ---- as a process ----


@dataclass(frozen=True)
class Process:
    """A running `python -m tests.support.files_app`."""

    port: int
    popen: subprocess.Popen[str]

    def costs(self) -> dict[str, int]:
        """Return `rss` and `peak` in bytes, and since the last call `written`, `on_loop` and `turns`.

        `written` are bytes written to files by all threads, `on_loop` those read and written by the event loop's own
        thread, which nobody else may wait for; `turns` is how often the loop looked for something to do.
        """
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/self", headers=auth())
        with urllib.request.urlopen(asked, timeout=10) as reply:
            found: dict[str, int] = json.load(reply)
            return found


@contextmanager
def process(
    data_dir: Path, *, fail: str = "", wrap: Sequence[str] = (), auto_decompress: bool = False
) -> Iterator[Process]:
    """Run the application in a process of its own, with failpoints or below another command."""
    command = [*wrap, sys.executable, "-m", "tests.support.files_app", str(data_dir), str(auto_decompress)]
    environ = os.environ | {"PROXY_PLUGIN_FAIL": fail}
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environ, cwd=root, text=True, start_new_session=True
    ) as popen:
        assert popen.stdout is not None
        try:
            yield Process(int(popen.stdout.readline()), popen)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)  # the wrapped command too


def _memory() -> dict[str, int]:
    status = Path("/proc/self/status").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if line.endswith(" kB")}
    return {"rss": sizes["VmRSS"], "peak": sizes["VmHWM"]}


def _moved(thread: str = "self") -> Counter[str]:
    """Return the bytes that a thread, or with `self` all of the process, has read from and written to files."""
    lines = Path(f"/proc/{thread}/io").read_text().splitlines()
    return Counter({name: int(value) for name, value in (line.split(": ") for line in lines)})


class _Work:
    """What this process did since it was last asked; made on the thread of the event loop."""

    def __init__(self) -> None:
        self._turns = 0
        self._before = self._now()
        loop: Any = asyncio.get_running_loop()
        turn = loop._run_once

        def counted() -> None:
            self._turns += 1
            turn()

        loop._run_once = counted

    def _now(self) -> dict[str, int]:
        own = _moved("thread-self")
        return {"written": _moved()["wchar"], "on_loop": own["rchar"] + own["wchar"], "turns": self._turns}

    def since(self) -> dict[str, int]:
        now, before = self._now(), self._before
        self._before = now
        return {name: value - before[name] for name, value in now.items()}


async def _main(data_dir: Path, *, auto_decompress: bool) -> None:
    app, work = build(data_dir), _Work()

    async def costs(request: web.Request) -> web.Response:
        return web.json_response(work.since() | _memory())

    app.router.add_get("/self", costs)
    async with serving(app, auto_decompress=auto_decompress) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), auto_decompress=sys.argv[2] == "True"))
