"""Rows in input order, of a batch that has ended and of one that still runs: always the bytes of the result files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy_plugin.api.batches.output import BLOCK_BYTES, blocks
from proxy_plugin.lines.manifest import PartSpec
from proxy_plugin.lines.merge import merge_so_far
from proxy_plugin.lines.verdicts import Fate
from proxy_plugin.providers.base import native_id
from proxy_plugin.storage.blobs import LocalSource, Source
from tests.toy.toy_batch import TARGET, ToyBatch, chat

pytestmark = pytest.mark.usefixtures("toys")

OUTPUT, ERRORS = "output.jsonl", "error.jsonl"
KINDS = ("woven", "torn", "late", "left out")
NARROW = msgspec.structs.replace(TARGET, max_lines=4, models=("wool-1", "wool-2"))
REFUSED = {"kind": "refused", "code": "no_such_engine", "message": "no", "status": 404}


@contextmanager
def opened(*paths: Path) -> Iterator[list[Source]]:
    sources: list[Source] = [LocalSource(path) for path in paths]
    try:
        yield sources
    finally:
        for source in sources:
            source.close()


def read(*paths: Path) -> bytes:
    with opened(*paths) as sources:
        return b"".join(blocks(sources))


def result(part: PartSpec, ordinal: int, kind: str) -> bytes:
    said = {"woven": {"text": "t", "engine": "wool-1", "read": 1, "wrote": 1}, "torn": {"status": 422, "why": "no"}}
    return json.dumps([native_id(part.mark, ordinal), kind, said.get(kind)]).encode()


def ended(batch: ToyBatch, part: PartSpec, kinds: list[str]) -> Fate:
    """Let a part end in one of the two ways, its lines in several."""
    if kinds[0] == "left out":
        return batch.fate(part, **REFUSED)
    ordinals = [n for n in range(part.first, part.last + 1) if native_id(part.mark, n).encode() in batch.document(part)]
    named = zip(ordinals, kinds * len(ordinals), strict=False)
    batch.collect(part, [result(part, ordinal, kind) for ordinal, kind in named if kind != "left out"][::-1])
    return batch.fate(part)


@settings(max_examples=60, deadline=None)
@given(
    models=st.lists(st.sampled_from(["wool-1", "wool-2", "no-such-model"]), min_size=1, max_size=30),
    kinds=st.lists(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), min_size=15, max_size=15),
    open_parts=st.sets(st.integers(0, 14)),
)
def test_output_is_the_two_result_files_by_input_order_and_its_beginnings_are_final(
    models: list[str], kinds: list[list[str]], open_parts: set[int]
) -> None:
    assume(set(models) != {"no-such-model"})  # a file that goes nowhere fails, and has no rows
    with tempfile.TemporaryDirectory() as folder:
        batch = ToyBatch(Path(folder), [chat(f"{n}", model=model) for n, model in enumerate(models)], (NARROW,))
        marks = {part.n: part.mark for part in batch.split().parts}
        fates = {part.n: ended(batch, part, kinds[part.n % 15]) for part in batch.manifest.parts}
        batch.merge(fates)
        merged = Path(folder) / "merge"
        rows = ((merged / OUTPUT).read_bytes() + (merged / ERRORS).read_bytes()).splitlines(keepends=True)
        by_line = sorted(rows, key=lambda row: int(json.loads(row)["custom_id"]))
        assert read(merged / OUTPUT, merged / ERRORS) == read(merged / ERRORS, merged / OUTPUT) == b"".join(by_line)

        job = batch.merge_job(fates)
        still_open = {marks[n] for n in open_parts & marks.keys()}
        closed = {n: fate for n, fate in fates.items() if fate.mark not in still_open}
        job = msgspec.structs.replace(job, fates=closed, rows={n: f for n, f in batch.rows.items() if n in closed})
        path = Path(folder) / "so far"
        assert merge_so_far(job, str(path)) == path.stat().st_size
        final = [row for row in by_line if json.loads(row)["id"].removeprefix("batch_req_")[:10] not in still_open]
        assert path.read_bytes() == b"".join(final)


def test_rows_longer_than_a_block_are_neither_cut_nor_held_whole(tmp_path: Path) -> None:
    long = [b'{"id":"batch_req_%s","x":"%s"}\n' % (native_id("m" * 10, n).encode(), b"x" * 700_000) for n in range(6)]
    (tmp_path / "a").write_bytes(long[0] + long[3] + long[4])
    (tmp_path / "b").write_bytes(long[1] + long[2] + long[5])
    with opened(tmp_path / "a", tmp_path / "b") as sources:
        pieces = list(blocks(sources))
    assert b"".join(pieces) == b"".join(long)
    assert max(map(len, pieces)) < 2 * BLOCK_BYTES


def test_a_torn_result_file_is_an_error(tmp_path: Path) -> None:
    rows = [b'{"id":"batch_req_%s"}\n' % native_id("m" * 10, n).encode() for n in (0, 2, 3)]
    (tmp_path / "a").write_bytes(rows[0] + rows[1][:-4])
    (tmp_path / "b").write_bytes(rows[2])
    with opened(tmp_path / "a", tmp_path / "b") as sources, pytest.raises(ValueError, match="within a row"):
        list(blocks(sources))


def test_no_files_are_no_rows() -> None:
    assert b"".join(blocks([])) == b""
