"""Who is let on its way: the places of a virtual key are never exceeded, never left empty, and taken in turn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.config import Options
from proxy_plugin.config.bounds import EngineSettings
from proxy_plugin.engine import polls, steps_part
from proxy_plugin.engine.desk import Desk
from proxy_plugin.storage import sqlite
from proxy_plugin.storage.tables import batches, files, parts, queues
from proxy_plugin.storage.tables.due import Overdue
from proxy_plugin.storage.tables.parts import PartRow
from tests.support.rows import batch_row, file_row, part_row

NOW = 5000.0
WAY = ("staging", "staged", "creating", "running", "ended")


class Lane:
    """One virtual key, whose parts take a step when they are due and end when they are told to."""

    def __init__(self, path: Path, **options: int | None) -> None:
        self.conn = sqlite.connect(path)
        self.conn.execute("PRAGMA synchronous=OFF")
        sqlite.migrate(self.conn)
        files.insert(self.conn, file_row())
        self.desk = cast("Desk", SimpleNamespace(now=lambda: NOW, gateway=SimpleNamespace(chance=lambda: 0.5)))
        self.key = Options.model_validate(options)
        self.asked = self._made = 0

    def add(self, workspace: str, lines: int = 1, requests: int | None = None) -> str:
        self._made += 1
        name = f"{workspace}{self._made}"
        batches.insert(self.conn, batch_row(name, workspace=workspace), is_retry=False)
        facts = {"state": "planned", "due_at": 0.0, "mark": name, "lines": lines, "requests": requests}
        parts.insert(self.conn, part_row(name, **facts))
        return name

    def settle(self) -> None:
        """Take steps until no part wants one."""
        while due := self._names("state = 'planned' AND due_at <= 5000"):
            for name in due:
                self.asked += 1
                steps_part._admit(self.conn, self.desk, self.part(name), self.key)

    def running(self) -> list[str]:
        return self._names("state = 'staging'")

    def end(self, name: str) -> None:
        part = self.part(name)
        for state in WAY[1:]:
            part = parts.move(self.conn, part, state)
        self.settle()

    def part(self, name: str) -> PartRow:
        found = parts.get(self.conn, name, 0)
        assert found is not None
        return found

    def waiting(self) -> list[str]:
        return self._names("state = 'planned'")

    def _names(self, where: str) -> list[str]:
        return [row[0] for row in self.conn.execute(f"SELECT batch_id FROM parts WHERE {where} ORDER BY place")]


def test_what_is_queued_at_a_provider_is_counted_in_requests(tmp_path: Path) -> None:
    lane = Lane(tmp_path / "r", max_lines_queued=10)
    first, second = lane.add("a", 3, requests=9), lane.add("a", 2)
    lane.settle()
    assert lane.running() == [first]
    lane.end(first)
    assert lane.running() == [second]


def test_one_part_is_asked_for_each_place_that_falls_free(tmp_path: Path) -> None:
    lane = Lane(tmp_path / "r", max_jobs_in_flight=2)
    names = [lane.add("a") for _ in range(40)]
    lane.settle()
    assert lane.running() == names[:2]
    lane.asked = 0
    for n in range(38):
        lane.end(names[n])
        assert lane.running() == names[n + 1 : n + 3]
    assert lane.asked == 38


def test_a_newcomer_does_not_go_before_those_that_wait(tmp_path: Path) -> None:
    lane = Lane(tmp_path / "r", max_jobs_in_flight=1)
    first, second = lane.add("a"), lane.add("a")
    lane.settle()
    third = lane.add("a")
    part = lane.part(first)
    for state in WAY[1:]:
        part = parts.move(lane.conn, part, state)
    steps_part._admit(lane.conn, lane.desk, lane.part(third), lane.key)  # before the one that was woken
    lane.settle()
    assert (lane.running(), lane.waiting()) == ([second], [third])


def test_a_workspace_without_jobs_has_the_next_place(tmp_path: Path) -> None:
    lane = Lane(tmp_path / "r", max_jobs_in_flight=3)
    many = [lane.add("attacker") for _ in range(50)]
    lane.settle()
    victim = lane.add("victim")
    lane.settle()
    lane.end(many[0])
    assert lane.running() == [many[1], many[2], victim]


def test_a_large_part_is_not_passed_by_for_ever(tmp_path: Path) -> None:
    lane = Lane(tmp_path / "r", max_lines_queued=10)
    small = [lane.add("a", lines=5) for _ in range(2)]
    lane.settle()
    large = lane.add("b", lines=9)
    lane.settle()
    lane.add("a", lines=5)
    lane.settle()
    lane.end(small[0])
    assert lane.running() == [small[1]], "its five lines are kept for the large one"
    lane.end(small[1])
    assert lane.running() == [large]


def test_room_for_several_small_parts_is_taken_by_all_of_them(tmp_path: Path) -> None:
    lane = Lane(tmp_path / "r", max_lines_queued=10)
    large = lane.add("a", lines=10)
    lane.settle()
    small = [lane.add("a", lines=3) for _ in range(4)]
    lane.settle()
    lane.end(large)
    assert lane.running() == small[:3]


def test_more_room_after_a_start_is_taken(tmp_path: Path) -> None:
    lane = Lane(tmp_path / "r", max_jobs_in_flight=1)
    names = [lane.add("a") for _ in range(9)]
    lane.settle()
    for more, running in ((4, 4), (None, 9)):
        lane.key = Options(max_jobs_in_flight=more)
        queues.wake_firsts(lane.conn)
        lane.settle()
        assert lane.running() == names[:running]


EVENTS = st.lists(st.tuples(st.sampled_from("abcEEE"), st.integers(1, 6)), max_size=40)


@settings(max_examples=60)
@given(events=EVENTS, jobs=st.sampled_from([None, 1, 2, 4]), lines=st.sampled_from([None, 3, 8]))
def test_limits_hold_and_nobody_is_left_behind(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]], jobs: int | None, lines: int | None
) -> None:
    lane = Lane(tmp_path_factory.mktemp("lane") / "r", max_jobs_in_flight=jobs, max_lines_queued=lines)
    for what, size in events:
        running = lane.running()
        if what == "E" and running:
            lane.end(running[size % len(running)])
        elif what != "E":
            lane.add(what, lines=size)
            lane.settle()
        check_limits(lane, jobs, lines)
    while running := lane.running():
        lane.end(running[0])
        check_limits(lane, jobs, lines)
    assert lane.waiting() == []
    lane.conn.close()


def check_limits(lane: Lane, jobs: int | None, lines: int | None) -> None:
    sizes = [lane.part(name).lines for name in lane.running()]
    assert jobs is None or len(sizes) <= jobs
    assert lines is None or sum(sizes) <= lines or len(sizes) == 1


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.999])
def test_jitter_makes_pauses_longer_and_never_shorter(chance: float) -> None:
    desk = cast("Desk", SimpleNamespace(gateway=SimpleNamespace(chance=lambda: chance)))
    assert polls.jittered(desk, 100.0) == pytest.approx(100.0 + 10.0 * chance)
    assert polls.jittered(desk, 0.0) == 0.0


SPREADS = [  # overdue polls, the operator's bounds, age of the jobs, seconds between the first and the last
    (0, (5, 300), 3000.0, 0.0),
    (1, (5, 300), 3000.0, 0.0),
    (2, (5, 300), 3000.0, 0.05),
    (20, (5, 300), 3000.0, 0.95),
    (1_000, (5, 300), 3000.0, 49.95),
    (10_000, (5, 300), 3000.0, 299.97),
    (10_000, (5, 300), 10.0, 4.9995),
    (10_000, (60, 60), 10.0, 59.994),
]


@pytest.mark.parametrize(("count", "bounds", "age", "span"), SPREADS)
def test_overdue_polls_are_spread_over_their_interval(
    count: int, bounds: tuple[float, float], age: float, span: float
) -> None:
    engine = EngineSettings(poll_seconds_first=bounds[0], poll_seconds_max=bounds[1])
    times = list(polls._spread(engine, [Overdue("b", n, 1.0, NOW - age) for n in range(count)], NOW))
    assert times == sorted(times)
    assert times[:1] == [NOW] * min(count, 1)
    assert (times[-1] - times[0] if times else 0.0) == pytest.approx(span)
