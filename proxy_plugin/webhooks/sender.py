"""Sends what is due to receivers: after the transaction that wrote it, and again until it is taken, for three days.

A crash between the receiver's answer and our note of it sends an event twice, with the same `webhook-id`. Workspaces
take turns, and of one batch a receiver gets one event after the other. A receiver that does not answer, or is busy, is
asked for one event alone until its pause is over; the others wait with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any

from proxy_plugin.config import Config
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.replicas.duties import ClaimLost, Duties, EveryDuty
from proxy_plugin.storage.tables import webhooks
from proxy_plugin.storage.tables.webhooks import DeliveryRow, EndpointRow
from proxy_plugin.webhooks import signing
from proxy_plugin.webhooks.post import Outcome, Post

LOG = logging.getLogger("proxy_plugin.webhooks")
AT_ONCE = 16
PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0)  # seconds; the last one again and again
JITTER = 0.1  # so much longer a pause may be by chance
GIVES_UP = 3 * 86_400.0
ASKED_MOST = 3600.0  # seconds that a receiver's Retry-After counts at most
IDLE, SOON = 5.0, 0.05  # seconds between looks at most, at least
KEPT = 30 * 86_400.0  # seconds that deliveries are shown
FORGETS = 3600.0
DUTY = "webhooks"


class Sender:
    """One a gateway: `start`, then `stop`. `Gateway.hooks` wakes it. Of several gateways one sends."""

    def __init__(self, gateway: Gateway, duties: Duties | None = None) -> None:
        self._gateway, self._duties = gateway, duties or EveryDuty()
        server = gateway.config.server
        self._post = Post(server.webhooks_hosts, server.ca_bundle, gateway.http.proxy)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._forgot = -FORGETS

    def start(self) -> None:
        """Begin with what is due, from before the start too."""
        self._task = asyncio.create_task(self._run(), name="webhooks")

    async def stop(self) -> None:
        """Break off what is being sent: it is sent again at the next start, under its id."""
        tasks = [*self._running.values(), *([] if self._task is None else [self._task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._post.close()

    async def _run(self) -> None:
        gateway = self._gateway
        while True:
            gateway.hooks.clear()
            pause = IDLE
            try:
                if await self._duties.duty(DUTY):
                    with self._duties.on_duty(DUTY):
                        pause = await self._round()
            except ClaimLost:
                pass  # another gateway sends
            except Exception as error:  # noqa: BLE001 - the loop must outlive a bad moment
                logs.event(LOG, "webhooks_not_read", level=logging.ERROR, error=error)
            await gateway.clock.wait(gateway.hooks, pause)

    async def _round(self) -> float:
        """Begin to send what may be sent now; return seconds until there may be more."""
        registry, now = self._gateway.registry, self._gateway.clock.now()
        found = await registry.read(webhooks.sendable, now)
        for row in in_turns(found):
            if row.id not in self._running and len(self._running) < AT_ONCE:
                self._begin(row)
        moment = self._gateway.clock.monotonic()
        if moment - self._forgot >= FORGETS:
            self._forgot = moment
            await registry.write(self._duties.guard(webhooks.forget), now - KEPT)
        upcoming = await registry.read(webhooks.next_after, now)
        return IDLE if upcoming is None else min(max(upcoming - now, SOON), IDLE)

    def _begin(self, row: DeliveryRow) -> None:
        self._running[row.id] = task = asyncio.create_task(self._deliver(row), name=f"webhook {row.id}")
        task.add_done_callback(lambda _: self._ended(row.id))

    def _ended(self, delivery_id: str) -> None:
        self._running.pop(delivery_id, None)
        self._gateway.hooks.set()

    async def _deliver(self, row: DeliveryRow) -> None:
        """Make one try and write down what came of it."""
        failpoints.passing("webhook.before")
        try:
            outcome = await self._try(row)
        except StorageError as error:  # nothing was sent, and it stays due
            logs.event(LOG, "webhooks_not_read", level=logging.ERROR, error=error)
            return
        except Exception as error:  # noqa: BLE001 - one receiver's trouble is not another's
            logs.event(LOG, "webhook_failed", level=logging.ERROR, delivery=row.id, error=error)
            outcome = Outcome(error="the gateway met an internal error", gone=True)
        failpoints.passing("webhook.acted")
        due_at = await self._noted(row, outcome)
        told: dict[str, Any] = {"delivery": row.id, "batch": row.batch_id, "type": row.type, "status": outcome.status}
        if outcome.error is None:
            logs.event(LOG, "webhook_delivered", **told, tries=row.tries + 1)
        else:
            level = logging.ERROR if due_at is None else logging.WARNING
            logs.event(LOG, "webhook_not_delivered", level=level, **told, why=outcome.error, next=due_at)

    async def _try(self, row: DeliveryRow) -> Outcome:
        gateway = self._gateway
        now = gateway.clock.now()
        url, secrets = await gateway.registry.read(_place, gateway.config, gateway.secret, row, now)
        if url is None or not secrets:
            return Outcome(error="the endpoint, or its secret, is gone", gone=True)
        return await self._post.send(url, row.body, signing.headers(secrets, row.id, now, row.body))

    async def _noted(self, row: DeliveryRow, outcome: Outcome) -> float | None:
        """Write down what came of a try, when that can be: until then it is not tried again here."""
        gateway = self._gateway
        while True:
            try:
                settle = self._duties.guard(_settle)
                return await gateway.registry.write(settle, row, outcome, gateway.clock.now(), gateway.chance())
            except ClaimLost:  # another gateway sends it again, under its id
                return row.due_at
            except StorageError as error:
                logs.event(LOG, "webhook_not_noted", level=logging.ERROR, delivery=row.id, error=error)
            await asyncio.sleep(IDLE)


def in_turns(found: Sequence[Sequence[DeliveryRow]]) -> Iterator[DeliveryRow]:
    """Yield the first delivery of each workspace, then the second ones, and so on."""
    return (row for row in chain.from_iterable(zip_longest(*found)) if row is not None)


def pause_after(tries: int, asked: float | None, chance: float) -> float:
    """Return the seconds until the next try, after so many before this one."""
    pause = max(PAUSES[min(tries, len(PAUSES) - 1)], min(asked or 0.0, ASKED_MOST))
    return pause * (1 + JITTER * chance)


def _place(
    conn: Connection, config: Config, key: bytes, row: DeliveryRow, now: float
) -> tuple[str | None, Sequence[str]]:
    """Return where a delivery goes and what signs it: as things are now, for URLs and secrets may have changed."""
    if row.endpoint_id is None:
        entry = signing.of_workspace(config, row.workspace)
        owner = signing.owner_of(row.workspace)
        return row.url, entry.secrets() if entry else signing.generated(conn, key, owner, now)
    endpoint = webhooks.endpoint(conn, row.endpoint_id)
    if endpoint is None:
        return None, ()
    if endpoint.source == webhooks.API:
        return endpoint.url, signing.generated(conn, key, endpoint.id, now)
    entry = signing.of_endpoint(config, endpoint.id)
    return endpoint.url, entry.secrets() if entry else ()


def _settle(conn: Connection, row: DeliveryRow, outcome: Outcome, now: float, chance: float) -> float | None:
    """Write down what came of a try; return when the next one is, None for none."""
    if outcome.error is None:
        webhooks.delivered(conn, row, outcome.status or 0, now)
        return None
    end, due_at = row.since + GIVES_UP, now + pause_after(row.tries, outcome.after, chance)
    over = row.batch_id is None or now >= end
    if outcome.gone and not over:
        webhooks.hold(conn, row.target, now, min(due_at, end))
    webhooks.not_delivered(conn, row, outcome.status, outcome.error, now, None if over else min(due_at, end))
    return None if over else min(due_at, end)


def configured(config: Config, now: float) -> list[EndpointRow]:
    """Return the endpoints that a configuration has."""
    return [
        EndpointRow(
            id=signing.endpoint_id(entry.workspace, entry.url),
            workspace=entry.workspace,
            source=webhooks.CONFIG,
            name="",
            url=entry.url,
            event_types=json.dumps(entry.events),
            created_at=int(now),
            updated_at=int(now),
        )
        for entry in config.webhooks
        if entry.url is not None
    ]


async def learn(gateway: Gateway, config: Config) -> None:
    """Let the endpoints be those of a configuration that counts from now on."""
    now = gateway.clock.now()
    await gateway.registry.write(webhooks.configured, configured(config, now), now)
