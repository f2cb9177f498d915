"""`replicas`: which gateways share a database, and what each does."""

from __future__ import annotations

import time
from collections.abc import Mapping

from proxy_plugin.commands.display import Row
from proxy_plugin.commands.problems import OK, Refused
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.wording import JSON, clean, dated, mapping, objects

_HEADS = ("replica", "status", "version", "started", "seen", "steps", "duties")


def replicas(session: Session) -> int:
    """List the replicas. Raises Declined for a gateway that knows none."""
    try:
        found = objects(session.gateway.call("GET", "/replicas").get("data"))
    except Refused as refusal:
        raise session.gateway.needs("replicas", refusal) from None
    if not session.display.documents(found):
        session.display.listing(_HEADS, list(map(_row, found)), empty="no replica has begun")
    return OK


def _row(one: JSON) -> Row:
    now, duties = time.time(), one.get("duties")
    named = [one.get(name) for name in ("id", "status", "version")]
    times = [dated(one.get("started_at"), now), dated(one.get("gone_at") or one.get("seen_at"), now)]
    told = ", ".join(map(clean, duties)) if isinstance(duties, list) else ""
    return Row([*named, *times, _steps(mapping(one.get("steps"))), told])


def _steps(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{clean(name)} {clean(count)}" for name, count in counts.items())
