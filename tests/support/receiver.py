"""A receiver of webhooks: it keeps what came, answers as it is told, can be killed, and comes back on its port."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openai import OpenAI
from openai.types.webhooks import UnwrapWebhookEvent

from tests.support.ports import free_port

SECRET, OTHER_SECRET = (f"whsec_{letter * 43}=" for letter in "AQ")


@dataclass(frozen=True)
class Came:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    def unwrapped(self, secret: str = SECRET) -> UnwrapWebhookEvent:
        """Return the event as the stock OpenAI SDK reads it. Raises InvalidWebhookSignatureError."""
        return OpenAI(api_key="unused", webhook_secret=secret).webhooks.unwrap(self.body, self.headers)


class Receiver:
    """`came` has all requests in order, also those that were not answered with 204."""

    def __init__(self) -> None:
        self.port = free_port()
        self.came: list[Came] = []
        self.answers: list[int] = []  # statuses of the next answers; then 204
        self.location = ""
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def types(self) -> list[str]:
        return [each.event["type"] for each in self.came]

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _handler(it: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            it.came.append(Came(self.path, {name.lower(): text for name, text in self.headers.items()}, body))
            status = it.answers.pop(0) if it.answers else 204
            self.send_response(status)
            if it.location:
                self.send_header("Location", it.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve a receiver for as long as the context lasts."""
    it = Receiver()
    it.start()
    try:
        yield it
    finally:
        it.kill()
