"""A route may make lines longer, but no line and no file longer than one that could be uploaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proxy_plugin.lines.body_changes import TOO_MUCH_ADDED, BodyEditor, Grown, Growth
from proxy_plugin.lines.manifest import REMARKS
from proxy_plugin.lines.plan_count import PlanJob, count
from proxy_plugin.lines.row_store import ERROR, rows
from proxy_plugin.lines.split import split
from proxy_plugin.providers.base import LineRejected
from proxy_plugin.routing.route import Changes
from tests.toy.toy_batch import TARGET, ToyBatch, chat
from tests.toy.toy_lane import CHAT

pytestmark = pytest.mark.usefixtures("toys")

BODY = b'{"model":"wool-1","seed":1}'
LONG = Raw(json.dumps("x" * 5_000).encode())
GROWING = {
    "one long value": Changes(override={"user": LONG}),
    "many short ones": Changes(override={f"m{n}": Raw(b'"yyyy"') for n in range(400)}),
    "a default": Changes(default={"user": LONG}),
    "a default beside what is removed": Changes(default={"user": LONG}, remove=("seed",)),
    "what replaces a short value": Changes(override={"seed": LONG}),
    "a long name": Changes(override={"n" * 5_000: Raw(b"1")}),
    "a deep object": Changes(override={"metadata": Raw(b'{"a":' * 900 + b"1" + b"}" * 900)}),
    "a list": Changes(override={"stop": Raw(json.dumps(["no"] * 1_000).encode())}),
    "white space": Changes(override={"tools": Raw(b"[" + b" " * 5_000 + b"]")}),
    "escapes": Changes(override={"user": Raw(rb'"' + rb"\u0041" * 800 + rb'"')}),
}


def grown(changes: Changes, growth: Growth, lines: int = 1) -> list[LineRejected]:
    editor, kept, refused = BodyEditor(changes), Grown(growth), []
    for _ in range(lines):
        edited, _ = editor.edit(BODY)
        try:
            kept.check(len(BODY), len(edited))
        except LineRejected as error:
            refused.append(error)
    return refused


@pytest.mark.parametrize("changes", GROWING.values(), ids=GROWING.keys())
def test_no_line_grows_beyond_a_line(changes: Changes) -> None:
    assert not grown(changes, Growth(line=100_000, file=100_000))
    (refused,) = grown(changes, Growth(line=2_000, file=100_000))
    assert (refused.code, refused.param) == ("line_too_large", "body")
    assert "limits.max_line_bytes is 2000" in refused.message


@pytest.mark.parametrize("changes", GROWING.values(), ids=GROWING.keys())
def test_no_file_grows_beyond_a_file(changes: Changes) -> None:
    edited = len(BodyEditor(changes).edit(BODY)[0])
    refused = grown(changes, Growth(line=100_000, file=10 * edited), lines=25)
    assert [error.code for error in refused] == [TOO_MUCH_ADDED] * 15
    assert "limits.max_file_bytes" in refused[0].message


@given(st.lists(st.tuples(st.integers(2, 200), st.integers(0, 400)), max_size=60), st.integers(1, 5_000))
def test_what_grows_and_is_taken_never_passes_the_bounds(lines: list[tuple[int, int]], most: int) -> None:
    kept, size = Grown(Growth(line=300, file=most)), 0
    for own, more in lines:
        edited = own + more
        fits = not more or (edited <= 300 and size + edited <= most)
        try:
            kept.check(own, edited)
            taken = True
        except LineRejected:
            taken = False
        assert taken is fits
        size += edited if taken else 0


def batch_of(folder: Path, lines: int) -> Any:
    changes = Changes(override={"messages": Raw(json.dumps([{"role": "user", "content": "x" * 5_000}]).encode())})
    free = {"max_lines": None, "max_bytes": None, "max_inputs": None, "max_line_bytes": None}
    target = msgspec.structs.replace(TARGET, **free, changes=changes)
    batch = ToyBatch(folder, [chat(f"c{n}") for n in range(lines)], (target,))
    return msgspec.structs.replace(batch.split_job(), growth=Growth(line=10_000, file=20_000))


def test_the_split_rejects_what_grows_too_far_and_runs_the_rest(tmp_path: Path) -> None:
    job = batch_of(tmp_path, 10)
    manifest = split(job)
    written = sum(part.bytes for part in manifest.parts)
    assert (manifest.total, manifest.rejected) == (10, 7)
    assert written < 20_000
    errors = [row for row in rows(Path(job.folder) / REMARKS) if row.kind == ERROR]
    assert {row.meta.code for row in errors} == {TOO_MUCH_ADDED}


def test_a_plan_counts_what_the_split_rejects(tmp_path: Path) -> None:
    figures = count(PlanJob(batch_of(tmp_path, 10), frozenset({CHAT})))
    assert "too_much_added" in msgspec.json.encode(figures).decode()
