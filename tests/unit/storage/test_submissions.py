"""Submissions: what the attempts of one part know of each other."""

from __future__ import annotations

import pytest

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, parts, submissions
from tests.support.rows import BATCH_ID, batch_row, file_row, part_row


@pytest.fixture
def conn(empty: Connection) -> Connection:
    """A database with one running batch of one part."""
    files.insert(empty, file_row())
    batches.insert(empty, batch_row(), is_retry=False)
    parts.insert(empty, part_row(BATCH_ID, state="staged", due_at=0.0))
    return empty


FENCES = [  # account, fence and time of the attempts, and since when the last one's fence is in use
    ([("a", "job_1", 5.0)], 5.0),
    ([("a", "job_1", 5.0), ("a", "job_1", 9.0), ("a", "job_1", 12.0)], 5.0),
    ([("a", "job_1", 5.0), ("a", "job_2", 9.0)], 9.0),
    ([("a", "job_1", 5.0), ("b", "job_1", 9.0)], 9.0),
    ([("a", None, 5.0), ("a", None, 9.0)], 5.0),
    ([("a", "job_1", 5.0), ("a", None, 9.0)], 9.0),
    ([("a", "job_1", None), ("a", "job_1", 9.0)], 9.0),
    ([("a", "job_1", None)], None),
]


@pytest.mark.parametrize(("attempts", "since"), FENCES)
def test_a_fence_is_as_old_as_the_first_attempt_with_it(
    conn: Connection, attempts: list[tuple[str, str | None, float | None]], since: float | None
) -> None:
    part = parts.of_batch(conn, BATCH_ID)[0]
    for account, fence, sent_at in attempts:
        row = submissions.begin(conn, part, account, 1.0)
        row = submissions.move(conn, row, "sent", fence=fence, sent_at=sent_at)
        last = submissions.move(conn, row, "refused")
    assert submissions.fenced_at(conn, last) == since
