"""Which batches need a virtual key to come to their end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from proxy_plugin.routing.route import decode_route
from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection

_LIVE = "('validating', 'splitting', 'running', 'merging')"


def by_slug(conn: Connection, slugs: Collection[str]) -> dict[str, int]:
    """Return {slug: number of batches} of those of the virtual keys that batches need which have not ended.

    A batch needs those of its parts that have not ended, and before it is split all that its lines can reach.
    """
    found: dict[str, set[str]] = defaultdict(set)
    ends = ", ".join(f"'{state}'" for state in sorted(states.PART_ENDS))
    query = (
        "SELECT DISTINCT parts.slug, parts.batch_id FROM parts JOIN batches ON batches.id = parts.batch_id"
        f" WHERE parts.state NOT IN ({ends}) AND batches.state IN {_LIVE}"
    )
    for slug, batch_id in conn.execute(query):
        found[slug].add(batch_id)
    for batch_id, route in conn.execute("SELECT id, route FROM batches WHERE state IN ('validating', 'splitting')"):
        for target in decode_route(route).targets:
            found[target.slug].add(batch_id)
    return {slug: len(found[slug]) for slug in slugs if slug in found}
