"""What LiteLLM tells of a key: the question that `auth: litellm` asks of the upstream.

A virtual key may ask about itself (litellm 1.110.2, `proxy/management_endpoints/key_management_endpoints.py`,
`info_key_fn`, which asks `user_api_key_auth` first: 401 for a key that is unknown, blocked or expired). Of its team it
is told by `/team/info` (`team_endpoints.py`, `validate_membership`), of its user by `/v2/user/info`; their models bound
those of the key (`proxy/auth/auth_checks.py`, `common_checks`). A key that LiteLLM accepts and its database does
not have is 404 there: the master key. Without a database [run, 1.110.2] `/key/info` is 500 for the master key, 400 for
any other, and only `/team/info` says why. Whether a key of which nothing is stored is accepted, its models tell.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from proxy_plugin.access.identity import Identity
from proxy_plugin.access.litellm_keys import key_hash, short_name, untold
from proxy_plugin.config import Server
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import Unavailable

T = TypeVar("T")
LOG = logging.getLogger("proxy_plugin.upstream")
SECONDS, CONNECT_SECONDS = 10.0, 5.0  # for one question
MOST_BYTES = 4 * 2**20  # of an answer: that of a team lists its keys
KEPT_METADATA = frozenset({"batch_enqueued_token_limit"})
NO_DATABASE = b"Database not connected"
_TEAMS = "all-team-models"  # in the list of a key: that of its team, which bounds every key of it
_LATER = {web.HTTPRequestTimeout.status_code, web.HTTPTooManyRequests.status_code}


class _Row(msgspec.Struct):
    key_alias: str | None = None
    spend: float | None = None
    max_budget: float | None = None
    models: list[str] | None = None
    user_id: str | None = None
    team_id: str | None = None
    metadata: dict[str, Any] | None = None
    expires: str | None = None
    blocked: bool | None = None
    litellm_budget_table: dict[str, Any] | None = None


class _KeyInfo(msgspec.Struct):
    info: _Row


class _Team(msgspec.Struct):
    team_alias: str | None = None
    spend: float | None = None
    max_budget: float | None = None
    models: list[str] | None = None
    metadata: dict[str, Any] | None = None
    blocked: bool | None = None


_UNTOLD = _Team(models=["no-default-models"])  # LiteLLM's word for none


class _TeamInfo(msgspec.Struct):
    team_info: _Team


class _User(msgspec.Struct):
    models: list[str] | None = None


class KeyInfo:
    """Asks one upstream. Made anywhere, first used on the event loop, closed there."""

    def __init__(self, server: Server) -> None:
        self._base, self._ca_bundle = (server.upstream or "").rstrip("/"), server.ca_bundle
        self._session: aiohttp.ClientSession | None = None

    async def of(self, key: str) -> Identity | None:
        """Return who has a key, None where the upstream refuses it. Raises Unavailable."""
        status, body = await self._ask("/key/info", key)
        if status == web.HTTPNotFound.status_code or (status >= 500 and await self._has_no_database(key)):
            return await self._unlisted(key)
        if 400 <= status < 500 and status not in _LATER:
            return None
        row = _read(status, body, _KeyInfo).info
        if row.team_id is not None:
            return _identity(key_hash(key), row, await self._team(key, row.team_id))
        return _identity(key_hash(key), row, _Team(), () if row.user_id is None else await self._models_of_user(key))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _has_no_database(self, key: str) -> bool:
        _, body = await self._ask("/team/info", key, team_id="none")
        return NO_DATABASE in body

    async def _unlisted(self, key: str) -> Identity | None:
        """Return who has a key of which nothing is stored: nobody is told but that it is accepted."""
        status, body = await self._ask("/v1/models", key)
        if 400 <= status < 500 and status not in _LATER:
            return None
        _read(status, body, dict[str, Any])
        hashed = key_hash(key)
        return Identity(name=short_name(hashed), key_hash=hashed)

    async def _team(self, key: str, team_id: str) -> _Team:
        """Return the key's team, one that allows no model where nothing is told of it."""
        status, body = await self._ask("/team/info", key, team_id=team_id)
        if 400 <= status < 500 and status not in _LATER:
            return _UNTOLD
        return _read(status, body, _TeamInfo).team_info

    async def _models_of_user(self, key: str) -> tuple[str, ...]:
        """Return the models that bound a key without a team; none where its user is not told, as LiteLLM does."""
        status, body = await self._ask("/v2/user/info", key)
        if 400 <= status < 500 and status not in _LATER:
            return ()
        return tuple(_read(status, body, _User).models or ())

    async def _ask(self, path: str, key: str, **query: str) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        url = URL(self._base + path).with_query(query)
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._connected().get(url, headers=headers, allow_redirects=False) as answer,
            ):
                return answer.status, await _body(answer)
        except (aiohttp.ClientError, OSError) as error:
            raise _untold(type(error).__name__) from None

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = ssl.create_default_context(cafile=self._ca_bundle) if self._ca_bundle else True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            )
        return self._session


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise _untold("too long")
    return bytes(body)


def _read(status: int, body: bytes, kind: type[T]) -> T:
    """Return an answer. Raises Unavailable for one that is none of LiteLLM's."""
    if status != web.HTTPOk.status_code:
        raise _untold(f"HTTP {status}")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError:
        raise _untold("no answer of LiteLLM's") from None


def _untold(reason: str) -> Unavailable:
    logs.event(LOG, "upstream_key_untold", level=logging.WARNING, reason=reason)
    return untold()


def _identity(hashed: str, row: _Row, team: _Team, of_user: tuple[str, ...] = ()) -> Identity:
    budget = row.max_budget if row.max_budget is not None else (row.litellm_budget_table or {}).get("max_budget")
    return Identity(
        name=row.key_alias or short_name(hashed),
        key_hash=hashed,
        user_id=row.user_id,
        team_id=row.team_id,
        team_alias=team.team_alias,
        models=() if _TEAMS in (row.models or ()) else tuple(row.models or ()),
        within=(tuple(team.models or ()), of_user),
        spend=row.spend or 0.0,
        max_budget=budget if isinstance(budget, int | float) else None,
        team_spend=team.spend,
        team_max_budget=team.max_budget,
        metadata=_kept(row.metadata),
        team_metadata=_kept(team.metadata),
        expires=row.expires,
        blocked=bool(row.blocked or team.blocked),
    )


def _kept(metadata: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (metadata or {}).items() if name in KEPT_METADATA}
