"""Who is calling: a gateway key to a caller with a workspace and the virtual keys it may use."""

from __future__ import annotations

import hmac
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from multidict import MultiMapping

from proxy_plugin.access.our_keys import OurKeys
from proxy_plugin.config import ApiKey, Config
from proxy_plugin.ground.errors import ConfigError, Forbidden, Unauthenticated
from proxy_plugin.ground.fingerprints import digest, keyed_hash

API_KEY = "x-portkey-api-key"
AUTHORIZATION = "authorization"
PLACEHOLDER = "OPENAI_API_KEY"  # Portkey's Python SDK sends this literal text as its bearer token
X_API_KEY = "x-api-key"
CREDENTIAL_HEADERS = (API_KEY, AUTHORIZATION, X_API_KEY, "api-key")  # where clients put the key they have
UNKNOWN_KEY = "Portkey Error: Invalid API Key. Error Code: 03"
MISSING_KEY = f"No API key: send a key of this gateway as '{API_KEY}: KEY' or as 'Authorization: Bearer KEY'."
TWO_KEYS = "More than one API key was sent in the same header."


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    `credential_in` is the header that named it, None where no key is configured. `private_headers` hold no provider's
    key: they hold one of this gateway, or a placeholder that is nobody's. Those of them that are in `kept_back` may not
    be passed on; the others hold a key that the upstream knows, too (`forward`). `default` is a virtual key or a saved
    config: where work goes that neither headers nor lines place.
    """

    name: str
    workspace: str
    virtual_keys: tuple[str, ...] = ("*",)
    credential_in: str | None = None
    private_headers: frozenset[str] = frozenset({API_KEY})
    models: tuple[str, ...] | None = None  # globs; None: all
    default: str | None = None
    forwards: bool = False  # its key is one of the upstream's, too
    kept_back: frozenset[str] = frozenset({API_KEY})

    def allows(self, slug: str) -> bool:
        """Tell whether the caller may use this virtual key."""
        return any(fnmatchcase(slug, pattern) for pattern in self.virtual_keys)


class Callers:
    """All gateway keys of one configuration, as digests. `secret` keys the names of tenants that have none."""

    def __init__(self, config: Config, secret: bytes | None = None) -> None:
        self._secret = secret or os.urandom(32)
        self.learn(config)

    def learn(self, config: Config) -> None:
        """Know the keys of this configuration from now on, and no others."""
        self._known = tuple((entry.digest(), entry) for entry in config.api_keys)
        self.keys = OurKeys(entry for entry in config.api_keys if not entry.forward)  # not to be passed on

    def authenticate(self, headers: MultiMapping[str], remote: str | None) -> Caller:
        """Return the caller. `remote` is the peer's IP address.

        Raises Unauthenticated for a missing or unknown key. Where no key is configured: Forbidden for everybody but
        clients on this machine. Those that bring the same provider key share a workspace, and those that bring none
        share the workspace `default`.
        """
        if not self._known:
            return self._local(headers, remote)
        for name in (API_KEY, AUTHORIZATION):
            if (presented := _presented(headers, name)) is not None:
                return self._named(presented, name, headers)
        raise Unauthenticated(MISSING_KEY)

    def _local(self, headers: MultiMapping[str], remote: str | None) -> Caller:
        _require_local(headers, remote)
        private = frozenset(_not_a_providers(headers))
        key = provider_key(headers, private)
        tenant = "default" if key is None else f"key-{keyed_hash(self._secret, f'tenant{chr(0)}{key}')[:16]}"
        return Caller("local", tenant, private_headers=private, kept_back=private)

    def _named(self, presented: str, name: str, headers: MultiMapping[str]) -> Caller:
        entry = self._entry(presented)
        if entry is None:
            raise Unauthenticated(UNKNOWN_KEY)
        held = dict(self._private(headers))
        private = frozenset(held)
        kept_back = frozenset(name for name, forward in held.items() if not forward)
        allowed = (entry.virtual_keys, name, private, entry.models)
        return Caller(entry.name, entry.workspace, *allowed, entry.default, entry.forward, kept_back)

    def _entry(self, presented: str) -> ApiKey | None:
        """Look at every key, found or not, so that the time tells nothing of where it stands in the list."""
        wanted, found = digest(presented), None
        for known, entry in self._known:
            if hmac.compare_digest(known, wanted):
                found = entry
        return found

    def _private(self, headers: MultiMapping[str]) -> Iterator[tuple[str, bool]]:
        """Yield (header, whether it is passed on) of each that holds a key of ours, or a placeholder."""
        yield API_KEY, False
        for name in CREDENTIAL_HEADERS[1:]:
            tokens = [_token(value) for value in headers.getall(name, [])]
            found = [self._entry(token) for token in tokens if token != PLACEHOLDER]
            if PLACEHOLDER in tokens or any(found):
                yield name, PLACEHOLDER not in tokens and all(each is None or each.forward for each in found)


def _presented(headers: MultiMapping[str], name: str) -> str | None:
    """Return the key in this header, None if there is none; a placeholder or another scheme is none."""
    values = headers.getall(name, [])
    if name == AUTHORIZATION:
        values = [_token(value) for value in values if value.lower().startswith("bearer ")]
    keys = {value.strip() for value in values} - {"", PLACEHOLDER}
    if len(keys) > 1:
        raise Unauthenticated(TWO_KEYS)
    return keys.pop() if keys else None


def provider_key(headers: MultiMapping[str], private: Container[str]) -> str | None:
    """Return the provider's own key that a request carries, None if there is none.

    `private` are the headers of the request that hold something else: a key of this gateway, or a placeholder. Raises
    Unauthenticated for two keys in one header.
    """
    names = (name for name in (AUTHORIZATION, X_API_KEY) if name not in private)
    return next((key for name in names if (key := _presented(headers, name)) is not None), None)


def _token(value: str) -> str:
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else value.strip()


def _require_local(headers: MultiMapping[str], remote: str | None) -> None:
    if not _is_loopback(remote):
        raise Forbidden("This gateway has no API keys configured, so it serves clients on its own machine only.")
    host = headers.get("host")  # a web page may have given its own name our address: then its requests are no others'
    if host is not None and not _is_loopback(_host_of(f"//{host}")):
        raise Forbidden(
            "This gateway has no API keys configured, so it answers to the names of this machine only: localhost or"
            " 127.0.0.1."
        )
    origin = headers.get("origin")  # a browser: any web page may send simple requests to this machine
    if origin is not None and not _is_loopback(_host_of(origin)):
        raise Forbidden("This gateway has no API keys configured, so it serves no web page of another host.")


def _not_a_providers(headers: MultiMapping[str]) -> Iterator[str]:
    """Yield the headers with a placeholder, or with what `x-portkey-api-key` holds: Portkey's SDKs send it twice."""
    ours = {PLACEHOLDER, *(value.strip() for value in headers.getall(API_KEY, []))}
    yield API_KEY
    for name in (AUTHORIZATION, X_API_KEY):
        if any(_token(value) in ours for value in headers.getall(name, [])):
            yield name


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address((host or "").strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def require_loopback(config: Config, host: str) -> None:
    """Raise ConfigError if the gateway would serve other machines without asking for a key."""
    if not config.api_keys and not _is_loopback(host):
        raise ConfigError(
            f"proxy_plugin.api_keys: no key is configured, so {host or 'all addresses'} cannot be served; "
            "configure a key, or set proxy_plugin.server.host to 127.0.0.1"
        )
