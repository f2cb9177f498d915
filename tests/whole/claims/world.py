"""A gateway whose engine claims rows, in the test's process and on SQLite: others are played by rows of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin import app
from proxy_plugin.engine.reconciler import Engine
from proxy_plugin.engine.replicas import claims
from proxy_plugin.engine.replicas.claims import RowClaims
from proxy_plugin.gateway import Gateway
from proxy_plugin.providers.http import connections
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.storage import sqlite
from proxy_plugin.storage.tables.replicas.claims import Named
from tests.whole.direct.witness import CHAT
from tests.whole.lanes import world
from tests.whole.lanes.rig import STAND_INS, Stand
from tests.whole.lanes.world import World

THIEF = "thief"
TABLES = {
    "part": ("parts", "batch_id"),
    "batch": ("batches", "id"),
    "file": ("files", "id"),
    "clearing": ("clearings", "batch_id"),
}
SENT = frozenset({"batches.create", CHAT, "objects.delete"})  # what costs money, or takes something away
OF_OTHERS = {"completed", "failed", "tenths", "due_at", "replied_at"}  # what parts, file and routes write of a batch


@asynccontextmanager
async def opened(
    data: Path,
    sandbox: Sandbox,
    provider: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """Run a gateway that claims as `one`, with a virtual key of a provider, and others."""

    def claiming(gateway: Gateway, _claims: object) -> Engine:
        return Engine(gateway, RowClaims(gateway.registry, gateway.clock, "one"))

    monkeypatch.setattr(app, "Engine", claiming)
    stand_in = next(each for each in STAND_INS if each.provider == provider)
    async with world.opened(data, sandbox, Stand(sandbox, stand_in).key(**options), others=others) as found:
        renewing = asyncio.create_task(_renew(found))
        yield found
        renewing.cancel()


async def _renew(found: World) -> None:
    engine = found.gateway.engine
    assert isinstance(engine, Engine)
    made = engine._desk.claims
    assert isinstance(made, RowClaims)
    while True:
        await asyncio.sleep(made.life / 3)
        await made.renew()


def claimed() -> Named | None:
    """Return the row whose steps are being taken here."""
    under = claims._UNDER.get()
    return None if under is None else under[0]


def steal(data: Path, key: Named) -> None:
    """Let another replica have a row."""
    with closing(sqlite.connect(data / "registry.sqlite3")) as conn:
        query = "UPDATE claims SET holder = ?, token = 1, until = ? WHERE kind = ? AND id = ? AND n = ?"
        conn.execute(query, (THIEF, time.time() + 1e6, *key))


def give_back(data: Path) -> None:
    """Let that replica be gone."""
    ask(data, "DELETE FROM claims WHERE holder = ?", THIEF)


def ask(data: Path, query: str, *values: object) -> list[Any]:
    """Run a statement by itself, beside the gateway."""
    with closing(sqlite.connect(data / "registry.sqlite3")) as conn:
        return conn.execute(query, values).fetchall()


def state(data: Path, key: Named) -> list[dict[str, Any]]:
    """Return all that is written down of a row and of nothing else, but for what is true whoever says it."""
    table, name = TABLES[key.kind]
    part = {"part": f" AND n = {key.n}", "clearing": f" AND part = {key.n}"}.get(key.kind, "")
    queries = [f"SELECT * FROM {table} WHERE {name} = ?{part}"]
    if key.kind == "part":
        queries.append("SELECT COUNT(*) AS parts FROM parts WHERE batch_id = ?")  # others may take its place
        queries += [f"SELECT * FROM {each} WHERE batch_id = ? AND part = {key.n}" for each in ("submissions", "waits")]
        queries += [f"SELECT * FROM events WHERE batch_id = ? AND part = {key.n}"]
    with closing(sqlite.connect(data / "registry.sqlite3")) as conn:
        rows = [dict(row) for query in queries for row in conn.execute(query, (key.id,))]
    hidden = {"sender"} | (OF_OTHERS if key.kind == "batch" else set())
    return [{column: value for column, value in row.items() if column not in hidden} for row in rows]


class Theft:
    """Another replica takes a row when a place is passed for it, as if this one had been stopped there for long.

    `sender`: its create is another's, so that this one has nothing to tell of it.
    """

    def __init__(self, world: World, point: str, monkeypatch: pytest.MonkeyPatch, *, sender: str | None = None) -> None:
        self._world, self._point, self._patch, self._sender = world, point, monkeypatch, sender
        self._key: Named | None = None
        self._left: list[dict[str, Any]] = []
        self._before = 0

    def passing(self, name: str) -> None:
        """Stand in for `failpoints.passing`."""
        if name != self._point or self._key is not None or (key := claimed()) is None:
            return
        self._key = key
        steal(self._world.gateway.data_dir, key)
        if self._sender is not None:
            ask(self._world.gateway.data_dir, "UPDATE submissions SET sender = ? WHERE state = 'sent'", self._sender)
        self._left, self._before = state(self._world.gateway.data_dir, key), self._sent()
        self._patch.setattr(connections, "passed", lambda: time.monotonic() + 1e6)

    async def over(self, told: tuple[str, str] | None = None) -> None:
        """Return when the steps of the row have ended here, with nothing committed and nothing sent behind the loss.

        `told`: the states of part and submission by what this one alone knew of a create.
        """
        engine = self._world.gateway.engine
        assert isinstance(engine, Engine)

        async def ended() -> bool:
            return self._key is not None and self._key not in engine._state.slots

        await self._world.until_true(ended)
        assert self._key is not None
        left = state(self._world.gateway.data_dir, self._key)
        if told is None:
            assert left == self._left, f"{self._point}: something was committed"
        else:
            assert [row["state"] for row in left if "state" in row][:2] == list(told)
        if self._key.kind in ("part", "clearing"):  # behind other rows the batch goes on
            assert self._sent() == self._before, f"{self._point}: something was sent"

    def undo(self) -> None:
        """Let the other be gone."""
        self._patch.setattr(connections, "passed", time.monotonic)
        give_back(self._world.gateway.data_dir)
        self._world.gateway.engine.wake()

    def _sent(self) -> int:
        return sum(entry["op"] in SENT for entry in self._world.sandbox.control.requests())
