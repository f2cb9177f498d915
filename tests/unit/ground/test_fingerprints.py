"""Hashes that stand for secrets, and the gateway's own key, which is made once and survives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.ground.fingerprints import fingerprint, gateway_secret, keyed_hash, same


def test_a_keyed_hash_is_hmac_sha256() -> None:
    # RFC 4231, test case 2
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert keyed_hash(b"Jefe", "what do ya want for nothing?") == expected
    assert keyed_hash(b"Jefe", "\udcff") != keyed_hash(b"Jefe", "\udcfe")


def test_the_fingerprint_of_an_account_is_half_its_keyed_hash() -> None:
    assert fingerprint(b"Jefe", "what do ya want for nothing?") == "5bdcc146bf60754e6a042426089575c7"


@pytest.mark.parametrize(
    ("one", "other", "equal"), [("a", "a", True), ("a", "b", False), ("", "a", False), ("ä", "ä", True)]
)
def test_texts_are_compared(one: str, other: str, equal: bool) -> None:
    assert same(one, other) is equal


def test_the_gateways_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    first = gateway_secret(folder)
    assert len(first) == 32
    assert gateway_secret(folder) == first
    assert [path.name for path in folder.iterdir()] == ["secret"]
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    secret = gateway_secret(tmp_path)
    (tmp_path / "secret").chmod(0o644)
    assert gateway_secret(tmp_path) == secret
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_two_data_folders_have_two_secrets(tmp_path: Path) -> None:
    assert gateway_secret(tmp_path / "a") != gateway_secret(tmp_path / "b")


def test_a_damaged_secret_stops_the_start_instead_of_being_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(ConfigError, match="must hold 32 bytes"):
        gateway_secret(tmp_path)
    assert (tmp_path / "secret").read_bytes() == b"short"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/data/secret: Not a directory"):
        gateway_secret(tmp_path / "file" / "data")


def test_starters_at_the_same_moment_agree_on_one_secret(tmp_path: Path) -> None:
    barrier = Barrier(8)

    def start(folder: Path) -> bytes:
        barrier.wait()
        return gateway_secret(folder)

    with ThreadPoolExecutor(8) as pool:
        for attempt in range(20):
            folder = tmp_path / str(attempt)
            assert len(set(pool.map(start, [folder] * 8))) == 1
            assert [path.name for path in folder.iterdir()] == ["secret"]
