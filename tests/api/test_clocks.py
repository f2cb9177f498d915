"""A replica whose clock is wrong, against a real database: it does not start, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from proxy_plugin import setup
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.storage.replicas.clocks import ClocksApart
from tests.support.postgres import Databases
from tests.support.rows import make_schema
from tests.support.served import configuration


async def started(home: Path, url: str, offset: float) -> None:
    storage = {"data_dir": str(home / "data"), "database_url": url, "blob_url": f"file://{home}/store"}
    app = web.Application()
    setup(app, configuration(home, storage=storage), clock=SystemClock(offset))
    runner = web.AppRunner(app)
    try:
        await runner.setup()
    finally:
        await runner.cleanup()


async def test_a_replica_starts_where_its_clock_agrees(tmp_path: Path, databases: Databases) -> None:
    url = databases.like("schema", make_schema)
    await started(tmp_path, url, 0.0)
    with pytest.raises(ClocksApart, match=r"10\.\d s ahead of the database's.*NTP"):
        await started(tmp_path, url, 10.2)
    assert databases.ask("SELECT count(*) FROM replicas", url) == [(1,)], "the second was never there"
    databases.drop(url)
