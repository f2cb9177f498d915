"""Waits: one row a part, the same reason keeps its beginning, and a thousand parts are no thousand news."""

from __future__ import annotations

import msgspec
import pytest

from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, parts, submissions, waits
from proxy_plugin.storage.tables.waits import REASONS, WaitRow
from tests.support.rows import BATCH_ID, batch_row, file_row, part_row


@pytest.fixture
def conn(empty: Connection) -> Connection:
    """A database with one running batch of three parts."""
    files.insert(empty, file_row())
    batches.insert(empty, batch_row(), is_retry=False)
    for n in range(3):
        parts.insert(empty, msgspec.structs.replace(part_row(BATCH_ID, state="staged", due_at=0.0), n=n, mark=f"m{n}"))
    return empty


def wait(reason: str, since: float = 100.0, part: int = 0, **more: str) -> WaitRow:
    return WaitRow(batch_id=BATCH_ID, part=part, reason=reason, since=since, next_at=since + 10, slug="lane", **more)


def kept(conn: Connection, part: int = 0) -> WaitRow:
    found = waits.get(conn, BATCH_ID, part)
    assert found is not None
    return found


@pytest.mark.parametrize("reason", REASONS)
def test_the_same_reason_keeps_its_beginning_and_is_no_news(conn: Connection, reason: str) -> None:
    assert waits.note(conn, wait(reason))
    assert not waits.note(conn, wait(reason, 150.0, said="other words", code="other"))
    found = kept(conn)
    assert (found.since, found.next_at, found.said, found.code) == (100.0, 160.0, "other words", "other")


@pytest.mark.parametrize("reason", REASONS)
def test_another_reason_takes_its_place_unless_it_says_nothing_of_money(conn: Connection, reason: str) -> None:
    silent = {waits.PROVIDER_PAUSE, waits.PROVIDER_UNREACHABLE, waits.PROVIDER_ERROR, waits.PROVIDER_AT_WORK}
    for then in REASONS:  # one database for all: a test for each would be 900
        waits.all_over(conn, BATCH_ID)
        waits.note(conn, wait(reason, said="first"))
        news = waits.note(conn, wait(then, 200.0, said="then"))
        stays = reason == waits.BILLING and then in silent
        found = kept(conn)
        assert (found.reason, found.said) == ((reason, "first") if stays else (then, "then"))
        assert found.since == (100.0 if stays or reason == then else 200.0)
        assert (found.next_at, news) == (210.0, not stays and reason != then)


def test_of_many_parts_with_one_reason_the_first_is_news(conn: Connection) -> None:
    assert [waits.note(conn, wait(waits.NO_ROOM, part=n)) for n in range(3)] == [True, False, False]
    assert waits.note(conn, wait(waits.NO_TURN, part=1))


def test_a_wait_that_a_try_interrupted_goes_on_without_news(conn: Connection) -> None:
    assert not waits.note(conn, wait(waits.PROVIDER_QUOTA, 50.0), goes_on=True)
    assert kept(conn).since == 50.0


def test_a_batch_shows_what_a_person_can_end_and_of_that_the_oldest(conn: Connection) -> None:
    waits.note(conn, wait(waits.NO_ROOM, 1.0, part=0))
    waits.note(conn, wait(waits.BILLING, 9.0, part=1))
    waits.note(conn, wait(waits.BILLING, 8.0, part=2))
    waits.note(conn, wait(waits.PICTURES, 0.0, part=waits.WHOLE))
    assert waits.foremost(conn, [BATCH_ID, "batch_other"]) == {BATCH_ID: kept(conn, 2)}
    assert set(waits.of_batch(conn, BATCH_ID)) == {0, 1, 2, waits.WHOLE}
    found = {(each.reason, each.waiting, each.since) for each in waits.totals(conn)}
    assert found == {(waits.NO_ROOM, 1, 1.0), (waits.BILLING, 2, 8.0), (waits.PICTURES, 1, 0.0)}


@pytest.mark.parametrize(("state", "then"), [(a, b) for a, after in states.PART.items() for b in sorted(after)])
def test_a_step_ends_a_wait_but_for_tries_of_a_create(conn: Connection, state: str, then: str) -> None:
    conn.execute("UPDATE parts SET state = ?", (state,))
    waits.note(conn, wait(waits.BILLING))
    row = parts.get(conn, BATCH_ID, 0)
    assert row is not None
    parts.move(conn, row, then)
    assert (waits.get(conn, BATCH_ID, 0) is not None) == ({state, then} == {"staged", "creating"})


def test_the_end_of_a_batch_ends_all_its_waits(conn: Connection) -> None:
    conn.execute("UPDATE batches SET state = 'merging'")
    for part in (0, 1, waits.WHOLE):
        waits.note(conn, wait(waits.INTERNAL_ERROR, part=part))
    batches.end(conn, batch_row(state="merging"), "completed", 1.0)
    assert waits.of_batch(conn, BATCH_ID) == {}


SINCE = [  # states and reasons of submissions, each ended a second after the one before, and since when it is refused
    ([("refused", "b")], 1.0),
    ([("refused", "b"), ("refused", "b")], 1.0),
    ([("refused", "other"), ("refused", "b")], 2.0),
    ([("absent", "b"), ("refused", "b")], 2.0),
    ([("refused", "retry: POST /batches: HTTP 429 (b)"), ("refused", "b")], 1.0),
    ([("refused", "retry: b: HTTP 402"), ("refused", "retry: POST /x: ClientError, no connection was made")], 1.0),
    ([("refused", "b"), ("refused", "retry: POST /batches: HTTP 429 (other)"), ("refused", "b")], 1.0),
    ([("refused", "retry: POST /batches: HTTP 429 (bb)")], None),
    ([("refused", None)], None),
    ([("refused", "b"), ("sent", None)], None),
    ([], None),
]


@pytest.mark.parametrize(("tries", "since"), SINCE)
def test_since_when_a_part_is_refused(
    conn: Connection, tries: list[tuple[str, str | None]], since: float | None
) -> None:
    part = parts.get(conn, BATCH_ID, 0)
    assert part is not None
    for n, (state, reason) in enumerate(tries, 1):
        submissions.begin(conn, part, "account", n - 0.5)
        query = "UPDATE submissions SET state = ?, reason = ?, ended_at = ? WHERE batch_id = ? AND part = 0 AND n = ?"
        conn.execute(query, (state, reason, float(n), BATCH_ID, n))
    assert submissions.refused_since(conn, part, {"b", "c"}) == since
