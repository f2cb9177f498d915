"""Who may call: by key, in constant time, and by nobody else's machine where no key is configured."""

from __future__ import annotations

import hashlib

import pytest
from multidict import CIMultiDict

from proxy_plugin.access.callers import Callers, require_loopback
from proxy_plugin.config import Config, parse
from proxy_plugin.ground.errors import ConfigError, Forbidden, Unauthenticated

KEY, OTHER, UNKNOWN = "pk-alpha-key", "pk-beta-key", "pk-nobody"


def config(*, with_keys: bool = True) -> Config:
    alpha = {"name": "alpha", "key": KEY, "workspace": "team-a", "virtual_keys": ["acme-*", "solo"]}
    beta = {"name": "beta", "key_sha256": hashlib.sha256(OTHER.encode()).hexdigest().upper()}
    return parse({"proxy_plugin": {"api_keys": [alpha, beta] if with_keys else []}}, {})


CALLERS, OPEN = Callers(config()), Callers(config(with_keys=False))


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pairs)


def test_the_portkey_header_names_the_caller() -> None:
    caller = CALLERS.authenticate(headers(("x-portkey-api-key", KEY)), "203.0.113.9")
    assert (caller.name, caller.workspace, caller.credential_in) == ("alpha", "team-a", "x-portkey-api-key")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_does_without_it(scheme: str) -> None:
    caller = CALLERS.authenticate(headers(("Authorization", f"{scheme}  {OTHER} ")), "203.0.113.9")
    assert (caller.name, caller.workspace, caller.credential_in) == ("beta", "default", "authorization")


def test_the_portkey_header_is_stronger() -> None:
    both = headers(("Authorization", f"Bearer {OTHER}"), ("X-Portkey-API-Key", KEY))
    assert CALLERS.authenticate(both, None).name == "alpha"
    wrong = headers(("Authorization", f"Bearer {OTHER}"), ("x-portkey-api-key", UNKNOWN))
    with pytest.raises(Unauthenticated):
        CALLERS.authenticate(wrong, None)


@pytest.mark.parametrize(
    "pair",
    [
        ("x-portkey-api-key", UNKNOWN),
        ("x-portkey-api-key", KEY + "x"),
        ("x-portkey-api-key", KEY.upper()),
        ("x-portkey-api-key", "\udcff\udcfe"),
        ("x-portkey-api-key", hashlib.sha256(OTHER.encode()).hexdigest()),
        ("Authorization", f"Bearer {UNKNOWN}"),
    ],
)
def test_an_unknown_key_is_refused_in_portkeys_words(pair: tuple[str, str]) -> None:
    with pytest.raises(Unauthenticated) as caught:
        CALLERS.authenticate(headers(pair), "127.0.0.1")
    message = "Portkey Error: Invalid API Key. Error Code: 03"
    assert caught.value.message == message
    body = caught.value.body()
    assert (body["status"], body["message"], body["error"]["message"]) == ("failure", message, message)


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        (("x-portkey-api-key", ""),),
        (("Authorization", f"Basic {KEY}"),),
        (("Authorization", KEY),),
        (("Authorization", "Bearer OPENAI_API_KEY"),),
        (("x-api-key", UNKNOWN),),
    ],
)
def test_a_missing_key_is_answered_with_where_to_put_it(pairs: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Unauthenticated, match=r"x-portkey-api-key: KEY.*Authorization: Bearer KEY"):
        CALLERS.authenticate(headers(*pairs), "127.0.0.1")


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "x-litellm-api-key"])
def test_a_key_of_ours_names_its_caller_where_clients_of_other_providers_put_it(name: str) -> None:
    caller = CALLERS.authenticate(headers((name, KEY)), None)
    assert (caller.name, caller.credential_in) == ("alpha", name)
    assert name in caller.private_headers, "it is no provider's key"
    beside = CALLERS.authenticate(headers((name, KEY), ("Authorization", "Bearer sk-of-the-provider")), None)
    assert (beside.name, "authorization" in beside.private_headers) == ("alpha", False)
    with pytest.raises(Unauthenticated, match="Invalid API Key"):
        CALLERS.authenticate(headers((name, KEY), ("x-portkey-api-key", UNKNOWN)), None)


def test_two_different_keys_in_one_header_are_refused() -> None:
    with pytest.raises(Unauthenticated, match="More than one"):
        CALLERS.authenticate(headers(("x-portkey-api-key", KEY), ("x-portkey-api-key", OTHER)), None)
    same = headers(("x-portkey-api-key", KEY), ("x-portkey-api-key", KEY))
    assert CALLERS.authenticate(same, None).name == "alpha"


@pytest.mark.parametrize(("slug", "allowed"), [("acme-a", True), ("solo", True), ("Acme-a", False), ("solo2", False)])
def test_a_key_reaches_only_its_virtual_keys(slug: str, allowed: bool) -> None:
    assert CALLERS.authenticate(headers(("x-portkey-api-key", KEY)), None).allows(slug) is allowed


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_without_keys_this_machine_is_served(remote: str) -> None:
    caller = OPEN.authenticate(headers(("x-portkey-api-key", "anything")), remote)
    assert (caller.workspace, caller.credential_in) == ("default", None)
    assert caller.allows("any-slug")


@pytest.mark.parametrize(
    "remote", ["203.0.113.9", "::ffff:203.0.113.9", "10.0.0.1", "0.0.0.0", "", None, "2001:db8::1"]
)
def test_without_keys_no_other_machine_is_served(remote: str | None) -> None:
    with pytest.raises(Forbidden, match="no API keys configured"):
        OPEN.authenticate(headers(("x-portkey-api-key", KEY)), remote)


@pytest.mark.parametrize(
    ("origin", "served"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1:8787", True),
        ("http://[::1]:1", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_without_keys_web_pages_of_other_hosts_are_refused(origin: str, served: bool) -> None:
    if served:
        assert OPEN.authenticate(headers(("Origin", origin)), "127.0.0.1").name == "local"
        return
    with pytest.raises(Forbidden, match="no web page"):
        OPEN.authenticate(headers(("Origin", origin)), "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True),
        ("localhost:8787", True),
        ("LOCALHOST:8787", True),
        ("127.0.0.1:8787", True),
        ("127.9.9.9", True),
        ("[::1]:8787", True),
        ("evil.example", False),
        ("evil.example:8787", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:80", False),
        ("localhost@evil.example", False),
        ("evil.example#localhost", False),
        ("", False),
        ("[", False),
        ("0.0.0.0:8787", False),
        ("192.168.1.7:8787", False),
    ],
)
def test_without_keys_the_host_of_a_request_is_this_machine(host: str, served: bool) -> None:
    """Otherwise a page whose name leads here for the moment could read what it is answered."""
    if served:
        assert OPEN.authenticate(headers(("Host", host)), "127.0.0.1").name == "local"
        return
    with pytest.raises(Forbidden, match="names of this machine"):
        OPEN.authenticate(headers(("Host", host)), "127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_a_gateway_without_keys_may_listen_on_loopback(host: str) -> None:
    require_loopback(config(with_keys=False), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "gateway.example", "localhost.example"])
def test_a_gateway_without_keys_may_not_listen_anywhere_else(host: str) -> None:
    with pytest.raises(ConfigError, match=r"^proxy_plugin\.api_keys: no key is configured"):
        require_loopback(config(with_keys=False), host)
    require_loopback(config(), host)


def test_no_repr_shows_a_key() -> None:
    caller = CALLERS.authenticate(headers(("x-portkey-api-key", KEY)), None)
    assert KEY not in repr((caller, CALLERS, config().api_keys))
