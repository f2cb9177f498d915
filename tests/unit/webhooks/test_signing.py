"""Signatures that the libraries of receivers verify, secrets that come back the same, and the pauses between tries."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from proxy_plugin.ground.webhooks import check_secret, check_url
from proxy_plugin.webhooks.sender import GIVES_UP, PAUSES, in_turns, pause_after
from proxy_plugin.webhooks.signing import headers, made

KEYS = st.binary(min_size=32, max_size=32)


@given(key=KEYS, body=st.text(max_size=200).map(json.dumps), numbers=st.sets(st.integers(0, 9), min_size=2, max_size=3))
def test_each_secret_that_counts_verifies_and_no_other(key: bytes, body: str, numbers: set[int]) -> None:
    secrets = [made(key, "we_x", n) for n in sorted(numbers)]
    signed = dict(headers(secrets[:-1], "wh_1", time.time(), body))
    for secret in secrets[:-1]:
        assert Webhook(check_secret(secret)).verify(body, signed) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(secrets[-1]).verify(body, signed)


@given(key=KEYS, owners=st.sets(st.text(min_size=1, max_size=20), min_size=2, max_size=2))
def test_owners_share_no_secret(key: bytes, owners: set[str]) -> None:
    one, other = owners
    assert made(key, one, 0) == made(key, one, 0) != made(key, other, 0)
    assert made(key, one, 0) != made(key, one, 1)


def test_pauses_grow_and_fill_three_days() -> None:
    pauses = [pause_after(tries, None, 0.0) for tries in range(30)]
    assert pauses == sorted(pauses)
    assert pauses[: len(PAUSES)] == list(PAUSES)
    assert sum(pauses[:16]) < GIVES_UP < sum(pauses[:18])
    assert pause_after(0, 60.0, 0.0) == 60.0
    assert pause_after(0, 1e9, 0.0) == 3600.0
    assert pause_after(3, None, 1.0) == pytest.approx(PAUSES[3] * 1.1)


def test_workspaces_take_turns() -> None:
    rows: Any = [["a1", "a2", "a3"], ["b1"], ["c1", "c2"]]
    assert [*map(str, in_turns(rows))] == ["a1", "b1", "c1", "a2", "c2", "a3"]


@pytest.mark.parametrize("url", ["https://example.com", "http://example.com:8080/a?b=c%20d", "https://93.184.216.34/"])
def test_a_url_stays_as_it_was_written(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://a.localhost/"])
def test_a_private_host_has_to_be_listed(url: str) -> None:
    with pytest.raises(ValueError, match="private"):
        check_url(url)
    assert check_url("http://10.0.0.1:81/", ("10.0.0.1:81",)) == "http://10.0.0.1:81/"
