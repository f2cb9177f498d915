"""What LiteLLM is told of a batch that has ended: what it cost, what it used, and whose it was."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy_plugin.access.identity import Identity
from proxy_plugin.costs.tally import OTHERS, total
from proxy_plugin.lines.merge import MergeFacts
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import charges
from proxy_plugin.storage.tables.batches import BatchRow

MOST_MODELS = 20  # that are named


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One batch. `id` is the batch's: the same report sent again is the same spend. `cost` is in US dollars.

    `unpriced` of the `lines` have no known price. `status` is the public one; times are seconds since the epoch.
    """

    id: str
    status: str
    endpoint: str
    created_at: int
    ended_at: int
    key_hash: str
    key_name: str
    user_id: str | None
    team_id: str | None
    team_alias: str | None
    models: tuple[str, ...]
    providers: tuple[str, ...]
    lines: int
    completed: int
    failed: int
    unpriced: int
    cost: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int


def book(
    conn: Connection, batch: BatchRow, state: str, facts: MergeFacts, providers: Iterable[str], now: float
) -> None:
    """Keep the report of a batch that ends in this transaction, if a key of LiteLLM's made it and it used anything."""
    if batch.identity is None or not facts.spent:
        return
    report = _report(batch, state, facts, providers, now)
    charges.insert(conn, charges.ChargeRow(batch_id=batch.id, key_hash=report.key_hash, team_id=report.team_id))
    charges.ended(conn, batch.id, msgspec.json.encode(report).decode(), report.cost, now)


def _report(batch: BatchRow, state: str, facts: MergeFacts, providers: Iterable[str], now: float) -> Report:
    who = msgspec.json.decode(batch.identity or "", type=Identity)
    found = total(facts.spent)
    models = dict.fromkeys(each.model for each in facts.spent if each.model != OTHERS)
    return Report(
        id=batch.id,
        status=state,
        endpoint=batch.endpoint,
        created_at=batch.created_at,
        ended_at=int(now),
        key_hash=who.key_hash,
        key_name=who.name,
        user_id=who.user_id,
        team_id=who.team_id,
        team_alias=who.team_alias,
        models=tuple(models)[:MOST_MODELS],
        providers=tuple(dict.fromkeys(providers)),
        lines=facts.total,
        completed=facts.completed,
        failed=facts.failed,
        unpriced=found.unpriced,
        cost=found.cost or 0.0,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cached_tokens=found.cached_tokens,
        reasoning_tokens=found.reasoning_tokens,
    )
