"""What `serve` says on a terminal: where, with what, what next; and no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.config import parse
from proxy_plugin.config.welcome import welcome

LANE = {"provider": "openai", "api_key": "sk-of-the-account"}
KEY = {"name": "me", "key": "sk-of-the-caller"}


def said(
    host: str = "127.0.0.1", *, has_file: bool = False, path: Path = Path("/etc/pp/config.yaml"), **sections: Any
) -> str:
    config = parse({"proxy_plugin": {"virtual_keys": {"prod": LANE}, **sections}}, {})
    return welcome(config, host, 8787, path, has_file=has_file)


def test_where_it_listens_and_what_to_do_next() -> None:
    text = said(api_keys=[KEY])
    assert "listens on http://127.0.0.1:8787/v1" in text
    assert "export PORTKEY_API_KEY=..." in text
    assert "batch submit questions.jsonl --virtual-key prod --watch" in text
    assert "sk-of" not in text


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:8787/v1"), ("::", "http://[::1]:8787/v1"), ("::1", "http://[::1]:")]
)
def test_an_address_that_can_be_called(host: str, url: str) -> None:
    assert url in said(host, api_keys=[KEY])


def test_a_file_beside_it_saves_the_exports() -> None:
    text = said(has_file=True, api_keys=[KEY | {"default": "prod"}])
    assert "cd /etc/pp" in text
    assert "export" not in text
    assert "batch submit questions.jsonl --watch" in text


def test_the_configuration_is_found_from_where_the_commands_are_run() -> None:
    path = Path("pp/config.yaml")
    assert f"doctor --config {path.absolute()} " in said(path=path)
    beside = said(path=path, has_file=True)
    assert f"cd {path.absolute().parent} " in beside
    assert "doctor --config config.yaml " in beside


def test_what_cannot_be_used_is_named() -> None:
    text = said(virtual_keys={"gone": LANE | {"api_key": "os.environ/NOT_THERE_AT_ALL"}})
    assert "gone: " in text
    assert "NOT_THERE_AT_ALL" in text
    assert "everybody on this machine" in text
