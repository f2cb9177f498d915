"""One try to give an event to its receiver: bounded, without credentials, and never inside unless it is listed.

The name is resolved here, every address must be public, and what is connected to are these very addresses.
Behind `server.outgoing_proxy` the proxy is asked for these addresses too, and for a listed host by its name.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import aiohttp
from yarl import URL

from proxy_plugin.ground import hosts
from proxy_plugin.ground.webhooks import INSIDE, address_of, read_url
from proxy_plugin.providers.http import retry_after

SECONDS = 15.0  # for one try
_HEADERS = {"User-Agent": "proxy-plugin", "Accept": "*/*", "Accept-Encoding": "identity"}
BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class Outcome(NamedTuple):
    """What came of a try. `error` None: the receiver has it. `gone`: it is not there, or can take nothing now."""

    status: int | None = None
    error: str | None = None
    gone: bool = False
    after: float | None = None  # seconds that the receiver asks for


class Post:
    """The connections to receivers. Made anywhere, used on the event loop, closed there."""

    def __init__(self, listed: tuple[str, ...], ca_bundle: Path | None, proxy: Callable[[URL], str | None]) -> None:
        self._listed, self._ca_bundle, self._proxy = listed, ca_bundle, proxy
        self._session: aiohttp.ClientSession | None = None
        self._making = asyncio.Lock()

    async def send(self, text: str, body: str, headers: Mapping[str, str]) -> Outcome:
        """Send a signed body. Nothing of the answer is kept but its status."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._send(read_url(text), body, headers)
        except TimeoutError:
            return Outcome(error=f"no answer within {SECONDS:g} seconds", gone=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(error=f"could not be reached ({type(error).__name__})", gone=True)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, url: URL, body: str, headers: Mapping[str, str]) -> Outcome:
        """Send over the first way on which the receiver can be connected to."""
        address = address_of(url)
        ways = await self._ways(url, address)
        if not ways:
            return Outcome(error=INSIDE, gone=True)
        sent = {**headers, "Host": url.host_port_subcomponent or address.host}
        for way in ways[:-1]:
            try:
                return await self._over(way, url, address, body, sent)
            except aiohttp.ClientConnectorError:  # nothing was sent
                continue
        return await self._over(ways[-1], url, address, body, sent)

    async def _over(self, way: URL, url: URL, at: hosts.Address, body: str, headers: Mapping[str, str]) -> Outcome:
        asked = (await self._client()).post(
            way,
            data=body.encode(),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy(url),
            server_hostname=at.host if url.scheme == "https" else None,
        )
        async with asked as answer:
            return _outcome(answer)

    async def _ways(self, url: URL, address: hosts.Address) -> list[URL]:
        """Return the URLs to connect to, at addresses that may be called; none where one may not."""
        if self._proxy(url) is not None and hosts.is_listed(address, self._listed):
            return [url]
        addresses = await hosts.resolve(address.host, address.port)
        allowed = _all_allowed(address, addresses, self._listed)
        return [url.with_host(each) for each in dict.fromkeys(addresses)] if allowed else []

    async def _client(self) -> aiohttp.ClientSession:
        async with self._making:
            if self._session is None:
                bundle = self._ca_bundle
                tls = await asyncio.to_thread(ssl.create_default_context, cafile=bundle) if bundle else True
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=tls, force_close=True, limit=0),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    headers=_HEADERS,
                )
        return self._session


async def may_go(address: hosts.Address, listed: tuple[str, ...]) -> bool:
    """Tell whether something may be sent there now. What cannot be resolved is not known to be private."""
    try:
        addresses = await hosts.resolve(address.host, address.port)
    except (OSError, UnicodeError):
        return True
    return _all_allowed(address, addresses, listed)


def _all_allowed(address: hosts.Address, addresses: list[str], listed: tuple[str, ...]) -> bool:
    return bool(addresses) and (hosts.is_listed(address, listed) or all(map(hosts.is_public, addresses)))


def _outcome(answer: aiohttp.ClientResponse) -> Outcome:
    status = answer.status
    if 200 <= status < 300:
        return Outcome(status)
    if 300 <= status < 400:
        return Outcome(status, "answered with a redirect, which is never followed; give the URL it leads to")
    gone = status in BUSY or status >= 500
    return Outcome(status, f"answered with status {status}", gone, retry_after(answer.headers) if gone else None)
