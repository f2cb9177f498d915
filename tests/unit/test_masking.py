"""Secrets stay out of texts, whichever way they are written, and the gateway's own key survives."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from urllib.parse import quote

import pytest
from pydantic import BaseModel, SecretStr

from proxy_plugin.errors import ConfigError
from proxy_plugin.masking import Masker, gateway_secret, keyed_hash, mask, same, secrets_in

PEM = "-----BEGIN PRIVATE KEY-----\nMIIabc+/=\ndef\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("sent Bearer abcd.efgh-1234~x= to it", "sent Bearer *** to it"),
        ("authorization: bearer abcdefgh12", "authorization: bearer ***"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("the key sk-proj-abcdef123456 was", "the key *** was"),
        ("http://user:pass@host/v1", "http://***@host/v1"),
        ("GET https://h/p?X-Sig=abc&y=1 failed", "GET https://h/p?*** failed"),
        ("/v1/files?purpose=batch", "/v1/files?***"),
        (f"key {PEM}end", "key ***\nend"),
        (f"key {PEM[:40]}", "key ***"),
        ("did you mean api_key?", "did you mean api_key?"),
        ("a basic question? yes: task-force", "a basic question? yes: task-force"),
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize("secret", ['p@ss "w0rd" \\ /+', "schlüssel-ß-12", "line1\nline2-long", "plain-secret-1234"])
def test_a_known_secret_is_hidden_in_every_way_of_writing_it(secret: str) -> None:
    masker = Masker([secret])
    for written in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert masker.mask(f"<{written}>") == "<***>"


def test_a_secret_that_contains_another_one_is_hidden_whole() -> None:
    assert Masker(["abcdefgh", "abcdefgh-ijkl"]).mask("x abcdefgh-ijkl y") == "x *** y"


def test_a_short_secret_is_hidden_as_a_word_but_does_not_eat_other_words() -> None:
    assert Masker(["dev"]).mask("dev: the device is key=dev.") == "***: the device is key=***."


def test_the_private_key_inside_a_service_account_is_hidden_alone_too() -> None:
    account = json.dumps({"type": "service_account", "project_id": "my-project", "private_key": PEM})
    masker = Masker([account])
    middle = PEM.strip()
    assert masker.mask(f"a {middle} b {account} c my-project") == "a *** b *** c my-project"


def test_nothing_is_hidden_by_an_empty_secret() -> None:
    assert Masker(["", " "]).mask("as it was") == "as it was"


def test_secrets_are_found_wherever_they_stand() -> None:
    class Inner(BaseModel):
        password: SecretStr = SecretStr("s1")
        note: str = "plain"

    @dataclass
    class Outer:
        inner: tuple[Inner, ...]
        raw: dict[str, object]

    raw = {"api_key": "s2", "targets": [{"aws_secret_access_key": "s3", "model": "m"}], "max_tokens": "5"}
    more = {"token": ["s4"], "api_key": "os.environ/NAME", "key": "by another name"}
    assert sorted(secrets_in(Outer((Inner(),), raw | {"more": more}))) == ["s1", "s2", "s3", "s4"]


def test_a_keyed_hash_is_hmac_sha256() -> None:
    # RFC 4231, test case 2
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert keyed_hash(b"Jefe", "what do ya want for nothing?") == expected
    assert keyed_hash(b"Jefe", "\udcff") != keyed_hash(b"Jefe", "\udcfe")


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
