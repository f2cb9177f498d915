"""`init`: what it writes is a configuration that can be served, and no secret is where others may read it."""

from __future__ import annotations

import argparse
import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin.commands import surroundings
from proxy_plugin.config import SCHEMA, Config, load
from proxy_plugin.demo import beginning
from proxy_plugin.demo.beginning import KEY, URL, Beginning, NotBegun, begun
from proxy_plugin.providers import catalog


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in catalog.ENVIRONMENT.values():
        for each in (*names.proofs, names.others):
            for variables in each.values():
                for variable in variables:
                    monkeypatch.delenv(variable, raising=False)


def arguments(folder: Path, **said: object) -> argparse.Namespace:
    defaults = {"config": folder / "config.yaml", "provider": None, "port": None, "yes": True}
    return argparse.Namespace(**(defaults | said))


def loaded(made: Beginning) -> Config:
    return load(made.config, surroundings.read(made.env))


class Keyboard(io.StringIO):
    """A terminal at which somebody has typed."""

    def isatty(self) -> bool:
        return True


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str, hidden: str = "") -> None:
    left: Iterator[str] = iter(answers)
    monkeypatch.setattr("sys.stdin", Keyboard())
    monkeypatch.setattr("builtins.input", lambda _: next(left))
    monkeypatch.setattr(beginning, "getpass", lambda _: hidden)


def test_without_a_word_it_is_the_sandbox(tmp_path: Path) -> None:
    made = begun(arguments(tmp_path), SCHEMA)
    config = loaded(made)
    assert list(config.virtual_keys) == ["sandbox"]
    assert (config.api_keys[0].default, config.server.port) == ("sandbox", 8787)
    assert config.storage.data_dir == tmp_path / "var"
    variables = surroundings.read(made.env)
    assert variables[URL] == "http://127.0.0.1:8787/v1"
    assert variables[KEY] not in made.config.read_text()
    assert stat.S_IMODE(made.env.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    assert [line["url"] for line in lines] == ["/v1/chat/completions"] * 3
    assert "serve" in made.told()
    assert "--sandbox" in made.told()
    assert variables[KEY] not in made.told()


def test_it_asks_whose_account_and_keeps_the_key_in_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "Gemini", "9000", hidden="AIza-of-somebody")
    made = begun(arguments(tmp_path, yes=False), SCHEMA)
    config = loaded(made)
    assert (list(config.virtual_keys), config.disabled, config.server.port) == (["google"], {}, 9000)
    assert "AIza" not in made.config.read_text()
    assert surroundings.read(made.env)["GOOGLE_API_KEY"] == "AIza-of-somebody"
    assert "doctor" in made.told()


def test_a_key_can_be_given_later(tmp_path: Path) -> None:
    made = begun(arguments(tmp_path, provider="fireworks-ai"), SCHEMA)
    assert list(loaded(made).disabled) == ["fireworks-ai"]
    assert made.missing == ["FIREWORKS_API_KEY", "FIREWORKS_ACCOUNT_ID"]
    assert "Set FIREWORKS_ACCOUNT_ID in" in made.told()
    assert "# FIREWORKS_API_KEY=" in made.env.read_text()


@pytest.mark.parametrize("provider", sorted(catalog.BUILT_IN))
def test_every_provider_has_a_beginning(tmp_path: Path, provider: str) -> None:
    made = begun(arguments(tmp_path, provider=provider), SCHEMA)
    assert provider in made.config.read_text()
    assert made.account["provider"] == provider


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OTHER=1\n{KEY}=sk-mine")
    (tmp_path / "questions.jsonl").write_text("mine")
    made = begun(arguments(tmp_path), SCHEMA)
    assert surroundings.read(made.env) == {"OTHER": "1", KEY: "sk-mine", URL: "http://127.0.0.1:8787/v1"}
    assert (tmp_path / "questions.jsonl").read_text() == "mine"
    before = made.config.read_text()
    with pytest.raises(NotBegun, match="is there already"):
        begun(arguments(tmp_path), SCHEMA)
    assert made.config.read_text() == before


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"provider": "opnai"}, "opnai"),
        ({"port": "0"}, "from 1 to 65535"),
        ({"port": "x"}, "from 1 to 65535"),
        ({"config": Path("/nowhere/config.yaml")}, "no folder"),
    ],
)
def test_a_mistake_writes_nothing(tmp_path: Path, said: dict[str, object], says: str) -> None:
    with pytest.raises(NotBegun, match=says):
        begun(arguments(tmp_path, **said), SCHEMA)
    assert list(tmp_path.iterdir()) == []
