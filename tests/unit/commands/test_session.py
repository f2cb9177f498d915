"""Options as headers: `--drop-params` reaches the gateway beside whatever names the account."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.commands import session
from proxy_plugin.commands.options import parse
from proxy_plugin.commands.problems import Misuse


def headers(*words: str) -> dict[str, str]:
    return session._headers(parse([words[0], "file.jsonl", *words[1:]]), {})


@pytest.mark.parametrize("command", ["submit", "plan"])
@pytest.mark.parametrize(
    ("words", "config"),
    [
        ((), None),
        (("--drop-params",), {"drop_params": True}),
        (("--drop-params", "--virtual-key", "claude"), {"drop_params": True}),
        (("--drop-params", "--provider", "@claude"), {"drop_params": True}),
        (("--drop-params", "--config", '{"virtual_key": "a"}'), {"virtual_key": "a", "drop_params": True}),
        (("--drop-params", "--config", '{"drop_params": ["seed"]}'), {"drop_params": True}),
        (("--config", '{"virtual_key": "a"}'), {"virtual_key": "a"}),
    ],
)
def test_drop_params(command: str, words: tuple[str, ...], config: object) -> None:
    sent = headers(command, *words).get("x-portkey-config")
    assert (None if sent is None else json.loads(sent)) == config


def test_a_saved_config_is_not_changed_from_here() -> None:
    assert headers("plan", "--config", "pc-split")["x-portkey-config"] == "pc-split"
    with pytest.raises(Misuse, match="drop_params: true"):
        headers("plan", "--config", "pc-split", "--drop-params")
    with pytest.raises(Misuse, match="--config"):
        headers("plan", "--config", "{broken", "--drop-params")
