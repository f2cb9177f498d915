"""The bytes of a call: what is sent, and what is read or stored of an answer."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

import aiohttp
import msgspec

from proxy_plugin.providers.http.connections import HttpSettings
from proxy_plugin.providers.http.intake import Intake
from proxy_plugin.providers.http.outcomes import Call

SEND_CHUNK = 1 << 18
STORE_CHUNK = 1 << 19
_AS_IT_IS = "identity"
_IN_QUOTES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # as the HTML standard writes names in forms


@dataclass(frozen=True, slots=True)
class Body:
    """What a call sends: `head`, and where there is a file the file and `tail` behind it. It may be sent again."""

    head: bytes = b""
    file: IO[bytes] | None = None
    tail: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    start: int = 0  # of the file, from where it is sent
    size: int | None = None  # of what is sent of the file; None: all of the rest

    def sha256(self) -> str:
        """Return the hash of all of it, in hex. Reads the file."""
        digest = hashlib.sha256(self.head)
        if self.file is not None:
            for chunk in self.pieces(self.file, STORE_CHUNK):
                digest.update(chunk)
        digest.update(self.tail)
        return digest.hexdigest()

    def pieces(self, file: IO[bytes], most: int) -> Iterator[bytes]:
        """Yield what is sent of the file. Blocking."""
        file.seek(self.start)
        left = sys.maxsize if self.size is None else self.size
        while left and (piece := file.read(min(most, left))):
            left -= len(piece)
            yield piece

    def sent(self, call: Call, limits: HttpSettings) -> bytes | AsyncGenerator[bytes, None] | None:
        """Return what aiohttp sends, None for nothing."""
        if self.file is None:
            return self.head or None
        return _chunked(call, self, self.file, limits)


NOTHING = Body()


def json_body(json: object) -> Body:
    """Return a JSON value as a body; None sends nothing."""
    if json is None:
        return NOTHING
    return Body(msgspec.json.encode(json), headers={"Content-Type": "application/json"})


def form_body(form: Mapping[str, str]) -> Body:
    """Return a form as token endpoints read it."""
    return Body(urlencode(form).encode(), headers={"Content-Type": "application/x-www-form-urlencoded"})


def file_body(
    frame: tuple[bytes, bytes], file: IO[bytes], content_type: str, start: int = 0, size: int | None = None
) -> Body:
    """Return a file, `size` bytes of it or all from `start` on, between the bytes of a frame, with its length."""
    inner = os.fstat(file.fileno()).st_size - start if size is None else size
    length = str(len(frame[0]) + inner + len(frame[1]))
    return Body(frame[0], file, frame[1], {"Content-Type": content_type, "Content-Length": length}, start, size)


def form_fields(boundary: str, fields: Mapping[str, str]) -> str:
    """Return the fields of a multipart form, without its end."""
    part = f"--{boundary}\r\nContent-Disposition: form-data; name="
    return "".join(f'{part}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())


def form_frame(boundary: str, fields: Mapping[str, str], filename: str, field: str = "file") -> tuple[bytes, bytes]:
    """Return the bytes before and after the file of a multipart form, which is in `field`."""
    filename = filename.translate(_IN_QUOTES)
    head = f'{form_fields(boundary, fields)}--{boundary}\r\nContent-Disposition: form-data; name="{field}"; '
    head += f'filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return head.encode(), form_end(boundary)


def form_end(boundary: str) -> bytes:
    """Return the end of a multipart form."""
    return f"\r\n--{boundary}--\r\n".encode()


async def _chunked(call: Call, body: Body, file: IO[bytes], limits: HttpSettings) -> AsyncGenerator[bytes, None]:
    """Yield the body chunk by chunk. A chunk is asked for when the one before has left; each renews the deadline."""
    if body.head:
        yield body.head
    pieces = body.pieces(file, SEND_CHUNK)
    while chunk := await asyncio.to_thread(next, pieces, b""):
        call.allow(limits.read_timeout)
        yield chunk
    if body.tail:
        yield body.tail
    call.allow(limits.create_timeout)


async def read(response: aiohttp.ClientResponse, limit: int, *, one_line: bool = False) -> bytes:
    """Return the body, of a longer one its first `limit` bytes; with `one_line` no more than shows a whole line."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit or (one_line and b"\n" in chunk and b"\n" in body.lstrip()):
            break
    return bytes(body[:limit])


class Beyond(Exception):
    """More bytes came than are taken."""


async def store(response: aiohttp.ClientResponse, path: Path, most: int | None, intake: Intake | None) -> int:
    """Write the body to `path` in chunks of 512 KiB, off the event loop, and sync it; return its size.

    It is never longer than `most` bytes. Raises Beyond for a longer body, at the first byte that is too many, unless
    the intake cuts.
    """
    size, cuts = 0, intake is not None and intake.cuts
    if most is not None and (response.content_length or 0) > most and not cuts:
        raise Beyond
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in _chunks(response):
            left = len(chunk) if most is None else most - size
            if len(chunk) > left and not cuts:
                raise Beyond
            piece = chunk if len(chunk) <= left else chunk[:left]
            if intake is not None:
                await intake.take(len(piece))
            size += await asyncio.to_thread(file.write, piece)
            if len(piece) < len(chunk):
                break
        await asyncio.to_thread(_finish, file)
    return size


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytearray, None]:
    """Yield a body in chunks of about 512 KiB, each once: nothing of it is copied or kept."""
    waiting = bytearray()
    async for chunk in response.content.iter_any():
        waiting += chunk
        if len(waiting) >= STORE_CHUNK:
            full, waiting = waiting, bytearray()
            yield full
            del full
    if waiting:
        yield waiting


def packing(response: aiohttp.ClientResponse) -> str | None:
    """Return the content encoding of an answer that is packed although `identity` was asked for, at most a word."""
    named = response.headers.getall("Content-Encoding", ())
    words = [word.strip().lower() for value in named for word in value.split(",")]
    strange = [word for word in words if word not in ("", _AS_IT_IS)]
    return (strange[0] if strange[0].isidentifier() else "packed")[:20] if strange else None


def _finish(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
