"""A merge in ranges gives the files and facts of a merge in one go, whatever became of the lines."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from proxy_plugin.lines.manifest import BLOCK
from proxy_plugin.lines.merge import MergeFacts, MergeJob, merge
from proxy_plugin.lines.merging import ranges
from proxy_plugin.lines.merging.ranges import JoinJob, join, join_jobs, joined, ranges_of, weight_of
from proxy_plugin.lines.row_store import ERROR, FAILED, OK, RowMeta, RowWriter
from proxy_plugin.providers.base import Usage
from tests.support.blocks import small_blocks
from tests.toy.generated import FAST
from tests.toy.toy_batch import JOB, ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")

ROWS = st.lists(
    st.tuples(
        st.integers(0, 19),
        st.sampled_from([OK, OK, OK, FAILED, ERROR]),
        st.sampled_from([None, "wool-1", "wool-2", "silk"]),
        st.sampled_from([None, Usage(3, 2), Usage(10**6, 7, 5), Usage(2**53, 1)]),
    ),
    max_size=30,
)


def merge_in_ranges(job: MergeJob) -> MergeFacts:
    jobs = ranges_of(job)
    Path(job.folder).mkdir()
    found = [merge(each) for each in reversed(jobs)][::-1]
    facts = joined(job, found, [join(each) for each in join_jobs(job, jobs, found)])
    for each in jobs:
        assert not any(Path(each.folder).iterdir()), "a stretch is left"
        Path(each.folder).rmdir()
    return facts


def batch_of(folder: Path, rows: list[tuple[int, int, str | None, Usage | None]]) -> ToyBatch:
    """Return a batch of 20 lines, in parts of seven and one that is refused."""
    batch = ToyBatch(folder, [chat(f"id {n}", seed=1) if n % 6 == 5 else chat(f"id {n}") for n in range(20)])
    parts = {ordinal: part for part in batch.split().parts for ordinal in range(part.first, part.last + 1)}
    writers = {part.n: RowWriter(folder / f"rows-{part.n}") for part in batch.manifest.parts[:2]}
    for ordinal, kind, model, usage in rows:
        part = parts.get(ordinal)
        if part is not None and part.n in writers and ordinal % 6 != 5:
            meta = RowMeta(code=None if kind == OK else "x", model=model, usage=usage)
            writers[part.n].add(ordinal, part.n, kind, meta, b'{"n":%d}' % ordinal)
    for n, writer in writers.items():
        writer.close()
        batch.rows[n] = str(folder / f"rows-{n}")
    return batch


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, st.integers(1, 8), st.integers(1, 8))
def test_ranges_are_joined_to_what_one_go_makes(
    rows: list[tuple[int, int, str | None, Usage | None]], block: int, most: int
) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder, small_blocks(block), mock.patch.object(ranges, "MOST", most):
        batch = batch_of(Path(folder), rows)
        other = batch.manifest.parts[2]
        fates = {other.n: batch.fate(other, kind="refused", code="no", message="no wool", job=JOB)}
        facts = merge(batch.merge_job(fates))
        found = merge_in_ranges(batch.merge_job(fates, name="in ranges"))
        if all(usage is None or usage.input_tokens < 2**53 for *_, usage in rows):  # such sums have no price any more
            assert found == facts
        assert files_below(Path(folder, "in ranges")) == files_below(Path(folder, "merge"))


def test_ranges_are_whole_blocks_and_not_too_many(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [])
    job = structs.replace(batch.merge_job(), total=5_000_000)
    spans = [each.ordinals for each in ranges_of(job)]
    assert len(spans) <= ranges.MOST
    assert (spans[0], spans[-1]) == ((0, 2 * BLOCK), (76 * BLOCK, 5_000_000))
    assert [each.ordinals for each in ranges_of(batch.merge_job())] == [(0, 20)]
    assert ranges_of(structs.replace(job, total=0)) == []


def test_a_range_weighs_what_it_reads(tmp_path: Path) -> None:
    with small_blocks(10):
        batch = batch_of(tmp_path, [(n, OK, "wool-1", None) for n in range(9)])
        weights = [weight_of(each) for each in ranges_of(batch.merge_job())]
    stored = [
        *(tmp_path / "rows-0").iterdir(),
        *(tmp_path / "rows-1").iterdir(),
        *(tmp_path / "split/rejected").iterdir(),
    ]
    assert sum(each.rows for each in weights) == sum(path.stat().st_size for path in stored)
    assert sum(each.source for each in weights) + 2 >= batch.source.stat().st_size - len(weights) > 0
    assert [each.lines for each in weights] == [10, 10]


def test_a_join_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    stretches = [b"a\n" * 1000, b"", b"b\n" * 10, b"c\n" * 500_000]
    job = JoinJob(
        str(tmp_path / "merge"),
        "output.jsonl",
        tuple((str(tmp_path / str(n)), len(s)) for n, s in enumerate(stretches)),
    )
    (tmp_path / "merge").mkdir()
    for n, stretch in enumerate(stretches):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "output.jsonl").write_bytes(stretch)
    with mock.patch.object(ranges, "passing", side_effect=[None, KeyError]), pytest.raises(KeyError):
        join(job)
    with (tmp_path / "merge" / "output.jsonl").open("ab") as file:
        file.write(b"half a str")
    facts = join(job)
    assert (tmp_path / "merge" / "output.jsonl").read_bytes() == b"".join(stretches)
    assert (facts.bytes, facts.lines) == (len(b"".join(stretches)), 501_010)
    assert join(job) == facts, "as after a kill at its end"
