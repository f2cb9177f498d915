"""Claims as rows: one holder at a time, and what others claim is not looked at."""

from __future__ import annotations

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, due, files, parts
from proxy_plugin.storage.tables.replicas import claims, holds, lives
from proxy_plugin.storage.tables.replicas.claims import Named
from tests.support.rows import batch_row, file_row, part_row

ALL = due.Look(sorted, lambda _: True, 99)
PART, OTHER, THIRD = Named("part", "batch-1"), Named("part", "batch-2"), Named("part", "batch-3")


def test_one_holder_at_a_time_until_its_time_is_over(empty: Connection) -> None:
    assert claims.take(empty, [PART, OTHER], "a", 1, ended=100.0, until=115.0) == {PART, OTHER}
    assert claims.take(empty, [PART], "b", 1, ended=115.0 - 1, until=130.0) == set()
    assert claims.stands(empty, PART, "a", 1)
    assert claims.holder_of(empty, PART, 100.0) == "a"
    assert claims.take(empty, [PART], "b", 1, ended=115.0, until=130.0) == {PART}
    assert not claims.stands(empty, PART, "a", 1)
    assert claims.renew(empty, "a", 140.0) == {OTHER: 1}, "what was taken over is not renewed"


def test_a_claim_that_the_same_holder_takes_again_is_another_one(empty: Connection) -> None:
    claims.take(empty, [PART], "a", 1, ended=0.0, until=15.0)
    assert claims.take(empty, [PART], "a", 2, ended=0.0, until=15.0) == {PART}
    assert not claims.stands(empty, PART, "a", 1)
    assert claims.stands(empty, PART, "a", 2)


def test_who_gives_back_gives_only_what_is_its_own(empty: Connection) -> None:
    claims.take(empty, [PART], "a", 1, ended=0.0, until=15.0)
    claims.take(empty, [OTHER], "b", 1, ended=0.0, until=15.0)
    claims.take(empty, [THIRD], "a", 2, ended=0.0, until=15.0)
    claims.give_back(empty, {PART: 1, OTHER: 1, THIRD: 1}, "a")
    assert claims.stands(empty, THIRD, "a", 2), "taken anew"
    claims.give_back(empty, {THIRD: 2}, "a")
    assert [row.holder for row in claims.of_all(empty)] == ["b"]
    assert claims.any_over(empty, 15.0)
    assert not claims.any_over(empty, 14.0)
    assert claims.give_back_all(empty, "b") == 1
    assert claims.of_all(empty) == []


def test_what_others_claim_is_not_due_and_the_rest_comes_as_ever(empty: Connection) -> None:
    files.insert(empty, file_row(due_at=0.0))
    for name, workspace in (("batch-1", "one"), ("batch-2", "one"), ("batch-3", "two")):
        batches.insert(empty, batch_row(name, workspace=workspace, due_at=0.0), is_retry=False)
        parts.insert(empty, part_row(name, state="planned", due_at=0.0, mark=name))
    every = due.rows(empty, 5.0, lambda *_: 9)
    assert due.unclaimed(empty, 5.0, lambda *_: 9, ALL, "a", 5.0) == every
    claims.take(empty, [PART, Named("batch", "batch-2"), Named("file", "file-1")], "b", 1, ended=5.0, until=20.0)
    left = due.unclaimed(empty, 5.0, lambda *_: 9, ALL, "a", 5.0)
    assert left["two"] == every["two"]
    assert {(each.kind, each.id) for each in left["one"]} == {("part", "batch-2"), ("batch", "batch-1")}
    assert due.unclaimed(empty, 5.0, lambda *_: 9, ALL, "b", 5.0) == every, "what a holder has itself is its own"
    assert due.unclaimed(empty, 5.0, lambda *_: 9, ALL, "a", 20.0) == every, "a claim that is over hides nothing"
    assert len(due.unclaimed(empty, 5.0, lambda *_: 1, ALL, "a", 5.0)["one"]) == 2, "behind what is claimed is the next"


def test_no_more_workspaces_are_looked_at_than_can_begin_something(empty: Connection) -> None:
    files.insert(empty, file_row())
    for name in "abcd":
        batches.insert(empty, batch_row(f"batch-{name}", workspace=name), is_retry=False)
        parts.insert(empty, part_row(f"batch-{name}", state="planned", due_at=0.0, mark=name))
    turns, running = {"c": 0, "a": 1, "d": 2, "b": 3}, {"batch-c"}
    look = due.Look(lambda names: sorted(names, key=turns.__getitem__), lambda row: row.id not in running, 2)
    found = due.unclaimed(empty, 5.0, lambda *_: 9, look, "me", 5.0)
    assert {name for name, rows in found.items() if rows} == {"c", "a", "d"}, "of c nothing is ready"
    assert found.keys() == set("abcd"), "whose turn it was is remembered of all"


def test_a_part_whose_provider_wants_a_pause_is_woken_when_that_is_over(empty: Connection) -> None:
    files.insert(empty, file_row())
    batches.insert(empty, batch_row("batch-1"), is_retry=False)
    parts.insert(empty, part_row("batch-1", state="running", due_at=0.0))
    parts.postpone(empty, "batch-1", 0, 70.0, held_until=60.0)
    part = parts.get(empty, "batch-1", 0)
    assert part is not None
    parts.wake(empty, part)
    assert empty.execute("SELECT due_at FROM parts").fetchone()[0] == 60.0
    empty.execute("UPDATE parts SET due_at = 70")
    batches.deadline(empty, batch_row("batch-1"), 1.0)
    assert empty.execute("SELECT due_at FROM parts").fetchone()[0] == 60.0
    parts.postpone(empty, "batch-1", 0, 80.0)
    parts.wake_all(empty, "batch-1")
    assert empty.execute("SELECT due_at FROM parts").fetchone()[0] == 0.0, "the next try has asked for no pause"


def test_holds_are_the_longest_that_was_asked_for(empty: Connection) -> None:
    holds.hold(empty, "x", 10.0, 40.0)
    holds.hold(empty, "x", 11.0, 20.0)
    holds.hold(empty, "y", 11.0, 15.0)
    assert holds.current(empty, 12.0) == {"x": 40.0, "y": 15.0}
    holds.hold(empty, "x", 20.0, 50.0)
    assert empty.execute("SELECT COUNT(*) FROM holds").fetchone()[0] == 1, "what is over is forgotten"


def test_who_is_gone_is_so_since_the_first_look_that_did_not_find_it(empty: Connection) -> None:
    first, second = lives.begin(empty, "a", "1", 10.0), lives.begin(empty, "b", "1", 11.0)
    lives.note(empty, {first, second}, 20.0)
    lives.note(empty, {first}, 25.0)
    lives.note(empty, {first}, 30.0)
    assert [(row.name, row.gone_at) for row in lives.every(empty)] == [("a", None), ("b", 25.0)]
    lives.note(empty, {first, second}, 35.0)
    assert [row.gone_at for row in lives.every(empty)] == [None, None]
    lives.end(empty, "b", 40.0)
    lives.begin(empty, "c", "1", 41.0 + lives.FORGOTTEN)
    assert [row.name for row in lives.every(empty)] == ["a", "c"]
