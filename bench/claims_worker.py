"""One process of `bench claims`: takes what is due until it is told to stop, in one of three ways.

    python -m bench.claims_worker < ORDER     a line of JSON, see `Order`

prints `ready`, begins at the next line, and at the end of its input prints what it did.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec
import psycopg
from procrastinate import App, PsycopgConnector
from psycopg_pool import AsyncConnectionPool

from bench.claims_registry import Counted, Registry
from proxy_plugin.engine.reconciler import BEGUN_TOGETHER
from proxy_plugin.engine.replicas.claims import ClaimLost, NoClaims, RowClaims
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.ground.turns import Slots
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables.due import Look
from proxy_plugin.storage.tables.replicas.claims import Named

CHANNEL = "bench"
LATER = 3600.0  # seconds until a row that had its step wants another
SWEEP = 5.0
STEP = (
    "UPDATE parts SET left_steps = left_steps - 1, begun_at = COALESCE(begun_at, :begun), ended_at = :now,"
    " due_at = CASE WHEN left_steps > 1 THEN 0 ELSE :later END, by = :by WHERE batch_id = :id AND n = :n RETURNING"
    " left_steps"
)


class Order(msgspec.Struct):
    """`parallel` rows at once, each step waits `pause` seconds; `life` of a claim, or of a worker that tells nothing.

    `stops` after the commit of its first step: this is the worker that is stopped and comes back.
    """

    way: str
    url: str
    name: str
    parallel: int = 128
    pause: float = 0.0
    life: float = 15.0
    stops: bool = False
    log: str = ""


class Work:
    """What a step does, and what was counted."""

    def __init__(self, order: Order) -> None:
        self.order, self.done, self.refused = order, 0, 0

    async def provider(self) -> None:
        """Wait for a provider."""
        if self.order.pause:
            await asyncio.sleep(self.order.pause)

    def values(self, key: tuple[str, int], begun: float) -> dict[str, Any]:
        """Return what `STEP` is given."""
        now = time.time()
        return {"id": key[0], "n": key[1], "begun": begun, "now": now, "later": now + LATER, "by": self.order.name}

    def sent(self) -> None:
        """Be stopped behind the commit of `sent`, and then send."""
        if self.order.stops:
            self.order.stops = False
            os.kill(os.getpid(), signal.SIGSTOP)

    def create(self) -> None:
        """Note a create where its provider would."""
        if self.order.log:
            with Path(self.order.log).open("a") as log:
                log.write(f"{self.order.name}\n")


# ---- claims, and leases ----


async def claiming(work: Work, registry: Registry, claims: RowClaims | NoClaims) -> None:
    """Look for what is due as the engine does, and drive it."""
    slots, wake, running = Slots[Named](work.order.parallel), asyncio.Event(), set[asyncio.Task[None]]()
    listening = asyncio.create_task(_listen(work.order.url, wake))
    renewing = asyncio.create_task(_renew(claims, wake))
    taking = (
        partial(by_claims, claims, registry) if isinstance(claims, RowClaims) else partial(by_leases, work, registry)
    )

    async def drive(key: Named) -> None:
        try:
            with claims.under(key):
                while await _step(work, registry, claims, key):
                    pass
        except ClaimLost:
            work.refused += 1
        finally:
            slots.end(key)
            wake.set()

    try:
        while True:
            wake.clear()
            got = await taking(slots) if slots.free else []
            for key in got:
                running.add(task := asyncio.create_task(drive(key)))
                task.add_done_callback(running.discard)
            if len(got) == BEGUN_TOGETHER:
                await asyncio.sleep(0)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP):
                    await wake.wait()
            await asyncio.sleep(0)
    finally:
        for task in (listening, renewing, *running):
            task.cancel()
        await asyncio.gather(listening, renewing, *running, return_exceptions=True)


async def _step(work: Work, registry: Registry, claims: RowClaims | NoClaims, key: Named) -> bool:
    """Take one step; tell whether the row wants another."""
    begun = time.time()
    await registry.read(_row, key)
    await work.provider()
    if work.order.log:
        await registry.write(claims.guard(_sent), key)
        sent = time.monotonic()
        work.sent()
        if time.monotonic() - sent > 1.0:
            await registry.write(claims.guard(_row), key)
        work.create()
    left: int = await registry.write(claims.guard(_stepped), work.values((key.id, key.n), begun))
    work.done += 1
    return left > 0


def _row(conn: Connection, key: Named) -> Any:
    return conn.execute("SELECT * FROM parts WHERE batch_id = ? AND n = ?", (key.id, key.n)).fetchone()


def _sent(conn: Connection, key: Named) -> None:
    conn.execute("UPDATE parts SET sent = 1 WHERE batch_id = ? AND n = ?", (key.id, key.n))


def _stepped(conn: Connection, values: dict[str, Any]) -> int:
    return int(conn.execute(STEP, values).fetchone()[0])


async def by_claims(claims: RowClaims, registry: Registry, slots: Slots[Named]) -> list[Named]:
    """Take as the engine does: the workspaces in turn, by claims of their own."""

    def most(workspace: str, workspaces: int) -> int:
        return -(-min(slots.free, BEGUN_TOGETHER) // workspaces) + slots.of(workspace)

    look = Look(slots.in_turn, lambda row: Named(*row) not in slots, BEGUN_TOGETHER)
    wanted = await registry.read(claims.due, time.time(), most, look)
    ready = {name: [key for each in rows if (key := Named(*each)) not in slots] for name, rows in wanted.items()}
    begun = list(islice(slots.fill(ready), BEGUN_TOGETHER))
    got = await claims.take(begun)
    for key in set(begun) - set(got):
        slots.end(key)
    return got


LEASE = (
    "WITH chosen AS (SELECT batch_id, n FROM parts WHERE due_at <= :now AND COALESCE(until, 0) <= :now"
    " ORDER BY due_at, place, n LIMIT :most FOR UPDATE SKIP LOCKED) UPDATE parts SET holder = :holder, until = :until"
    " FROM chosen c WHERE parts.batch_id = c.batch_id AND parts.n = c.n"
    " RETURNING parts.workspace, parts.batch_id, parts.n"
)


async def by_leases(work: Work, registry: Registry, slots: Slots[Named]) -> list[Named]:
    """Take the longest due, whosever they are, by a lease in the row."""

    def leased(conn: Connection) -> list[tuple[str, Named]]:
        now = time.time()
        asked = {"now": now, "most": min(slots.free, BEGUN_TOGETHER), "holder": work.order.name}
        rows = conn.execute(LEASE, asked | {"until": now + work.order.life})
        return [(row[0], Named("part", row[1], row[2])) for row in rows]

    found = [each for each in await registry.unlocked(leased) if each[1] not in slots]
    for workspace, key in found:
        slots.begin(workspace, key)
    return [key for _, key in found]


async def _listen(url: str, wake: asyncio.Event) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute(f"LISTEN {CHANNEL}")
        async for _ in conn.notifies():
            wake.set()


async def _renew(claims: RowClaims | NoClaims, wake: asyncio.Event) -> None:
    while isinstance(claims, RowClaims):
        await asyncio.sleep(claims.life / 3)
        if await claims.renew():
            wake.set()


# ---- procrastinate ----


async def procrastinating(work: Work) -> None:
    """Run its worker. A step is a job; what comes next is deferred in the transaction of the row's change."""
    order = work.order
    _count_statements()
    app = App(connector=PsycopgConnector(conninfo=order.url, min_size=4, max_size=16))
    pool = AsyncConnectionPool(order.url, min_size=4, max_size=16, open=False)

    @app.task(name="step")
    async def step(id: str, n: int) -> None:  # noqa: A002
        begun = time.time()
        await work.provider()
        if order.log:
            async with pool.connection() as conn:
                await conn.execute("UPDATE parts SET sent = 1 WHERE batch_id = %s AND n = %s", (id, n))
            work.sent()
            work.create()
        async with pool.connection() as conn, conn.transaction():
            sql, values = Counted.translated(STEP), work.values((id, n), begun)
            row = await (await conn.execute(sql.encode(), values)).fetchone()
            assert row is not None
            job = {"lock": f"{id}:{n}", "connection": conn} | (
                {} if row[0] else {"schedule_in": {"seconds": int(LATER)}}
            )
            await step.configure(**cast("Any", job)).defer_async(id=id, n=n)
        work.done += 1

    @app.periodic(cron="* * * * * *")
    @app.task(name="stalled", pass_context=True)
    async def stalled(_context: Any, timestamp: int) -> None:  # noqa: ARG001
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=order.life):
            await app.job_manager.retry_job(job)

    async with app.open_async(), pool:
        await app.run_worker_async(
            name=order.name,
            concurrency=order.parallel,
            install_signal_handlers=False,
            delete_jobs="successful",
            update_heartbeat_interval=order.life / 3,
            stalled_worker_timeout=order.life,
        )


def _count_statements() -> None:
    execute = psycopg.AsyncCursor.execute

    async def counted(self: Any, *args: Any, **more: Any) -> Any:
        Counted.count += 1
        return await execute(self, *args, **more)

    psycopg.AsyncCursor.execute = counted  # type: ignore[method-assign]


# ---- one process ----


@asynccontextmanager
async def _doing(work: Work) -> AsyncIterator[None]:
    order = work.order
    if order.way == "procrastinate":
        task = asyncio.create_task(procrastinating(work))
    else:
        registry = Registry(order.url)
        alone = NoClaims()
        rows = RowClaims(registry, SystemClock(), order.name, life=order.life)  # type: ignore[arg-type]
        task = asyncio.create_task(claiming(work, registry, rows if order.way == "claims" else alone))
    task.add_done_callback(_told)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _told(task: asyncio.Task[None]) -> None:
    """Say at once what has ended the work before its time."""
    if not task.cancelled() and task.exception() is not None:
        traceback.print_exception(task.exception())


async def main() -> None:
    """Do what the order says until the input ends."""
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    work = Work(order)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    cpu = time.process_time()
    async with _doing(work):
        await asyncio.to_thread(sys.stdin.read)
    told = {"steps": work.done, "refused": work.refused, "cpu": time.process_time() - cpu, "statements": Counted.count}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
