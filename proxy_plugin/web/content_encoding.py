"""Bodies that come with a Content-Encoding: gzip is undone while it streams, everything else is refused.

aiohttp's server undoes gzip, deflate, br and zstd by itself, on the event loop, unless its runner was made with
`auto_decompress=False`, as `serve` does. It stops at its read buffer (3.14), but does not see that a gzip stream was
cut off, and says no to br before anybody could say it better. An application that the gateway was added to has a
runner of its own, so both ways are served: what aiohttp has unpacked is only measured here.

Unpacked 128 KiB at a time, on the threads that write: more of them make the event loop wait for its turn. The ratio
tells a bomb: lines that share a prompt of 30,000 characters pack 129 times smaller, lines of 100 characters that
differ in a number 38 times, zeros 1,029 times (zlib, levels 6 and 9, 2026-11-21). 10 GB of zeros end after 21 MiB.
An upload of 186 MB that came as 5.4 MB took 1.1 to 1.7 s, without a gap above 30 ms (2 busy cores).
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from aiohttp import EMPTY_PAYLOAD, hdrs, web

from proxy_plugin.ground.errors import BadRequest, GatewayError, TooLarge

Read = Callable[[], Awaitable[bytes]]
Run = Callable[[Callable[[], bytes]], Awaitable[bytes]]  # takes a function to a thread
BLOCK_BYTES = 128 * 1024  # unpacked at once
SLICE_BYTES = 4096  # packed, handed to zlib at once: what it does not take it copies
MAX_RATIO = 256
FREE_BYTES = 16 * 2**20  # that no ratio is asked of
_GZIP = frozenset({"gzip", "x-gzip"})  # the same thing: RFC 9110, 8.4.1.3
_WITH_HEADER = 31  # zlib's wbits for gzip, checksum included


class UnsupportedEncoding(GatewayError):
    """The body comes in an encoding that is not undone here. RFC 9110, 15.5.16: the answer lists what is."""

    status: ClassVar[int] = 415
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "unsupported_content_encoding"

    def headers(self) -> dict[str, str]:
        """Return what is served, too."""
        return super().headers() | {hdrs.ACCEPT_ENCODING: "gzip, identity"}


class Damaged(BadRequest):
    """The body is not the gzip stream that its Content-Encoding promises."""

    default_code: ClassVar[str | None] = "invalid_gzip"


def is_gzip(request: web.Request) -> bool:
    """Tell whether the body comes as gzip. Raises UnsupportedEncoding for any other encoding, or several."""
    named = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, [])).strip().lower()
    if named in ("", "identity"):
        return False
    if named not in _GZIP:
        raise UnsupportedEncoding(
            "This gateway takes bodies as they are or with 'Content-Encoding: gzip', once; send it that way.",
            param=hdrs.CONTENT_ENCODING,
        )
    return True


def unpacked_by_server(request: web.Request) -> bool:
    """Tell whether aiohttp itself undoes the Content-Encoding of this body."""
    return _packed_bytes(request) is not None


def _packed_bytes(request: web.Request) -> int | None:
    if request.content is EMPTY_PAYLOAD:  # all requests without a body share it
        return None
    return request.content.total_compressed_bytes


def unpacking(request: web.Request, read: Read, run: Run) -> Read:
    """Return a function like `read`, which returns pieces of the body and b"" at its end, with the gzip undone.

    Calling it raises Damaged, TooLarge for what unpacks to far more than itself, and what `read` raises. Raises
    UnsupportedEncoding.
    """
    if not is_gzip(request):
        return read
    if unpacked_by_server(request):
        return _measured(request, read)
    return Gunzip(read, run).read


def _measured(request: web.Request, read: Read) -> Read:
    unpacked = 0

    async def count() -> bytes:
        nonlocal unpacked
        data = await read()
        unpacked += len(data)
        _check_ratio(_packed_bytes(request) or 0, unpacked)
        return data

    return count


def _check_ratio(packed: int, unpacked: int) -> None:
    if unpacked > FREE_BYTES + MAX_RATIO * packed:
        raise TooLarge(
            f"The body unpacks to more than {MAX_RATIO} times its size; send it without Content-Encoding.",
            param=hdrs.CONTENT_ENCODING,
        )


class Gunzip:
    """One gzip stream, of any number of members, as it comes."""

    def __init__(self, read: Read, run: Run) -> None:
        self._read, self._run = read, run
        self._waiting = memoryview(b"")
        self._member: Any = None  # zlib's decompressor of the member that has begun
        self._packed = self._unpacked = 0

    async def read(self) -> bytes:
        """Return up to 128 KiB of the content, b"" at its end. Raises Damaged, TooLarge, and what reading raises."""
        while True:
            if not self._waiting and not await self._refill():
                return b""
            data = await self._run(self._unpack)
            self._unpacked += len(data)
            self._check_size()
            if data:
                return data

    async def _refill(self) -> bool:
        data = await self._read()
        if not data and (self._member is not None or not self._packed):
            raise Damaged("The gzip stream of the body ends early.", param=hdrs.CONTENT_ENCODING)
        self._packed += len(data)
        self._waiting = memoryview(data)
        return bool(data)

    def _unpack(self) -> bytes:
        """Unpack until a block is full or nothing waits. Blocking."""
        pieces, room = [], BLOCK_BYTES
        while self._waiting and room:
            pieces.append(self._some(room))
            room -= len(pieces[-1])
        return b"".join(pieces)

    def _some(self, room: int) -> bytes:
        if self._member is None:
            if self._packed > len(self._waiting) and self._waiting[0] == 0:
                self._waiting = self._waiting[1:]  # padding behind a member, as on tapes
                return b""
            self._member = zlib.decompressobj(_WITH_HEADER)
        piece = self._waiting[:SLICE_BYTES]
        try:
            data: bytes = self._member.decompress(piece, room)
        except zlib.error:
            raise Damaged("The gzip stream of the body is damaged.", param=hdrs.CONTENT_ENCODING) from None
        left = len(self._member.unused_data if self._member.eof else self._member.unconsumed_tail)
        self._waiting = self._waiting[len(piece) - left :]
        if self._member.eof:
            self._member = None
        return data

    def _check_size(self) -> None:
        taken = self._packed - len(self._waiting)
        _check_ratio(taken, self._unpacked)
        if taken > FREE_BYTES + 2 * self._unpacked:  # empty members without end
            raise Damaged("The gzip stream of the body holds next to nothing.", param=hdrs.CONTENT_ENCODING)
