"""Which parts let lines go on, what one transaction makes of them, and that a stop of the batch comes first."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.onward import rescue, window
from proxy_plugin.engine.steps_batch import follow
from proxy_plugin.engine.steps_part import drop_if_stopping
from proxy_plugin.lines.manifest import PartSpec
from proxy_plugin.lines.onward.rescue import RescueFacts, RescueJob
from proxy_plugin.routing.route import Fallback, Rescue, Route, Rules, StoredTarget, To, encode_route
from proxy_plugin.storage import sqlite
from proxy_plugin.storage.tables import batches, cuts, files, parts, rescues, submissions
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.rescues import rescue_of
from tests.support.rows import BATCH_ID, CREATED, batch_row, file_row, part_row

NOW, LINES = CREATED + 100.0, 10
TARGET = StoredTarget(slug="lane", provider="openai")
ROUTE = Route(targets=(TARGET, TARGET), rules=Rules(rule=Fallback((To(0), To(1)))))


class Bench:
    """One batch with parts, a clock, and what a desk has of both."""

    def __init__(self, path: Path, route: Route = ROUTE) -> None:
        self.conn = sqlite.connect(path)
        sqlite.migrate(self.conn)
        files.insert(self.conn, file_row())
        batches.insert(self.conn, batch_row(total=100), is_retry=False)
        self.time, self._route = NOW, route

    def add(self, n: int = 0, state: str = "stored", **columns: Any) -> PartRow:
        row = part_row(BATCH_ID, state=state, lines=LINES, mark=str(n), due_at=0.0, goes_on=0)
        parts.insert(self.conn, msgspec.structs.replace(row, n=n, **columns))
        return self.part(n)

    def part(self, n: int) -> PartRow:
        found = parts.get(self.conn, BATCH_ID, n)
        assert found is not None
        return found

    def batch(self) -> Any:
        return batches.get(self.conn, BATCH_ID)

    def waiting(self, n: int = 0, completed: int = 4, **columns: Any) -> PartRow:
        """Return a part whose job has ended, and of whose lines some have failed."""
        part = self.add(n, **columns)
        return rescues.end(self.conn, part, "collected", completed=completed, failed=LINES - completed)

    def commit(self, went: dict[int, int], *sizes: int, first: int | None = None) -> bool:
        crowd = rescue._crowd(self.conn, BATCH_ID)
        number = cuts.next_number(self.conn, BATCH_ID) if first is None else first
        job = cast("RescueJob", SimpleNamespace(first=number, folder="/data/batches/b/rescue-00000-x-1"))
        specs = tuple(spec(number + n, size) for n, size in enumerate(sizes))
        facts = RescueFacts(specs, went, "assignment.0")
        return rescue._commit(self.conn, cast("Desk", self), self.batch(), crowd, job, facts)

    def events(self) -> list[str]:
        return [each[0] for each in self.conn.execute("SELECT what FROM events ORDER BY seq")]

    def use(self, route: Route, time: float) -> None:
        self._route, self.time = route, time
        self.conn.execute("UPDATE batches SET route = ?, due_at = 0", (encode_route(route),))

    # what a desk has

    async def write(self, work: Any, *args: Any) -> Any:
        return work(self.conn, *args)

    def now(self) -> float:
        return self.time

    def route(self, _: object) -> Route:
        return self._route


def spec(n: int, lines: int) -> PartSpec:
    known = {"slug": "lane", "provider": "openai", "endpoint": "/v1/chat/completions", "model": None, "partition": ""}
    facts = {"lines": lines, "bytes": 1, "inputs": lines, "sha256": "", "mark": f"new {n}", "first": 0, "last": 9}
    return PartSpec(n=n, file=f"parts/{n:05d}.native", goes_on=0, **known, **facts)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "registry.sqlite3")
    yield made
    made.conn.close()


def test_a_part_with_failed_lines_waits_and_shows_no_failures_yet(bench: Bench) -> None:
    part = bench.waiting()
    assert (part.state, part.completed, part.failed, part.due_at) == ("rescuing", 4, 0, 0.0)
    assert rescue_of(part).ends == "collected"
    assert (bench.batch().completed, bench.batch().failed) == (4, 0)


@pytest.mark.parametrize("how", ["answered", "nowhere to go", "cancelled", "expired", "guessed"])
def test_what_does_not_go_on_ends_as_ever(bench: Bench, how: str) -> None:
    part = bench.add(goes_on=None if how == "nowhere to go" else 0)
    if how == "cancelled":
        batches.cancel(bench.conn, bench.batch(), NOW)
    elif how == "expired":
        batches.deadline(bench.conn, bench.batch(), NOW)
    elif how == "guessed":
        guess(bench, part)
    part = bench.part(0)
    completed = LINES if how == "answered" else 4
    ended = rescues.end(bench.conn, part, "collected", completed=completed, failed=LINES - completed)
    assert (ended.state, ended.completed, ended.failed) == ("collected", completed, LINES - completed)


def guess(bench: Bench, part: PartRow) -> None:
    row = submissions.begin(bench.conn, part, "account", NOW)
    submissions.move(bench.conn, row, "absent", guessed=1)


@pytest.mark.parametrize(
    ("states", "goes_on"),
    [
        ((), True),
        (("sent", "refused"), True),
        (("sent", "unknown", "absent"), True),
        (("sent", "unknown"), False),
        (("sent", "accepted"), False),  # a job that the provider no longer knows, or that nobody can read
    ],
)
def test_a_refused_part_goes_on_only_where_nothing_of_it_ran(
    bench: Bench, states: tuple[str, ...], goes_on: bool
) -> None:
    part = bench.add(state="creating")
    if states:
        row = submissions.begin(bench.conn, part, "account", NOW)
        for state in states:
            row = submissions.move(bench.conn, row, state)
    ended = rescues.end(bench.conn, part, "refused", refusal="{}")
    assert (ended.state, ended.failed) == (("rescuing", 0) if goes_on else ("refused", LINES))


def test_one_transaction_ends_the_parts_and_adds_the_new_ones(bench: Bench) -> None:
    bench.waiting(0)
    bench.waiting(1, completed=7)
    assert bench.commit({0: 5, 1: 3}, 8)
    assert [(bench.part(n).state, bench.part(n).failed) for n in (0, 1)] == [("collected", 1), ("collected", 0)]
    new = bench.part(2)
    assert (new.state, new.lines, new.file) == ("planned", 8, "rescue-00000-x-1/parts/00002.native")
    known = rescue_of(new)
    assert (known.of, known.depth, known.assignment) == ((0, 1), 1, "rescue-00000-x-1/assignment.0")
    batch = bench.batch()
    assert (batch.completed, batch.failed) == (11, 1)
    assert new.goes_on is None  # one further target, which it has come to


@pytest.mark.parametrize("stop", [batches.cancel, batches.deadline])
def test_a_stop_that_came_before_the_transaction_wins(bench: Bench, stop: Any) -> None:
    bench.waiting()
    stop(bench.conn, bench.batch(), NOW)
    assert not bench.commit({0: 6}, 6)
    assert [(row.n, row.state, row.failed) for row in parts.of_batch(bench.conn, BATCH_ID)] == [(0, "collected", 6)]
    assert parts.all_ended(bench.conn, BATCH_ID)


def test_behind_the_window_nothing_goes_on(bench: Bench) -> None:
    bench.waiting()
    bench.time = CREATED + 86_400.0
    assert not bench.commit({0: 6}, 6)
    assert bench.part(0).state == "collected"


def test_a_stop_behind_the_transaction_drops_what_was_not_accepted(bench: Bench) -> None:
    bench.waiting()
    assert bench.commit({0: 6}, 6)
    batches.cancel(bench.conn, bench.batch(), NOW)
    assert drop_if_stopping(bench.conn, bench.part(1))
    assert (bench.part(1).state, bench.part(1).end_reason) == ("dropped", "batch_cancelled")
    assert (bench.batch().completed, bench.batch().failed) == (4, 6)


def test_where_a_number_was_taken_meanwhile_the_step_begins_again(bench: Bench) -> None:
    bench.waiting()
    bench.add(1, "planned")
    assert not bench.commit({0: 6}, 6, first=1)
    assert bench.part(0).state == "rescuing"
    assert bench.commit({0: 6}, 6)
    assert bench.part(2).lines == 6


def test_the_first_part_of_a_batch_goes_on_first_with_those_that_go_where_it_goes(bench: Bench) -> None:
    bench.waiting(0)
    bench.waiting(1, goes_on=3)
    bench.waiting(2)
    assert [part.n for part in rescue._crowd(bench.conn, BATCH_ID)] == [0, 2]
    bench.conn.execute("UPDATE parts SET due_at = 99")
    assert bench.commit({0: 6, 2: 6}, 12)
    assert [part.n for part in rescue._crowd(bench.conn, BATCH_ID)] == [1]
    assert bench.part(1).due_at == 0.0


LATE = msgspec.structs.replace(
    ROUTE,
    targets=(TARGET, StoredTarget(slug="other", provider="openai", direct="allowed")),
    rescue=Rescue(direct_before=3600.0),
)


@pytest.mark.parametrize(
    ("route", "time", "gone"),
    [
        (LATE, CREATED + 86_400 - 3_599, True),
        (LATE, CREATED + 86_400 - 3_601, False),
        (msgspec.structs.replace(LATE, targets=(TARGET, TARGET)), CREATED + 86_400 - 10, False),
        (ROUTE, CREATED + 86_400 - 10, False),
    ],
)
async def test_near_the_end_of_the_window_a_part_that_was_not_sent_goes_by_ordinary_calls(
    bench: Bench, route: Route, time: float, gone: bool
) -> None:
    bench.use(route, time)
    desk = cast("Desk", bench)
    part = bench.add(state="planned")
    assert await window.left(desk, part, bench.batch()) == gone
    assert bench.part(0).state == ("rescuing" if gone else "planned")
    assert window.gives_way(desk, bench.add(1, "running"), bench.batch()) == gone
    assert not window.gives_way(desk, bench.add(2, "running", goes_on=None), bench.batch())
    assert not window.gives_way(desk, bench.add(3, "running", way="direct"), bench.batch())


async def test_jobs_are_looked_at_once_when_they_are_not_waited_for_any_more(bench: Bench) -> None:
    bench.use(LATE, CREATED + 86_400 - 3_601.0)
    bench.add(state="running")
    bench.conn.execute("UPDATE parts SET due_at = 99")
    due = list[float]()
    for time in (0.0, 2.0, 3.0, 3_700.0):
        bench.time = CREATED + 86_400 - 3_601.0 + time
        await follow(cast("Desk", bench), bench.batch())
        due.append(bench.part(0).due_at or 0.0)
        bench.conn.execute("UPDATE parts SET due_at = 99")
        if time == 0.0:
            assert bench.batch().due_at == CREATED + 86_400 - 3_600.0
    assert due == [99.0, 0.0, 99.0, 0.0]
    assert bench.events() == ["created", "calls begin", "window over"]


def test_whatever_happens_in_whatever_order_the_counts_stay_within_the_lines(tmp_path: Path) -> None:
    """Parts end, go on, are refused and dropped by chance: at every moment the sum is at most the total."""
    for seed in range(30):
        dice = random.Random(seed)
        bench = Bench(
            tmp_path / f"{seed}.sqlite3", msgspec.structs.replace(ROUTE, rescue=Rescue(attempts=dice.randint(0, 3)))
        )
        for n in range(4):
            bench.add(n, state="running")
        while not parts.all_ended(bench.conn, BATCH_ID):
            step(bench, dice)
            batch = bench.batch()
            assert min(batch.completed, batch.failed) >= 0
            assert batch.completed + batch.failed <= 4 * LINES
            gone = sum(rescue_of(row).went for row in parts.of_batch(bench.conn, BATCH_ID))
            came = sum(row.lines for row in parts.of_batch(bench.conn, BATCH_ID) if row.n > 3)
            assert gone == came
        batch = bench.batch()
        assert batch.completed + batch.failed == 4 * LINES
        bench.conn.close()


def step(bench: Bench, dice: random.Random) -> None:
    row = dice.choice([row for row in parts.of_batch(bench.conn, BATCH_ID) if row.due_at is not None])
    if row.state == "rescuing":
        crowd = rescue._crowd(bench.conn, BATCH_ID)
        went = {each.n: dice.randint(0, each.lines - each.completed) for each in crowd}
        lines = sum(went.values())
        bench.commit(went, *([lines] if lines else []))
    elif row.state == "planned":
        parts.move(bench.conn, row, "staging")
    elif row.state == "staging" and dice.random() < 0.3:
        rescues.end(bench.conn, row, "refused", refusal="{}")
    elif row.state in {"staging", "running"}:
        way = {"staging": ("staged", "creating", "running"), "running": ("ended", "stored")}[row.state]
        for state in way:
            row = parts.move(bench.conn, row, state)
        parts.change(bench.conn, row, completed=dice.randint(0, row.lines), failed=0)
    elif dice.random() < 0.1:
        batches.cancel(bench.conn, bench.batch(), NOW)
    else:
        completed = dice.randint(0, row.lines)
        rescues.end(bench.conn, row, "collected", completed=completed, failed=row.lines - completed)
