"""What ended batches cost: by part and model, and summed up by workspace and virtual key.

Both are written in the transaction that makes the batch terminal, so neither knows a batch that the other does not. The
sums are only added to: they outlive batches, and reading them costs the same after 100,000 batches as after one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy_plugin.costs.tally import Spent
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, many

_COLUMNS = columns(Spent)
_NAMED = ", ".join(f":{name}" for name in Spent.__struct_fields__)


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What all ended batches of a workspace used on one virtual key; `cost` is of the lines with a known price."""

    workspace: str
    virtual_key: str
    lines: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float


_TOTALS = columns(Total)
_COUNTED = Total.__struct_fields__[2:]
_ADD_UP = (
    f"INSERT INTO spending_totals ({_TOTALS}) VALUES ({', '.join(f':{name}' for name in Total.__struct_fields__)})"
    " ON CONFLICT (workspace, virtual_key) DO UPDATE SET "
    + ", ".join(f"{name} = spending_totals.{name} + excluded.{name}" for name in _COUNTED)
)


def insert(conn: Connection, batch_id: str, spent: Iterable[Spent]) -> None:
    """Keep what a batch cost. Its state must change in the same transaction, or it could be counted twice."""
    rows = [msgspec.structs.asdict(each) | {"batch_id": batch_id} for each in spent]
    conn.executemany(f"INSERT INTO spending (batch_id, {_COLUMNS}) VALUES (:batch_id, {_NAMED})", rows)


def of_batch(conn: Connection, batch_id: str) -> list[Spent]:
    """Return what a batch cost, by part and model; nothing before it has ended."""
    query = f"SELECT {_COLUMNS} FROM spending WHERE batch_id = ? ORDER BY part, model"
    return many(Spent, conn.execute(query, (batch_id,)))


def add_up(conn: Connection, workspace: str, virtual_key: str, spent: Spent) -> None:
    """Add to the sums of a workspace on a virtual key."""
    counted = {name: getattr(spent, name) for name in _COUNTED} | {"cost": spent.cost or 0.0}
    conn.execute(_ADD_UP, counted | {"workspace": workspace, "virtual_key": virtual_key})


def totals(conn: Connection) -> list[Total]:
    """Return the sums of every workspace on every virtual key."""
    query = f"SELECT {_TOTALS} FROM spending_totals ORDER BY workspace, virtual_key"
    return many(Total, conn.execute(query))
