"""The reconciler: moves each file, batch and part one legal step at a time, whenever it is due.

A step reads one row, does one thing and commits one change; killing the process anywhere leaves a row that says what
to do next, so recovery is the ordinary path. The steps themselves live in `steps_batch`, `steps_part` and
`steps_submission`; this module knows only when to call them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from dataclasses import dataclass, field
from typing import Any

from proxy_plugin import failpoints, logs
from proxy_plugin.engine import audit, housekeeping, steps_batch, steps_part, steps_submission
from proxy_plugin.engine.desk import Desk, Key, Step, backoff
from proxy_plugin.gateway import Gateway
from proxy_plugin.providers.base import TryLater
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.errors import RegistryFull
from proxy_plugin.storage.tables import batches, files, parts
from proxy_plugin.workers import WorkerDied

LOG = logging.getLogger("proxy_plugin.engine")
LOOK_AGAIN = 30.0  # seconds; the wall clock may jump, so nobody sleeps longer
HOUSEKEEPING = 60.0
PARALLEL = 128  # rows in a step at once
TRANSFERS = frozenset({"stage", "fetch"})  # each holds about 1 MB of buffers and the loop's attention
TRANSFERS_EACH = 4  # at once for one virtual key: with 100 at once, memory grew by 84 MB and the loop paused 103 ms
GRACE = 25.0  # a stop waits this long for running steps; what is cut off is recovered at the next start
DISK_PAUSE = 2.0
DEFECT_PAUSE = 60.0
HEAVY = frozenset({"scan", "split", "fetch", "collect", "merge"})  # a full disk's last bytes are for ids

STEPS: dict[str, Step] = {**steps_batch.STEPS, **steps_part.STEPS, **steps_submission.STEPS, **audit.STEPS}


@dataclass(slots=True)
class _Loop:
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    running: dict[Key, asyncio.Task[None]] = field(default_factory=dict)
    held: dict[Key, float] = field(default_factory=dict)  # monotonic time before which a row rests
    transfers: dict[str, asyncio.Semaphore] = field(default_factory=dict)  # by virtual key
    task: asyncio.Task[None] | None = None


class Engine:
    """Runs due rows concurrently, never the same row twice at once."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._desk = Desk(gateway, BatchFolders(gateway.data_dir))
        self._state = _Loop()
        self._stopping = False
        self._cleaned = 0.0

    async def start(self) -> None:
        """Remove what a dead gateway left half-written, then begin."""
        live = self._gateway.registry.read_now(batches.live_ids)
        await asyncio.to_thread(self._desk.folders.sweep, live)
        self._state.task = asyncio.create_task(self._run(), name="engine")

    def wake(self) -> None:
        """Look for due rows now."""
        self._state.wake.set()

    async def stop(self) -> None:
        """Begin no further step; return when the running ones have finished or the grace is over."""
        self._stopping = True
        self.wake()
        if self._state.task is not None:
            await self._state.task
        running = list(self._state.running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping:
            self._state.wake.clear()
            try:
                self._launch()
                await self._housekeeping()
            except Exception as error:  # noqa: BLE001 - the loop must outlive a bad moment
                logs.event(LOG, "engine_error", error=error, level=logging.ERROR)
            await self._gateway.clock.wait(self._state.wake, self._pause())

    def _pause(self) -> float:
        if len(self._state.running) >= PARALLEL:
            return LOOK_AGAIN
        now = self._gateway.clock.now()
        upcoming = self._gateway.registry.read_now(lambda c: parts.next_after(c, now))
        pause = LOOK_AGAIN if upcoming is None else upcoming - now
        if self._state.held:
            pause = min(pause, min(self._state.held.values()) - self._gateway.clock.monotonic())
        return min(max(pause, 0.01), LOOK_AGAIN)

    def _launch(self) -> None:
        now, moment = self._gateway.clock.now(), self._gateway.clock.monotonic()
        held = {key: until for key, until in self._state.held.items() if until > moment}
        self._state.held = held
        for key in self._gateway.registry.read_now(
            lambda c: _due(c, now, PARALLEL + len(self._state.running) + len(held))
        ):
            if len(self._state.running) >= PARALLEL:
                return
            if key not in self._state.running and key not in held:
                self._state.running[key] = asyncio.create_task(self._drive(key), name=f"step {key}")

    async def _drive(self, key: Key) -> None:
        logs.TRACE_ID.set(self._desk.trace_id(key))
        try:
            while not self._stopping and (found := self._desk.next_step(key)) is not None:
                name, row = found
                if not await self._attempt(name, key, row):
                    break
        finally:
            self._state.running.pop(key, None)
            self.wake()

    async def _attempt(self, name: str, key: Key, row: Any) -> bool:
        """Run one step; False when the row should rest although the database may still call it due."""
        if name in HEAVY and self._gateway.registry.full:
            self._state.held[key] = self._gateway.clock.monotonic() + DISK_PAUSE
            return False
        try:
            async with self._turn(name, row):
                failpoints.passing(f"{name}.before")
                await STEPS[name](self._desk, row)
                failpoints.passing(f"{name}.after")
        except (TryLater, WorkerDied) as error:
            return await self._later(name, key, row, error)
        except (RegistryFull, OSError) as error:
            return self._rest(name, key, error, DISK_PAUSE if _no_space(error) else DEFECT_PAUSE / 6)
        except Exception as error:  # noqa: BLE001 - one row's trouble is not another's
            return self._rest(name, key, error, DEFECT_PAUSE)
        return True

    def _turn(self, name: str, row: Any) -> contextlib.AbstractAsyncContextManager[object]:
        if name not in TRANSFERS:
            return contextlib.nullcontext()
        return self._state.transfers.setdefault(row.slug, asyncio.Semaphore(TRANSFERS_EACH))

    async def _later(self, name: str, key: Key, row: Any, error: TryLater | WorkerDied) -> bool:
        engine = self._gateway.config.engine
        asked = error.after if isinstance(error, TryLater) else None
        pause = max(asked or 0.0, backoff(row.tries, engine.poll_seconds_first, engine.poll_seconds_max))
        logs.event(LOG, "step_later", step=name, row=str(key), pause=round(pause, 2), error=error)
        try:
            await self._desk.postpone(key, self._gateway.clock.now() + pause)
        except (RegistryFull, OSError) as full:
            return self._rest(name, key, full, DISK_PAUSE)
        if asked and isinstance(error, TryLater) and error.status is not None:
            self._state.held[key] = self._gateway.clock.monotonic() + asked  # a cancel that wakes the row is no excuse
            return False
        return True

    def _rest(self, name: str, key: Key, error: BaseException, pause: float) -> bool:
        logs.event(LOG, "step_failed", step=name, row=str(key), error=error, level=logging.ERROR)
        self._state.held[key] = self._gateway.clock.monotonic() + pause
        return False

    async def _housekeeping(self) -> None:
        moment = self._gateway.clock.monotonic()
        if self._gateway.registry.full:
            await asyncio.to_thread(self._gateway.recover_space)
        if moment - self._cleaned < HOUSEKEEPING:
            return
        self._cleaned = moment
        with contextlib.suppress(RegistryFull):
            await housekeeping.remove_unneeded(self._gateway)
            await housekeeping.remove_expired(self._gateway)
            await housekeeping.remove_ledgers(self._gateway.registry, self._desk.folders)


def _due(conn: Any, now: float, limit: int) -> list[Key]:
    found = [Key("file", row.id) for row in files.due(conn, now, limit)]
    found += [Key("batch", row.id) for row in batches.due(conn, now, limit)]
    return found + [Key("part", row.batch_id, row.n) for row in parts.due(conn, now, limit)]


def _no_space(error: BaseException) -> bool:
    return isinstance(error, RegistryFull) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    )
