"""The reconciler: moves each file, batch and part one legal step at a time, whenever it is due.

A step reads one row, does one thing and commits one change; killing the process anywhere leaves a row that says what
to do next, so recovery is the ordinary path. `steps` has the table of them; this module knows only when to take one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from proxy_plugin.config import OWN_KEY_PREFIX
from proxy_plugin.config.sections import UNNAMED
from proxy_plugin.engine import housekeeping, polls, space, waiting
from proxy_plugin.engine.desk import FETCHING, GROWTH, Desk, Key, backoff, postpone
from proxy_plugin.engine.replicas.claims import ClaimLost, Claims, Elsewhere, NoClaims
from proxy_plugin.engine.sharing import orphans, scratch
from proxy_plugin.engine.spend.reporter import Reporter
from proxy_plugin.engine.steps import CALLING, Step, next_step
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.turns import Places, Slots, Turns
from proxy_plugin.ground.workers import OutOfBudget, WorkerDied
from proxy_plugin.providers.base import AtWork, TryLater
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import DatabaseAway, RegistryFull, StorageError, StoreAway
from proxy_plugin.storage.space import is_full
from proxy_plugin.storage.states import IN_FLIGHT
from proxy_plugin.storage.tables import answering, batches, due, queues
from proxy_plugin.storage.tables.waits import WaitRow

LOG = logging.getLogger("proxy_plugin.engine")
LOOK_AGAIN = 30.0  # seconds; the wall clock may jump, so nobody sleeps longer
LOOK_SOON = 0.05  # rows that fall due one by one are taken together: looks every 10 ms cost status reads a fifth
HOUSEKEEPING = 60.0
SWEEP_SECONDS = 6 * 3600.0
PARALLEL = 128  # rows in a step at once
BEGUN_TOGETHER = 4  # of them at one look: 8 kept a batch behind 5,000 others for 3.2 times its quiet time, 4 for 2.9
ROUND, APART = 0.015, 0.02  # seconds of a turn of the loop from which on such looks are apart, and how far
CLEARED_AT_ONCE = 8  # rows whose objects are taken away: however slow a store is, batches have the other places
TRANSFERS_EACH = 4  # transfers at once for one virtual key: 100 took 84 MB and paused the loop for 103 ms
GRACE = 25.0  # a stop waits this long for running steps; what is cut off is recovered at the next start
DISK_PAUSE = 2.0  # also of a database that is away
ELSEWHERE = 5.0  # seconds in which another replica takes a row that is to be worked on there
DEFECT_PAUSE = 60.0
Passing = TryLater | WorkerDied | OutOfBudget | StoreAway
_LATER = (TryLater, WorkerDied, OutOfBudget, StoreAway)


class _After(NamedTuple):
    """What a step leaves: whether the row may want the next one at once, or rests `until` then and changed no other."""

    goes_on: bool
    until: float | None = None


@dataclass(slots=True)
class _Loop:
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    looks_at: float = 0.0  # when the next look is if nobody wakes the loop; 0 while it looks
    left: bool = False  # the last look left something that was ready
    slots: Slots[Key] = field(default_factory=lambda: Slots(PARALLEL))
    running: set[asyncio.Task[None]] = field(default_factory=set)
    held: dict[Key, float] = field(default_factory=dict)  # monotonic time before which a row rests
    transfers: dict[str, Turns] = field(default_factory=dict)  # by virtual key
    cleaning: bool = False
    leaving: bool = False  # other replicas go on with what is to be done
    task: asyncio.Task[None] | None = None
    reports: asyncio.Task[None] | None = None


class Engine:
    """Runs due rows concurrently, never the same row twice at once, and every workspace's in turn."""

    def __init__(self, gateway: Gateway, claims: Claims | None = None) -> None:
        self._gateway = gateway
        places = Places[str](FETCHING, kept=claims is None)
        self._desk = Desk(gateway, gateway.folders, claims or NoClaims(), fetching=places)
        self._state = _Loop()
        self._stopping = False
        self._cleaned = self._sweeps_at = 0.0

    async def start(self) -> None:
        """Remove what a dead gateway left half-written, then begin."""
        if self._gateway.blobs.tree is None:
            live = await self._gateway.registry.read(batches.live_ids)
            await asyncio.to_thread(self._desk.folders.sweep, live)
        else:
            await scratch.begin(self._desk, self._gateway.blobs.tree)
        kept = await asyncio.to_thread(self._desk.folders.kept)
        await space.measure(self._desk, await self._gateway.registry.scan(batches.workspaces, kept))
        self._state.task = asyncio.create_task(self._run(), name="engine")
        self._state.reports = asyncio.create_task(Reporter(self._desk).run(), name="spend reports")

    def wake(self) -> None:
        """Look for due rows now."""
        self._state.wake.set()

    async def stop(self) -> None:
        """Begin no further step; return when the running ones have finished or the grace is over."""
        self.leave()
        self._stopping = True
        self._desk.leaving.set()
        self.wake()
        if self._state.task is not None:
            await self._state.task
        if self._state.reports is not None:
            self._state.reports.cancel()
            await asyncio.wait({self._state.reports})
        running = list(self._state.running)
        if running:
            _, late = await asyncio.wait(running, timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._desk.carrier.close()
        with contextlib.suppress(StorageError):  # then they are over by themselves
            await self._desk.claims.give_back()

    def leave(self) -> None:
        """Let other replicas have what is to be done here, from now on: each row as its step ends, duties at once."""
        if self._desk.claims.leave():
            self._state.leaving = True
            self._desk.leaving.set()
            self.wake()

    def report(self) -> None:
        """Look for reports that are due now."""
        self._desk.reports.set()

    @property
    def _goes_on(self) -> bool:
        return not (self._stopping or self._state.leaving)

    async def _run(self) -> None:
        await self._resume()
        while not self._stopping:
            self._state.wake.clear()
            self._state.looks_at = 0.0
            pause, now = DISK_PAUSE, self._gateway.clock.now()
            try:
                begun = await self._launch(now)
                await self._recover()
                self._housekeep()
                if begun == BEGUN_TOGETHER or self._desk.claims.gave_back():
                    await self._ease()
                    continue
                pause = await self._pause(now)
            except Exception as error:  # noqa: BLE001 - the loop must outlive a bad moment
                logs.event(LOG, "engine_error", error=error, level=logging.ERROR)
            self._state.looks_at = self._gateway.clock.now() + pause
            await self._gateway.clock.wait(self._state.wake, pause)

    async def _ease(self) -> None:
        """Let the loop come round; where that takes long, it has enough to do."""
        began = self._gateway.clock.monotonic()
        await asyncio.sleep(0)
        if self._gateway.clock.monotonic() - began > ROUND:
            await asyncio.sleep(APART)

    async def _resume(self) -> None:
        """Put what waits from before the start in order. Where that fails it comes all at once, which is slow only."""
        try:
            late = await polls.spread_overdue(self._desk) if await self._desk.claims.is_alone() else 0
            await self._desk.write(queues.wake_firsts)
            await self._desk.write(answering.wake_first, self._gateway.config.engine.direct_workers)
        except Exception as error:  # noqa: BLE001 - the loop must outlive a bad moment
            logs.event(LOG, "engine_error", error=error, level=logging.ERROR)
        else:
            logs.event(LOG, "engine_started", overdue_polls=late)

    async def _pause(self, launched: float) -> float:
        """Return seconds until the next row is due that was not yet due when rows were last launched."""
        if not self._state.slots.free:
            return LOOK_AGAIN
        upcoming = await self._gateway.registry.read(due.next_after, launched)
        pause = LOOK_AGAIN if upcoming is None else upcoming - self._gateway.clock.now()
        if self._state.held:
            pause = min(pause, min(self._state.held.values()) - self._gateway.clock.monotonic())
        return min(max(pause, LOOK_SOON), LOOK_AGAIN)

    async def _launch(self, now: float) -> int:
        """Begin steps that are due, and return how many."""
        moment = self._gateway.clock.monotonic()
        state = self._state
        state.held = {key: until for key, until in state.held.items() if until > moment}
        state.left = not state.slots.free
        if state.left or state.leaving:
            await self._desk.claims.take([])
            return 0
        look = due.Look(state.slots.in_turn, self._is_ready, min(state.slots.free, BEGUN_TOGETHER))
        wanted = await self._gateway.registry.read(self._desk.claims.due, now, self._most, look)
        ready = {each: [Key(*row) for row in rows if self._is_ready(row)] for each, rows in wanted.items()}
        if sum(key.kind == "clearing" for key in state.slots) >= CLEARED_AT_ONCE:
            ready = {each: [key for key in keys if key.kind != "clearing"] for each, keys in ready.items()}
        begun = list(islice(state.slots.fill(ready), BEGUN_TOGETHER))
        state.left = sum(map(len, ready.values())) > len(begun)
        for key in await self._claimed(begun):
            task = asyncio.create_task(self._drive(key), name=f"step {key}")
            state.running.add(task)
            task.add_done_callback(state.running.discard)
        return len(begun)

    def _is_ready(self, row: tuple[str, str, int]) -> bool:
        return row not in self._state.slots and row not in self._state.held

    async def _claimed(self, begun: list[Key]) -> list[Key]:
        """Return those that may be begun here; the slots of the others are free again."""
        got = list[Key]()
        try:
            got = await self._desk.claims.take(begun)
        finally:
            for key in begun:
                if key not in got:
                    self._state.slots.end(key)
        return got

    def _most(self, workspace: str, workspaces: int) -> int:
        """Return how many due rows of a workspace are looked at: its share, behind those that are not to be taken."""
        share = math.ceil(min(self._state.slots.free, BEGUN_TOGETHER) / workspaces)
        return share + self._state.slots.of(workspace) + len(self._state.held)

    async def _drive(self, key: Key) -> None:
        state, after = "", _After(goes_on=True)
        try:
            with self._desk.claims.under(key):
                logs.TRACE_ID.set(await self._desk.trace_id(key))
                while after.goes_on and (found := await next_step(self._desk, key)) is not None and self._goes_on:
                    before, state = state, found[1].state
                    if before and (before in IN_FLIGHT) != (state in IN_FLIGHT):
                        self.wake()  # a part in a queue may have been woken
                    after = await self._take(*found, key)
                    if before:  # the step before this one may have changed other rows
                        after = after._replace(until=None)
        except ClaimLost:
            logs.event(LOG, "claim_lost", row=str(key), level=logging.WARNING)
        except Exception as error:  # noqa: BLE001 - a row that cannot even be read rests, and others go on
            self._rest("read", key, error, DISK_PAUSE if _passing(error) else DEFECT_PAUSE / 6)
        finally:
            self._state.slots.end(key)
            self._look_if_needed(after)

    def _look_if_needed(self, after: _After) -> None:
        """Look for due rows now, but not behind a poll that found nothing new: of 200 of these a second, each costs a
        look of 0.2 ms [measured]. It is needed where something waits for the place, or the row is due too early."""
        state = self._state
        if after.until is None or state.left or state.leaving or after.until < state.looks_at:
            self.wake()

    async def _take(self, step: Step, row: Any, key: Key) -> _After:
        """Take one step. One that fails may leave a row that rests although the database still calls it due."""
        name = step.name
        if step.heavy and self._gateway.registry.full:
            self._state.held[key] = self._gateway.clock.monotonic() + DISK_PAUSE
            return _After(goes_on=False)
        try:
            async with self._turn(step, row, key):
                with self._timed(step, row, key), self._gateway.blobs.held():
                    failpoints.passing(f"{name}.before")
                    until = await step.run(self._desk, row)
                    if until is None:
                        self._gateway.hooks.set()
                    failpoints.passing(f"{name}.after")
        except ClaimLost:
            raise
        except Elsewhere:
            self._state.held[key] = self._gateway.clock.monotonic() + ELSEWHERE
            return _After(goes_on=False)
        except _LATER as error:
            return _After(await self._later(name, key, row, error))
        except (RegistryFull, DatabaseAway, OSError) as error:
            return _After(self._rest(name, key, error, DISK_PAUSE if _passing(error) else DEFECT_PAUSE / 6))
        except Exception as error:  # noqa: BLE001 - one row's trouble is not another's
            await self._told(name, key, row, error)
            return _After(self._rest(name, key, error, DEFECT_PAUSE))
        return _After(until is None, until)

    def _timed(self, step: Step, row: Any, key: Key) -> contextlib.AbstractContextManager[None]:
        """Count how long the step takes; its span names rows and virtual keys of ours."""
        slug = getattr(row, "slug", "")
        label = UNNAMED if slug.startswith(OWN_KEY_PREFIX) else slug
        about = {key.kind if key.kind == "file" else "batch": key.id} | ({"part": str(key.n)} if slug else {})
        about |= {"virtual_key": label} if label else {}
        return self._gateway.timings.step(step.name, _LATER, label if step.name in CALLING else None, **about)

    @contextlib.asynccontextmanager
    async def _turn(self, step: Step, row: Any, key: Key) -> AsyncIterator[None]:
        """Wait for one of the transfers that a virtual key may have at once, if the step is one."""
        if not step.transfer:
            yield
            return
        turns = self._state.transfers.setdefault(row.slug, Turns(TRANSFERS_EACH))
        try:
            async with turns.turn(self._state.slots.workspace(key)):
                yield
        finally:
            if turns.idle:
                self._state.transfers.pop(row.slug, None)

    async def _later(self, name: str, key: Key, row: Any, error: Passing) -> bool:
        engine = self._gateway.config.engine
        asked = error.after if isinstance(error, TryLater) else None
        growth = polls.GROWTH if isinstance(error, AtWork) else GROWTH
        pause = max(asked or 0.0, backoff(row.tries, engine.poll_seconds_first, engine.poll_seconds_max, growth))
        pause = polls.jittered(self._desk, pause)
        logs.event(LOG, "step_later", step=name, row=str(key), pause=round(pause, 2), error=error)
        try:
            now = self._gateway.clock.now()
            told = asked is not None and isinstance(error, TryLater) and error.status is not None
            held_until = now + asked if told and asked else None  # a cancel that wakes the row is no excuse
            wait = waiting.of_step(self._desk, key, row, name, error, now + pause)
            await self._desk.write(_postpone, key, now + pause, wait, held_until)
        except (RegistryFull, DatabaseAway, OSError) as full:
            return self._rest(name, key, full, DISK_PAUSE)
        return held_until is None

    async def _told(self, name: str, key: Key, row: Any, error: Exception) -> None:
        """Let the caller see that a defect holds the row up."""
        with contextlib.suppress(Exception):  # telling is not worth a second defect
            wait = waiting.of_step(self._desk, key, row, name, error, self._desk.now() + DEFECT_PAUSE)
            if wait is not None:
                await self._desk.write(waiting.store, wait)

    def _rest(self, name: str, key: Key, error: BaseException, pause: float) -> bool:
        level = logging.WARNING if isinstance(error, DatabaseAway) else logging.ERROR
        logs.event(LOG, "step_failed", step=name, row=str(key), error=error, level=level)
        self._state.held[key] = self._gateway.clock.monotonic() + pause
        return False

    async def _recover(self) -> None:
        if self._gateway.registry.full:
            await asyncio.to_thread(self._gateway.recover_space)

    def _housekeep(self) -> None:
        """Begin to clean up when it is time. Steps go on meanwhile: 10,000 folders take seconds."""
        moment = self._gateway.clock.monotonic()
        if moment - self._cleaned < HOUSEKEEPING or self._state.cleaning:
            return
        self._cleaned, self._state.cleaning = moment, True
        task = asyncio.create_task(self._clean(), name="housekeeping")
        self._state.running.add(task)
        task.add_done_callback(self._state.running.discard)

    async def _clean(self) -> None:
        try:
            if await self._desk.claims.duty("housekeeping"):
                with self._desk.claims.on_duty("housekeeping"):
                    await housekeeping.remove_unneeded(self._gateway, self._desk.claims)
                    await housekeeping.remove_expired(self._gateway, self._desk.claims)
            await housekeeping.remove_ledgers(self._gateway, self._desk.folders)
            await housekeeping.forget_ended(self._gateway, self._desk.folders)
            await self._sweep()
            await space.measure(self._desk, self._gateway.room.working.touched())
        except (RegistryFull, ClaimLost):
            pass  # there will be room again, and another replica cleans
        except Exception as error:  # noqa: BLE001 - what could not be cleaned is cleaned a minute later
            logs.event(LOG, "engine_error", error=error, level=logging.ERROR)
        finally:
            self._state.cleaning = False

    async def _sweep(self) -> None:
        """Remove orphans from the store now and then: not at the start, when all replicas may."""
        moment = self._gateway.clock.monotonic()
        if moment >= self._sweeps_at:
            first, self._sweeps_at = not self._sweeps_at, moment + SWEEP_SECONDS * (0.5 + self._gateway.chance())
            if not first:
                await orphans.sweep(self._gateway)


def _postpone(conn: Connection, key: Key, due_at: float, wait: WaitRow | None, held_until: float | None) -> None:
    postpone(conn, key, due_at, held_until)
    if wait is not None:
        waiting.store(conn, wait)


def _passing(error: BaseException) -> bool:
    """Whether it is over by itself: a disk that is full, a database that is away."""
    return isinstance(error, RegistryFull | DatabaseAway) or (isinstance(error, OSError) and is_full(error))
