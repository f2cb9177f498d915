"""A split in ranges is the split in one, byte for byte, or it is left to that."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.body_changes import Growth
from proxy_plugin.lines.ranges import documents, pieces
from proxy_plugin.lines.ranges import independent as choosing
from proxy_plugin.lines.ranges.documents import DocumentsJob, FinishJob, finish, write_documents
from proxy_plugin.lines.ranges.independent import bounds, independent
from proxy_plugin.lines.ranges.parts import PartsJob, plan_parts
from proxy_plugin.lines.ranges.pieces import RangeJob, translate_range
from proxy_plugin.lines.split import Cut, SplitJob, split
from proxy_plugin.routing.route import (
    ByLine,
    Case,
    Changes,
    Fallback,
    Name,
    Names,
    Option,
    Rescue,
    Rule,
    Rules,
    Share,
    To,
    When,
)
from tests.toy.toy_batch import ToyBatch, chat, files_below
from tests.toy.toy_ranges import split_at
from tests.toy.toy_splits import account, embedding

pytestmark = pytest.mark.usefixtures("toys")

NAMES = Names(slugs={"a": 0, "b": 1}, models={"one": Name((Option(0, "x"),))})
CASE = When((Case({"params.max_tokens": {"$gt": 1_000}}, 1),), (To(0), To(1)), 0)
RULES: list[Rule | None] = [
    None,
    To(1),
    Share((3.0, 1.0), (To(0), To(1))),
    Share((1.0, 2.0), (CASE, Fallback((To(1), To(0))))),
    CASE,
    ByLine(),
    Fallback((To(0), To(1))),
]
LIMITS = st.one_of(
    st.fixed_dictionaries({"max_lines": st.integers(1, 4)}),
    st.fixed_dictionaries({"max_bytes": st.integers(250, 450)}),
    st.fixed_dictionaries({}, optional={"max_lines": st.integers(2, 9), "max_bytes": st.integers(300, 900)}),
)
TEXTS = st.sampled_from(["", "x", "é🙂", "x" * 40])
BODIES = st.fixed_dictionaries(
    {"model": st.sampled_from(["wool-1", "wool-2", "@a/x", "@b/y", "one"])},
    optional={"max_tokens": st.sampled_from([5, 2_000]), "seed": st.just(1), "user": st.just("u")},
)
LINES = st.lists(st.tuples(TEXTS, BODIES), min_size=1, max_size=30)


def job(batch: ToyBatch, name: str, **more: Any) -> SplitJob:
    return msgspec.structs.replace(batch.split_job(name), **more)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.sampled_from(RULES), LIMITS, st.sampled_from(["toy", "toy-single"]), st.booleans(), st.data())
def test_ranges_give_the_bytes_of_the_split_in_one(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[str, dict[str, Any]]],
    rule: Rule | None,
    limits: dict[str, int],
    provider: str,
    drop: bool,
    data: st.DataObject,
) -> None:
    lines = [chat(str(n), text, **body) for n, (text, body) in enumerate(asked)]
    batch = ToyBatch(tmp_path_factory.mktemp("ranges"), lines)
    targets = tuple(account(slug, provider=provider, drop_params=drop, **limits) for slug in "ab")
    rescue = data.draw(st.sampled_from([None, Rescue(attempts=1)]))
    facts = {"rules": Rules(rule=rule, names=NAMES if isinstance(rule, ByLine) else None), "targets": targets}
    cuts = sorted(data.draw(st.sets(st.integers(1, len(lines)), max_size=4)) | {0, len(lines)})
    whole, apart = (job(batch, name, rescue=rescue, **facts) for name in ("whole", "apart"))
    assert independent(whole)
    expected, found = split(whole), split_at(apart, cuts)
    with mock.patch.object(Cut, "_follow", return_value=None):  # every line is asked of the rules anew
        assert split(job(batch, "careful", rescue=rescue, **facts)) == expected
    assert files_below(batch.folder / "careful") == files_below(batch.folder / "whole")
    if expected.faults:
        assert found is None
        return
    assert found == expected
    assert files_below(batch.folder / "apart") == files_below(batch.folder / "whole")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(1, 8), st.data())
def test_parts_of_ranges_are_cut_by_their_inputs(
    tmp_path_factory: pytest.TempPathFactory, inputs: list[int], most: int, data: st.DataObject
) -> None:
    batch = ToyBatch(tmp_path_factory.mktemp("inputs"), [embedding(str(n), each) for n, each in enumerate(inputs)])
    facts = {"targets": (account("a", max_inputs=most),), "endpoint": "auto"}
    cuts = sorted(data.draw(st.sets(st.integers(1, len(inputs)), max_size=3)) | {0, len(inputs)})
    expected, found = split(job(batch, "whole", **facts)), split_at(job(batch, "apart", **facts), cuts)
    if expected.faults:
        assert found is None
        return
    assert found == expected
    assert files_below(batch.folder / "apart") == files_below(batch.folder / "whole")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"max_jobs": 2}, "too many jobs"),
        ({"growth": Growth(10_000, 300)}, "what a config puts into the lines makes the file too long"),
        ({"targets": (account("a", strict=True),)}, "a line that fails the batch"),
        ({"targets": (account("a", models=("silk",)),)}, "no line has a target"),
        ({"targets": (account("a", provider="toy-single"),)}, "too many models"),
    ],
)
def test_what_concerns_all_lines_is_left_to_the_split_in_one(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    batch = ToyBatch(tmp_path, [*(chat(str(n), "x" * n, f"wool-{n % 2}") for n in range(8)), chat("8", seed=1)])
    changes = Changes({"max_tokens": msgspec.Raw(b"5")}, {}, ())
    facts = {"targets": (account("a", max_lines=3, changes=changes),)} | more
    with mock.patch.object(pieces, "MOST_PIECES", 1):
        assert split_at(job(batch, "apart", **facts), (0, 4, 9)) is None, why
    assert split_at(job(batch, "both", targets=(account("a", max_lines=3),)), (0, 4, 9)) is not None


SHARE = Share((1.0, 1.0), (To(0), To(1)))


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({}, True),
        ({"rules": Rules(rule=SHARE)}, True),
        ({"rules": Rules(rule=Fallback((SHARE, To(0))))}, False),
        ({"rules": Rules(rule=Share((1.0, 1.0), (SHARE, To(0))))}, False),
        ({"rules": Rules(rule=ByLine(otherwise=SHARE))}, False),
        ({"rules": Rules(names=Names(models={"m": Name((Option(0, "x"), Option(1, "y")))}))}, False),
        ({"unsent": "batch_cancelled"}, False),
        ({"targets": (account("a", fan_out=True),)}, False),
    ],
)
def test_lines_that_depend_on_others_are_taken_in_their_order(
    tmp_path: Path, more: dict[str, Any], *, fits: bool
) -> None:
    assert independent(job(ToyBatch(tmp_path, [chat("0")]), "split", **more)) is fits


def test_a_mark_is_put_in_where_it_lies_across_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ToyBatch(tmp_path, [chat(str(n), "x" * n) for n in range(7)])
    expected = split(job(batch, "whole"))
    for size in range(3, 40):
        monkeypatch.setattr(documents, "_BLOCK_BYTES", size)
        assert split_at(job(batch, "apart"), (0, 3, 7)) == expected


def test_ranges_are_of_about_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ToyBatch(tmp_path, [chat(str(n), "x" * (n % 9)) for n in range(100)])
    assert bounds(batch.index, 2) == []
    monkeypatch.setattr(choosing, "LEAST_BYTES", 2_000)
    assert bounds(batch.index, 1) == []
    found = bounds(batch.index, 2)
    assert [first for first, _, _ in found] == [0, *(stop for _, stop, _ in found[:-1])]
    assert found[-1][1] == 100
    assert len(found) == 4
    assert max(size for _, _, size in found) < 2 * min(size for _, _, size in found)


def test_a_task_that_died_is_done_again(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat(str(n), seed=n % 2) for n in range(7)])
    expected = split(job(batch, "whole"))
    apart = job(batch, "apart")
    ranges = [RangeJob(apart, 0, 0, 4), RangeJob(apart, 1, 4, 7)]
    for each in (*ranges, *ranges):
        translate_range(each)
    planned = [plan_parts(PartsJob(apart, (0, 4))) for _ in range(2)]
    hashes = [write_documents(DocumentsJob(apart, 0, len(planned[0]))) for _ in range(2)]
    assert [finish(FinishJob(apart, hashes[1])) for _ in range(2)] == [expected, expected]
    assert files_below(tmp_path / "apart") == files_below(tmp_path / "whole")
