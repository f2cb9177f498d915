"""The bytes of a call: what is sent, and what is read or stored of an answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import IO, Any

import aiohttp
import msgspec

from proxy_plugin.providers.http.connections import HttpSettings
from proxy_plugin.providers.http.outcomes import Call

SEND_CHUNK = 1 << 18
STORE_CHUNK = 1 << 20
_IN_QUOTES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # as the HTML standard writes names in forms


def json_body(json: object) -> dict[str, Any]:
    """Return the options of a request that sends this value; None sends nothing."""
    if json is None:
        return {}
    return {"data": msgspec.json.encode(json), "headers": {"Content-Type": "application/json"}}


def form_frame(boundary: str, fields: Mapping[str, str], filename: str) -> tuple[bytes, bytes]:
    """Return the bytes before and after the file of a multipart form."""
    filename = filename.translate(_IN_QUOTES)
    disposition = f"--{boundary}\r\nContent-Disposition: form-data; name="
    head = "".join(f'{disposition}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    head += f'{disposition}"file"; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


async def sent(
    call: Call, frame: tuple[bytes, bytes], file: IO[bytes], limits: HttpSettings
) -> AsyncGenerator[bytes, None]:
    """Yield the body chunk by chunk. A chunk is asked for when the one before has left; each renews the deadline."""
    if frame[0]:
        yield frame[0]
    while chunk := await asyncio.to_thread(file.read, SEND_CHUNK):
        call.allow(limits.read_timeout)
        yield chunk
    if frame[1]:
        yield frame[1]
    call.allow(limits.create_timeout)


async def read(response: aiohttp.ClientResponse, limit: int, *, one_line: bool = False) -> bytes:
    """Return the body, of a longer one its first `limit` bytes; with `one_line` no more than shows a whole line."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit or (one_line and b"\n" in chunk and b"\n" in body.lstrip()):
            break
    return bytes(body[:limit])


async def store(response: aiohttp.ClientResponse, path: Path) -> int:
    """Write the body to `path` in chunks of 1 MiB, off the event loop, and sync it; return its size."""
    waiting, size = bytearray(), 0
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in response.content.iter_any():
            waiting += chunk
            if len(waiting) >= STORE_CHUNK:
                size += await asyncio.to_thread(file.write, bytes(waiting))
                waiting.clear()
        size += await asyncio.to_thread(_finish, file, bytes(waiting))
    return size


def _finish(file: IO[bytes], rest: bytes) -> int:
    written = file.write(rest)
    file.flush()
    os.fsync(file.fileno())
    return written
