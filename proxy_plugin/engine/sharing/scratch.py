"""The start of a replica: what is in its data directory is scratch, but for answers that nobody else has."""

from __future__ import annotations

import asyncio
import logging

from proxy_plugin.direct.answers import NAME
from proxy_plugin.engine.desk import Desk
from proxy_plugin.ground import logs
from proxy_plugin.storage.blobs.tree import Tree
from proxy_plugin.storage.errors import StoreAway

LOG = logging.getLogger("proxy_plugin.engine")


async def begin(desk: Desk, tree: Tree) -> None:
    """Publish answers that an earlier life of this process has left, then empty the folders of batches.

    Where the store is away they stay as they are, and are joined when this replica takes their part.
    """
    left = await asyncio.to_thread(desk.folders.holding, NAME)
    try:
        await desk.answers.publish_left(tree, left)
    except StoreAway as error:
        logs.event(LOG, "answers_left", error=error, level=logging.WARNING)
    else:
        await asyncio.to_thread(desk.folders.empty)
