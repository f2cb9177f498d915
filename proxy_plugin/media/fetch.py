"""Fetching pictures from addresses that callers chose: bounded, without credentials, and never from inside.

A host's name is resolved here, every address must be public, and the connection goes to the very address that was
checked: a name that resolves differently a moment later leads nowhere else. Hosts in `server.media_hosts` are trusted.
Behind `server.outgoing_proxy` the proxy is asked for the checked address too, and for a trusted host by its name.

    no redirect, cookie, netrc or kept connection; nothing is unpacked; TLS is checked for the name in the URL
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, NamedTuple

import aiohttp
from yarl import URL

from proxy_plugin.ground import failpoints, hosts
from proxy_plugin.ground.hosts import Address
from proxy_plugin.media.store import BAD_URL, create, name_of, publish, write_reason

TRIES = 3
PAUSES = (1.0, 3.0)  # seconds between them
CONNECT_SECONDS = 10.0
_CHUNK = 256 * 1024
_READ_BUFFER = 64 * 1024
_VISIBLE = re.compile(r"[!-~]+")
_MEDIA_TYPE = re.compile(r"image/[a-z0-9][a-z0-9.+-]{0,60}")
_PORTS = {"http": 80, "https": 443}
_AGAIN = {408, 425, 429}
_HEADERS = {"User-Agent": "proxy-plugin", "Accept": "image/*", "Accept-Encoding": "identity"}

INSIDE = "its host leads to a private or reserved address; the operator can list it in server.media_hosts"
NO_NAME = "its host's name cannot be resolved"
NO_ANSWER = "its host could not be reached, or broke the connection off"
REDIRECT = "its host answered with a redirect, which is never followed; give the URL it leads to"
NO_IMAGE = "what its host sent is no picture"
PACKED = "its host sent it packed, although it was not asked to"
_STARTS = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"))


class Unfetchable(Exception):
    """There is no picture. `again`: another try may help."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.again = reason, again


class Bounds(NamedTuple):
    """Bytes of one picture and of all, seconds for one picture, entries of `server.media_hosts`."""

    each: int
    all: int
    seconds: float
    hosts: tuple[str, ...]


class Fetcher:
    """Fetches the pictures of one batch into its folder, of which `stored` bytes are used already.

    `cut_off` is asked between tries; what was given up for it has neither a picture nor a reason. `take` is told how
    many bytes are written next, and what it raises ends the picture.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        folder: Path,
        bounds: Bounds,
        *,
        stored: int,
        proxy: Callable[[URL], str | None],
        cut_off: Callable[[], Awaitable[bool]],
        take: Callable[[int], Awaitable[None]],
    ) -> None:
        self._session, self._folder, self._bounds = session, folder, bounds
        self._proxy, self._cut_off, self._take = proxy, cut_off, take
        self._bytes = stored

    async def fetch(self, url: str) -> bool:
        """Store the picture, or why there is none, durably. False: it was given up. Raises OSError of the disk."""
        try:
            if not await self._fetched(url):
                return False
        except Unfetchable as why:
            await asyncio.to_thread(write_reason, self._folder, url, why.reason)
        failpoints.passing("media.stored")
        return True

    async def _fetched(self, url: str) -> bool:
        for number in range(TRIES):
            try:
                await self._try(url, number)
            except Unfetchable as why:
                if number == TRIES - 1 or not why.again:
                    raise
            else:
                return True
            if await self._cut_off():
                break
            await asyncio.sleep(PAUSES[number])
        return False

    async def _try(self, url: str, number: int) -> None:
        """Store the picture. What a try that was cut off still writes goes into a file that is its own."""
        to = self._folder / name_of(url)
        part = to.with_suffix(f".{number}")
        try:
            async with asyncio.timeout(self._bounds.seconds):
                await self._receive(url, number, part)
            await asyncio.to_thread(publish, part, to)
        except TimeoutError:
            reason = f"its host did not send it within {self._bounds.seconds:g} seconds"
            raise Unfetchable(reason, again=True) from None
        finally:
            part.unlink(missing_ok=True)

    async def _receive(self, text: str, number: int, part: Path) -> None:
        url = _read_url(text)
        address = Address((url.raw_host or "").lower(), url.port or _PORTS[url.scheme])
        request = self._session.get(
            await self._way(url, address, number),
            headers={"Host": url.host_port_subcomponent or address.host},
            allow_redirects=False,
            proxy=self._proxy(url),
            server_hostname=address.host if url.scheme == "https" else None,
        )
        try:
            response = await request
        except (aiohttp.ClientError, OSError):
            raise Unfetchable(NO_ANSWER, again=True) from None
        async with response:
            await self._store(response, part)

    async def _way(self, url: URL, address: Address, number: int) -> URL:
        """Return the URL to connect to: at an address that may be called, another one for each try."""
        trusted = hosts.is_listed(address, self._bounds.hosts)
        if trusted and self._proxy(url) is not None:
            return url
        try:
            addresses = await hosts.resolve(address.host, address.port)
        except (OSError, UnicodeError) as error:
            raise Unfetchable(NO_NAME, again=getattr(error, "errno", None) == socket.EAI_AGAIN) from None
        if not trusted and not all(map(hosts.is_public, addresses)):
            raise Unfetchable(INSIDE)
        return url.with_host(addresses[number % len(addresses)])

    async def _store(self, response: aiohttp.ClientResponse, part: Path) -> None:
        """Write the type and the body of an answer, a piece at a time, off the event loop."""
        _check(response)
        own, waiting, kind = 0, bytearray(), None
        announced = response.content_length or 0
        try:
            with await asyncio.to_thread(create, part) as stream:
                async for chunk in _chunks(response):
                    own += self._count(len(chunk), max(announced, own + len(chunk)))
                    waiting += chunk
                    if len(waiting) >= _CHUNK:
                        kind = kind or await self._begin(stream, response, waiting)
                        await self._write(stream, waiting)
                kind = kind or await self._begin(stream, response, waiting)
                await self._write(stream, waiting)
        except BaseException:
            self._bytes -= own
            raise

    async def _write(self, stream: IO[bytes], waiting: bytearray) -> None:
        await self._take(len(waiting))
        await asyncio.to_thread(stream.write, bytes(waiting))
        waiting.clear()

    async def _begin(self, stream: IO[bytes], response: aiohttp.ClientResponse, head: bytearray) -> str:
        kind = media_type(bytes(head[:16]), response.content_type)
        await asyncio.to_thread(stream.write, kind.encode() + b"\n")
        return kind

    def _count(self, more: int, size: int) -> int:
        """Take account of bytes that have come of a picture that has at least `size`."""
        if size > self._bounds.each:
            raise Unfetchable(f"it has more than {self._bounds.each} bytes (limits.max_media_bytes)")
        if self._bytes + more > self._bounds.all:
            what = f"the pictures of the batch have more than {self._bounds.all} bytes together"
            raise Unfetchable(f"{what} (limits.max_media_total_bytes); split the file")
        self._bytes += more
        return more


def media_type(head: bytes, declared: str) -> str:
    """Return the type of a picture by its first bytes, else as it was declared. Raises Unfetchable."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head and _MEDIA_TYPE.fullmatch(declared.lower()):
        return declared.lower()
    raise Unfetchable(NO_IMAGE)


def _read_url(text: str) -> URL:
    """Return the URL as it was written, so that signatures in it still hold. Raises Unfetchable."""
    try:
        if not _VISIBLE.fullmatch(text) or "\\" in text:
            raise Unfetchable(BAD_URL)
        url = URL(text, encoded=True)
        usable = url.scheme in _PORTS and bool(url.raw_host) and url.port != 0
    except ValueError:
        usable = False
    if not usable or url.user is not None or url.password is not None:
        raise Unfetchable(BAD_URL)
    return url


def _check(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if 300 <= status < 400:
        raise Unfetchable(REDIRECT)
    if status != 200:
        raise Unfetchable(f"its host answered with status {status}", again=status in _AGAIN or status >= 500)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Unfetchable(PACKED)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError):
        raise Unfetchable(NO_ANSWER, again=True) from None


async def connections(ca_bundle: Path | None) -> aiohttp.ClientSession:
    """Return what pictures are fetched over; its user closes it."""
    tls = await asyncio.to_thread(ssl.create_default_context, cafile=ca_bundle) if ca_bundle else True
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, force_close=True, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers=_HEADERS,
        read_bufsize=_READ_BUFFER,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
    )
