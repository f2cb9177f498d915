"""Deliveries: written with what they tell of, one event of a batch after the other, a few of each workspace at once."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.ground.webhooks import ENDS, EVENTS, IN_PROGRESS
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, webhooks
from proxy_plugin.storage.tables.webhooks import DeliveryRow, EndpointRow
from tests.support.rows import Fresh, batch_row, file_row

ENDPOINT = EndpointRow(
    id="we_1",
    workspace="one",
    source=webhooks.API,
    name="",
    url="https://example.com/x",
    event_types=json.dumps(EVENTS),
    created_at=1,
    updated_at=1,
)


def with_endpoint(empty: Connection) -> Connection:
    files.insert(empty, file_row())
    webhooks.insert(empty, ENDPOINT, 20)
    return empty


@pytest.fixture
def conn(empty: Connection) -> Connection:
    batches.insert(with_endpoint(empty), batch_row(), is_retry=False)
    return empty


def sendable(conn: Connection, now: float = 100.0) -> list[DeliveryRow]:
    return [row for rows in webhooks.sendable(conn, now) for row in rows]


def test_an_event_that_did_not_happen_is_not_told(conn: Connection) -> None:
    conn.execute("SAVEPOINT it")
    batches.end(conn, batches.move(conn, batch_row(), "merging"), "completed", 5.0)
    assert [row.type for row in sendable(conn)] == ["batch.completed"]
    conn.execute("ROLLBACK TO it")
    assert sendable(conn) == []


def test_an_end_is_told_to_the_batchs_own_url_and_what_is_before_it_is_not(conn: Connection) -> None:
    batches.insert(conn, batch_row("batch_own", workspace="two", webhook="https://own.example/x"), is_retry=False)
    for event in EVENTS:
        webhooks.book(conn, "batch_own", event, 5.0)
    told = webhooks.deliveries(conn, "two", 100)
    assert sorted(row.type for row in told) == sorted(ENDS)
    assert {row.url for row in told} == {"https://own.example/x"}


def test_a_workspace_has_few_at_once_and_a_receiver_fewer(conn: Connection) -> None:
    other = msgspec.structs.replace(ENDPOINT, id="we_2")
    webhooks.insert(conn, other, 20)
    for n in range(9):
        batches.insert(conn, batch_row(f"batch_{n}"), is_retry=False)
        webhooks.book(conn, f"batch_{n}", ENDS[0], 5.0 + n)
    assert [row.target for row in sendable(conn)] == ["we_1", "we_2"] * 2


def test_what_waits_for_a_receiver_goes_when_it_is_there_and_what_it_refused_does_not(conn: Connection) -> None:
    for n in range(3):
        batches.insert(conn, batch_row(f"batch_{n}"), is_retry=False)
        webhooks.book(conn, f"batch_{n}", ENDS[0], 5.0 + n)
    first, second, *_ = sendable(conn)
    webhooks.not_delivered(conn, first, 400, "no", 10.0, 1000.0)
    webhooks.hold(conn, "we_1", 10.0, 500.0)
    assert sendable(conn) == []
    assert webhooks.next_after(conn, 100.0) == 500.0
    webhooks.delivered(conn, second, 204, 20.0)
    assert [row.batch_id for row in sendable(conn)] == ["batch_2"]


@given(steps=st.lists(st.sampled_from(["tell a", "tell b", "taken", "failed", "given up", "later"]), max_size=60))
def test_of_one_batch_a_receiver_gets_one_event_after_the_other(fresh: Fresh, steps: list[str]) -> None:
    with fresh() as conn:
        one_after_the_other(with_endpoint(conn), steps)


def one_after_the_other(conn: Connection, steps: list[str]) -> None:
    now, taken, booked = 0.0, dict[str, list[int]](a=[], b=[]), 0
    for name in "ab":
        batches.insert(conn, batch_row(name), is_retry=False)
    for step in steps:
        now += 1
        found = sendable(conn, now)
        assert len({row.batch_id for row in found}) == len(found), "never two of one batch at once"
        if step.startswith("tell"):
            webhooks.book(conn, step[-1], IN_PROGRESS, now)
            booked += 1
        elif step == "later":
            now += 100
        elif found and step == "taken":
            taken[found[0].batch_id or ""].append(found[0].seq)
            webhooks.delivered(conn, found[0], 204, now)
        elif found:
            due_at = None if step == "given up" else now + 50
            webhooks.hold(conn, "we_1", now, now + 20)
            webhooks.not_delivered(conn, found[0], None, "x", now, due_at)
    for _ in range(2 * booked):
        now += 60
        for row in sendable(conn, now):
            taken[row.batch_id or ""].append(row.seq)
            webhooks.delivered(conn, row, 204, now)
    assert {row.state for row in webhooks.deliveries(conn, "one", 100)} <= {"delivered", "failed"}, "none is forgotten"
    assert all(order == sorted(set(order)) for order in taken.values())
    assert len(webhooks.deliveries(conn, "one", 100)) == booked
