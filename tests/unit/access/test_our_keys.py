"""Keys of this gateway are found in what is to be passed on."""

from __future__ import annotations

import base64
from hashlib import sha256
from urllib.parse import quote

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr

from proxy_plugin.access.our_keys import OurKeys
from proxy_plugin.config import ApiKey

CLEAR, HASHED, SHORT = "clear-key/1234+=", "hashed-key-5678", "dev"
KEYS = OurKeys(
    [
        ApiKey(name="a", key=SecretStr(CLEAR)),
        ApiKey(name="b", key_sha256=sha256(HASHED.encode()).hexdigest()),
        ApiKey(name="c", key=SecretStr(SHORT)),
    ]
)
PLACES = ["{}", "Bearer {}", "x={}", "a; b={}; c", '"{}"', "realtime, openai-insecure-api-key.{}", "<{}>", " {} "]


@pytest.mark.parametrize("key", [CLEAR, HASHED, SHORT])
@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_found_where_it_stands_by_itself(place: str, key: str) -> None:
    assert KEYS.within(place.format(key))
    assert KEYS.within(place.format(quote(key, safe="")))


@pytest.mark.parametrize("key", [CLEAR, HASHED, SHORT])
@pytest.mark.parametrize("user", ["user:{}", "{}:", "{}"])
def test_a_key_is_found_in_basic_credentials(key: str, user: str) -> None:
    encoded = base64.b64encode(user.format(key).encode()).decode()
    assert KEYS.within(f"Basic {encoded}")
    assert KEYS.within(f"basic {encoded.rstrip('=')}")


@pytest.mark.parametrize(
    "text", ["", "device", "clear-key", "hashed-key-567", "Basic !!!", "Basic AAAA", "a=b; c=d", "é"]
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert not KEYS.within(text)
    assert KEYS.without(CIMultiDict({"x": text})) == CIMultiDict({"x": text})


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("/v1/x?a=1", "/v1/x?a=1"),
        (f"/v1/x?key={HASHED}", "/v1/x"),
        (f"/v1/x?a=1&key={HASHED}&b=%2f", "/v1/x?a=1&b=%2f"),
        (f"/v1/x?{HASHED}&a", "/v1/x?a"),
        (f"/v1/x?key={quote(CLEAR, safe='')}&a=?", "/v1/x?a=?"),
        ("/v1/x?", "/v1/x?"),
        ("/v1/x", "/v1/x"),
    ],
)
def test_a_query_loses_the_parameters_with_a_key(target: str, kept: str) -> None:
    assert KEYS.without_in_query(target) == kept


def test_without_keys_nothing_is_looked_for() -> None:
    assert not OurKeys([]).within("anything")
