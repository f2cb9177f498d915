"""A file that is asked again is answered from what was kept: the same bytes, and nothing is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_plugin.answers.keys import KEYS, Occurrences
from proxy_plugin.answers.lookup import Keeping, Looking, Lookup
from proxy_plugin.answers.shelf import Shelf
from proxy_plugin.lines.manifest import ASSIGNMENT, CACHED, PartSpec
from proxy_plugin.lines.merge import merge_so_far
from proxy_plugin.lines.plan_count import Figures, PlanJob, count
from proxy_plugin.lines.sources.failed_lines import FailedLines, copy, repeats_of
from proxy_plugin.lines.split import split
from proxy_plugin.providers.base import native_id
from tests.toy.toy_batch import TARGET, ToyBatch, chat
from tests.toy.toy_lane import CHAT

pytestmark = pytest.mark.usefixtures("toys")

NOW, DAY = 1_000_000.0, 86_400.0
OUTPUT, ERRORS, LEDGER = "output.jsonl", "error.jsonl", "ledger.jsonl"
LINES = [chat(f"id {n}", f"text {n}") for n in range(9)]


@pytest.fixture
def looking(tmp_path: Path) -> Looking:
    shelf = Shelf(str(tmp_path / "cache"), 2**24, DAY, 2**20)
    return Looking(shelf, "default", {"toy-prod": "account"}, NOW, DAY)


def begun(folder: Path, lines: list[bytes], looking: Looking | None, **more: Any) -> ToyBatch:
    batch = ToyBatch(folder, lines, kept=looking, batch_id=folder.name, **more)
    batch.split()
    return batch


def answered(batch: ToyBatch, text: str = "text", at: float = NOW) -> None:
    """Collect an answer for every line that was sent; each is another one."""
    for part in batch.manifest.parts:
        collect(batch, part, [answer(part, n, f"{text} {batch.batch_id} {n}") for n in sent(batch, part)], at)


def collect(batch: ToyBatch, part: PartSpec, results: list[bytes], at: float = NOW) -> None:
    keeping = Keeping(batch.kept.shelf, str(batch.folder / "split" / KEYS), at) if batch.kept else None
    batch.collect(part, results, keeping=keeping)


def sent(batch: ToyBatch, part: PartSpec) -> list[int]:
    raw = (batch.folder / "split" / ASSIGNMENT).read_bytes()
    return [at // 4 for at in range(0, len(raw), 4) if int.from_bytes(raw[at : at + 4], "little") == part.n]


def answer(part: PartSpec, ordinal: int, text: str) -> bytes:
    said = {"text": text, "engine": "wool-1", "read": 10, "wrote": 2}
    return json.dumps([native_id(part.mark, ordinal), "woven", said]).encode()


def run(folder: Path, lines: list[bytes], looking: Looking | None, **more: Any) -> ToyBatch:
    batch = begun(folder, lines, looking, **more)
    answered(batch)
    batch.merge()
    return batch


def output(batch: ToyBatch) -> bytes:
    return (batch.folder / "merge" / OUTPUT).read_bytes()


def texts(batch: ToyBatch) -> list[str]:
    return [row["response"]["body"]["choices"][0]["message"]["content"] for row in batch.merged(OUTPUT)]


def planned(batch: ToyBatch) -> Figures:
    return count(PlanJob(msgspec.structs.replace(batch.split_job(), folder=""), frozenset({CHAT})))


def test_the_same_file_again_is_answered_with_the_same_bytes_and_no_job(tmp_path: Path, looking: Looking) -> None:
    first = run(tmp_path / "first", LINES, looking)
    assert (first.manifest.cached, first.manifest.missed, len(first.manifest.parts)) == (0, 9, 2)
    again = ToyBatch(tmp_path / "again", LINES, kept=looking, batch_id="again")
    figures = planned(again)
    assert (figures.cached, figures.placed, figures.jobs, figures.targets) == (9, 0, 0, ())
    manifest = again.split()
    assert (manifest.cached, manifest.missed, manifest.parts) == (9, 0, ())
    assert manifest.cached_bytes > 9 * 100
    facts = again.merge()
    assert output(again) == output(first)
    assert (facts.completed, facts.failed, facts.spent, facts.usage.input_tokens) == (9, 0, (), 0)
    assert facts.models == ("wool-1",)


def test_the_ledger_says_that_an_answer_was_kept_and_cost_nothing(tmp_path: Path, looking: Looking) -> None:
    run(tmp_path / "first", LINES[:1], looking)
    (row,) = run(tmp_path / "again", LINES[:1], looking).merged(LEDGER)
    assert row == {
        "line": 1,
        "custom_id": "id 0",
        "provider": "toy",
        "virtual_key": "toy-prod",
        "model": "wool-1",
        "outcome": "succeeded",
        "cached": True,
        "cost": 0.0,
    }


def test_new_lines_among_kept_ones_are_sent(tmp_path: Path, looking: Looking) -> None:
    run(tmp_path / "first", LINES[:5], looking)
    mixed = run(tmp_path / "mixed", [LINES[7], LINES[3], LINES[8], LINES[0]], looking)
    assert (mixed.manifest.cached, [part.lines for part in mixed.manifest.parts]) == (2, [2])
    assert texts(mixed) == ["text mixed 0", "text first 3", "text mixed 2", "text first 0"]
    assert [row["custom_id"] for row in mixed.merged(OUTPUT)] == ["id 7", "id 3", "id 8", "id 0"]
    assert [row.get("cached", False) for row in mixed.merged(LEDGER)] == [False, True, False, True]


def test_kept_answers_are_final_at_once(tmp_path: Path, looking: Looking) -> None:
    run(tmp_path / "first", LINES[:2], looking)
    mixed = begun(tmp_path / "mixed", LINES[:3], looking)
    job = msgspec.structs.replace(mixed.merge_job(), fates={}, rows={})
    merge_so_far(job, str(tmp_path / "so-far"))
    rows = [json.loads(line) for line in (tmp_path / "so-far").read_bytes().splitlines()]
    assert [row["custom_id"] for row in rows] == ["id 0", "id 1"]


def test_five_equal_lines_keep_five_answers(tmp_path: Path, looking: Looking) -> None:
    lines = [chat(f"id {n}", "the same") for n in range(5)]
    first = run(tmp_path / "first", lines, looking)
    again = run(tmp_path / "again", lines, looking)
    assert len(set(texts(first))) == 5
    assert (again.manifest.parts, output(again)) == ((), output(first))
    more = run(tmp_path / "more", [*lines, chat("id 5", "the same")], looking)
    assert texts(more) == [*texts(first), "text more 5"]


def test_an_equal_line_that_failed_is_asked_again_alone(tmp_path: Path, looking: Looking) -> None:
    lines = [chat(f"id {n}", "the same") for n in range(3)]
    first = begun(tmp_path / "first", lines, looking)
    (part,) = first.manifest.parts
    torn = json.dumps([native_id(part.mark, 1), "torn", {"status": 500, "why": "no wool"}]).encode()
    collect(first, part, [answer(part, 0, "zero"), torn, answer(part, 2, "two")])
    assert texts(run(tmp_path / "again", lines, looking)) == ["zero", "text again 1", "two"]


def test_a_retry_of_equal_lines_gives_none_the_answer_of_another(tmp_path: Path, looking: Looking) -> None:
    lines = [chat(f"id {n}", "the same") for n in range(4)]
    first = begun(tmp_path / "first", lines, looking)
    (part,) = first.manifest.parts
    collect(first, part, [answer(part, 0, "zero"), answer(part, 2, "two")])
    first.merge()
    ledger = first.folder / "merge" / LEDGER
    assert [row.get("repeat") for row in first.merged(LEDGER)] == [None, 1, 2, 3]
    copied = tmp_path / "copied"
    assert copy(FailedLines(str(first.source), str(first.index), str(ledger)), str(copied)).repeats
    again = msgspec.structs.replace(looking, repeats=str(repeats_of(str(copied))))
    retried = run(tmp_path / "retried", copied.read_bytes().splitlines(), again)
    assert texts(retried) == ["text retried 0", "text retried 1"]
    assert [row.get("repeat") for row in retried.merged(LEDGER)] == [1, 3]
    whole = run(tmp_path / "whole", lines, looking)
    assert texts(whole) == ["zero", "text retried 0", "two", "text retried 1"]


def test_a_copy_of_lines_that_no_others_are_equal_to_says_nothing_of_them(tmp_path: Path, looking: Looking) -> None:
    first = begun(tmp_path / "first", LINES[:3], looking)
    first.merge()
    failed = FailedLines(str(first.source), str(first.index), str(first.folder / "merge" / LEDGER))
    assert not copy(failed, str(tmp_path / "copied")).repeats
    assert not repeats_of(str(tmp_path / "copied")).exists()


def test_of_several_answers_to_a_line_the_one_that_counts_is_kept(tmp_path: Path, looking: Looking) -> None:
    first = begun(tmp_path / "first", LINES[:1], looking)
    (part,) = first.manifest.parts
    collect(first, part, [answer(part, 0, "one"), answer(part, 0, "two")])
    assert texts(run(tmp_path / "again", LINES[:1], looking)) == ["one"]


@pytest.mark.parametrize(
    "change",
    [
        {"workspace": "another"},
        {"namespace": "another"},
        {"accounts": {"toy-prod": "another"}},
        {"accounts": {}},
        {"native": True},
        {"refresh": True},
        {"now": NOW + DAY + 1},
        {"now": NOW + 61, "max_age": 60.0},
    ],
)
def test_an_answer_is_given_to_its_own_alone(tmp_path: Path, looking: Looking, change: dict[str, Any]) -> None:
    run(tmp_path / "first", LINES, looking)
    assert begun(tmp_path / "other", LINES, msgspec.structs.replace(looking, **change)).manifest.cached == 0
    assert begun(tmp_path / "same", LINES, msgspec.structs.replace(looking, now=NOW + 59)).manifest.cached == 9


def test_another_model_or_parameter_is_another_answer(tmp_path: Path, looking: Looking) -> None:
    run(tmp_path / "first", [chat("0", "a")], looking)
    lines = [chat("1", "a", model="wool-2"), chat("2", "a", max_tokens=5), chat("3", "a")]
    again = begun(tmp_path / "again", lines, looking)
    assert again.manifest.cached == 1
    routed = begun(tmp_path / "routed", lines[2:], looking, targets=(msgspec.structs.replace(TARGET, model="wool-9"),))
    assert routed.manifest.cached == 0


def test_what_is_asked_anew_is_kept_in_the_place_of_the_old(tmp_path: Path, looking: Looking) -> None:
    run(tmp_path / "first", LINES[:2], looking)
    anew = run(tmp_path / "anew", LINES[:2], msgspec.structs.replace(looking, refresh=True))
    assert texts(anew) == ["text anew 0", "text anew 1"]
    assert texts(run(tmp_path / "last", LINES[:2], looking)) == texts(anew)


def test_without_a_cache_nothing_is_looked_up_noted_or_kept(tmp_path: Path, looking: Looking) -> None:
    off = run(tmp_path / "off", LINES, None)
    assert not (off.folder / "split" / KEYS).exists()
    assert not Path(looking.shelf.folder).exists()
    assert (off.manifest.cached, off.manifest.missed) == (0, 0)
    assert begun(tmp_path / "on", LINES, looking).manifest.cached == 0


def test_a_plan_keeps_nothing(tmp_path: Path, looking: Looking) -> None:
    batch = ToyBatch(tmp_path / "plan", LINES, kept=looking)
    assert (planned(batch).cached, planned(batch).placed) == (0, 9)
    assert not Path(looking.shelf.folder).exists()


def test_lines_that_are_dropped_of_a_parameter_say_so_again(tmp_path: Path, looking: Looking) -> None:
    target = msgspec.structs.replace(TARGET, drop_params=True)
    lines = [chat("0", "a", seed=1)]
    first = run(tmp_path / "first", lines, looking, targets=(target,))
    again = run(tmp_path / "again", lines, looking, targets=(target,))
    assert [row["dropped"] for row in (*first.merged(LEDGER), *again.merged(LEDGER))] == [["seed"], ["seed"]]


def test_a_split_that_is_begun_again_may_find_more(tmp_path: Path, looking: Looking) -> None:
    """What counts is what its manifest says: an attempt that was killed has sent nothing."""
    batch = begun(tmp_path / "batch", LINES, looking)
    run(tmp_path / "meanwhile", LINES[:4], looking)
    batch.split()
    assert (batch.manifest.cached, batch.manifest.parts[0].lines) == (4, 5)
    raw = (batch.folder / "split" / ASSIGNMENT).read_bytes()
    assert [int.from_bytes(raw[at : at + 4], "little") for at in range(0, 36, 4)] == [CACHED] * 4 + [0] * 5


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_file_gets_as_many_kept_answers_as_an_earlier_one_asked(
    tmp_path_factory: pytest.TempPathFactory, one: list[int], other: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    looking = Looking(Shelf(str(folder / "cache"), 2**24, DAY, 2**20), "default", {"toy-prod": "account"}, NOW, DAY)
    run(folder / "one", [chat(str(n), f"text {text}") for n, text in enumerate(one)], looking)
    again = run(folder / "other", [chat(str(n), f"text {text}") for n, text in enumerate(other)], looking)
    assert again.manifest.cached == sum(min(one.count(text), other.count(text)) for text in set(other))
    assert len(set(texts(again))) == len(other)


def test_a_lookup_without_a_job_has_no_keys() -> None:
    lookup = Lookup(None)
    assert lookup.key(0, "toy-prod", CHAT, "m", "id", [b"record"]) is None
    assert lookup.find(0, None) is None
    assert Occurrences().next(b"x" * 16) == 0


def test_two_splits_of_one_batch_write_the_same_keys(tmp_path: Path, looking: Looking) -> None:
    batch = begun(tmp_path / "batch", LINES, looking)
    split(batch.split_job("second"))
    assert (batch.folder / "split" / KEYS).read_bytes() == (batch.folder / "second" / KEYS).read_bytes()
