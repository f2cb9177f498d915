"""The folder of a step's attempt, with one for each range in it.

What fails leaves nothing, so that the step can do it all in one go where there is room for that alone.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from proxy_plugin.engine import space
from proxy_plugin.engine.desk import Desk
from proxy_plugin.ground.durable import empty_folder
from proxy_plugin.storage.tables.batches import BatchRow


@asynccontextmanager
async def attempt_in(folder: Path, desk: Desk, batch: BatchRow) -> AsyncIterator[None]:
    """Have an empty folder, which goes with all that is in it where the work fails."""
    await asyncio.to_thread(empty_folder, folder)
    try:
        yield
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await space.measure(desk, {batch.id: batch.workspace})
        raise
