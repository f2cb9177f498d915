"""`proxy-plugin batch` as a process, and a server on loopback that answers as a test tells it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.signals import heard
from tests.support.stack import KEY
from tests.support.waiting import until

COMMAND = [sys.executable, "-m", "proxy_plugin", "batch"]
PATIENCE = 60.0
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_OURS = ("PROXY_PLUGIN_", "PORTKEY_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "HTTP_PROXY", "http_proxy")


def variables(url: str | None, key: str | None = KEY, **more: str) -> dict[str, str]:
    """Return the environment of a command: nothing of the tester's own that it would read."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    env |= {"PROXY_PLUGIN_BASE_URL": url} if url else {}
    env |= {"PORTKEY_API_KEY": key} if key else {}
    return env | more


Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Cli:
    """Runs commands against one gateway."""

    url: str | None
    key: str | None = KEY
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path) -> Done:
        """Run a command to its end. What no command ever does is looked for each time."""
        env = variables(self.url, self.key, **self.env)
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)], capture_output=True, encoding="utf-8", timeout=PATIENCE, env=env
        )
        check_manners(done, self.key)
        return done

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        """Run a command with --json and return the one document on its stdout."""
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done
        return json.loads(done.stdout)

    @contextmanager
    def started(self, *arguments: str | Path) -> Iterator[Running]:
        """Run a command beside the test."""
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=variables(self.url, self.key, **self.env),
            preexec_fn=heard,
        )
        running = Running(process)
        try:
            yield running
        finally:
            process.kill()
            process.wait(10)
            running.close()


def check_manners(done: Done, key: str | None) -> None:
    """Plain text without control codes, no traceback, and never the key."""
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert "Exception ignored" not in said, said
    assert not CONTROLS.search(said), repr(CONTROLS.search(said))
    assert key is None or key not in said


class Running:
    """A command that runs, and what it has said on stderr so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self._said = process, list[str]()
        assert process.stderr is not None
        self._reader = threading.Thread(
            target=self._said.extend, args=(iter(process.stderr.readline, ""),), daemon=True
        )
        self._reader.start()

    def close(self) -> None:
        """Let go of the pipes of a process that has ended."""
        self._reader.join(10)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def until_said(self, words: str) -> None:
        """Return when stderr holds the words."""
        until(lambda: words in "".join(self._said), lambda: f"{words!r} in {self.said()!r}")

    def said(self) -> str:
        """Return stderr so far."""
        return "".join(self._said)

    def ended(self, sig: int | None = None) -> Done:
        """Return how it ended, of itself or by a signal."""
        if sig is not None:
            self.process.send_signal(sig)
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(PATIENCE)
        self._reader.join(10)
        done = subprocess.CompletedProcess(self.process.args, code, out, self.said())
        check_manners(done, None)
        return done

    def interrupted(self) -> Done:
        """Press Ctrl-C."""
        return self.ended(signal.SIGINT)


def one_line(done: Done, code: int) -> str:
    """Return the one line that a failed command says, and says on stderr only."""
    assert (done.returncode, done.stdout) == (code, ""), done
    [line] = [line for line in done.stderr.splitlines() if line.startswith("proxy-plugin: ")]
    return line


@dataclass
class Asked:
    """A request as it came; `body` is left empty for uploads, whose bytes only `size` counts."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    size: int = 0

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class StandIn:
    """A server whose every answer is given by a function of the request and the handler."""

    def __init__(self, answer: Callable[[Asked, Handler], None]) -> None:
        self.asked: list[Asked] = []
        self.answer = answer
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.stand_in = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def calls(self, method: str, path: str) -> list[Asked]:
        """Return the requests of one kind, the query left out."""
        return [one for one in self.asked if (one.method, one.path.partition("?")[0]) == (method, path)]


class Handler(BaseHTTPRequestHandler):
    """Hands requests to the stand-in; a body is read by the answer, or not."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Serve one request; a client that hangs up is not worth a traceback."""
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError):
            self.close_connection = True

    def _any(self) -> None:
        stand_in: StandIn = self.server.stand_in  # type: ignore[attr-defined]
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        multipart = headers.get("content-type", "").startswith("multipart/")
        asked = Asked(self.command, self.path, headers, b"" if multipart else self.rfile.read(length), length)
        stand_in.asked.append(asked)
        stand_in.answer(asked, self)

    do_GET = do_POST = do_DELETE = _any  # noqa: N815 - the names are the base class's

    def reply(self, status: int, value: object, content_type: str = "application/json", **headers: str) -> None:
        """Send an answer; bytes and text go as they are."""
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(content)

    def hang_up(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
