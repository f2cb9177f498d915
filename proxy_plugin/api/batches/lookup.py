"""The batch that the path of a request names."""

from __future__ import annotations

from aiohttp import web

from proxy_plugin.api import ids as foreign_ids
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.storage.tables import batches
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.web.keys import CALLER


def batch_id(request: web.Request) -> str:
    """Return the id in the path. Raises NotFound for one that no batch of ours can have."""
    found = foreign_ids.in_path(request, "batch_id")
    if not foreign_ids.could_be_ours(found):
        raise foreign_ids.no_such_batch(found)
    return found


def visible(request: web.Request) -> BatchRow:
    """Return the batch in the path if the caller's workspace can see it. Raises NotFound."""
    wanted, workspace = batch_id(request), request[CALLER].workspace
    row = request.app[GATEWAY].registry.read_now(lambda conn: batches.visible(conn, workspace, wanted))
    if row is None:
        raise foreign_ids.no_such_batch(wanted)
    return row
