"""Bearer tokens by their source: kept in memory, renewed before they end, fetched by one call at a time.

What is asked of a token endpoint and what it answers is in no log and in no message beyond its error's own words.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from proxy_plugin.providers.echoes import Echoes
from proxy_plugin.providers.errors import NoToken, Refused, TryLater
from proxy_plugin.providers.signing import remedies
from proxy_plugin.providers.signing.signer import Outgoing, Signed

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http

EARLY = 300.0  # seconds before its end that a token is renewed; half of its life where that is shorter
ASKING = 30.0  # seconds that a token endpoint may take
PAUSE = 5.0  # seconds for which a failure stands, so that those who wait do not ask one after the other
MOST_KEPT = 256  # sources, before those that have ended are forgotten


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and the seconds that it lives."""

    text: str = field(repr=False)
    seconds: float


class TokenSource(Protocol):
    """Where tokens come from. Equal sources share a token, so whatever proves the account is among their fields."""

    def __hash__(self) -> int: ...

    async def fetch(self, http: Http) -> Token:
        """Ask for a token. Raises `TryLater` with what an operator can do."""


@dataclass(slots=True)
class _Kept:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    text: str = field(default="", repr=False)
    ends: float = -math.inf  # all in monotonic seconds
    renew: float = -math.inf
    failed: str = ""
    until: float = -math.inf  # for how long the failure stands


class Tokens:
    """The tokens of all accounts of a process."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._kept: dict[TokenSource, _Kept] = {}

    async def of(self, http: Http, source: TokenSource) -> str:
        """Return a token that still lives. One that could not be renewed serves to its end. Raises `TryLater`."""
        kept = self._place(source)
        if self._now() >= kept.renew:
            async with kept.lock:
                if self._now() >= kept.renew:
                    await self._fetch(http, source, kept)
        return kept.text

    async def renew(self, http: Http, source: TokenSource, refused: str) -> bool:
        """Tell whether there is another token than this one, which was refused. Raises `TryLater`."""
        kept = self._place(source)
        async with kept.lock:
            if kept.text != refused:
                return True
            kept.ends = kept.renew = -math.inf
            await self._fetch(http, source, kept)
            return kept.text != refused

    async def _fetch(self, http: Http, source: TokenSource, kept: _Kept) -> None:
        try:
            if self._now() < kept.until:
                raise NoToken(kept.failed)
            token = await source.fetch(http)
        except TryLater as error:
            if self._now() >= kept.until:
                kept.failed, kept.until = str(error), self._now() + max(PAUSE, error.after or 0.0)
            if self._now() >= kept.ends:
                raise
            kept.renew = min(kept.until, kept.ends)
            return
        kept.text, kept.ends = token.text, self._now() + token.seconds
        kept.renew = kept.ends - min(EARLY, token.seconds / 2)

    def _place(self, source: TokenSource) -> _Kept:
        if len(self._kept) >= MOST_KEPT and source not in self._kept:
            now = self._now()
            idle = [each for each, kept in self._kept.items() if kept.ends <= now and not kept.lock.locked()]
            for each in idle:
                del self._kept[each]
        return self._kept.setdefault(source, _Kept())


@dataclass(frozen=True, slots=True)
class Bearer:
    """Signs with the token of a source. See `signer.Signer`."""

    http: Http
    source: TokenSource
    ended: frozenset[str] = frozenset()

    async def sign(self, call: Outgoing) -> Signed:  # noqa: ARG002
        """Return the token."""
        token = await self.http.tokens.of(self.http, self.source)
        return Signed({"Authorization": f"Bearer {token}"}, token, token)

    async def renew(self, refused: Signed) -> bool:
        """Replace the token that was refused, if nobody has yet."""
        return await self.http.tokens.renew(self.http, self.source, refused.kept)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a token endpoint. `remedy` tells the operator what to look at; `secrets` are hidden in answers."""

    url: str
    remedy: str
    form: Mapping[str, str] | None = field(default=None, repr=False)  # POST; None: GET, but with `json`
    json: object = field(default=None, repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = field(default=(), repr=False)


async def ask(http: Http, asked: Asked) -> Token:
    """Return the token of an answer in OAuth's form. Whatever goes wrong is `TryLater`: nothing else was sent."""
    host, _, path = asked.url.rpartition("/")
    async with telling(host, asked.remedy, asked.secrets) as where:
        origin = http.carrying({}).origin(f"token\x1f{asked.url}", host, {}, asked.headers)
        method = "GET" if asked.form is None and asked.json is None else "POST"
        reply = await origin.request(method, path, form=asked.form, json=asked.json, params=asked.params)
    return _read(reply.fields(), where, http.now())


@asynccontextmanager
async def telling(url: str, remedy: str, secrets: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """Make whatever goes wrong with calls for a token `TryLater` with a remedy; yield the host in its words."""
    where = url.partition("://")[2].partition("/")[0]
    try:
        async with asyncio.timeout(ASKING):
            yield where
    except Refused as error:
        words = Echoes(secrets).hide(error.message.encode()).decode().rstrip(".")
        advice = remedies.remedy(error.code, words) or remedy
        said = "" if advice in words else f"; {advice}"
        raise NoToken(f"no token from {where}: HTTP {error.status}: {words}{said}") from None
    except TryLater as error:
        raise NoToken(f"no token from {where}: {error}; {remedy}", after=error.after) from None
    except TimeoutError:
        raise NoToken(f"no token from {where}: no answer in {ASKING:g} s; {remedy}") from None


def seconds_until(moment: object, now: float) -> float:
    """Return the seconds until a time in RFC 3339, 0 for none and for one that is over."""
    try:
        return max(0.0, datetime.fromisoformat(str(moment)).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def _read(fields: Mapping[str, Any], where: str, now: float) -> Token:
    """Read an answer. Managed identities give seconds as text, Google's accounts that lend themselves a moment."""
    text, seconds = fields.get("access_token"), fields.get("expires_in", 3600)
    if "accessToken" in fields:
        text, seconds = fields["accessToken"], seconds_until(fields.get("expireTime"), now)
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():
        seconds = int(seconds[:9])
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text:
        raise NoToken(f"no token from {where}: the answer holds none")
    lives = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < math.inf
    return Token(text, float(seconds) if lives else 0.0)
