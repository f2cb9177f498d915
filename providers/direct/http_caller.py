"""Calls to whoever speaks OpenAI's API: one POST with the line's own body, and nothing decoded on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from proxy_plugin.providers.direct.base import Lost, NotSent, Outgoing, Reply, Stream
from proxy_plugin.providers.http.connections import Connections, HttpSettings

MOST_BYTES = 64 * 2**20  # of an answer; 2,048 embeddings of 1,536 numbers are about 60 MB
MOST_MESSAGE_BYTES = 16 * 2**20  # of a websocket
_READ_BYTES = 256 * 1024
_OF_BODIES = frozenset({"Content-Type", "Accept-Encoding"})
EVENTS, _OK = "text/event-stream", 200
_IDS = ("x-request-id", "request-id", "apim-request-id")
_BROKEN = (aiohttp.ClientError, OSError)


@dataclass(slots=True)
class _Call:
    """What aiohttp notes of a call: `connected` is true before its first byte leaves."""

    connected: bool = False


class HttpCaller:
    """Calls `base_url`, version path included, with an account's own headers.

    `urls` are paths below the base URL where they are not OpenAI's without `/v1`.
    """

    def __init__(
        self,
        base_url: str,
        secret_headers: Mapping[str, str],
        outgoing: Outgoing,
        *,
        params: Mapping[str, str] | None = None,
        urls: Mapping[str, str] | None = None,
    ) -> None:
        self._base, self._params, self._urls = base_url.rstrip("/"), params, urls or {}
        own = {"Content-Type": "application/json", "Accept-Encoding": "identity", **secret_headers}
        taken = {name.lower() for name in own}
        carried = {name: value for name, value in outgoing.headers.items() if name.lower() not in taken}
        self._headers = carried | own
        self._connections = Connections(
            HttpSettings(
                outgoing_proxy=outgoing.proxy,
                ca_bundle=outgoing.ca_bundle,
                may_reach=outgoing.may_reach,
                parallel=outgoing.parallel,
            )
        )

    async def call(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Reply:  # noqa: ARG002
        """Post the body. A redirect is an answer like any other and is not followed: the key would go with it."""
        noted = _Call()
        try:
            async with asyncio.timeout(timeout), self._posted(endpoint, body, noted) as response:
                answer = await _read(response)
        except (*_BROKEN, TimeoutError) as error:
            # Only the kind of an error is told: its own words may hold a URL or a header.
            raise (Lost if noted.connected else NotSent)(type(error).__name__) from None
        return _reply(response, answer)

    async def stream(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Stream | Reply:  # noqa: ARG002
        """Post the body; server-sent events come as they are, byte for byte, whatever else is answered is a reply."""
        noted, response, begun = _Call(), None, False
        try:
            async with asyncio.timeout(timeout):
                response = await self._posted(endpoint, body, noted, silence=timeout)
                if response.status != _OK or response.content_type != EVENTS:
                    return _reply(response, await _read(response))
                first = await response.content.readany()
            begun = True
        except (*_BROKEN, TimeoutError) as error:
            raise (Lost if noted.connected else NotSent)(type(error).__name__) from None
        finally:
            if response is not None and not begun:
                response.close()
        return Stream(_pieces(response, first), _closing(response), _lowered(response))

    async def socket(
        self,
        endpoint: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        protocols: Sequence[str],
        timeout: float,
    ) -> aiohttp.ClientWebSocketResponse[bool] | Reply:
        """Open a websocket below the base URL. A redirect is not followed, as in `call`."""
        url = URL(f"{self._base}{self._urls.get(endpoint) or endpoint.removeprefix('/v1')}")
        own = {name.lower() for name in self._headers}
        carried = {name: value for name, value in headers.items() if name.lower() not in own}
        sent = {name: value for name, value in self._headers.items() if name not in _OF_BODIES}
        try:
            async with asyncio.timeout(timeout):
                return await self._connections.session().ws_connect(
                    url,
                    params={**(self._params or {}), **params},
                    headers=carried | sent,
                    protocols=protocols,
                    proxy=self._connections.proxy(url),
                    max_msg_size=MOST_MESSAGE_BYTES,
                )
        except aiohttp.WSServerHandshakeError as error:
            return Reply(error.status)
        except (*_BROKEN, TimeoutError) as error:
            raise NotSent(type(error).__name__) from None

    def _posted(
        self, endpoint: str, body: bytes, noted: _Call, silence: float | None = None
    ) -> aiohttp.client._RequestContextManager:
        url = f"{self._base}{self._urls.get(endpoint) or endpoint.removeprefix('/v1')}"
        session = self._connections.session()
        return session.post(
            url,
            data=body,
            headers=self._headers,
            params=self._params,
            proxy=self._connections.proxy(URL(url)),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._connections.settings.connect_timeout, sock_read=silence
            ),
            allow_redirects=False,
            trace_request_ctx=noted,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the answer's bytes; of one that is too long so many that it is no JSON any more."""
    pieces, size = list[bytes](), 0
    while size < MOST_BYTES and (piece := await response.content.read(_READ_BYTES)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _reply(response: aiohttp.ClientResponse, body: bytes) -> Reply:
    headers = _lowered(response)
    found = next((headers[name] for name in _IDS if name in headers), "")
    return Reply(response.status, headers, body, found)


def _lowered(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


async def _pieces(response: aiohttp.ClientResponse, first: bytes) -> AsyncIterator[bytes]:
    try:
        if first:
            yield first
        async for piece in response.content.iter_any():
            yield piece
    except (*_BROKEN, TimeoutError) as error:
        raise Lost(type(error).__name__) from None
    finally:
        response.close()


def _closing(response: aiohttp.ClientResponse) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        response.close()

    return close
