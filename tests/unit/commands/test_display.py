"""One answer, three shapes: drawn for people, tab-separated for pipes, JSON lines for programs."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from proxy_plugin.commands.display import Display, Row
from proxy_plugin.commands.drawing import draw_batches
from proxy_plugin.commands.fields import picked
from proxy_plugin.commands.options import parse
from proxy_plugin.commands.session import opened
from proxy_plugin.commands.wording import counted, dated, priced

JOB = {"part": 0, "virtual_key": "prod", "model": "m-1", "status": "running"}
BATCH: dict[str, Any] = {
    "id": "batch_" + "0" * 32,
    "status": "in_progress",
    "request_counts": {"total": 12_345, "completed": 4, "failed": 1},
    "created_at": 1_700_000_000,
    "cost": 1.5,
    "x_file": "questions.jsonl",
    "jobs": [JOB, {**JOB, "part": 1, "virtual_key": "spare"}],
}


class Stream(io.TextIOWrapper):
    """A stdout that is a terminal, or is not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def text(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


def drawn(monkeypatch: pytest.MonkeyPatch, *words: str, columns: int | None = None) -> list[str]:
    """Return the lines of a list of one batch, in a pipe or on a terminal of so many columns."""
    out, err = Stream(terminal=columns is not None), Stream(terminal=False)
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    options = parse(["list", *words])
    display = Display(as_json=options.json, fields=options.fields)
    if not display.documents([BATCH]):
        draw_batches(opened(options, display, {}), [BATCH], empty="")
    return out.text.splitlines()


def test_a_pipe_gets_a_line_of_names_and_values_as_programs_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    names, values = (line.split("\t") for line in drawn(monkeypatch))
    row = dict(zip(names, values, strict=True))
    assert (row["lines"], row["cost"], row["created"]) == ("12345", "1.5", "2023-11-14T22:13:20Z")
    assert (row["file"], row["virtual key"], row["model"]) == ("questions.jsonl", "prod, spare", "m-1")
    assert row["waits for"] == "", "a column stays where it is"


def test_what_fits_is_a_table_and_what_does_not_is_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = drawn(monkeypatch, columns=240)
    assert any("12,345" in line and "$1.5000" in line and BATCH["id"] in line for line in wide)
    narrow = drawn(monkeypatch, columns=60)
    assert ["batch", BATCH["id"]] == narrow[0].split()
    assert ["file", "questions.jsonl"] in [line.split() for line in narrow]
    assert not any("│" in line for line in narrow)


def test_json_is_one_object_a_line_and_fields_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [json.loads(line) for line in drawn(monkeypatch, "--json")] == [BATCH]
    wanted = "id,request_counts.failed,jobs.1.virtual_key,none"
    [found] = drawn(monkeypatch, "--json", "--fields", wanted)
    assert list(json.loads(found).items()) == list(
        {"id": BATCH["id"], "request_counts.failed": 1, "jobs.1.virtual_key": "spare", "none": None}.items()
    )
    assert drawn(monkeypatch, "--fields", wanted) == [f"{BATCH['id']}\t1\tspare\t"], "no line of names"


def test_fields_reach_into_what_is_there() -> None:
    assert picked({"a": {"b": [1, {"c": True}]}}, ["a.b.1.c", "a.b.9", "a.x.y"]) == {
        "a.b.1.c": True,
        "a.b.9": None,
        "a.x.y": None,
    }


def test_no_cell_breaks_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Stream(terminal=False)
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", Stream(terminal=False))
    display = Display(as_json=False)
    display.table(None, ("a", "b"), [Row(("x\ty\nz", {"k": [1]})), Row((True, None))])
    display.table("another", ("c",), [Row((counted(1_000),)), Row((priced("?"),)), Row((dated(None, 0.0),))])
    assert out.text == 'a\tb\nx y z\t{"k": [1]}\ntrue\t\n\nc\n1000\n\n\n'
