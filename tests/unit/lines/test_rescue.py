"""Failed lines go on to other targets: each is asked once a part, counted once, and every attempt is told."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from proxy_plugin.lines.collect import collect
from proxy_plugin.lines.manifest import ASSIGNMENT, BLOCK, REMARKS, Assignment, Heir, PartSpec
from proxy_plugin.lines.merge import MergeFacts, MergeJob, RescueFiles, merge, merge_so_far
from proxy_plugin.lines.onward.rescue import Parent, RescueFacts, RescueJob, rescue
from proxy_plugin.lines.split import split
from proxy_plugin.providers.base import native_id
from proxy_plugin.routing.route import Fallback, Rules, To
from tests.toy.generated import FAST
from tests.toy.toy_batch import TARGET, ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")

TARGETS = tuple(structs.replace(TARGET, slug=slug, max_lines=4) for slug in ("first", "second", "third"))
RULES = Rules(rule=Fallback((To(0), To(1), To(2))))
OUTPUT, ERRORS, LEDGER = "output.jsonl", "error.jsonl", "ledger.jsonl"
OUTCOMES = {"torn": "failed", "late": "expired", "": "missing", "woven": "succeeded"}


class Story:
    """A batch whose targets answer as they are told, and whose failed lines go on."""

    def __init__(self, folder: Path, lines: Sequence[bytes], rules: Rules = RULES) -> None:
        self.batch = ToyBatch(folder, lines, TARGETS)
        self.job = structs.replace(self.batch.split_job(), rules=rules)
        self.batch.manifest = split(self.job)
        self.folder = folder
        self.parts = {part.n: part for part in self.batch.manifest.parts}
        self.home = dict.fromkeys(self.parts, folder / "split")
        self.assigned = dict.fromkeys(self.parts, folder / "split" / ASSIGNMENT)
        self.fates = {n: self.batch.fate(part) for n, part in self.parts.items()}
        self.rescues: list[Path] = []
        self.sent: dict[int, list[tuple[int, str]]] = {}  # by line: part and what it said in the end
        self.late: dict[int, str] = {}

    def lines_of(self, n: int) -> list[int]:
        """Return the lines of a part, read from the document that its provider was sent."""
        cards = json.loads((self.home[n] / self.parts[n].file).read_bytes())["cards"]
        assert all(card["tag"].startswith(self.parts[n].mark) for card in cards)
        return [int(card["say"][0][1].removeprefix("question ")) for card in cards]

    def answer(self, n: int, rows: dict[int, str], status: int = 400) -> None:
        """Let a part's job end with these rows; "" stands for none."""
        part = self.parts[n]
        results = [row(part, each, what, status) for each, what in rows.items() if what]
        self.batch.collect(part, results, assignment=str(self.assigned[n]))
        for each, what in rows.items():
            self.sent.setdefault(each, []).append((n, OUTCOMES[what]))

    def refuse(self, n: int) -> None:
        self.fates[n] = self.batch.fate(self.parts[n], kind="refused", code="no_wool", message="none", status=400)
        for each in self.lines_of(n):
            self.sent.setdefault(each, []).append((n, "refused"))

    def parent(self, n: int, **more: Any) -> Parent:
        refused = self.fates[n].kind == "refused"
        known = {"rows": self.batch.rows.get(n), "refused": refused, "status": 400 if refused else None}
        return Parent(n, str(self.assigned[n]), **(known | more))

    def rescue_job(self, *numbers: int, name: str = "", **more: Any) -> RescueJob:
        then = self.parts[numbers[0]].goes_on
        assert then is not None
        folder = self.folder / (name or f"rescue-{len(self.rescues)}")
        job = structs.replace(self.job, folder=str(folder))
        known: dict[str, Any] = {"parents": tuple(map(self.parent, numbers)), "first": max(self.parts) + 1}
        return RescueJob(job, then=then, **(known | more))

    def rescue(self, *numbers: int, **more: Any) -> RescueFacts:
        """Let the failed lines of some parts go on."""
        job = self.rescue_job(*numbers, **more)
        facts = rescue(job)
        for part in facts.parts:
            self.parts[part.n] = part
            self.home[part.n] = Path(job.folder)
            self.assigned[part.n] = Path(job.folder, facts.assignment)
            self.fates[part.n] = self.batch.fate(part)
        if facts.parts:
            self.rescues.append(Path(job.folder, facts.assignment))
        return facts

    def merge_job(self) -> MergeJob:
        rescues = tuple(RescueFiles(str(each), str(each.parent / REMARKS)) for each in self.rescues)
        job = self.batch.merge_job(self.fates)
        return structs.replace(job, rescues=rescues, late=self.late)

    def merge(self) -> MergeFacts:
        return merge(self.merge_job())


def row(part: PartSpec, ordinal: int, what: str, status: int = 400) -> bytes:
    facts: dict[str, Any] = {
        "woven": {"text": f"answer {ordinal} of {part.n}", "engine": "wool-1", "read": 3, "wrote": 2},
        "torn": {"status": status, "why": f"torn {ordinal} of {part.n}"},
    }
    return json.dumps([native_id(part.mark, ordinal), what, facts.get(what)]).encode()


def story(folder: Path, count: int = 4) -> Story:
    return Story(folder, [chat(f"id {n}", f"question {n}") for n in range(count)])


def text_of(line: dict[str, Any]) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


def test_failed_lines_become_parts_of_the_next_target(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.answer(0, {0: "woven", 1: "torn", 2: "late", 3: ""})
    facts = told.rescue(0)
    assert [(part.n, part.slug, part.lines, part.first, part.last) for part in facts.parts] == [(1, "second", 3, 1, 3)]
    assert (facts.went, told.lines_of(1), facts.parts[0].way) == ({0: 3}, [1, 2, 3], "native")
    assert facts.parts[0].mark != told.parts[0].mark
    told.answer(1, {1: "woven", 2: "woven", 3: "torn"})
    again = told.rescue(1)
    assert [(part.n, part.slug, part.lines, part.goes_on) for part in again.parts] == [(2, "third", 1, None)]


def test_the_ledger_tells_every_attempt_and_which_one_counts(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.answer(0, {0: "woven", 1: "torn", 2: "late", 3: ""})
    told.rescue(0)
    told.answer(1, {1: "woven", 2: "torn", 3: "torn"})
    told.rescue(1)
    told.answer(2, {2: "woven", 3: ""})
    facts = told.merge()
    assert (facts.completed, facts.failed, facts.outcomes) == (3, 1, {"succeeded": 3, "missing": 1})
    ledger = [
        (line["line"], line["virtual_key"], line["outcome"], line.get("counts", True))
        for line in told.batch.merged(LEDGER)
    ]
    assert ledger == [
        (1, "first", "succeeded", True),
        (2, "first", "failed", False),
        (2, "second", "succeeded", True),
        (3, "first", "expired", False),
        (3, "second", "failed", False),
        (3, "third", "succeeded", True),
        (5, "first", "missing", False),
        (5, "second", "failed", False),
        (5, "third", "missing", True),
    ]
    assert [text_of(line) for line in told.batch.merged(OUTPUT)] == [
        "answer 0 of 0",
        "answer 1 of 1",
        "answer 2 of 2",
    ]
    assert [line["id"] for line in told.batch.merged(OUTPUT)][1] == f"batch_req_{native_id(told.parts[1].mark, 1)}"
    assert facts.usage.input_tokens == 9


def test_a_late_answer_counts_where_there_is_none_and_is_superseded_where_there_is(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.answer(0, {0: "woven", 1: "", 2: "", 3: ""})
    told.rescue(0)
    told.answer(1, {1: "woven", 2: "torn", 3: "torn"})
    told.rescue(1)
    told.answer(2, {2: "torn", 3: "torn"})
    found = told.batch.collect_job(told.parts[0], [row(told.parts[0], n, "woven") for n in range(3)])
    rows = told.batch.rows[0]
    told.late[0] = str(tmp_path / "late")
    told.batch.rows[0] = rows
    collect(structs.replace(found, folder=told.late[0]))
    facts = told.merge()
    assert (facts.completed, facts.failed) == (3, 1)
    ledger = told.batch.merged(LEDGER)
    mine = [[(each["virtual_key"], each["outcome"]) for each in ledger if each["line"] == n] for n in (2, 3)]
    assert mine == [
        [("first", "missing"), ("first", "superseded"), ("second", "succeeded")],
        [("first", "missing"), ("second", "failed"), ("third", "failed"), ("first", "succeeded")],
    ]
    paid = {each.part: each.lines for each in facts.spent}
    assert (paid, facts.usage.input_tokens) == ({0: 3, 1: 1}, 9)


def narrowed(folder: Path, *codes: int) -> Story:
    lines = [chat(f"id {n}", f"question {n}") for n in range(4)]
    return Story(folder, lines, Rules(rule=Fallback((To(0), To(1)), codes)))


def test_only_statuses_that_are_named_let_a_line_go_on(tmp_path: Path) -> None:
    told = narrowed(tmp_path, 429)
    told.answer(0, {0: "torn", 1: "late", 2: "", 3: "woven"}, status=422)
    facts = told.rescue(0)
    assert (facts.went, facts.stayed, told.lines_of(1)) == ({0: 2}, {}, [1, 2])
    other = narrowed(tmp_path / "other", 422)
    other.answer(0, {0: "torn", 1: "late", 2: "", 3: "woven"}, status=422)
    assert other.rescue(0).went == {0: 3}


def test_lines_of_a_refused_job_go_on_with_its_status(tmp_path: Path) -> None:
    for code, went in ((500, {}), (400, {0: 4})):
        told = narrowed(tmp_path / str(code), code)
        told.refuse(0)
        assert told.rescue(0).went == went


def callable_at(told: Story, *slugs: str) -> None:
    """Let these targets be called."""
    targets = [structs.replace(each, direct="allowed" if each.slug in slugs else None) for each in TARGETS]
    told.job = structs.replace(told.job, targets=tuple(targets))
    manifest = split(told.job)
    told.parts = {part.n: part for part in manifest.parts}
    told.fates = {n: told.batch.fate(part) for n, part in told.parts.items()}


@pytest.mark.parametrize(("slugs", "slug", "way"), [(("first",), "first", "direct"), ((), "second", "native")])
def test_a_job_that_had_too_few_lines_goes_on_whatever_statuses_are_named(
    slugs: tuple[str, ...], slug: str, way: str, tmp_path: Path
) -> None:
    told = narrowed(tmp_path, 500)
    callable_at(told, *slugs)
    told.refuse(0)
    job = told.rescue_job(0)
    facts = rescue(structs.replace(job, parents=tuple(structs.replace(each, uncalled=True) for each in job.parents)))
    assert [(part.slug, part.way, part.lines) for part in facts.parts] == [(slug, way, 4)]


def test_without_another_target_too_few_lines_are_called_where_they_may_be(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.job = structs.replace(told.job, rules=Rules(rule=To(0)))
    callable_at(told, "first")
    told.refuse(0)
    parents = (told.parent(0, uncalled=True),)
    assert [(part.slug, part.way) for part in rescue(told.rescue_job(0, parents=parents)).parts] == [
        ("first", "direct")
    ]


def test_a_target_that_cannot_have_a_line_is_passed_over(tmp_path: Path) -> None:
    lines = [chat("a", "question 0", seed=1), chat("b", "question 1")]
    told = Story(tmp_path, lines)
    told.job = structs.replace(told.job, targets=(structs.replace(TARGETS[0], drop_params=True), *TARGETS[1:]))
    told.parts = {part.n: part for part in split(told.job).parts}
    told.home[0] = told.folder / "split"
    told.assigned[0] = told.home[0] / ASSIGNMENT
    told.answer(0, {0: "torn", 1: "torn"})
    facts = told.rescue(0)
    assert (facts.went, facts.stayed) == ({0: 1}, {"unsupported_parameter": 1})
    third = structs.replace(told.job, targets=(*told.job.targets[:2], structs.replace(TARGETS[2], drop_params=True)))
    job = told.rescue_job(0, name="again")
    job = structs.replace(job, split=structs.replace(third, folder=job.folder))
    assert [(part.slug, part.lines) for part in rescue(job).parts] == [("third", 1), ("second", 1)]


def test_no_more_jobs_come_of_it_than_a_batch_may_have(tmp_path: Path) -> None:
    told = story(tmp_path, 8)
    told.job = structs.replace(told.job, max_jobs=3)
    told.answer(0, dict.fromkeys(range(4), "torn"))
    told.answer(1, dict.fromkeys(range(4, 8), "torn"))
    facts = told.rescue(0, 1)
    assert (len(facts.parts), facts.went, facts.stayed) == (1, {0: 4}, {"too_many_jobs": 4})


def test_where_no_job_is_begun_lines_go_by_ordinary_calls_or_stay(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.answer(0, {0: "torn", 1: "torn", 2: "late", 3: ""})
    facts = rescue(told.rescue_job(0, native=False))
    assert (facts.parts, facts.stayed) == ((), {"too_late_for_a_job": 4})
    for slugs, parts in (
        (("third",), [("third", "direct", 4)]),
        (("first", "third"), [("third", "direct", 2), ("first", "direct", 2)]),
    ):
        callable_at(told, *slugs)
        found = rescue(told.rescue_job(0, native=False)).parts
        assert [(part.slug, part.way, part.lines) for part in found] == parts


def test_the_same_rescue_gives_the_same_bytes_and_other_parts_other_marks(tmp_path: Path) -> None:
    told = story(tmp_path, 8)
    told.answer(0, dict.fromkeys(range(4), "torn"))
    told.answer(1, dict.fromkeys(range(4, 8), ""))
    rescue(told.rescue_job(0, 1, name="a"))
    rescue(told.rescue_job(0, 1, name="b"))
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
    assert rescue(told.rescue_job(0, name="c")).parts[0].mark != rescue(told.rescue_job(0, 1, name="a")).parts[0].mark


def test_the_assignment_of_a_rescue_begins_with_its_block(tmp_path: Path) -> None:
    told = story(tmp_path, 1)
    path = tmp_path / f"{ASSIGNMENT}.{2 * BLOCK}"
    path.write_bytes(b"\xff\xff\xff\xff" * 3 + b"\x07\0\0\0")
    with Assignment(path, (Heir(9, 7, 0, 4 * BLOCK),)) as assignment:
        assert list(assignment.ordinals(9)) == [2 * BLOCK + 3]
        assert [assignment.part(n) for n in (3, 2 * BLOCK, 2 * BLOCK + 3, 2 * BLOCK + 4)] == [None, None, 9, None]
        assert [len(assignment.block(n)) for n in range(4)] == [0, 0, 4, 0]
    assert told.parts.keys() == {0}


# ---- any history ----

ROWS = st.sampled_from(["woven", "torn", "late", ""])


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Any]:
    """A number of lines, and chances: seeds for what each part says."""
    return {"count": draw(st.integers(1, 14)), "seed": draw(st.integers(0, 2**32)), "woven": draw(st.floats(0, 1))}


def play(told: Story, dice: random.Random, woven: float) -> None:
    """Let every part end by chance, one after the other, and failed lines go on until none does; or let a few stay."""
    waiting, open_parts = list[int](), list(told.parts)
    while open_parts or waiting:
        if open_parts and (not waiting or dice.random() < 0.6):
            n = open_parts.pop(dice.randrange(len(open_parts)))
            if dice.random() < 0.2:
                told.refuse(n)
            else:
                others = ["torn", "late", ""]
                told.answer(n, {k: "woven" if dice.random() < woven else dice.choice(others) for k in told.lines_of(n)})
            if told.parts[n].goes_on is not None and dice.random() < 0.9:
                waiting.append(n)
            continue
        first = waiting[0]
        crowd = [n for n in waiting if told.parts[n].goes_on == told.parts[first].goes_on]
        crowd = crowd[: dice.randint(1, len(crowd))]
        waiting = [n for n in waiting if n not in crowd]
        open_parts += [part.n for part in told.rescue(*sorted(crowd)).parts]


def check(told: Story, facts: MergeFacts, count: int) -> None:
    output, error, ledger = (told.batch.merged(name) for name in (OUTPUT, ERRORS, LEDGER))
    assert Counter(line["custom_id"] for line in (*output, *error)) == Counter(f"id {n}" for n in range(count))
    assert (facts.completed, facts.failed) == (len(output), len(error))
    assert facts.completed + facts.failed == facts.total == count
    counted = [line for line in ledger if line.get("counts", True)]
    assert [line["custom_id"] for line in counted] == [f"id {n}" for n in range(count)]
    for n in range(count):
        attempts = [outcome for _, outcome in told.sent[n]]
        assert all(outcome != "succeeded" for outcome in attempts[:-1]), "an answered line was asked again"
        mine = [line for line in ledger if line["custom_id"] == f"id {n}"]
        assert [line["outcome"] for line in mine] == attempts
        slugs = [told.parts[part].slug for part, _ in told.sent[n]]
        assert [line["virtual_key"] for line in mine] == slugs
        assert len(set(slugs)) == len(slugs)
        assert [line.get("counts", True) for line in mine] == [*[False] * (len(mine) - 1), True]
    for line in output:
        n = int(line["custom_id"].removeprefix("id "))
        assert text_of(line) == f"answer {n} of {told.sent[n][-1][0]}"
    assert facts.usage.input_tokens == 3 * len(output)
    marks = [part.mark for part in told.parts.values()]
    assert len(set(marks)) == len(marks)


def check_history(history: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as name:
        told = story(Path(name), history["count"])
        play(told, random.Random(history["seed"]), history["woven"])
        facts = told.merge()
        check(told, facts, history["count"])
        first = files_below(Path(name, "merge"))
        assert told.merge() == facts
        assert files_below(Path(name, "merge")) == first
        merge_so_far(told.merge_job(), str(Path(name, "so far")))
        rows = Path(name, "so far").read_bytes().splitlines()
        assert sorted(rows) == sorted(b"".join(first[each] for each in (OUTPUT, ERRORS)).splitlines())


def test_whatever_parts_say_every_line_is_counted_once_and_every_attempt_told(campaign: bool) -> None:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    rules = settings(max_examples=3000 if campaign else 100, deadline=None, database=None, suppress_health_check=slow)
    rules(given(histories())(check_history))()


def test_what_is_final_so_far_leaves_out_lines_that_went_on(tmp_path: Path) -> None:
    told = story(tmp_path, 8)
    told.answer(0, {0: "woven", 1: "torn", 2: "torn", 3: "woven"})
    told.rescue(0)
    job = structs.replace(told.merge_job(), fates={0: told.fates[0]})
    merge_so_far(job, str(tmp_path / "so far"))
    assert [json.loads(line)["custom_id"] for line in (tmp_path / "so far").read_bytes().splitlines()] == [
        "id 0",
        "id 3",
    ]
