"""The native jobs of batches, as their callers and operators look at them: parts with their submissions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from proxy_plugin.costs.tally import Spent
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, many, parts, spending, waits
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.submissions import SubmissionRow
from proxy_plugin.storage.tables.waits import WaitRow

_SUBMISSIONS = f"SELECT {columns(SubmissionRow)} FROM submissions WHERE batch_id = ? ORDER BY part, n"


class Job(NamedTuple):
    """One part, every attempt to create its job, first first, what it waits for, and what it cost by model.

    The cost is known when its batch ends.
    """

    part: PartRow
    submissions: list[SubmissionRow]
    spent: list[Spent]
    wait: WaitRow | None = None


def of_batches(conn: Connection, batch_ids: Iterable[str]) -> dict[str, list[Job]]:
    """Return the jobs of each batch by the order of their parts."""
    return {batch_id: _of_batch(conn, batch_id) for batch_id in batch_ids}


def _of_batch(conn: Connection, batch_id: str) -> list[Job]:
    attempts: dict[int, list[SubmissionRow]] = defaultdict(list)
    for row in many(SubmissionRow, conn.execute(_SUBMISSIONS, (batch_id,))):
        attempts[row.part].append(row)
    spent: dict[int, list[Spent]] = defaultdict(list)
    for each in spending.of_batch(conn, batch_id):
        spent[each.part].append(each)
    waiting = waits.of_batch(conn, batch_id)
    rows = parts.of_batch(conn, batch_id)
    return [Job(part, attempts[part.n], spent[part.n], waiting.get(part.n)) for part in rows]
