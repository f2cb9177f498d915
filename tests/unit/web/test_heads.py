"""Heads of requests: measured in whatever pieces they come, and refused without a word of theirs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError

from proxy_plugin.web.heads import HEADER_BYTES, HEADERS, LINE_BYTES, HeadLate, Heads
from proxy_plugin.web.unreadable import refusal_of

MOST = 64 * 1024
SECRET = b"sk-secret-of-the-client"


def head(*headers: bytes, line: bytes = b"POST /v1/files HTTP/1.1", body: int | None = None) -> bytes:
    more = [] if body is None else [b"Content-Length: %d" % body]
    return b"\r\n".join([line, b"Host: x", *headers, *more, b"", b""])


def many(size: int) -> list[bytes]:
    return [b"X-%04d: %b" % (n, b"v" * 1012) for n in range(size // 1024)]


def parser() -> Heads:
    loop = asyncio.get_running_loop()
    return Heads(BaseProtocol(loop), loop, MOST)


def fed(data: bytes, piece: int) -> tuple[Heads, int]:
    """Feed bytes in pieces; return the parser and the number of requests."""
    heads, found = parser(), 0
    for start in range(0, len(data), piece):
        found += len(heads.feed_data(data[start : start + piece])[0])
    return heads, found


@pytest.mark.parametrize("piece", [1, 7, 1000, 10_000_000])
@pytest.mark.parametrize(("size", "fits"), [(10, True), (MOST - 2048, True), (MOST + 2048, False), (3 * MOST, False)])
async def test_a_whole_head_is_bounded_in_whatever_pieces_it_comes(piece: int, size: int, fits: bool) -> None:
    data = head(*many(size))
    if fits:
        heads, found = fed(data, piece)
        assert (found, heads.half) == (1, 0)
        return
    with pytest.raises(HttpProcessingError) as raised:
        fed(data, piece)
    assert refusal_of(raised.value).status == 400


@pytest.mark.parametrize("piece", [1, 100, 10_000_000])
async def test_a_body_is_no_head_however_long(piece: int) -> None:
    body = b"b" * 3 * MOST if piece > 1 else b"b" * 2000
    heads, found = fed(head(body=len(body)) + body, piece)
    assert (found, heads.half) == (1, 0)


async def test_a_head_behind_a_body_is_bounded_too() -> None:
    heads, _ = fed(head(body=5) + b"12345", 10_000_000)
    heads.feed_data(head()[:-2])
    for line in many(MOST - 1024):
        heads.feed_data(line + b"\r\n")
    with pytest.raises(HttpProcessingError):
        heads.feed_data(b"X-last: " + b"v" * 2048)


@pytest.mark.parametrize("first", [head(), head(body=9) + b"012345678", head() * 3])
async def test_what_is_held_of_a_head_behind_requests_is_known(first: bytes) -> None:
    heads = parser()
    heads.feed_data(first + head(*many(MOST // 2))[:-4])
    assert MOST // 2 - 4096 < heads.half < MOST // 2 + 4096


RUBBISH = {
    "no HTTP at all": SECRET + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00" + SECRET,
    "an unknown method": b"GRAB /" + SECRET + b" HTTP/1.1\r\n\r\n",
    "an unknown version": b"GET /" + SECRET + b" HTTP/9.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECRET,
    "no host": b"GET / HTTP/1.1\r\nAuthorization: " + SECRET + b"\r\n\r\n",
    "two lengths": head(b"Content-Length: 1", b"Content-Length: 2", b"X: " + SECRET),
    "length and chunks": head(b"Content-Length: 1", b"Transfer-Encoding: chunked", b"X: " + SECRET),
    "a length that is none": head(b"Content-Length: " + SECRET),
    "a null byte": head(b"X: " + SECRET + b"\0"),
    "a header without a colon": head(SECRET),
    "a folded header": head(b"X: a\r\n " + SECRET),
    "a space before the colon": head(b"X : " + SECRET),
    "a bare line feed": b"GET / HTTP/1.1\nHost: x\nX: " + SECRET + b"\n\n",
    "a URL without an authority": head(line=b"GET http://" + b" HTTP/1.1", body=None) + SECRET,
    "a target that is none": head(line=b"GET " + SECRET + b" HTTP/1.1"),
    "a request line without end": b"GET /" + SECRET * (LINE_BYTES // 8),
    "a header without end": b"GET / HTTP/1.1\r\nX: " + SECRET * (HEADER_BYTES // 8),
    "too many headers": head(*[b"X-%d: %b" % (n, SECRET) for n in range(2 * HEADERS)]),
    "a name without end": b"GET / HTTP/1.1\r\n" + b"X" * 2 * HEADER_BYTES,
}


@pytest.mark.parametrize("name", RUBBISH)
async def test_what_is_no_http_is_refused_without_repeating_it(name: str) -> None:
    with pytest.raises(HttpProcessingError) as raised:
        fed(RUBBISH[name], 10_000_000)
    error = refusal_of(raised.value)
    told: dict[str, Any] = error.body()["error"]
    assert error.status == 400
    assert told["type"] == "invalid_request_error"
    assert SECRET.decode()[:6] not in str(error.body())


async def test_a_refusal_that_was_set_is_what_the_next_piece_meets() -> None:
    heads = parser()
    heads.refusal = HeadLate("Too late.")
    with pytest.raises(HttpProcessingError) as raised:
        heads.feed_data(b"")
    assert refusal_of(raised.value) is heads.refusal
