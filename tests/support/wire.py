"""A client that sends what it is told byte by byte, and the log of the gateway in this process."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from proxy_plugin.ground import logs
from proxy_plugin.ground.masking import Masker
from tests.support.served import Served

PATIENCE = 30.0  # seconds; no passing test needs them


@dataclass
class Answer:
    """One answer read from a raw connection."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return dict(error)


class Wire:
    """A client that sends exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, method: str, path: str, *headers: str, body: bytes = b"", version: str = "1.1") -> None:
        head = "\r\n".join([f"{method} {path} HTTP/{version}", "Host: gateway", *headers, "", ""])
        await self.write(head.encode() + body)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, *, body: bool = True) -> Answer:
        """Return the next answer; without its body for what HEAD is answered with."""
        async with asyncio.timeout(PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            content = await self._reader.readexactly(int(headers.get("content-length", "0")) if body else 0)
        return Answer(int(head[0].split()[1]), headers, content)

    async def ends(self, seconds: float = PATIENCE) -> bool:
        """Tell whether the server ends its side without sending anything more."""
        async with asyncio.timeout(seconds):
            return await self._reader.read(1) == b""

    def hang_up(self) -> None:
        self._writer.transport.abort()

    def gone(self) -> bool:
        return self._reader.at_eof() or self._reader.exception() is not None


@asynccontextmanager
async def wire(served: Served) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


class Log:
    """What the gateway logged, as decoded lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in found if line["event"] == event]


@contextmanager
def log_kept() -> Iterator[Log]:
    kept, level = Log(), logging.getLogger().level
    handler = logs.setup("info", Masker(), kept.stream)
    yield kept
    logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(level)
