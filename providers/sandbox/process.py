"""Start, steer and stop a sandbox process: for tests, the demo and benchmarks."""

import asyncio
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

DEFAULT_KEY = "sk-sandbox"

START_SECONDS = 30.0
STOP_SECONDS = 5.0

Facts = dict[str, Any]


class SandboxError(RuntimeError):
    """The process did not start, or refused a control request; the message says why."""


class Control:
    """The control routes of a sandbox at `url`, for plain synchronous code. What they do: README.md."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open = build_opener(ProxyHandler({})).open  # loopback only, whatever the environment says

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/_sandbox/{path}", data, {"content-type": "application/json"}, method=method)  # noqa: S310
        try:
            with self._open(request, timeout=60) as answer:
                return json.load(answer)
        except HTTPError as wrong:
            with wrong:
                raise SandboxError(wrong.read().decode()) from None

    def faults(self, rules: Sequence[Mapping[str, Any]] | None = None) -> list[Facts]:
        """Put `rules` in force instead of all earlier ones; without, only look. Each has `met` and `fired`."""
        found = self._call("GET", "faults") if rules is None else self._call("POST", "faults", list(rules))
        return list(found["faults"])

    def options(self, provider: str = "openai", **changes: Any) -> Facts:
        return dict(self._call("POST", f"options/{provider}", changes))

    def keys(self, keys: Sequence[str]) -> list[str]:
        """Replace all keys (`KEY` or `ACCOUNT=KEY`); returns the accounts."""
        return list(self._call("POST", "keys", list(keys))["accounts"])

    def strangers(self, provider: str = "openai", key: str = DEFAULT_KEY, **wish: Any) -> Facts:
        """Files and batches of somebody else in the account of `key`: `batches`, `lines`, `model`, and with providers
        that know them `metadata` and `endpoint`."""
        return dict(self._call("POST", f"strangers/{provider}", {"key": key, **wish}))

    def left(self, provider: str) -> list[str]:
        """The objects and unfinished uploads of a bucket's account, strangers' left out."""
        return list(self._call("GET", f"left/{provider}")["left"])

    def advance(self, seconds: float) -> float:
        """Move the sandbox clock forward; returns its time (Unix seconds)."""
        return float(self._call("POST", "advance", {"seconds": seconds})["now"])

    def reset(self) -> None:
        self._call("POST", "reset")

    def log(self) -> list[Facts]:
        """Every accepted create, in order."""
        return list(self._call("GET", "log")["log"])

    def jobs(self) -> list[Facts]:
        return list(self._call("GET", "jobs")["jobs"])

    def requests(self) -> list[Facts]:
        return list(self._call("GET", "requests")["requests"])

    def violations(self) -> list[Facts]:
        return list(self._call("GET", "violations")["violations"])


class Sandbox:
    """One sandbox process. `with`, `async with`, or `start` and `stop`; it also ends when this process dies.

    `options` are by provider: `{"openai": {"run_seconds": 5}}`. The methods are coroutines; `control` has the same
    ones for synchronous code.
    """

    def __init__(
        self,
        *,
        providers: Sequence[str] = (),
        keys: Sequence[str] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
        directory: Path | None = None,
        port: int = 0,
    ) -> None:
        self._arguments = ["--port", str(port), "--options", json.dumps(options or {})]
        for flag, values in (("--provider", providers), ("--key", keys), ("--dir", [directory] if directory else [])):
            for value in values:
                self._arguments += [flag, str(value)]
        self._process: subprocess.Popen[bytes] | None = None
        self._urls: dict[str, str] = {}
        self.control = Control("")

    # The process

    def start(self) -> Self:
        """Returns when it listens. Raises `SandboxError` when it does not within half a minute."""
        root = str(Path(__file__).absolute().parents[3])  # as it is imported: in a checkout its folder is a link
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        module = ["-m", "proxy_plugin.providers.sandbox"]
        command = [sys.executable, *module, f"--with-parent={os.getpid()}", *self._arguments]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}
        )
        try:
            facts = json.loads(_first_line(self._process))
        except BaseException:
            self.stop()
            raise
        self._urls, self.control = facts["providers"], Control(facts["url"])
        return self

    def stop(self) -> None:
        if (process := self._process) is None:
            return
        self._process = None
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the sandbox is not running"
        return self._process.pid

    def url(self, provider: str = "openai") -> str:
        """The provider's base URL, version path included: what `custom_host` or an SDK's `base_url` takes.

        Anthropic's SDK adds the version path by itself: give it the URL without the final /v1.
        """
        return self._urls[provider]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # The control routes

    async def faults(self, rules: Sequence[Mapping[str, Any]] | None = None) -> list[Facts]:
        return await asyncio.to_thread(self.control.faults, rules)

    async def options(self, provider: str = "openai", **changes: Any) -> Facts:
        return await asyncio.to_thread(self.control.options, provider, **changes)

    async def keys(self, keys: Sequence[str]) -> list[str]:
        return await asyncio.to_thread(self.control.keys, keys)

    async def strangers(self, provider: str = "openai", key: str = DEFAULT_KEY, **wish: Any) -> Facts:
        return await asyncio.to_thread(self.control.strangers, provider, key, **wish)

    async def left(self, provider: str) -> list[str]:
        return await asyncio.to_thread(self.control.left, provider)

    async def advance(self, seconds: float) -> float:
        return await asyncio.to_thread(self.control.advance, seconds)

    async def reset(self) -> None:
        await asyncio.to_thread(self.control.reset)

    async def log(self) -> list[Facts]:
        return await asyncio.to_thread(self.control.log)

    async def jobs(self) -> list[Facts]:
        return await asyncio.to_thread(self.control.jobs)

    async def requests(self) -> list[Facts]:
        return await asyncio.to_thread(self.control.requests)

    async def violations(self) -> list[Facts]:
        return await asyncio.to_thread(self.control.violations)


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    line, deadline = b"", time.monotonic() + START_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise SandboxError(f"the sandbox did not listen within {START_SECONDS:.0f} s")
            line += _more(process, process.stdout)
    return line


def _more(process: subprocess.Popen[bytes], pipe: IO[bytes]) -> bytes:
    if piece := os.read(pipe.fileno(), 4096):
        return piece
    raise SandboxError(f"the sandbox ended at once, with status {process.wait()}")
