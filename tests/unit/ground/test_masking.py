"""Secrets stay out of texts, whichever way they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from pydantic import BaseModel, SecretStr

from proxy_plugin.ground.masking import Masker, mask, secrets_in

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
