"""Objects that no row names: of a machine that was lost between an upload and its row, or while it cleaned up.

They go when they are two days old: S3 dates what was sent in pieces by its first one, and an upload may take long. A
row names its bytes soon after they are published: steps while their claim stands, requests within an hour of their end.
Of a batch that has not ended everything stays. Two replicas may sweep at once; it costs one of them its requests.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import logs
from proxy_plugin.storage.batch_folders import LEDGER
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, uploads

LOG = logging.getLogger("proxy_plugin.engine")
OLD_SECONDS = 2 * 86_400.0
FILES, BATCHES = "files", "batches"


async def sweep(gateway: Gateway) -> int:
    """Remove old objects that no row names; return how many. Raises StoreAway, StorageError."""
    tree, removed = gateway.blobs.tree, 0
    if tree is None:
        return 0
    before = gateway.clock.now() - OLD_SECONDS
    for folder, unnamed in ((FILES, _unnamed_blobs), (BATCHES, _unnamed_of_batches)):
        pages = tree.store.pages(folder)
        while (page := await tree.run(next, pages, None)) is not None:
            keys = await gateway.registry.scan(unnamed, [each.key for each in page if each.at < before])
            await tree.run(tree.store.delete, keys)
            removed += len(keys)
    logs.event(LOG, "orphans_swept", removed=removed)
    return removed


def _unnamed_blobs(conn: Connection, keys: Iterable[str]) -> list[str]:
    names = {key: key.rpartition("/")[2].partition(".")[0] for key in keys}
    kept = files.kept_of(conn, set(names.values())) | uploads.kept_of(conn, set(names.values()))
    return [key for key, name in names.items() if name not in kept]


def _unnamed_of_batches(conn: Connection, keys: Iterable[str]) -> list[str]:
    ids = {key: key.split("/", 2)[1] for key in keys}
    return list(_without_need(ids, batches.ledgers(conn, set(ids.values()))))


def _without_need(ids: Mapping[str, str], ledgers: Mapping[str, str | None]) -> Iterator[str]:
    """Yield the keys of batches that are gone, and those of ended ones that are not their ledger's."""
    for key, batch_id in ids.items():
        ledger = ledgers.get(batch_id, "")
        if ledger is not None and key != f"{BATCHES}/{batch_id}/{ledger}.{LEDGER}":
            yield key
