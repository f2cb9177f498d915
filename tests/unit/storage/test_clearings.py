"""What parts may have left in a bucket: held while it is needed, due once it is not, and never forgotten."""

from __future__ import annotations

import pytest

from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, clearings, due, files, parts
from proxy_plugin.storage.tables.clearings import ClearingRow
from proxy_plugin.storage.tables.parts import PartRow
from tests.support.rows import BATCH_ID, batch_row, file_row, part_row

NOW = 5000.0
OBJECT, OTHER = {"key": "a"}, {"key": "b"}
WAY = ("staged", "creating", "running", "ended", "stored", "collected")


@pytest.fixture
def conn(empty: Connection) -> Connection:
    """A database with a batch that merges and has one part, whose staging has begun."""
    files.insert(empty, file_row())
    batches.insert(empty, batch_row(state="merging", sealed="sealed"), is_retry=False)
    parts.insert(empty, part_row(BATCH_ID, state="staging", due_at=0.0))
    clearings.begin(empty, part(empty))
    return empty


def part(conn: Connection) -> PartRow:
    return parts.of_batch(conn, BATCH_ID)[0]


def row(conn: Connection) -> ClearingRow:
    found = clearings.get(conn, BATCH_ID, 0)
    assert found is not None
    return found


def is_due(conn: Connection) -> bool:
    return due.Due("clearing", BATCH_ID, 0) in due.of_workspace(conn, "one", NOW, 9)


def move(conn: Connection, *states_: str) -> None:
    for state in states_:
        parts.move(conn, part(conn), state)


def end(conn: Connection) -> None:
    batch = batches.get(conn, BATCH_ID)
    assert batch is not None
    batches.end(conn, batch, "completed", NOW)


def stagings(conn: Connection) -> list[dict[str, str]]:
    return clearings.stagings_of(row(conn))


def test_each_staging_is_remembered_from_its_beginning(conn: Connection) -> None:
    assert stagings(conn) == [{}]
    clearings.begin(conn, part(conn))
    assert stagings(conn) == [{}], "the first goes on"
    clearings.staged(conn, part(conn), OBJECT)
    assert stagings(conn) == [OBJECT]
    clearings.begin(conn, part(conn))
    assert stagings(conn) == [OBJECT, {}], "what took its place may be left half-way"
    clearings.staged(conn, part(conn), OTHER)
    assert stagings(conn) == [OBJECT, OTHER]
    clearings.begin(conn, part(conn))
    clearings.staged(conn, part(conn), OBJECT)
    assert stagings(conn) == [OTHER, OBJECT]


@pytest.mark.parametrize("place", range(len(WAY)))
def test_a_part_that_is_not_over_keeps_its_objects(conn: Connection, place: int) -> None:
    move(conn, *WAY[: place + 1])
    assert not is_due(conn)
    assert clearings.pending(conn, [BATCH_ID]) == {BATCH_ID}


ENDS = [("refused",), ("dropped",), ("cutting", "replaced"), ("staged", "creating", "refused"), ("staged", "dropped")]


@pytest.mark.parametrize("way", ENDS)
def test_a_part_that_ends_without_rows_is_cleared_at_once(conn: Connection, way: tuple[str, ...]) -> None:
    move(conn, *way)
    assert is_due(conn)


def test_rows_are_ours_for_good_when_the_batch_has_ended(conn: Connection) -> None:
    move(conn, *WAY)
    end(conn)
    assert is_due(conn)
    assert row(conn).sealed == "sealed", "its caller's credentials outlive the batch"
    assert batches.get(conn, BATCH_ID).sealed is None  # type: ignore[union-attr]


def test_what_is_audited_is_not_cleared(conn: Connection) -> None:
    move(conn, *WAY)
    parts.change(conn, part(conn), due_at=NOW + 60)
    end(conn)
    assert not is_due(conn)
    clearings.release(conn, BATCH_ID, 0)
    assert not is_due(conn)
    parts.change(conn, part(conn), due_at=None)
    clearings.release(conn, BATCH_ID, 0)
    assert is_due(conn)
    assert row(conn).sealed == "sealed"


def test_credentials_that_are_given_again_wake_it(conn: Connection) -> None:
    move(conn, *WAY)
    end(conn)
    clearings.again(conn, row(conn), NOW, NOW + 600)
    assert (row(conn).since, row(conn).tries, is_due(conn)) == (NOW, 1, False)
    batches.armed(conn, BATCH_ID, "sealed again", NOW)
    assert is_due(conn)
    assert row(conn).sealed == "sealed again"
    assert due.next_after(conn, -1.0) == 0.0


def test_what_is_given_up_stays_for_the_operator_without_credentials(conn: Connection) -> None:
    move(conn, *WAY)
    with pytest.raises(states.IllegalStep):
        clearings.give_up(conn, row(conn))
    end(conn)
    assert clearings.totals(conn) == [("lane", "due", 1)]
    clearings.give_up(conn, row(conn))
    assert (row(conn).sealed, is_due(conn)) == (None, False)
    assert clearings.totals(conn) == [("lane", "left", 1)]
    assert clearings.pending(conn, [BATCH_ID]) == set()
    batches.armed(conn, BATCH_ID, "sealed again", NOW)
    assert (row(conn).sealed, is_due(conn)) == (None, False)


def test_what_is_cleared_is_forgotten(conn: Connection) -> None:
    clearings.done(conn, row(conn))
    assert clearings.get(conn, BATCH_ID, 0) is None
    clearings.staged(conn, part(conn), OBJECT)
    assert clearings.get(conn, BATCH_ID, 0) is None, "lanes without the power have no row"
