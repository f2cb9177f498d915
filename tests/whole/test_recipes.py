"""The page of recipes runs from its top to its end: files are written, commands and programs do what is said."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy_plugin.commands import watching
from proxy_plugin.commands.main import main
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support import code_blocks
from tests.support.code_blocks import ROOT, CodeBlock
from tests.support.stack import KEY, Gateway, lane

BLOCKS = list(code_blocks.of(ROOT / "docs" / "recipes.md"))


@pytest.fixture
def gateway(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with the page's configuration, whose accounts are at stand-ins."""
    ours = yaml.safe_load(next(block.text for block in BLOCKS if block.language == "yaml"))["proxy_plugin"]
    keys = {slug: lane(sandbox, provider=account["provider"]) for slug, account in ours["virtual_keys"].items()}
    gateway = Gateway(tmp_path, keys, configs=ours["configs"])
    gateway.start()
    yield gateway
    gateway.close()


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def do(block: CodeBlock, names: dict[str, Any]) -> None:
    """Do what a block is for."""
    if block.name:
        Path(block.name).write_text(block.text)
    if block.language == "python":
        exec(compile(block.text, str(block), "exec"), names)
    for command in code_blocks.commands(block.text) if block.language == "sh" else ():
        program, *arguments = shlex.split(command)
        if program == "cmp":
            assert len({Path(each).read_bytes() for each in arguments}) == 1, command
        else:
            assert (program, arguments[0]) == ("proxy-plugin", "batch"), command
            assert main(arguments[1:]) == 0, command


def test_the_recipes_run_as_printed(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTKEY_API_KEY", KEY)
    monkeypatch.setenv("PROXY_PLUGIN_BASE_URL", gateway.url)
    monkeypatch.setattr(watching, "FIRST_PAUSE", 0.05)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        do(block, names)

    said = capfd.readouterr().out
    assert all(f"@{slug}" not in said and slug in said for slug in ("openai-prod", "claude-prod"))
    assert {job["virtual_key"] for job in names["batch"].jobs} == {"openai-prod", "claude-prod"}
    assert names["batch"].cost > 0
    assert names["few"].request_counts.completed == 2
    written = {"results": 3, "colours": 1, "cities": 1, "vectors": 2, "both": 2, "careful": 3, "now": 3}
    assert {name: len(rows(f"{name}.jsonl")) for name in written} == written
    assert [row["custom_id"] for row in rows("results.jsonl")] == ["q-1", "q-2", "q-3"]
    newest = gateway.call("GET", "/batches?limit=4&include=jobs")["data"]
    again, first = newest[2:]
    assert (len(first["jobs"]), len(again["jobs"])) == (1, 0)
