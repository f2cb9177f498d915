"""What `check` says of the way that costs take to LiteLLM."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.config import parse
from proxy_plugin.config.check import check_facts, render_check

PLUGIN = {"litellm_settings": {"callbacks": ["other.thing", "proxy_plugin.litellm_callback.plugin"]}}
MASTER = {"general_settings": {"master_key": "sk-m-0123456789"}}
KEPT = {"general_settings": {"master_key": "sk-m-0123456789", "database_url": "postgresql://db"}}
FRONT = {"proxy_plugin": {"server": {"upstream": "http://127.0.0.1:4000"}}}
INSIDE: dict[str, Any] = {"proxy_plugin": {}}
TOLD, NOT_TOLD = "is told to LiteLLM, once", "LiteLLM is not told what batches cost"


@pytest.mark.parametrize(
    ("config", "environ", "said"),
    [
        (FRONT | MASTER, {}, [f"{NOT_TOLD}: add proxy_plugin.litellm_callback.plugin", "has no database"]),
        (FRONT | MASTER | PLUGIN, {}, [TOLD, "has no database"]),
        (FRONT | KEPT | PLUGIN, {}, [TOLD]),
        (FRONT | MASTER | PLUGIN, {"DATABASE_URL": "postgresql://db"}, [TOLD]),
        (
            FRONT | PLUGIN,
            {"DATABASE_URL": "postgresql://db"},
            [f"{NOT_TOLD}: general_settings.master_key is not"],
        ),
        (INSIDE | KEPT | PLUGIN, {}, [TOLD]),
        (INSIDE | MASTER, {}, []),
        (FRONT, {}, []),
    ],
)
def test_check_says_who_is_told_and_who_keeps_it(
    config: dict[str, Any], environ: dict[str, str], said: list[str]
) -> None:
    found = parse(config, environ)
    assert len(found.spend) == len(said)
    for line, part in zip(found.spend, said, strict=True):
        assert part in line
        assert f"  {line}" in render_check(found)
    assert check_facts(found)["spend"] == list(found.spend)
