"""Targets that are no path, or one of ours in disguise: 4xx in our shape, no 500, and nothing reaches the upstream."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.attacks.rig import Town, key_of

HEADS = ["/v1/files", "/v1/batches", "/files/file-1", "/v1/uploads", "/batches/batch_1/cancel"]
BEFORE = ["", "/", "//", "/.", "/%2e", "/chat/..", "/chat/%2e%2e", "/chat/..;", "/%2f", "\\", "/%5c"]
BEHIND = ["", "%0a", "%00", "%20", "/", "//", "/.", ";a=b", "%3f", "%23", "%250a", "..", "%2f"]
METHODS = ["GET", "POST", "DELETE", "OPTIONS", "PUT", "TRACE"]
NO_PATHS = ["OPTIONS *", "GET *", "CONNECT a:1", "GET ..", "GET /..", "GET /../v1/files", "GET http:///x", "GET ?x"]
ODD = ["/%", "/%zz", "/%ff", "/%00", "/%0a", "//other.invalid/x", "/[::1]", "/a|b", '/"', "/:@", "/#x", "/?#", "/;"]


class Behind:
    """An upstream that answers everything and notes what it is asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        seen = self.seen

        class Answering(BaseHTTPRequestHandler):
            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.answer
                raise AttributeError(name)

            def answer(self) -> None:
                seen.append(self.path)
                self.send_response(203)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    it = Behind()
    yield it
    it.server.shutdown()
    it.server.server_close()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox, behind: Behind) -> Iterator[Town]:
    lane = find("openai")
    keys = {"lane": lane.virtual_key(sandbox.url(lane.provider))}
    upstream = {"upstream": f"http://127.0.0.1:{behind.server.server_port}"}
    made = Town(tmp_path_factory.mktemp("front"), keys, server=upstream)
    made.start()
    yield made
    made.close()


def ask(town: Town, line: str) -> tuple[int, bytes]:
    """Send a request line as it is; return the status and the body."""
    with socket.create_connection(("127.0.0.1", town.port), timeout=30) as client:
        key = key_of("attacker")
        head = f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-portkey-api-key: {key}\r\n\r\n"
        client.sendall(head.encode("latin-1"))
        received = b""
        while piece := client.recv(65_536):
            received += piece
    status, _, body = received.partition(b"\r\n\r\n")
    return int(status.split()[1]), body


def disguises(campaign: bool) -> list[str]:
    every = [
        f"{method} {before}{path}{after}"
        for method, path, before, after in product(METHODS, HEADS, BEFORE, BEHIND)
        if (before, after) != ("", "")
    ]
    return every if campaign else every[::23]


def test_what_reads_as_ours_is_ours_or_nobodys(front: Town, behind: Behind, campaign: bool) -> None:
    asked = disguises(campaign)
    for line in asked:
        status, body = ask(front, line)
        assert status in (400, 404, 405), (line, status)
        if body:
            assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}, line
    assert behind.seen == []
    print(f"\n{len(asked)} disguises, none behind")  # noqa: T201 - figures for who runs it with -s


@pytest.mark.parametrize("line", NO_PATHS)
def test_what_is_no_path_is_refused(front: Town, behind: Behind, line: str) -> None:
    before = len(behind.seen)
    status, _ = ask(front, line)
    assert status in (400, 404)
    assert len(behind.seen) == before


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_odd_paths_of_the_upstream_are_no_fault_of_ours(front: Town, method: str, path: str) -> None:
    assert ask(front, f"{method} {path}")[0] in (203, 404)
