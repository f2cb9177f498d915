"""A stand-in of LiteLLM behind the gateway: keys and teams with budgets, a route that takes spend, and a chat.

It answers as litellm 1.110.2 does (`proxy/management_endpoints/key_management_endpoints.py`, `team_endpoints.py`), and
as our own part in LiteLLM's process. It can be killed, and comes back on the same port.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.ports import free_port

MASTER, VIRTUAL = "sk-master-of-the-tests-0123456789", "sk-virtual-of-the-tests-0123456789"
SPEND = "/proxy-plugin/spend"


class LiteLLM:
    """`keys` and `teams` have what their info routes tell; `reports` are those that came, in order."""

    def __init__(self) -> None:
        self.port = free_port()
        self.keys: dict[str, dict[str, Any]] = {}
        self.teams: dict[str, dict[str, Any]] = {}
        self.reports: list[dict[str, Any]] = []
        self.refuses = 0  # a status that reports are answered with
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(target)
        is_chat = parts.path == "/v1/chat/completions"
        if authorization != f"Bearer {MASTER}" and not (is_chat and authorization == f"Bearer {VIRTUAL}"):
            return 401, {"error": {"message": "Authentication Error", "type": "auth_error", "code": "401"}}
        if (method, parts.path) == ("POST", SPEND):
            if not self.refuses:
                self.reports.append(json.loads(body)["report"])
            return self.refuses or 200, {"counted": True, "kept": True}
        for path, name, known, what in (
            ("/key/info", "key", self.keys, "info"),
            ("/team/info", "team_id", self.teams, "team_info"),
        ):
            if parts.path == path:
                wanted = parse_qs(parts.query)[name][0]
                return (200, {name: wanted, what: known[wanted]}) if wanted in known else (404, {"error": "unknown"})
        if is_chat:
            return 200, {"object": "chat.completion", "choices": []}
        return 404, {"error": {"message": "Not Found"}}


def _handler(it: LiteLLM) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = it.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")  # a killed one leaves no connection open
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 - the names of http.server

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def litellm() -> Iterator[LiteLLM]:
    it = LiteLLM()
    it.start()
    try:
        yield it
    finally:
        it.kill()
