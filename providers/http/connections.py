"""The connections to providers, and the times before which an account must not be called again.

Facts about aiohttp 3.13 and 3.14 that the code relies on:
 - netrc is read when a session has `trust_env`, so proxies of the environment are looked up here instead;
 - `on_connection_create_end` runs after DNS, TCP, TLS and proxy CONNECT and before the first byte of a request,
   so a create that failed before it was provably not accepted.
"""

from __future__ import annotations

import copy
import errno
import math
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.tracing import Trace
from yarl import URL

from proxy_plugin.providers.http.intake import Intake
from proxy_plugin.providers.http.outcomes import Call
from proxy_plugin.providers.signing.tokens import Tokens

CALL: ContextVar[Call | None] = ContextVar("call", default=None)  # the one that a connection is made for
TOLD_FROM = 1.0  # seconds that a pause lasts longer than others know, to be worth telling them
LINK_LOCAL = ("169.254.", "fd00:ec2:", "metadata.google.internal")  # where clouds answer a machine about itself


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What the operator may set. Times are seconds."""

    outgoing_proxy: str | None = field(default=None, repr=False)  # its URL may hold a password
    ca_bundle: str | None = None  # a file or folder that replaces the system's certificate authorities
    trust_env: bool = False  # take the proxy from HTTPS_PROXY, HTTP_PROXY and NO_PROXY
    connect_timeout: float = 10.0  # TCP and TLS
    read_timeout: float = 60.0  # longest silence while a reply is read or a body is sent
    request_timeout: float = 180.0  # a whole small call
    create_timeout: float = 600.0  # until the answer to a create or an upload, once its body is sent
    max_reply_bytes: int = 8 << 20
    parallel: int = 100  # connections of one session
    may_reach: Callable[[str, int, str], bool] | None = None  # host, port, address: whether it may be connected to


def passed() -> float:
    """Return the seconds of a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Connections:
    """Owner of all connections to providers. Made anywhere, first used on the event loop, closed there."""

    def __init__(
        self,
        settings: HttpSettings | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or HttpSettings()
        self.now = now
        self._monotonic = monotonic
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}
        self._held: dict[str, float] = {}
        self._told: dict[str, float] = {}  # of those, what is known elsewhere, too
        self.known_as: Callable[[str], str] = str  # the name by which an account is held, here and elsewhere
        self.on_hold: Callable[[str, float], None] = lambda _account, _seconds: None
        self.tokens = Tokens(monotonic)
        self._tls = _tls(self.settings.ca_bundle)
        self.carried: Mapping[str, str] = {}  # headers that the client of the gateway wants the provider to get
        self.begins_by = math.inf  # by `passed`: no create begins later
        self.intake: Intake | None = None  # bounds what `Origin.download` stores; None takes everything

    def carrying(self, headers: Mapping[str, str]) -> Self:
        """Return a view, with the same connections and gates, whose calls carry these headers below the adapter's."""
        view = copy.copy(self)
        view.carried = headers
        return view

    def storing(self, intake: Intake) -> Self:
        """Return a view, with the same connections and gates, whose downloads go into this intake."""
        view = copy.copy(self)
        view.intake = intake
        return view

    def beginning_within(self, seconds: float) -> Self:
        """Return a view, with the same connections and gates, whose creates begin within so many seconds or fail.

        One that does not was provably not sent: it is `TryLater`.
        """
        view = copy.copy(self)
        view.begins_by = passed() + seconds
        return view

    def is_late(self) -> bool:
        """Tell whether no create may begin any more."""
        return passed() > self.begins_by

    def hold(self, account: str, seconds: float) -> None:
        """Let nobody call `account` for that long, and tell whoever wants to know it under `known_as`.

        A hundred calls that ran together are answered with the same pause: it is told once, and again where it grows.
        """
        name, now = self.known_as(account), self._monotonic()
        _extend(self._held, name, now, seconds)
        if now + seconds - max(now, self._told.get(name, now)) >= TOLD_FROM:
            _extend(self._told, name, now, seconds)
            self.on_hold(name, seconds)

    def leave_alone(self, account: str, seconds: float) -> None:
        """Let nobody call the account that is known so; others do not, either."""
        now = self._monotonic()
        for pauses in (self._held, self._told):
            _extend(pauses, account, now, seconds)

    def held(self, account: str) -> float:
        """Return for how many seconds `account` must not be called, 0.0 if it may."""
        if not self._held:
            return 0.0
        return max(0.0, self._held.get(self.known_as(account), -math.inf) - self._monotonic())

    def session(self, *, fresh: bool = False, public: bool = False) -> aiohttp.ClientSession:
        """Return the session that reuses connections, or the one that never does.

        `public`: for an address that a provider names; a name that leads into a private network is not called.
        """
        kind = (fresh, public)
        if kind not in self._sessions:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_note_connection)
            trace.on_connection_reuseconn.append(_note_connection)
            trace.on_request_redirect.append(follow_nowhere)
            may_reach = _is_public if public else self.settings.may_reach
            resolver = None if may_reach is None else _Guarded(may_reach)
            connector = _Connector(ssl=self._tls, force_close=fresh, resolver=resolver, limit=self.settings.parallel)
            self._sessions[kind] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),  # a cookie of one account must not travel with another's call
                headers={"User-Agent": "proxy-plugin"},
                auto_decompress=False,  # what comes packed is refused, before anything of it is unpacked
                trace_configs=[trace],
            )
        return self._sessions[kind]

    def proxy(self, url: URL) -> str | None:
        """Return the proxy that leads to `url`, None for the direct way: none leads to the machine's own services."""
        if (url.host or "").startswith(LINK_LOCAL):
            return None
        if self.settings.outgoing_proxy or not self.settings.trust_env:
            return self.settings.outgoing_proxy
        return None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)

    async def close(self) -> None:
        """Close all connections."""
        while self._sessions:
            await self._sessions.popitem()[1].close()


def _extend(pauses: dict[str, float], name: str, now: float, seconds: float) -> None:
    """Let a pause last so long, or longer where it does already. Those that are over are forgotten."""
    for over in [each for each, until in pauses.items() if until <= now]:
        del pauses[over]
    pauses[name] = max(pauses.get(name, now), now + seconds)


class _Guarded(AbstractResolver):
    """Gives no addresses that may not be called: a name that was checked may lead elsewhere by the time of a call."""

    def __init__(self, may_reach: Callable[[str, int, str], bool]) -> None:
        self._may_reach, self._resolver = may_reach, aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not all(self._may_reach(host, port, each["host"]) for each in found):
            raise OSError(errno.EACCES, "the name leads to an address that may not be called")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def may_be_public(host: str) -> bool:
    """Tell whether a host may be called that a provider names: no private address, whatever a name leads to."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return True  # a name, whose addresses are looked at when it is resolved


def _is_public(_host: str, _port: int, address: str) -> bool:
    return ip_address(address).is_global


class TooLate(OSError):
    """A create would begin later than it may."""


class _Connector(aiohttp.TCPConnector):
    """Looks whether a call may still begin when its connection stands: the next thing is its first byte."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        made, call = await super().connect(req, traces, timeout), CALL.get()
        if call is not None and call.is_late():
            made.close()
            call.connected = False
            raise TooLate
        return made


async def _note_connection(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    if context.trace_request_ctx is not None:  # a websocket has none
        context.trace_request_ctx.connected = True


async def follow_nowhere(
    _session: aiohttp.ClientSession, _context: object, params: aiohttp.TraceRequestRedirectParams
) -> None:
    """Refuse a redirect where aiohttp would follow it, the key in its hand: `ws_connect` has no switch for it."""
    answer = params.response
    answer.close()
    raise aiohttp.WSServerHandshakeError(answer.request_info, (), status=answer.status, message="redirected")


def _tls(ca_bundle: str | None) -> ssl.SSLContext | bool:
    if ca_bundle is None:
        return True
    folder = Path(ca_bundle).is_dir()
    return ssl.create_default_context(cafile=None if folder else ca_bundle, capath=ca_bundle if folder else None)
