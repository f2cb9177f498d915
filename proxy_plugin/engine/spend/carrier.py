"""The way to LiteLLM: what a batch cost is told there, and what a key may still spend is asked there.

LiteLLM has no route that takes a cost (litellm 1.110.2, `proxy/spend_tracking`, `proxy/management_endpoints`: a key's
`spend` can only be overwritten). So the one line that makes LiteLLM load `inside/` answers here: over HTTP with the
master key where LiteLLM is the upstream, else over a socket in `data_dir`.
"""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from proxy_plugin.config import Config

SOCKET = "litellm.sock"  # in data_dir; `inside/spend.py` listens
PATH = "/proxy-plugin/spend"
SECONDS = 15.0  # for one answer
MOST_BYTES = 4 * 2**20  # of one: that about a team lists its keys
_TEAM = URL("/team/info")
_NOT_TAKEN = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


class NobodyThere(Exception):
    """LiteLLM is not there, or cannot say anything now. The text may be shown."""


class NotTaken(Exception):
    """LiteLLM is there and did not take this report. The text may be shown."""


class Carrier:
    """Made anywhere, used on the event loop, closed there. Each call goes where the configuration says then."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def tell(self, config: Config, report: str) -> dict[str, Any]:
        """Give LiteLLM a report, JSON, and return what it made of it. Raises NobodyThere, NotTaken."""
        question = {"report": msgspec.Raw(report.encode())}
        if (socket := _socket(config)) is not None:
            return await _over_socket(socket, question)
        status, found = await self._over_http(config, "POST", PATH, msgspec.json.encode(question))
        if status in _NOT_TAKEN:
            raise NotTaken(f"HTTP {status}")
        if status != HTTPStatus.OK:
            raise NobodyThere(f"HTTP {status}")
        return found

    async def key(self, config: Config, key_hash: str) -> dict[str, Any]:
        """Return what LiteLLM knows of a key now: `info` of its `/key/info`. Raises NobodyThere, NotTaken."""
        if (socket := _socket(config)) is not None:
            return await _over_socket(socket, {"key": key_hash})
        return await self._info(config, f"/key/info?key={key_hash}", "info")

    async def team(self, config: Config, team_id: str) -> dict[str, Any]:
        """Return what LiteLLM knows of a team now: `team_info` of its `/team/info`. Raises NobodyThere, NotTaken."""
        if (socket := _socket(config)) is not None:
            return await _over_socket(socket, {"team": team_id})
        return await self._info(config, str(_TEAM.update_query(team_id=team_id)), "team_info")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _info(self, config: Config, path: str, name: str) -> dict[str, Any]:
        status, found = await self._over_http(config, "GET", path)
        info = found.get(name)
        if status != HTTPStatus.OK or not isinstance(info, dict):
            raise NobodyThere(f"HTTP {status}")
        return info

    async def _over_http(
        self, config: Config, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Ask the upstream with the master key. Redirects are not followed: the key is nobody else's."""
        base, master = (config.server.upstream or "").rstrip("/"), config.master_key
        if not base or master is None:
            raise NobodyThere("neither LiteLLM's socket nor server.upstream with general_settings.master_key is there")
        headers = {"Authorization": f"Bearer {master.get_secret_value()}", "Content-Type": "application/json"}
        try:
            asked = self._client(config).request(method, base + path, data=body, headers=headers, allow_redirects=False)
            async with asked as answer:
                return answer.status, _object(await _body(answer))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NobodyThere(type(error).__name__) from error

    def _client(self, config: Config) -> aiohttp.ClientSession:
        if self._session is None:
            bundle = config.server.ca_bundle
            tls = ssl.create_default_context(cafile=bundle) if bundle else True
            timeout = aiohttp.ClientTimeout(total=SECONDS)
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), timeout=timeout)
        return self._session


def is_known(config: Config) -> bool:
    """Tell whether there is a LiteLLM to tell and to ask."""
    return bool(config.server.upstream and config.master_key) or _socket(config) is not None


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise NobodyThere("the answer is too long")
    return bytes(body)


def _socket(config: Config) -> Path | None:
    """Return the socket of a LiteLLM that has the gateway inside; one in front has an upstream instead."""
    path = config.storage.data_dir / SOCKET
    return path if not config.server.upstream and path.exists() else None


async def _over_socket(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Send one line of JSON and return that of the answer."""
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_unix_connection(path, limit=MOST_BYTES)
            try:
                writer.write(msgspec.json.encode(question) + b"\n")
                found = _object(await reader.readline())
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        raise NobodyThere(type(error).__name__) from error
    if "error" in found:
        kind = NobodyThere if found.get("again", True) else NotTaken
        raise kind(str(found["error"])[:200])
    if not found:
        raise NobodyThere("it hung up")
    return found


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
