"""Whether a batch may begin: what its key of LiteLLM's, and the team of it, may still spend and have enqueued.

The numbers are asked of LiteLLM when the batch is validated; where it cannot be asked, those of the create hold. The
estimate is that of a plan, and is made only where there is a limit: it costs a second split. Two batches that are
validated at once see each other: the sums are read in the transaction that adds to them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import structs

from proxy_plugin.access.identity import Identity
from proxy_plugin.costs.allowed import Need, Purse, refusals, token_limit
from proxy_plugin.engine import tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.spend.carrier import NobodyThere, NotTaken, is_known
from proxy_plugin.engine.worker_jobs import split_job
from proxy_plugin.ground import logs
from proxy_plugin.lines.plan_count import PlanJob, count
from proxy_plugin.lines.scan import Fault
from proxy_plugin.routing.endpoints import served
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, charges
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.charges import ChargeRow
from proxy_plugin.storage.tables.files import FileRow

LOG = logging.getLogger("proxy_plugin.spend")


async def admit(desk: Desk, batch: BatchRow, file: FileRow, lines: int) -> list[Fault]:
    """Let a batch of so many lines be split, or return the limits that it does not keep.

    Raises what a task of a worker raises, and tasks.Unwanted for a batch that is stopped meanwhile.
    """
    assert batch.identity is not None
    who = await _fresh(desk, msgspec.json.decode(batch.identity, type=Identity))
    purses, need = purses_of(who), Need()
    if any(purse.limited for purse in purses):
        work = _estimated(desk, batch, file)
        need = await tasks.while_wanted(partial(tasks.to_be_sent, desk, batch), work)
    faults = await desk.write(_decide, batch, who, need, lines)
    if faults:
        logs.event(LOG, "over_limit", codes=[fault.code for fault in faults])
    return faults


def purses_of(who: Identity) -> list[Purse]:
    """Return the limits of a key, and of its team if it has one."""
    found = [Purse(f"key {who.name}", who.spend, who.max_budget, token_limit(who.metadata))]
    if who.team_id is not None:
        limit, name = token_limit(who.team_metadata), who.team_alias or who.team_id
        found.append(Purse(f"team {name}", who.team_spend or 0.0, who.team_max_budget, limit))
    return found


async def _fresh(desk: Desk, who: Identity) -> Identity:
    """Return what LiteLLM says of a key and its team now, or what it said at the create."""
    config = desk.gateway.config
    if who.admin or not is_known(config):
        return who
    try:
        who = with_key(who, await desk.carrier.key(config, who.key_hash))
        if who.team_id is not None:
            who = with_team(who, await desk.carrier.team(config, who.team_id))
    except (NobodyThere, NotTaken) as error:
        logs.event(LOG, "limits_not_asked", error=error)
    return who


def with_key(who: Identity, info: Mapping[str, Any]) -> Identity:
    """Return a key's identity with the limits that LiteLLM tells of it."""
    return structs.replace(
        who,
        spend=_number(info.get("spend")) or 0.0,
        max_budget=_budget(info),
        metadata=_mapping(info.get("metadata")),
        team_id=info["team_id"] if isinstance(info.get("team_id"), str) else who.team_id,
    )


def with_team(who: Identity, info: Mapping[str, Any]) -> Identity:
    """Return a key's identity with the limits that LiteLLM tells of its team."""
    return structs.replace(
        who,
        team_spend=_number(info.get("spend")),
        team_max_budget=_number(info.get("max_budget")),
        team_metadata=_mapping(info.get("metadata")),
        team_alias=info["team_alias"] if isinstance(info.get("team_alias"), str) else who.team_alias,
    )


def _budget(info: Mapping[str, Any]) -> float | None:
    """Return a key's own budget, or that of the budget table that it names, as LiteLLM takes them."""
    own = _number(info.get("max_budget"))
    return _number(_mapping(info.get("litellm_budget_table")).get("max_budget")) if own is None else own


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


async def _estimated(desk: Desk, batch: BatchRow, file: FileRow) -> Need:
    """Return what a plan of the batch says. A file that is checked has no line but those of this batch."""
    gateway = desk.gateway
    await gateway.blobs.present_with_index(file.id)
    split = split_job(gateway, file, batch.endpoint, desk.route(batch), batch_id=batch.id, folder="")
    job = PlanJob(split, frozenset(served(batch.endpoint)))
    figures = await gateway.workers.run(gateway.terms(batch.workspace, file.bytes), count, job)
    costs = [each.cost for each in figures.targets if each.cost is not None]
    return Need(
        tokens=sum(each.input_tokens + each.output_tokens for each in figures.targets),
        cost=sum(costs) if costs else None,
        unlimited=sum(each.unlimited for each in figures.targets),
    )


def _decide(conn: Connection, batch: BatchRow, who: Identity, need: Need, lines: int) -> list[Fault]:
    """Move the batch on and set aside what it is estimated to take, unless a limit says no."""
    faults: list[Fault] = []
    helds = [charges.held(conn, batch.id, who.key_hash), charges.held_by_team(conn, batch.id, who.team_id or "")]
    for purse, held in zip(purses_of(who), helds, strict=False):  # many have no team
        faults += [Fault(code, text) for code, text in refusals(purse, held, need)]
    if faults:
        return faults
    row = ChargeRow(batch_id=batch.id, key_hash=who.key_hash, team_id=who.team_id)
    charges.insert(conn, structs.replace(row, tokens=need.tokens, cost=need.cost or 0.0))
    batches.move(conn, batch, "splitting", total=lines)
    return []
