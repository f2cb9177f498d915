"""Whose part is answered by ordinary calls next."""

from __future__ import annotations

import pytest

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import answering, batches, files, parts, submissions
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.queues import NO_PLACE
from tests.support.rows import batch_row, file_row, part_row


@pytest.fixture
def conn(empty: Connection) -> Connection:
    files.insert(empty, file_row())
    return empty


def waits(conn: Connection, name: str, workspace: str, slug: str, **columns: object) -> None:
    """Let a part wait, in a batch of its own that has its name."""
    batches.insert(conn, batch_row(name, workspace=workspace), is_retry=False)
    known = {"state": "planned", "note": NO_PLACE, "due_at": 9e9, "mark": name, "slug": slug, "way": "direct"}
    parts.insert(conn, part_row(name, **known | columns))


def part(conn: Connection, name: str) -> PartRow:
    found = parts.get(conn, name, 0)
    assert found is not None
    return found


def serve(conn: Connection, most: int = 1) -> str | None:
    """Let the first begin; return its name."""
    first = answering.first(conn, most)
    if first is None:
        return None
    parts.move(conn, part(conn, first.batch_id), "answering")
    answering.served(conn, part(conn, first.batch_id).slug, first.workspace)
    return first.batch_id


def done(conn: Connection, name: str, state: str = "stored") -> None:
    more = {"note": NO_PLACE, "due_at": 9e9} if state == "planned" else {}
    parts.move(conn, part(conn, name), state, **more)


def test_as_many_as_there_are_workers_and_one_of_a_key(conn: Connection) -> None:
    for name, slug in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "z")):
        waits(conn, name, "w", slug)
    assert [serve(conn, 2), serve(conn, 2), serve(conn, 2)] == ["a", "c", None]
    done(conn, "c")
    assert serve(conn, 2) == "d"  # of key x one is answered already
    done(conn, "d")
    assert serve(conn, 2) is None


def test_workspaces_take_turns_and_within_them_keys(conn: Connection) -> None:
    for n in range(3):
        waits(conn, f"a{n}", "a", "x")
        waits(conn, f"o{n}", "a", "z")
    for n in range(2):
        waits(conn, f"b{n}", "b", "y")
    order = []
    while (name := serve(conn)) is not None:
        order.append(name)
        done(conn, name)
    assert order == ["a0", "b0", "o0", "b1", "a1", "o1", "a2", "o2"]


def test_who_gives_way_is_served_behind_the_others(conn: Connection) -> None:
    waits(conn, "long", "a", "x")
    waits(conn, "short", "b", "y")
    assert serve(conn) == "long"
    assert answering.others_wait(conn, part(conn, "long"), "a")
    done(conn, "long", "planned")
    assert serve(conn) == "short"
    done(conn, "short")
    assert serve(conn) == "long"
    assert not answering.others_wait(conn, part(conn, "long"), "a")


def test_only_the_first_is_woken(conn: Connection) -> None:
    waits(conn, "a", "w", "x")
    waits(conn, "b", "w", "y")
    answering.wake_first(conn, 1)
    assert (part(conn, "a").due_at, part(conn, "b").due_at) == (0.0, 9e9)
    parts.move(conn, part(conn, "a"), "answering")
    answering.wake_first(conn, 1)
    assert part(conn, "b").due_at == 9e9


def test_parts_that_wait_for_other_things_have_no_turn(conn: Connection) -> None:
    waits(conn, "native", "w", "x", way="native")
    waits(conn, "resting", "w", "y", note=None)
    assert serve(conn) is None


def test_a_part_that_was_answered_makes_no_failed_batch(conn: Connection) -> None:
    waits(conn, "a", "w", "x")
    assert not submissions.any_accepted(conn, "a")
    serve(conn)
    done(conn, "a")
    done(conn, "a", "collected")
    assert submissions.any_accepted(conn, "a")
