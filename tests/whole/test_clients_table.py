"""The campaign with stock clients calls red what is red: methods without a check, checks that call nothing, crashes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.clients.__main__ import run
from tests.clients.environments import NODE, PINS
from tests.clients.roster import CLIENTS, Client
from tests.clients.sheet import Sheet, surface
from tests.clients.table import Cell, Result, show


class Files:
    """An SDK's resource with two methods and what is none."""

    limit = 3

    def create(self) -> None:
        """Do nothing."""

    def delete(self) -> None:
        """Do nothing."""

    def _private(self) -> None:
        """Be no method of the SDK's users."""


def calls(sheet: Sheet, *methods: str) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        sheet.called.update(methods)

    return check


async def fails() -> None:
    raise AssertionError("it is wrong")


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[bool, str]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines.pop() == {"client": "a-client", "end": True}
    return {line["method"]: (line["ok"], line["note"]) for line in lines}


def test_the_surface_is_what_users_can_call() -> None:
    client = SimpleNamespace(files=Files(), raw=SimpleNamespace(files=Files()))
    assert surface(client, ["files", "raw"], frozenset({"delete"})) == {"files.create", "raw.files.create"}


async def test_a_method_without_a_check_is_red(capsys: pytest.CaptureFixture[str]) -> None:
    sheet = Sheet("a-client")
    await sheet.prove(["files.create"], calls(sheet, "files.create"), "creates")
    sheet.close({"files.create", "files.delete"})
    assert printed(capsys) == {
        "files.create": (True, ""),
        "files.delete": (False, "no check covers this method"),
    }


async def test_a_check_has_to_call_what_it_names_and_name_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    sheet = Sheet("a-client")
    await sheet.prove(["files.create", "errors: 404"], calls(sheet), "lazy")
    await sheet.prove(["files.gone"], calls(sheet, "files.gone"), "stale")
    sheet.close({"files.create"})
    assert printed(capsys) == {
        "files.create": (False, "lazy names it and does not call it"),
        "errors: 404": (True, ""),
        "files.gone": (False, "the SDK has no such method"),
    }


async def test_one_failure_of_several_checks_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    sheet = Sheet("a-client")
    await sheet.prove(["files.create"], fails, "first")
    await sheet.prove(["files.create"], calls(sheet, "files.create"), "second")
    sheet.close({"files.create"})
    ((ok, note),) = printed(capsys).values()
    assert not ok
    assert note.startswith("first: AssertionError: it is wrong")


@pytest.mark.parametrize(
    ("script", "red"),
    [
        ('print(\'{"client": "c", "end": true}\')', 0),
        ('print(\'{"client": "c", "method": "a", "ok": true, "note": ""}\')', 1),  # cut off before its end
        ('print(\'{"client": "c", "end": true}\'); raise SystemExit(3)', 1),
        ("", 1),
    ],
)
def test_a_client_that_does_not_reach_its_end_is_red(script: str, red: int, tmp_path: Path) -> None:
    client = Client("c", "none", None, (sys.executable, "-c", script))
    assert run(client, tmp_path / "scene.json", Console(quiet=True)).red == red


def test_the_table_shows_what_is_red_and_why() -> None:
    console = Console(file=io.StringIO(), record=True, width=160)
    one = Result("one", {"files.create": Cell(True), "files.delete": Cell(False, "it [is] wrong")})
    other = Result("other", {"files.create": Cell(True, "mind this")})
    show(console, "some clients", [one, other])
    text = console.export_text()
    assert re.search(r"files\.delete\W+RED\W+-", text)
    assert re.search(r"files\.create\W+ok\W+ok", text)
    assert "RED files.delete (one)\n    it [is] wrong" in text
    assert "note files.create (other)\n    mind this" in text


def test_every_client_has_a_version_of_its_own() -> None:
    assert len({client.name for client in CLIENTS}) == len(CLIENTS)
    pins = PINS.read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    assert {"openai", "portkey-ai", "litellm", "openapi-python-client"} <= {pin.partition("==")[0] for pin in pins}
    versions = json.loads((NODE / "package.json").read_text())["dependencies"].values()
    assert all(re.fullmatch(r"(npm:[a-z-]+@)?[0-9]+\.[0-9]+\.[0-9]+", version) for version in versions)


def test_an_unknown_client_is_refused() -> None:
    command = [sys.executable, "-m", "tests.clients", "--only", "no-such-client"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "openai-3-async" in done.stderr
