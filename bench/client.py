"""The load: a client that takes as little CPU as it can, because the cores are what is measured.

Uploads go out with sendfile(2), downloads are read into one buffer and dropped, and the status load is a loop over
raw sockets that parses no more than the length of an answer.
"""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
LATE = 1800.0  # seconds without a byte after which a client gives up
_EDGE = "edge-of-the-benchmark"
_BUFFER = 1024 * 1024


class Unexpected(Exception):
    """The gateway answered something else than what is measured."""


def get(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a GET request."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode()


def answered(data: bytes | bytearray) -> bool:
    """Tell whether `data` holds a whole answer. Raises Unexpected for anything but a 200 with a length."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = data.find(b"Content-Length: ", 0, end)
    if not data.startswith(b"HTTP/1.1 200 ") or at < 0:
        raise Unexpected(data[:end].split(b"\r\n")[0].decode(errors="replace"))
    return len(data) >= end + 4 + int(data[at + 16 : data.index(b"\r\n", at)])


def connect(port: int) -> socket.socket:
    """Return a connection to a port of this machine. Raises OSError."""
    sock = socket.create_connection((HOST, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def exchange(sock: socket.socket, ask: bytes) -> None:
    """Send a request and return when its answer is there. Raises Unexpected, OSError."""
    sock.sendall(ask)
    data = sock.recv(65536)
    while not answered(data):
        more = sock.recv(65536)
        if not more:
            raise ConnectionError("closed before the answer was whole")
        data += more


@dataclass(frozen=True, slots=True)
class Received:
    """A download: its bytes and its line breaks."""

    bytes: int
    lines: int


class Client:
    """One connection of one caller, for one thread."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)
        self._connection = http.client.HTTPConnection(HOST, port, timeout=LATE)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the JSON answer. Raises Unexpected.

        A question is asked once more where the connection is gone: nobody has used it for minutes while others worked.
        """
        try:
            return self._asked(method, path, body)
        except ConnectionError:
            if method != "GET":
                raise
            self._connection.close()
            return self._asked(method, path, body)

    def _asked(self, method: str, path: str, body: object) -> dict[str, Any]:
        data = None if body is None else json.dumps(body)
        self._connection.request(method, f"/v1{path}", data, {**self._headers, "Content-Type": "application/json"})
        return self._json()

    def upload(self, source: Path) -> str:
        """Upload a batch file straight from the disk and return its id."""
        head, tail = _form(source.name)
        connection = self._connection
        connection.putrequest("POST", "/v1/files")
        for name, value in self._headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Type", f"multipart/form-data; boundary={_EDGE}")
        connection.putheader("Content-Length", str(len(head) + source.stat().st_size + len(tail)))
        connection.endheaders(head)
        with source.open("rb") as file:
            connection.sock.sendfile(file)
        connection.send(tail)
        return str(self._json()["id"])

    def download(self, file_id: str) -> Received:
        """Read a file's content and drop it."""
        self._connection.request("GET", f"/v1/files/{file_id}/content", headers=self._headers)
        answer, buffer = self._answer(), bytearray(_BUFFER)
        view, size, lines = memoryview(buffer), 0, 0
        while count := answer.readinto(view):
            size += count
            lines += buffer.count(b"\n", 0, count)
        return Received(size, lines)

    def _json(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._answer().read())
        return answer

    def _answer(self) -> http.client.HTTPResponse:
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise Unexpected(f"HTTP {answer.status}: {answer.read(500).decode(errors='replace')}")
        return answer


def _form(filename: str) -> tuple[bytes, bytes]:
    head = (
        f'--{_EDGE}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{_EDGE}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode(), f"\r\n--{_EDGE}--\r\n".encode()


@dataclass(frozen=True, slots=True)
class Latencies:
    """What a load saw: the seconds of each answer, and how long it ran."""

    seconds: array[float]
    elapsed: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.elapsed

    def quantile(self, share: float) -> float:
        """Return the latency in seconds that `share` of the answers kept; 1 gives the largest."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def load(port: int, asks: Sequence[bytes], connections: int, seconds: float) -> Latencies:
    """Send the requests in turn over so many connections, each with one under way. Raises Unexpected."""
    turn, took = cycle(asks), array("d")
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            selector.register(connect(port), selectors.EVENT_READ, _Flight())
        try:
            for key in tuple(selector.get_map().values()):
                _send(key, turn)
            while (now := time.perf_counter()) - began < seconds:
                for key, _ in selector.select(1.0):
                    if _receive(key):
                        took.append(time.perf_counter() - key.data.sent)
                        _send(key, turn)
        finally:
            for key in tuple(selector.get_map().values()):
                _socket(key).close()
    return Latencies(took, now - began)


@dataclass(slots=True)
class _Flight:
    sent: float = 0.0
    data: bytes = b""


def _socket(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket)
    return key.fileobj


def _send(key: selectors.SelectorKey, turn: cycle[bytes]) -> None:
    key.data.data, key.data.sent = b"", time.perf_counter()
    _socket(key).sendall(next(turn))


def _receive(key: selectors.SelectorKey) -> bool:
    more = _socket(key).recv(65536)
    if not more:
        raise Unexpected("the connection was closed")
    key.data.data += more
    return answered(key.data.data)
