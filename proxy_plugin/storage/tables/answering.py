"""Whose turn it is to be answered by ordinary calls: as many parts at once as there are workers, one of a virtual key.

First is the workspace of which the fewest are answered, of equals the one that was served longest ago; of its virtual
keys the one that was; of its parts there the one that was created first.
"""

from __future__ import annotations

from collections import Counter
from operator import itemgetter

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import WOKEN, queues
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.queues import NO_PLACE, Queued

_ALL = ""  # in place of a virtual key: turns of workspaces, and of keys, among all
_NOW = "SELECT slug, workspace FROM parts WHERE way = 'direct' AND state = 'answering'"
_WAIT = "way = 'direct' AND state = 'planned' AND note = :note"
_SLUGS = (  # from one to the next, however many parts of it wait
    f"WITH RECURSIVE every (slug) AS (SELECT MIN(slug) FROM parts WHERE {_WAIT} UNION ALL"
    f" SELECT (SELECT MIN(slug) FROM parts WHERE {_WAIT} AND slug > every.slug)"
    " FROM every WHERE every.slug IS NOT NULL)"
    " SELECT slug FROM every WHERE slug IS NOT NULL"
)


def first(conn: Connection, most: int) -> Queued | None:
    """Return the part that may begin now; None where nobody waits or `most` are answered already."""
    busy = [(row[0], row[1]) for row in conn.execute(_NOW)]
    if len(busy) >= most:
        return None
    taken, keys = Counter(workspace for _, workspace in busy), {slug for slug, _ in busy}
    slugs = [row[0] for row in conn.execute(_SLUGS, {"note": NO_PLACE}) if row[0] not in keys]
    found = [part for slug in slugs if (part := queues.first(conn, slug, NO_PLACE)) is not None]
    if not found:
        return None
    ranks = ((taken[part.workspace], *_served(conn, part, slug)) for slug, part in zip(slugs, found, strict=True))
    return min(zip(ranks, found, strict=True), key=itemgetter(0))[1]


def _served(conn: Connection, part: Queued, slug: str) -> tuple[int, int]:
    """Return when the workspace, and the virtual key, last had a turn among all."""
    query = "SELECT COALESCE(MAX(served), 0) FROM turns WHERE slug = ? AND queue = ? AND workspace = ?"
    of_workspace = conn.execute(query, (_ALL, NO_PLACE, part.workspace)).fetchone()[0]
    return of_workspace, conn.execute(query, (_ALL, f"{NO_PLACE}: key", slug)).fetchone()[0]


def served(conn: Connection, slug: str, workspace: str) -> None:
    """Remember that a part has had a turn."""
    queues.served(conn, slug, workspace, NO_PLACE)
    queues.served(conn, _ALL, workspace, NO_PLACE)
    queues.served(conn, _ALL, slug, f"{NO_PLACE}: key")


def wake_first(conn: Connection, most: int) -> None:
    """Let the engine look at the part whose turn it is at once, if it is anybody's."""
    part = first(conn, most)
    if part is not None:
        conn.execute(f"UPDATE parts SET due_at = {WOKEN} WHERE batch_id = ? AND n = ?", (part.batch_id, part.n))


def others_wait(conn: Connection, part: PartRow, workspace: str) -> bool:
    """Tell whether a turn of this part keeps anybody else from one: another key, or another workspace."""
    query = f"SELECT 1 FROM parts WHERE {_WAIT} AND (slug <> :slug OR workspace <> :workspace) LIMIT 1"
    return conn.execute(query, {"note": NO_PLACE, "slug": part.slug, "workspace": workspace}).fetchone() is not None
