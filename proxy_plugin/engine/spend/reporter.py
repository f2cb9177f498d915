"""Sends what batches cost to LiteLLM: after the transaction that ended them, and again until LiteLLM has it.

A crash between the answer and `told` sends a report twice, with the same id, which LiteLLM charges once.
"""

from __future__ import annotations

import logging

from proxy_plugin.engine.desk import Desk, backoff
from proxy_plugin.engine.replicas.claims import ClaimLost
from proxy_plugin.engine.spend.carrier import NobodyThere, NotTaken
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.storage.errors import RegistryFull, StorageError
from proxy_plugin.storage.tables import charges
from proxy_plugin.storage.tables.charges import ChargeRow

LOG = logging.getLogger("proxy_plugin.spend")
FIRST, LONGEST = 0.5, 600.0  # seconds until LiteLLM is tried again
REFUSED_LONGEST = 6 * 3600.0  # until a report is that it did not take
DEFECT = 60.0  # seconds after what nobody expected
TOGETHER = 50  # reports read at once
IDLE = 3600.0
ELSEWHERE = 5.0  # seconds until it is looked again whether another replica still does this


class Reporter:
    """One a gateway: `run` until it is cancelled. `Desk.reports` wakes it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tries = 0  # since LiteLLM was last reached

    async def run(self) -> None:
        """Send what is due, wait for more, and so on."""
        while True:
            self._desk.reports.clear()
            try:
                pause = await self._on_duty()
            except ClaimLost:
                pause = ELSEWHERE
            except (RegistryFull, StorageError, OSError) as error:
                logs.event(LOG, "spend_not_kept", level=logging.WARNING, error=error)
                pause = FIRST
            except Exception as error:  # noqa: BLE001 - a defect over one report must not end all others
                logs.event(LOG, "spend_defect", level=logging.ERROR, error=error)
                pause = DEFECT
            await self._desk.gateway.clock.wait(self._desk.reports, pause)

    async def _on_duty(self) -> float:
        """Do this where no other replica does."""
        claims = self._desk.claims
        if not await claims.duty("reports"):
            return ELSEWHERE
        with claims.on_duty("reports"):
            return await self._round()

    async def _round(self) -> float:
        """Send the reports that are due and return seconds until there is something to do."""
        desk = self._desk
        while rows := await desk.read(charges.due, desk.now(), TOGETHER):
            for row in rows:
                try:
                    await self._send(row)
                except NobodyThere as error:
                    return self._pause(error)
        upcoming = await desk.read(charges.next_due)
        return IDLE if upcoming is None else min(max(upcoming - desk.now(), 0.05), IDLE)

    async def _send(self, row: ChargeRow) -> None:
        desk = self._desk
        try:
            made = await desk.carrier.tell(desk.gateway.config, row.report or "{}")
        except NotTaken as error:
            pause = backoff(row.tries, 60.0, REFUSED_LONGEST)
            logs.event(LOG, "spend_refused", batch=row.batch_id, error=error, pause=pause, level=logging.ERROR)
            await desk.write(charges.later, row.batch_id, desk.now() + pause)
            return
        failpoints.passing("spend.acted")
        await desk.write(charges.told, row.batch_id)
        self._tries = 0
        counted, kept = made.get("counted") is True, made.get("kept") is True
        logs.event(LOG, "spend_told", batch=row.batch_id, counted=counted, kept=kept)

    def _pause(self, error: NobodyThere) -> float:
        pause = backoff(self._tries, FIRST, LONGEST)
        if not self._tries:
            logs.event(LOG, "spend_not_told", level=logging.WARNING, error=error)
        self._tries += 1
        return pause
