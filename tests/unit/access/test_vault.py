"""Provider keys at rest: only the right seal key opens them, only for the batch they were sealed for."""

from __future__ import annotations

import base64

import pytest
from pydantic import SecretStr

from proxy_plugin.access.vault import Vault
from proxy_plugin.providers.base import Credentials

SECRETS = {"api_key": "sk-own-5up3r-s3cr3t", "secret_text": 'ü"\n'}
BATCH = "batch_1"


def vault(seal_key: str = "a seal key") -> Vault:
    return Vault(SecretStr(seal_key))


def sealed() -> str:
    text = vault().seal(BATCH, SECRETS)
    assert text is not None
    return text


def test_what_was_sealed_opens_after_a_restart() -> None:
    assert vault().unseal(BATCH, sealed()) == SECRETS


def test_sealing_twice_shows_nothing_and_is_never_the_same() -> None:
    one, other = sealed(), sealed()
    assert one != other
    for text in (one, other):
        assert b"5up3r" not in base64.b64decode(text)


@pytest.mark.parametrize("seal_key", ["another seal key", "", "A seal key", "a seal key "])
def test_another_seal_key_opens_nothing(seal_key: str) -> None:
    assert vault(seal_key).unseal(BATCH, sealed()) is None


def test_the_text_of_one_batch_does_not_open_for_another() -> None:
    assert vault().unseal("batch_2", sealed()) is None


@pytest.mark.parametrize("place", [0, 11, 12, 40, -1])
def test_a_changed_bit_is_noticed(place: int) -> None:
    raw = bytearray(base64.b64decode(sealed()))
    raw[place] ^= 1
    assert vault().unseal(BATCH, base64.b64encode(raw).decode()) is None


def test_a_damaged_text_is_no_crash() -> None:
    for damaged in ("", "AA==", "not base64!", "ü", sealed()[:-8]):
        assert vault().unseal(BATCH, damaged) is None


def test_any_text_is_a_seal_key() -> None:
    for seal_key in ("", "x", "ü🙂", "\udcff", "k" * 10_000):
        made = Vault(SecretStr(seal_key))
        text = made.seal(BATCH, SECRETS)
        assert text is not None
        assert made.unseal(BATCH, text) == SECRETS


def test_without_a_seal_key_nothing_is_written() -> None:
    assert Vault().seal(BATCH, SECRETS) is None
    assert Vault().unseal(BATCH, sealed()) is None


def test_keys_are_held_by_batch_until_they_are_forgotten() -> None:
    held, credentials = Vault(), Credentials()
    held.put(BATCH, credentials)
    assert held.get(BATCH) is credentials
    assert held.get("batch_2") is None
    assert held.held() == {BATCH}
    held.forget(BATCH)
    held.forget(BATCH)
    assert held.get(BATCH) is None
    assert not held.held()


def test_no_repr_shows_a_key() -> None:
    made = vault("a-seal-key-to-look-for")
    made.put(BATCH, Credentials(custom_host=SECRETS["api_key"]))
    assert "seal-key" not in repr(made)
    assert SECRETS["api_key"] not in repr(made)
