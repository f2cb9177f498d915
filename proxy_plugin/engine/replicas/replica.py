"""One gateway of several that share a database: its name, that it is there, what it claims, and what it hears."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Protocol

from proxy_plugin.engine.replicas.claims import LIFE, RowClaims
from proxy_plugin.engine.replicas.holds import Holds
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import logs
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.replicas import attendance, clocks
from proxy_plugin.storage.replicas.attendance import Attendance
from proxy_plugin.storage.replicas.clocks import TRIES, WARNED, Skew, require
from proxy_plugin.storage.tables.replicas import lives

LOG = logging.getLogger("proxy_plugin.replicas")
ROWS, WEBHOOKS, REPORTS, HOLD = (
    "rows",
    "webhooks",
    "reports",
    "hold",
)  # what is told; the last with an account and a time


class Presence(Protocol):
    """What others see of a replica for as long as it is there."""

    async def begin(self) -> None:
        """Return when the others see it."""

    async def end(self) -> None:
        """Let the others see that it is gone."""


class Replica:
    """One life of one gateway. `begin` before the engine, `end` behind it.

    `on_reports` is called where a report may be due. `held` reads which numbers the database has a session of,
    `clocks` how far the clock here is from its own, in so many tries.
    """

    def __init__(
        self,
        gateway: Gateway,
        version: str,
        *,
        name: str | None = None,
        life: float = LIFE,
        presence: Callable[[int, Callable[[str], None]], Presence] | None = None,
        held: Callable[[Connection], set[int]] = attendance.held,
        tell: Callable[[Connection, str], None] = attendance.tell,
        clocks: Callable[[Connection, Callable[[], float], int], Skew] = clocks.measured,
    ) -> None:
        self._gateway, self._version = gateway, version
        self.name = f"{name or socket.gethostname()}-{os.urandom(4).hex()}"
        self.claims = RowClaims(
            gateway.registry, gateway.clock, self.name, life=life, tell=lambda conn: tell(conn, ROWS)
        )
        self._held, self._clocks, self._presence = held, clocks, presence or self._attending
        self._apart = False  # are the clocks?
        self._there: Presence | None = None
        self._beats: asyncio.Task[None] | None = None
        self._holds = Holds(gateway)
        self.on_reports: Callable[[], None] = lambda: None

    def _attending(self, number: int, told: Callable[[str], None]) -> Presence:
        url = self._gateway.config.storage.database_url
        assert url is not None
        return Attendance(url.get_secret_value(), number, told)

    async def begin(self) -> None:
        """Be there. Raises StorageError, ClocksApart among them."""
        gateway = self._gateway
        skew = await gateway.registry.read(self._clocks, gateway.clock.now, TRIES)
        require(skew)
        self._note_clocks(skew)
        number = await gateway.registry.write(lives.begin, self.name, self._version, gateway.clock.now())
        self._there = self._presence(number, self.hear)
        await self._there.begin()
        await self._holds.begin()
        self._beats = asyncio.create_task(self._beat(), name="replica")
        logs.event(LOG, "replica_began", replica=self.name)

    async def end(self) -> None:
        """Be gone: nothing is claimed and nothing is sent any more."""
        if self._beats is not None:
            self._beats.cancel()
            await asyncio.wait({self._beats})
        try:
            await self._holds.told()
            await self.claims.give_back()
            await self._gateway.registry.write(lives.end, self.name, self._gateway.clock.now())
        except StorageError as error:  # then it is found out
            logs.event(LOG, "replica_not_ended", error=error, level=logging.WARNING)
        if self._there is not None:
            await self._there.end()

    def hear(self, word: str) -> None:
        """Do what a word asks for; none stands for all that may have been missed."""
        kind, _, rest = word.partition(" ")
        if kind in ("", ROWS):
            self._gateway.engine.wake()
        if kind in ("", WEBHOOKS):
            self._gateway.hooks.set()
        if kind in ("", REPORTS):
            self.on_reports()
        if kind == HOLD:
            self._holds.hear(rest)
        if not kind:
            self._holds.missed()

    async def _beat(self) -> None:
        """Renew what is claimed, say that this replica is there, and note who is not."""
        while True:
            await asyncio.sleep(self.claims.life / 3)
            try:
                await self.beat()
            except StorageError as error:
                logs.event(LOG, "claims_not_renewed", error=error, level=logging.WARNING)
            except Exception as error:  # noqa: BLE001 - without its beats a replica is taken to be gone
                logs.event(LOG, "replica_defect", error=error, level=logging.ERROR)

    async def beat(self) -> None:
        """Do so once. Raises StorageError."""
        registry, now = self._gateway.registry, self._gateway.clock.now()
        self._holds.tell()
        if await self.claims.renew():
            self._gateway.engine.wake()
        held, skew = await registry.read(self._looked)
        self._note_clocks(skew)
        await registry.write(self._noticed, held, now)

    def _looked(self, conn: Connection) -> tuple[set[int], Skew]:
        return self._held(conn), self._clocks(conn, self._gateway.clock.now, 1)

    def _note_clocks(self, skew: Skew) -> None:
        """Log that clocks have come apart, or agree again: by half of what was too much."""
        if skew.problem and not self._apart:
            level = logging.ERROR if skew.too_far else logging.WARNING
            logs.event(LOG, "clocks_apart", seconds=round(skew.ahead, 2), reason=skew.problem, level=level)
            self._apart = True
        elif self._apart and skew.least < WARNED / 2:
            logs.event(LOG, "clocks_agree", seconds=round(skew.ahead, 2))
            self._apart = False

    def _noticed(self, conn: Connection, held: set[int], now: float) -> None:
        lives.seen(conn, self.name, now)
        lives.note(conn, held, now)


def _tell_rows(tell: Callable[[Connection, str], None], conn: Connection) -> None:
    tell(conn, ROWS)
