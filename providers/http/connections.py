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
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from proxy_plugin.providers.http.intake import Intake
from proxy_plugin.providers.signing.tokens import Tokens

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
        self.tokens = Tokens(monotonic)
        self._tls = _tls(self.settings.ca_bundle)
        self.carried: Mapping[str, str] = {}  # headers that the client of the gateway wants the provider to get
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

    def hold(self, account: str, seconds: float) -> None:
        """Let nobody call `account` for that long."""
        now = self._monotonic()
        for name in [name for name, until in self._held.items() if until <= now]:
            del self._held[name]
        self._held[account] = max(self._held.get(account, now), now + seconds)

    def held(self, account: str) -> float:
        """Return for how many seconds `account` must not be called, 0.0 if it may."""
        return max(0.0, self._held.get(account, -math.inf) - self._monotonic())

    def session(self, *, fresh: bool = False, public: bool = False) -> aiohttp.ClientSession:
        """Return the session that reuses connections, or the one that never does.

        `public`: for an address that a provider names; a name that leads into a private network is not called.
        """
        kind = (fresh, public)
        if kind not in self._sessions:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_note_connection)
            trace.on_connection_reuseconn.append(_note_connection)
            may_reach = _is_public if public else self.settings.may_reach
            resolver = None if may_reach is None else _Guarded(may_reach)
            connector = aiohttp.TCPConnector(
                ssl=self._tls, force_close=fresh, resolver=resolver, limit=self.settings.parallel
            )
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


async def _note_connection(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.connected = True


def _tls(ca_bundle: str | None) -> ssl.SSLContext | bool:
    if ca_bundle is None:
        return True
    folder = Path(ca_bundle).is_dir()
    return ssl.create_default_context(cafile=None if folder else ca_bundle, capath=ca_bundle if folder else None)
