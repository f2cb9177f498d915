"""The examples do what they say, and a notebook's cells run as they stand: against real gateway and stand-ins."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.client import Batch
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.stack import KEY, Gateway, lane

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = {"curl.sh": ["sh"], "openai_sdk.py": [sys.executable], "two_providers.py": [sys.executable]}


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    accounts = {"openai-prod": lane(sandbox), "anthropic-prod": lane(sandbox, provider="anthropic")}
    made = Gateway(tmp_path_factory.mktemp("gateway"), accounts)
    made.start()
    yield made
    made.close()


def known(gateway: Gateway) -> dict[str, str]:
    return {"PROXY_PLUGIN_BASE_URL": gateway.url, "PORTKEY_API_KEY": KEY}


def run(gateway: Gateway, name: str) -> str:
    env = os.environ | known(gateway) | {"PYTHONPATH": str(EXAMPLES.parent)}
    command = [*COMMANDS[name], str(EXAMPLES / name)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_example_is_tried() -> None:
    others = {"README.md", "notebook.ipynb", "sandbox.py", "__pycache__"}
    assert {each.name for each in EXAMPLES.iterdir()} - others == set(COMMANDS)


def test_with_curl_alone_there_are_rows(gateway: Gateway) -> None:
    created, *rows = run(gateway, "curl.sh").splitlines()
    assert created.startswith("created batch_")
    assert [json.loads(row)["custom_id"] for row in rows] == ["a", "b"]


def test_the_stock_sdk_gets_answers_of_anthropic(gateway: Gateway) -> None:
    first, *answers = run(gateway, "openai_sdk.py").splitlines()
    assert first.startswith("completed")
    assert [answer.split()[0] for answer in answers] == ["q-0", "q-1", "q-2"]


def test_one_batch_over_two_providers_answers_every_line(gateway: Gateway) -> None:
    *_, ended = [line for line in run(gateway, "two_providers.py").splitlines() if line.startswith("<Batch")]
    assert re.search(r"completed, 20 completed, 0 failed of 20 lines, 2 of 2 jobs done", ended), ended


def test_the_cells_of_the_notebook_run(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in known(gateway).items():
        monkeypatch.setenv(name, value)
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            compiled = compile("".join(cell["source"]), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(compiled, names)
            if inspect.iscoroutine(result):
                asyncio.run(result)
    batch = names["batch"]
    assert isinstance(batch, Batch)
    assert (batch.status, batch.counts) == ("completed", (10, 10, 0))
    assert "max='10' value='10'" in batch._repr_html_()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [f"q-{n}" for n in range(1, 11)]
    again = Batch.open(batch.id)
    assert [answer.text for answer in again] == [answer.text for answer in batch]
