"""Who is calling: a gateway key to a caller with a workspace and the virtual keys it may use."""

from __future__ import annotations

import hmac
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from multidict import MultiMapping
from pydantic import SecretStr

from proxy_plugin.access.identity import Identity
from proxy_plugin.access.our_keys import OurKeys
from proxy_plugin.config import ApiKey, Config
from proxy_plugin.config.read import MASTER
from proxy_plugin.config.sections import LITELLM
from proxy_plugin.ground.errors import ConfigError, Forbidden, Unauthenticated
from proxy_plugin.ground.fingerprints import digest, keyed_hash

API_KEY = "x-portkey-api-key"
AUTHORIZATION = "authorization"
PLACEHOLDER = "OPENAI_API_KEY"  # Portkey's Python SDK sends this literal text as its bearer token
X_API_KEY, AZURES, LITELLMS = "x-api-key", "api-key", "x-litellm-api-key"
CREDENTIAL_HEADERS = (API_KEY, LITELLMS, AUTHORIZATION, X_API_KEY, AZURES)  # where clients put the key they have
_NAMING = (API_KEY, AUTHORIZATION)  # of these, the ones that name a caller; with LiteLLM's keys all do, as there
_AMONG_PROVIDERS = (LITELLMS, X_API_KEY, AZURES)  # name one with a key of ours alone
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
    operator: bool = False  # may see the sums of all workspaces
    forwards: bool = False  # its key is one of the upstream's, too
    kept_back: frozenset[str] = frozenset({API_KEY})
    identity: Identity | None = None  # of a key of LiteLLM's
    upstream_key: SecretStr | None = field(default=None, repr=False)  # goes on in the place of its key

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
        self.of_litellm = config.auth == LITELLM  # other keys than these may be LiteLLM's
        self.lend = any(entry.upstream_key is not None for entry in config.api_keys)
        self.keys = OurKeys(entry for entry in config.api_keys if not entry.forward)  # not to be passed on

    def authenticate(self, headers: MultiMapping[str], remote: str | None) -> Caller:
        """Return the caller. `remote` is the peer's IP address.

        Raises Unauthenticated for a missing or unknown key. Where no key is configured: Forbidden for everybody but
        clients on this machine. Those that bring the same provider key share a workspace, and those that bring none
        share the workspace `default`.
        """
        if not self._known and not self.of_litellm:
            return self._local(headers, remote)
        key = self.presented(headers)
        entry = self._entry(key)
        if entry is None:
            raise Unauthenticated(UNKNOWN_KEY)
        return self._named(entry, key, headers)

    def presented(self, headers: MultiMapping[str]) -> str:
        """Return the key that names the caller, whosever it is. Raises Unauthenticated where there is none.

        A header that may hold a provider's key names a caller, too, where it holds one of ours: clients of Azure's and
        Anthropic's, which are LiteLLM's clients, send the one key there, and so do those whose `Authorization` is for
        the provider.
        """
        named = (_presented(headers, name) for name in (CREDENTIAL_HEADERS if self.of_litellm else _NAMING))
        first = next((key for key in named if key is not None), None)
        if self.of_litellm or API_KEY in headers or (first is not None and self._entry(first) is not None):
            return _there(first)
        others = (_presented(headers, name) for name in _AMONG_PROVIDERS)
        return _there(next((key for key in others if key is not None and self._entry(key) is not None), first))

    def knows(self, headers: MultiMapping[str]) -> bool:
        """Tell whether the caller's key is one of ours. Raises Unauthenticated where there is none."""
        return self._entry(self.presented(headers)) is not None

    def is_elsewhere(self, headers: MultiMapping[str]) -> bool:
        """Tell whether the caller's key may be the upstream's own: it is none of ours, nor in a header of Portkey's."""
        if not self._known or API_KEY in headers:
            return False
        keys = sent_keys(headers)
        return bool(keys) and not any(self._entry(key) for key in keys)

    def holding(self, caller: Caller, key: str, headers: MultiMapping[str]) -> Caller:
        """Return a caller whose key is another proxy's, with what the headers of its request hold."""
        held = dict(self._private(headers, key))
        kept_back = frozenset(name for name, forward in held.items() if not forward)
        where = next((name for name in CREDENTIAL_HEADERS if _presented(headers, name) == key), None)
        return replace(caller, credential_in=where, private_headers=frozenset(held), kept_back=kept_back)

    def _local(self, headers: MultiMapping[str], remote: str | None) -> Caller:
        _require_local(headers, remote)
        private = frozenset(_not_a_providers(headers))
        key = provider_key(headers, private)
        tenant = "default" if key is None else f"key-{keyed_hash(self._secret, f'tenant{chr(0)}{key}')[:16]}"
        return Caller("local", tenant, private_headers=private, kept_back=private)

    def _named(self, entry: ApiKey, key: str, headers: MultiMapping[str]) -> Caller:
        caller = Caller(
            entry.name,
            entry.workspace,
            entry.virtual_keys,
            models=entry.models,
            default=entry.default,
            operator=entry.operator,
            forwards=entry.forward,
            identity=_identity(entry),
            upstream_key=entry.upstream_key,
        )
        return self.holding(caller, key, headers)

    def _entry(self, presented: str) -> ApiKey | None:
        """Look at every key, found or not, so that the time tells nothing of where it stands in the list."""
        wanted, found = digest(presented), None
        for known, entry in self._known:
            if hmac.compare_digest(known, wanted):
                found = entry
        return found

    def _private(self, headers: MultiMapping[str], theirs: str) -> Iterator[tuple[str, bool]]:
        """Yield (header, whether it is passed on) of each that holds a key of ours, the caller's, or a placeholder."""
        yield API_KEY, False
        for name in CREDENTIAL_HEADERS[1:]:
            tokens = [_token(value) for value in headers.getall(name, [])]
            found = [self._entry(token) for token in tokens if token != PLACEHOLDER]
            if PLACEHOLDER in tokens or theirs in tokens or any(found):
                yield name, PLACEHOLDER not in tokens and all(each is None or each.forward for each in found)


def _there(key: str | None) -> str:
    if key is None:
        raise Unauthenticated(MISSING_KEY)
    return key


def _identity(entry: ApiKey) -> Identity | None:
    """Return whom the upstream knows behind a key of ours, None where it knows nobody."""
    if entry.upstream_key is not None:
        return Identity(name=entry.name, key_hash=digest(entry.upstream_key.get_secret_value()).hex())
    if entry.forward:
        return Identity(name=entry.name, key_hash=entry.digest().hex(), admin=entry.name == MASTER)
    return None


def _presented(headers: MultiMapping[str], name: str) -> str | None:
    """Return the key in this header, None if there is none; a placeholder or another scheme is none."""
    values = headers.getall(name, [])
    if name == AUTHORIZATION:
        values = [_token(value) for value in values if value.lower().startswith("bearer ")]
    elif name == LITELLMS:
        values = [_token(value) for value in values]
    keys = {value.strip() for value in values} - {"", PLACEHOLDER}
    if len(keys) > 1:
        raise Unauthenticated(TWO_KEYS)
    return keys.pop() if keys else None


def sent_keys(headers: MultiMapping[str]) -> set[str]:
    """Return all keys of a request, whosever they are. Raises Unauthenticated for two in one header."""
    return {key for name in CREDENTIAL_HEADERS if (key := _presented(headers, name)) is not None}


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
    if not config.api_keys and config.auth != LITELLM and not _is_loopback(host):
        raise ConfigError(
            f"proxy_plugin.api_keys: no key is configured, so {host or 'all addresses'} cannot be served; "
            "configure a key, or set proxy_plugin.server.host to 127.0.0.1"
        )
