"""What providers ask of accounts, told between replicas: until when each is to be left alone, by ordinary calls too.

A pause is a row from when it begins, and again where it grows: no call writes or reads one. Whoever listens is told of
the row, whoever begins to listen reads all of them, and what could not be written is written at the next beat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import logs
from proxy_plugin.ground.fingerprints import keyed_hash
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.tables.replicas import holds

LOG = logging.getLogger("proxy_plugin.replicas")


class Holds:
    """The pauses that one replica was told by providers and by others. `begin` once it hears the others."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._untold: dict[str, float] = {}  # by account as others know it, until when, in Unix time
        self._telling: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Have told what providers ask for from now on, and know what was told before. Raises StorageError."""
        http = self._gateway.http
        http.known_as, http.on_hold = self._known_as, self._hold
        await self._read()

    def _known_as(self, account: str) -> str:
        return keyed_hash(self._gateway.secret, account)

    def _hold(self, account: str, seconds: float) -> None:
        until = self._gateway.clock.now() + seconds
        self._untold[account] = max(until, self._untold.get(account, until))
        self.tell()

    def tell(self) -> None:
        """Write down what others do not know yet, if there is such a thing."""
        if self._untold and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell(), name="holds")

    async def _tell(self) -> None:
        while self._untold:
            told = dict(self._untold)
            try:
                await self._gateway.registry.write(_written, told, self._gateway.clock.now())
            except StorageError as error:
                logs.event(LOG, "hold_not_told", error=error, level=logging.WARNING)
                return
            self._untold = {name: until for name, until in self._untold.items() if until > told.get(name, 0.0)}

    async def told(self) -> None:
        """Return when nothing is being written any more."""
        if self._telling is not None:
            await asyncio.wait({self._telling})

    # ---- what others tell ----

    def hear(self, rest: str) -> None:
        """Do as another replica was told: an account, and until when."""
        account, until = rest.split()
        self._leave_alone(account, float(until))

    def missed(self) -> None:
        """Read what may have been told while nobody listened here."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_again(), name="holds missed")

    async def _read_again(self) -> None:
        try:
            await self._read()
        except StorageError as error:  # then the session is lost too, and its next one asks again
            logs.event(LOG, "holds_not_read", error=error, level=logging.WARNING)

    async def _read(self) -> None:
        now = self._gateway.clock.now()
        for account, until in (await self._gateway.registry.read(holds.current, now)).items():
            self._leave_alone(account, until)

    def _leave_alone(self, account: str, until: float) -> None:
        self._gateway.http.leave_alone(account, until - self._gateway.clock.now())


def _written(conn: Connection, told: Mapping[str, float], now: float) -> None:
    for account, until in told.items():
        holds.hold(conn, account, now, until)
