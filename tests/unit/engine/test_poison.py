"""What is done with a refused part, and how many bad lines its family shows: simulated over whole families."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from proxy_plugin.engine.poison import MOST_ALONE, TOO_MANY, Cutting, bad_sets, decide, said, suspected
from proxy_plugin.providers.base import Refused
from proxy_plugin.providers.errors import BadLine
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.sqlite import SqliteRegistry
from proxy_plugin.storage.tables import cuts, parts, submissions
from proxy_plugin.storage.tables.cuts import StoredCut, Suspects
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal
from tests.support.rows import BATCH_ID, part_row, put_batch, put_file, put_part


def stored(*records: int, divisible: bool = True) -> StoredRefusal:
    lines = tuple(BadLine(n, f"no {n}", "bad") for n in records)
    return StoredRefusal.of(Refused("no", code="bad", lines=lines, divisible=divisible))


def part(lines: int, refusal: StoredRefusal, **more: Any) -> PartRow:
    return part_row(BATCH_ID, lines=lines, state="cutting", refusal=refusal.text(), **more)


def decided(lines: int, *records: int, divisible: bool = True, least: int = 1) -> Cutting:
    refusal = stored(*records, divisible=divisible)
    row = part(lines, refusal)
    return decide(row, refusal, [row], least)


def records(cutting: Cutting) -> list[int]:
    return [line.record for line in cutting.out]


def test_named_lines_go_and_the_rest_is_one_part() -> None:
    cutting = decided(10, 3, 7)
    assert (records(cutting), cutting.pieces, cutting.rest) == ([3, 7], 1, False)


def test_without_a_name_there_are_two_halves() -> None:
    assert decided(10) == Cutting(pieces=2)
    assert decided(2) == Cutting(pieces=2)


def test_a_name_that_the_part_does_not_have_names_nothing() -> None:
    assert decided(10, 11) == Cutting(pieces=2)


def test_records_of_lines_of_several_requests_are_no_lines_so_their_part_is_halved() -> None:
    refusal = stored(3)
    several, alone = part(10, refusal, requests=30), part(1, refusal, requests=3)
    assert decide(several, refusal, [several], 1) == Cutting(pieces=2)
    assert decide(several, refusal, [several], 16).pieces == 0, "a half would have 15 requests"
    assert records(decide(alone, refusal, [alone], 1)) == [1]


def test_a_line_alone_is_refused_with_its_number() -> None:
    assert (records(decided(1)), decided(1).pieces) == ([1], 0)
    assert (records(decided(1, 1)), decided(1, 1).pieces) == ([1], 0)


def test_what_is_about_the_whole_job_is_not_cut_and_still_names_its_line() -> None:
    cutting = decided(10, 4, divisible=False)
    assert (records(cutting), cutting.pieces, cutting.why) == ([4], 0, "")


def test_more_lines_than_twenty_that_are_named_at_once() -> None:
    cutting = decided(100, *range(1, 31))
    assert (records(cutting), cutting.pieces, cutting.rest) == ([*range(1, 21)], 1, True)


def test_no_job_gets_fewer_lines_than_its_account_takes() -> None:
    assert "min_lines_per_job" in decided(10, least=6).why
    assert "min_lines_per_job" in decided(10, 3, least=10).why
    assert decided(10, least=5).pieces == 2
    assert decided(10, 3, least=9).pieces == 1


def test_words_are_the_providers_behind_the_number_of_the_file() -> None:
    told = said(stored(3), BadLine(3, "no 3", "code", "body.x"), 57, TOO_MANY)
    assert told.message.startswith("line 57 of the file: no 3. More than 20 lines")
    assert (told.code, told.param, told.line, told.divisible) == ("code", "body.x", 57, True)
    assert said(stored(), None, None, "").message == "no"


# ---- families ----


class Family:
    """A part of the manifest, and all that comes from it, against a provider that will not have some lines."""

    def __init__(self, count: int, bad: set[int], *, names: bool) -> None:
        self.bad, self.names = bad, names
        self.rows = [part_row(BATCH_ID, lines=count, state="planned")]
        self.has = {0: list(range(count))}
        self.creates = 0

    def due(self) -> Iterator[PartRow]:
        return (row for row in self.rows if row.state in {"planned", "cutting"})

    def step(self, row: PartRow) -> None:
        if row.state == "planned":
            self.send(row)
        else:
            self.cut(row)

    def send(self, row: PartRow) -> None:
        self.creates += 1
        wrong = [n for n, line in enumerate(self.has[row.n], 1) if line in self.bad]
        refusal = stored(*wrong[:1] if self.names else ())
        self.put(row, state="cutting" if wrong else "collected", refusal=refusal.text() if wrong else None)

    def put(self, row: PartRow, **changes: Any) -> None:
        self.rows[row.n] = structs.replace(row, **changes)

    def cut(self, row: PartRow) -> None:
        refusal = parts.refusal_of(row)
        assert refusal is not None
        cutting, lines = decide(row, refusal, self.rows, 1), self.has[row.n]
        if not cutting.pieces:
            self.put(row, state="refused", refusal=structs.replace(refusal, message=cutting.why).text())
            return
        out = records(cutting)
        for record in out:
            self.add(row, [lines[record - 1]], "refused")
        rest = [line for n, line in enumerate(lines, 1) if n not in out]
        for n in range(cutting.pieces):
            piece = rest[len(rest) * n // cutting.pieces : len(rest) * (n + 1) // cutting.pieces]
            if piece:
                self.add(row, piece, "planned")
        self.put(row, state="replaced")

    def add(self, parent: PartRow, lines: list[int], state: str) -> None:
        cut = StoredCut(parent.n, 0, lines[0], lines[-1]).text()
        row = part_row(BATCH_ID, lines=len(lines), state=state, cut=cut, refusal=parent.refusal)
        self.has[len(self.rows)] = lines
        self.rows.append(structs.replace(row, n=len(self.rows), refusal=row.refusal if state == "refused" else None))


@given(data=st.data(), count=st.integers(1, 200), names=st.booleans())
def test_few_creates_find_every_bad_line_or_twenty(data: st.DataObject, count: int, names: bool) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=40))
    family = Family(count, bad, names=names)
    while due := list(family.due()):
        family.step(data.draw(st.sampled_from(due)))  # steps come in any order
    lost = {line for row in family.rows if row.state == "refused" for line in family.has[row.n]}
    ran = [line for row in family.rows if row.state == "collected" for line in family.has[row.n]]
    assert sorted([*ran, *lost]) == list(range(count)), "each line once"
    assert lost >= bad
    if len(bad) <= MOST_ALONE:
        assert lost == bad
        assert bad_sets(family.rows, 0) == len(bad)
    per_line = 1 if names else 2 * math.ceil(math.log2(max(count, 2)))
    assert family.creates <= 1 + per_line * min(len(bad), MOST_ALONE + 1)


# ---- suspects ----


def test_a_part_that_has_a_refused_set_is_cut_before_it_is_sent() -> None:
    row = part_row(BATCH_ID, lines=10, state="planned", due_at=0.0)
    assert suspected(row, 0, 9, [Suspects(3, 9, "lane", None, "bad")]).state == "cutting"
    for other in (
        Suspects(3, 10, "lane", None, "bad"),
        Suspects(3, 9, "another", None, "bad"),
        Suspects(3, 9, "lane", "model", "bad"),
    ):
        assert suspected(row, 0, 9, [other]) is row


def test_what_was_known_before_costs_none_of_the_twenty_and_is_always_cut() -> None:
    before = suspected(part_row(BATCH_ID, lines=10, state="planned"), 0, 9, [Suspects(0, 9, "lane", None, "bad")])
    rows = [before, *(part(2, stored(), cut=StoredCut(0, 0, n, n).text()) for n in range(30))]
    rows = [structs.replace(row, n=n) for n, row in enumerate(rows)]
    assert bad_sets(rows[:1], 0) == 0
    refusal = parts.refusal_of(before)
    assert refusal is not None
    assert decide(before, refusal, rows, 1) == Cutting(pieces=2)


# ---- proof ----


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = SqliteRegistry(tmp_path)
    made.open()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("state", "flags", "proven"),
    [
        ("refused", {}, True),
        ("absent", {}, True),
        ("intent", {}, False),
        ("sent", {}, False),
        ("unknown", {}, False),
        ("accepted", {}, False),
        ("absent", {"guessed": 1}, False),
        ("refused", {"provisional": 1}, False),
    ],
)
async def test_nothing_ran_only_where_every_submission_proves_it(
    registry: Registry, state: str, flags: dict[str, int], proven: bool
) -> None:
    await put_file(registry)
    await put_batch(registry)
    await put_part(registry, BATCH_ID, state="creating")

    def look(conn: Any) -> bool:
        row = parts.get(conn, BATCH_ID, 0)
        assert row is not None
        submission = submissions.begin(conn, row, "account", 1.0)
        sets = ", ".join(f"{name} = {value}" for name, value in flags.items()) or "n = n"
        conn.execute(f"UPDATE submissions SET state = '{state}', {sets} WHERE n = {submission.n}")
        return cuts.nothing_ran(conn, row)

    assert await registry.write(look) == proven
