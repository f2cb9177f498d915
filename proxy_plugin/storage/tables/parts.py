"""Parts: what goes to a provider as one job, how far it is, and what is known of its results."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, structs

from proxy_plugin.providers.base import Refused, Usage
from proxy_plugin.providers.errors import BadLine
from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import ConstraintError
from proxy_plugin.storage.tables import WOKEN, batches, clearings, columns, many, one, queues, waits


class PartRow(msgspec.Struct, frozen=True, kw_only=True):
    """One part. `staged`, `refusal`, `results` are JSON texts (`results_of`, `refusal_of`).

    `note` tells an operator why it waits.
    """

    batch_id: str
    n: int
    slug: str
    provider: str
    endpoint: str
    model: str | None
    partition_key: str
    lines: int
    bytes: int
    sha256: str
    mark: str
    file: str
    state: str
    staged: str | None = None
    job: str | None = None
    cancel_sent_at: float | None = None
    end_reason: str | None = None
    refusal: str | None = None
    results: str | None = None
    completed: int = 0
    failed: int = 0
    accepted_at: float | None = None
    missing_since: float | None = None
    note: str | None = None
    due_at: float | None = None
    tries: int = 0
    cut: str | None = None  # JSON: which lines of which part it has, if it was not made by the split
    way: str = "native"  # or "direct": by ordinary calls, one a line
    goes_on: int | None = None  # where its failed lines go (`choose.Choice.then`); None: nowhere
    rescue: str | None = None  # JSON: whose failed lines it has, and what became of its own
    requests: int | None = None  # records of its document, where some of its lines are several requests

    @property
    def records(self) -> int:
        """Return how many records its document has: what its provider counts."""
        return self.requests or self.lines

    def in_lines(self, told: tuple[int, int] | None) -> tuple[int, int]:
        """Return about how many lines are completed and failed, of requests that were told of; 0 where none were."""
        completed, failed = told or (0, 0)
        return completed * self.lines // self.records, failed * self.lines // self.records


class StoredResults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a part's results. The text has only what was known when it was written.

    `native`, once the job has ended: what the adapter's `fetch` needs.
    `folder` before the first is stored, `names` when all are: the native files, whole ones only.
    `rows`, `stopping`, `usage`, `held`, once they are collected: the folder of the rows, what was stopping the batch
    then, what the rows that count used, and how many requests have a row, and one that is not of one that never ran.
    Folders are named within the batch's own.

    `ended_at`: when the job was seen to be over. `told`: how many requests, which are lines where no line is several,
    the provider counts as completed, as failed.
    `unnamed`: of some of those it does not name the results yet. `readings`: how often results were too few.
    `ask`: the job is to be looked at before the next reading.

    Where replicas share batches, `stored` names the folder of whole native files that is published, and `beside` is
    what the adapter has noted beside the part's document.
    """

    native: dict[str, str]
    folder: str | None = None
    names: tuple[str, ...] | None = None
    rows: str | None = None
    stopping: str | UnsetType | None = UNSET
    usage: Usage | None = None
    ended_at: float | None = None
    told: tuple[int, int] | None = None
    unnamed: bool = False
    readings: int = 0
    ask: bool = False
    held: tuple[int, int] | None = None
    beside: str | None = None
    stored: str | None = None

    def text(self) -> str:
        """Return the value of the column `results`."""
        return msgspec.json.encode(self).decode()


def unheld(told: tuple[int, int] | None, held: tuple[int, int] | None) -> int:
    """Return how many requests the provider has counted of which its results hold nothing, see `StoredResults`."""
    if told is None or held is None:
        return 0
    (completed, failed), (lines, ran) = told, held
    return max(completed - ran, completed + failed - lines, 0)


class StoredRefusal(msgspec.Struct, frozen=True):
    """Why every line of a part that has no row is an error row, in the provider's words where it gave some.

    `divisible`: it may be about single lines. `records` of the document are those that the provider named, until it is
    known which `line` of the file the message is about. `before`: of an earlier batch; this one has not sent the part.
    """

    code: str
    message: str
    status: int | None = None
    param: str | None = None
    divisible: bool | UnsetType = UNSET
    records: tuple[BadLine, ...] | UnsetType = UNSET
    line: int | UnsetType = UNSET
    before: bool | UnsetType = UNSET

    @classmethod
    def of(cls, refused: Refused) -> StoredRefusal:
        """Return what is kept of a refusal."""
        known = cls(refused.code, refused.message, refused.status, refused.param)
        return structs.replace(known, divisible=refused.divisible or UNSET, records=refused.lines or UNSET)

    def text(self) -> str:
        """Return the value of the column `refusal`."""
        return msgspec.json.encode(self).decode()


_read_results = msgspec.json.Decoder(StoredResults).decode
_read_refusal = msgspec.json.Decoder(StoredRefusal).decode


def results_of(part: PartRow) -> StoredResults:
    """Return what is known of a part's results; nothing of a part whose job has not ended."""
    return StoredResults(native={}) if part.results is None else _read_results(part.results)


def refusal_of(part: PartRow) -> StoredRefusal | None:
    """Return why a part's lines have no answers, None where nothing was refused."""
    return None if part.refusal is None else _read_refusal(part.refusal)


_COLUMNS = columns(PartRow)
_NAMED = ", ".join(f":{name}" for name in PartRow.__struct_fields__)
_GET = f"SELECT {_COLUMNS} FROM parts WHERE batch_id = ? AND n = ?"
_IN_FLIGHT = ", ".join(f"'{state}'" for state in sorted(states.IN_FLIGHT))


def insert(conn: Connection, row: PartRow) -> None:
    """Add a part of a manifest. Its turn is that of its batch's workspace, its place that of its batch."""
    into = f"INSERT INTO parts ({_COLUMNS}, workspace, place)"
    query = f"{into} SELECT {_NAMED}, workspace, seq FROM batches WHERE id = :batch_id"
    if not conn.execute(query, msgspec.structs.asdict(row)).rowcount:
        raise ConstraintError(f"there is no batch {row.batch_id}")


def get(conn: Connection, batch_id: str, n: int) -> PartRow | None:
    """Return one part."""
    return one(PartRow, conn.execute(_GET, (batch_id, n)))


def of_batch(conn: Connection, batch_id: str) -> list[PartRow]:
    """Return all parts of a batch in order."""
    return many(PartRow, conn.execute(f"SELECT {_COLUMNS} FROM parts WHERE batch_id = ? ORDER BY n", (batch_id,)))


def postpone(conn: Connection, batch_id: str, n: int, due_at: float, held_until: float | None = None) -> None:
    """Look at the part again at `due_at` and count the try.

    `held_until`: until then its provider has asked to be left alone, and waking the part is no excuse.
    """
    conn.execute(
        "UPDATE parts SET due_at = ?, held_until = ?, tries = tries + 1"
        " WHERE batch_id = ? AND n = ? AND due_at IS NOT NULL",
        (due_at, held_until, batch_id, n),
    )


def counts_changed(conn: Connection, batch_id: str) -> None:
    """Sum what the last polls said into the batch."""
    conn.execute(
        "UPDATE batches SET (completed, failed) = (SELECT COALESCE(SUM(completed), 0) + batches.cached,"
        " COALESCE(SUM(failed), 0) + batches.rejected FROM parts WHERE batch_id = ?) WHERE id = ?",
        (batch_id, batch_id),
    )


def move(conn: Connection, /, part: PartRow, state: str, **changes: Any) -> PartRow:
    """Move a part one legal step; raises states.IllegalStep. A part that has ended wakes its batch.

    Any step ends a wait, but for those of a create that is tried again and again. Every line of a part that is refused
    or dropped has failed. A part that is in flight no more leaves a place: the first in the queue is woken, and wakes
    the next one if there is room for both.
    """
    states.check("part", part.state, state)
    if state in states.PART_FAILED:
        changes = {"completed": 0, "failed": part.lines} | changes
    if {part.state, state} != {"staged", "creating"}:
        waits.over(conn, part.batch_id, part.n)
    ended = state in states.PART_ENDS
    values: dict[str, Any] = {"due_at": None if ended else 0.0, "tries": 0, "note": None} | changes | {"state": state}
    moved = _update(conn, part, values)
    if ended:
        batches.wake(conn, part.batch_id)
    if ended and state != "collected":  # no row of it is to come
        clearings.release(conn, part.batch_id, part.n)
    if "completed" in changes:
        counts_changed(conn, part.batch_id)
    if part.state in states.IN_FLIGHT and state not in states.IN_FLIGHT:
        queues.wake_first(conn, part.slug)
    return moved


def change(conn: Connection, /, part: PartRow, **changes: Any) -> PartRow:
    """Change columns of a part without a step."""
    return _update(conn, part, changes)


def rest(conn: Connection, part: PartRow, due_at: float) -> None:
    """Look at a part again at `due_at`; nothing else is new. Raises IllegalStep where it has moved."""
    query = "UPDATE parts SET due_at = ? WHERE batch_id = ? AND n = ? AND state = ?"
    if not conn.execute(query, (due_at, part.batch_id, part.n, part.state)).rowcount:
        raise states.IllegalStep(f"part is no longer {part.state}")


def _update(conn: Connection, part: PartRow, values: dict[str, Any]) -> PartRow:
    sets = ", ".join(f"{name} = :{name}" for name in values)
    query = f"UPDATE parts SET {sets} WHERE batch_id = :id AND n = :n AND state = :was RETURNING {_COLUMNS}"
    moved = one(PartRow, conn.execute(query, values | {"id": part.batch_id, "n": part.n, "was": part.state}))
    if moved is None:
        raise states.IllegalStep(f"part is no longer {part.state}")
    return moved


def in_flight(conn: Connection, slug: str) -> tuple[int, int]:
    """Return (jobs, requests) of one virtual key that are at its provider or on the way there."""
    row = conn.execute(
        "SELECT COUNT(*), COALESCE(SUM(COALESCE(requests, lines)), 0) FROM parts"
        f" WHERE slug = ? AND state IN ({_IN_FLIGHT})",
        (slug,),
    ).fetchone()
    return int(row[0]), int(row[1])


def by_state(conn: Connection) -> dict[str, int]:
    """Return how many parts there are in each state that a part is in."""
    return {row[0]: row[1] for row in conn.execute("SELECT state, COUNT(*) FROM parts GROUP BY state")}


def all_ended(conn: Connection, batch_id: str) -> bool:
    """Tell whether every part of a batch has reached its last state."""
    ends = ", ".join(f"'{state}'" for state in sorted(states.PART_ENDS))
    query = f"SELECT 1 FROM parts WHERE batch_id = ? AND state NOT IN ({ends}) LIMIT 1"
    return conn.execute(query, (batch_id,)).fetchone() is None


def wake(conn: Connection, part: PartRow) -> None:
    """Let the engine look at the part at once."""
    conn.execute(
        f"UPDATE parts SET due_at = {WOKEN} WHERE batch_id = ? AND n = ? AND due_at IS NOT NULL",
        (part.batch_id, part.n),
    )


def wake_all(conn: Connection, batch_id: str) -> None:
    """Let the engine look at once at all parts of a batch that have not ended."""
    conn.execute(f"UPDATE parts SET due_at = {WOKEN} WHERE batch_id = ? AND due_at IS NOT NULL", (batch_id,))
