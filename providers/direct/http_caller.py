"""Calls to whoever speaks OpenAI's API: one POST with the line's own body, and nothing decoded on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from proxy_plugin.providers.direct.base import Lost, NotSent, Outgoing, Reply
from proxy_plugin.providers.http.connections import Connections, HttpSettings

MOST_BYTES = 64 * 2**20  # of an answer; 2,048 embeddings of 1,536 numbers are about 60 MB
_READ_BYTES = 256 * 1024
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
        headers = {name.lower(): value for name, value in response.headers.items()}
        found = next((headers[name] for name in _IDS if name in headers), "")
        return Reply(response.status, headers, answer, found)

    def _posted(self, endpoint: str, body: bytes, noted: _Call) -> aiohttp.client._RequestContextManager:
        url = f"{self._base}{self._urls.get(endpoint) or endpoint.removeprefix('/v1')}"
        session = self._connections.session()
        return session.post(
            url,
            data=body,
            headers=self._headers,
            params=self._params,
            proxy=self._connections.proxy(URL(url)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connections.settings.connect_timeout),
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
