"""What a provider repeats of an account's secrets is hidden, whole or in part."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.echoes import HIDDEN, WINDOW, Echoes

KEY = "sk-proj-Ab3xY9kLm2Qr7TzW0pVn5"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----\n"
ECHOES = Echoes([KEY, PEM, "dev"])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"Incorrect API key provided: {KEY}.", "Incorrect API key provided: [credential]"),
        (f"key={KEY}&x", "key=[credential]"),
        ("key sk-proj-****n5 is wrong", "key [credential] is wrong"),
        (f"without its prefix: {KEY[8:]}", "without its prefix: [credential]"),
        (f"the middle: {KEY[10:22]} is", "the middle: [credential] is"),
        (f"its end: ...{KEY[-8:]}", "its end: ...[credential]"),
        (f"twice {KEY} {KEY[3:]}", "twice [credential] [credential]"),
        (f"quoted '{KEY}'", "quoted '[credential]'"),
        ("PRIVATE KEY, MIIEvQIBADANBgkq", "PRIVATE KEY, [credential]"),
        ("dev: the device is dev", "[credential]: the device is [credential]"),
        (f"seven: {KEY[-7:]}", f"seven: {KEY[-7:]}"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_a_secret_is_hidden_from_eight_characters_on(said: str, shown: str) -> None:
    assert ECHOES.hide(said.encode()).decode() == shown


def test_rows_stay_json() -> None:
    row = {"error": {"message": f'the header "Bearer {KEY}" \\ \n is wrong', "key": KEY, "keys": [KEY, 1]}}
    hidden = json.loads(ECHOES.hide(json.dumps(row).encode()))
    assert KEY[:WINDOW] not in json.dumps(hidden)
    assert hidden["error"]["keys"] == ["[credential]", 1]


@pytest.mark.parametrize("dummy", ["dummy-production-key", "my-local-server", "0000000000000000"])
def test_the_words_of_a_dummy_key_stay(dummy: str) -> None:
    said = b"production-ready, local-server, 00000000 requests"
    assert Echoes([dummy]).hide(said) == (said if dummy[0] != "0" else said.replace(b"00000000", HIDDEN))


@given(st.integers(0, len(KEY) - WINDOW), st.integers(WINDOW, len(KEY)), st.text(max_size=20), st.text(max_size=20))
def test_no_part_of_a_key_gets_out(start: int, length: int, before: str, after: str) -> None:
    part = KEY[start : start + length]
    hidden = ECHOES.hide(f"{before} {part} {after}".encode("utf-8", "surrogatepass"))
    assert part.encode() not in hidden
    assert HIDDEN in hidden


def test_without_secrets_nothing_changes() -> None:
    assert Echoes([""]).hide(KEY.encode()) == KEY.encode()
