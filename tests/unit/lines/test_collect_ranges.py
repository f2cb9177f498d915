"""A collect in ranges of the results stores the rows of a collect in one go, in the same order, and counts the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from proxy_plugin.lines.collect import CollectFacts, CollectJob, bounded_lines, collect
from proxy_plugin.lines.collecting import ranges
from proxy_plugin.lines.collecting.ranges import JoinRows, copied, join_rows, ranges_of
from proxy_plugin.providers.base import native_id
from tests.support.blocks import small_blocks
from tests.toy.generated import FAST
from tests.toy.toy_batch import ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")
KINDS = ("woven", "woven", "torn", "late", "halted", "corrupt", "blank", "foreign")
RESULTS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(KINDS)), min_size=1, max_size=40)


def result(mark: str, ordinal: int, kind: str) -> bytes:
    answer = {"text": "t" * ordinal, "engine": "e", "read": 1 + ordinal, "wrote": 2}
    told = {"woven": answer, "torn": {"status": 422, "why": ""}}
    row = json.dumps([native_id(mark if kind != "foreign" else "0123456789", ordinal), kind, told.get(kind)]).encode()
    return {"corrupt": row[:-1], "blank": b"", "foreign": row.replace(b"foreign", b"late")}.get(kind, row)


def collect_in_ranges(job: CollectJob) -> CollectFacts:
    jobs = ranges_of(job)
    Path(job.folder).mkdir()
    found = tuple(collect(each) for each in jobs)
    folders = tuple(each.folder for each in jobs)
    return join_rows(JoinRows(job.folder, folders, found))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(RESULTS, RESULTS, st.integers(1, 400), st.integers(1, 9))
def test_ranges_are_joined_to_what_one_go_stores(
    first: list[tuple[int, str]], second: list[tuple[int, str]], size: int, block: int
) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as name, small_blocks(block):
        batch = ToyBatch(Path(name), [chat(f"id {n}") for n in range(7)])
        (part,) = batch.split().parts
        job = batch.collect_job(part, [result(part.mark, *each) for each in first])
        Path(job.results, "more").write_bytes(b"\r\n".join(result(part.mark, *each) for each in second))
        job = structs.replace(job, names=(*job.names, "more"))
        facts = collect(job)
        files = files_below(Path(job.folder))
        with mock.patch.multiple(ranges, LARGE=0, RANGE=size, _AT_ONCE=7):
            other = structs.replace(job, folder=str(Path(name, "in ranges")))
            assert collect_in_ranges(other) == facts
        assert files_below(Path(name, "in ranges")) == files


def test_small_results_are_one_range(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat("id")])
    (part,) = batch.split().parts
    job = batch.collect_job(part, batch.woven(part))
    assert ranges_of(job) == [job]


def test_ranges_have_whole_lines(tmp_path: Path) -> None:
    lines = [b"x" * n for n in (1, 500, 3, 0, 90, 2)]
    (tmp_path / "results").write_bytes(b"\n".join(lines))
    batch = ToyBatch(tmp_path / "batch", [chat("id")])
    job = structs.replace(batch_job(batch), results=str(tmp_path), names=("results",))
    with mock.patch.multiple(ranges, LARGE=0, RANGE=100, _AT_ONCE=7):
        spans = [each.span for each in ranges_of(job)]
    assert len(spans) == 2
    assert [line for span in spans for line in bounded_lines(tmp_path / "results", 1000, span)] == lines


def batch_job(batch: ToyBatch) -> CollectJob:
    (part,) = batch.split().parts
    return batch.collect_job(part, [])


def test_a_join_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    with small_blocks(3), mock.patch.multiple(ranges, LARGE=0, RANGE=150):
        batch = ToyBatch(tmp_path, [chat(f"id {n}") for n in range(7)])
        (part,) = batch.split().parts
        job = batch.collect_job(part, batch.woven(part))
        facts = collect(job)
        files = files_below(Path(job.folder))
        other = structs.replace(job, folder=str(tmp_path / "in ranges"))
        jobs = ranges_of(other)
        (tmp_path / "in ranges").mkdir()
        joins = JoinRows(other.folder, tuple(each.folder for each in jobs), tuple(collect(each) for each in jobs))
        assert 0 < copied(joins.folders) < sum(map(len, files.values()))
        with mock.patch.object(ranges, "passing", side_effect=[None, KeyError]), pytest.raises(KeyError):
            join_rows(joins)
        assert join_rows(joins) == facts
    assert files_below(tmp_path / "in ranges") == files
