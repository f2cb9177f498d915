"""Which hosts a caller's own base URL may name: those the operator listed, and nothing inside by way of a wildcard.

An entry of `server.custom_hosts` is a host, `host:port`, or `*.domain`, which covers everything below the domain. A
host that is listed by name is allowed as it is, wherever it leads: that is how a private endpoint is opened. What only
a wildcard covers must resolve to public addresses. The names are resolved here, so a gateway that can reach the outside
only through `outgoing_proxy`, and cannot resolve names itself, needs its hosts listed by name.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from proxy_plugin.ground.errors import BadRequest

Resolve = Callable[[str, int], Awaitable[list[str]]]  # host, port -> addresses; raises OSError

INVALID = "Invalid custom host"  # Portkey's words
RESOLVE_SECONDS = 5.0
MAX_LABELS = 10
_PORTS = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[!-~]+")
_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label like this makes resolvers read an IPv4 address
# Not in the registries that `is_global` reads, or there as global: IETF protocol assignments, the platform's own
# address in Azure, the old 6to4 relays, site-local addresses, and documentation (RFC 9637).
_NOT_PUBLIC = tuple(
    map(ip_network, ("192.0.0.0/24", "168.63.129.16/32", "192.88.99.0/24", "fec0::/10", "3fff::/20", "5f00::/16"))
)
_EMBEDS_IPV4 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"), IPv6Network("::/96"))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a URL leads: a host name or IP address in lower case, without brackets, and a port."""

    host: str
    port: int

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """Return the host as an IP address, None for a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


async def resolve(host: str, port: int) -> list[str]:
    """Return all addresses of a host, from a thread. Raises OSError, a TimeoutError among others."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(RESOLVE_SECONDS):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def check(url: str, listed: Iterable[str], *, param: str, resolve: Resolve = resolve) -> None:
    """Raise BadRequest, which shows nothing of the URL, unless the operator allows it. `param` is its header."""
    address = _address(url)
    if address is None or not await _allowed(address, [entry.lower() for entry in listed], resolve):
        raise BadRequest(INVALID, param=param, code="invalid_custom_host")


def is_listed(address: Address, listed: Iterable[str]) -> bool:
    """Tell whether an entry names this address or covers it."""
    return any(_names(entry, address) or _covers(entry, address) for entry in map(str.lower, listed))


def may_reach(host: str, port: int, address: str, *, listed: Iterable[str], own: Container[str]) -> bool:
    """Tell whether a call to a name may go to an address: to a private one not where only a wildcard covers the name.

    `own` are hosts that the operator has named elsewhere. Asked at every connection: `check` looked once.
    """
    there = Address(host.lower(), port)
    entries = [entry.lower() for entry in listed]
    named = there.host in own or any(_names(entry, there) for entry in entries)
    return named or not any(_covers(entry, there) for entry in entries) or is_public(address)


def _address(url: str) -> Address | None:
    """Read a base URL strictly: what parsers read differently is no URL here."""
    if not _VISIBLE.fullmatch(url) or set(url) & set('\\%?#"<>'):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not _NETLOC.fullmatch(parts.netloc) or port == 0:
        return None
    address = Address(host or "", _PORTS[parts.scheme] if port is None else port)
    return address if _is_host(address) else None


def _is_host(address: Address) -> bool:
    if address.ip is not None:
        return True
    labels = address.host.split(".")
    named = all(_LABEL.fullmatch(label) for label in labels) and not _NUMBER.fullmatch(labels[-1])
    return named and len(labels) <= MAX_LABELS and len(address.host) <= 253


async def _allowed(address: Address, listed: list[str], resolve: Resolve) -> bool:
    if any(_names(entry, address) for entry in listed):
        return True
    if address.ip is not None or not any(_covers(entry, address) for entry in listed):
        return False
    try:
        addresses = await resolve(address.host, address.port)
    except (OSError, UnicodeError):
        return False
    return bool(addresses) and all(is_public(address) for address in addresses)


def _names(entry: str, address: Address) -> bool:
    """Tell whether an entry names this very host, and its port if the entry has one."""
    ip = address.ip
    hosts = {_plain(entry)}
    if entry.endswith(f":{address.port}") and (not isinstance(ip, IPv6Address) or entry.startswith("[")):
        hosts.add(_plain(entry.removesuffix(f":{address.port}")))
    return (address.host if ip is None else str(ip)) in hosts


def _plain(entry: str) -> str:
    """Return an entry's host; IPv6 addresses have many spellings and get one."""
    try:
        return str(ip_address(entry.strip("[]")))
    except ValueError:
        return entry


def _covers(entry: str, address: Address) -> bool:
    host, _, port = entry.partition(":")
    below = host.startswith("*.") and address.host.endswith(host[1:]) and len(address.host) > len(host[1:])
    return below and port in ("", str(address.port))


def is_public(text: str) -> bool:
    """Tell whether an IP address belongs to the public internet, also one that carries an IPv4 address inside."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(map(_is_public, _all_of(address)))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    usual = address.is_global and not address.is_multicast and not address.is_reserved
    return usual and not any(address in network for network in _NOT_PUBLIC)


def _all_of(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return the IPv4 addresses that an IPv6 address leads to, or the address itself."""
    if isinstance(address, IPv4Address):
        return [address]
    teredo = address.teredo or ()
    inside = [each for each in (address.ipv4_mapped, address.sixtofour, *teredo) if each is not None]
    if any(address in network for network in _EMBEDS_IPV4):
        inside.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [*inside] or [address]
