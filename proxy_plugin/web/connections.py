"""Which connections are open, what each is waited for, and which go when that takes too long or room is short.

    fresh ─> head ─> busy ─> idle ─> head ─> busy ...      any of them ─> closing

A request that runs is never ended here: its body has a pace (`pace`), its answer another (`server`), its caller a share
(`entrance`). Everything else is *silent*, and bounded by time, number and memory. In each phase the patience is the
same for all, so the order in which connections entered it is the order in which it ends: a sweep looks at those that
are late, and at one more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from enum import Enum
from itertools import chain, islice, takewhile
from operator import itemgetter
from typing import Protocol

from proxy_plugin.ground.sparing import Sparing

LOG = logging.getLogger("proxy_plugin.connections")
SWEEP_SECONDS = 0.5
GRACE_SECONDS = 1.0  # in which a new connection is taken for one that is about to ask
LINGER_SECONDS = 5.0  # for a client to read why it was refused
HALF_HEADS_BYTES = 8 * 2**20  # of all heads that have begun and not ended; an honest one comes in one piece


class Phase(Enum):
    """What is waited for."""

    FRESH = "no request"  # the first byte
    HEAD = "half a head"  # the rest of a head
    IDLE = "idle"  # another request, or none
    CLOSING = "closing"  # the client, to read to the end
    BUSY = "busy"  # us


class Held(Protocol):
    """One connection, as the books know it. `half` are the bytes of an unfinished head."""

    phase: Phase | None
    half: int

    def late(self, phase: Phase) -> None:
        """End it: what was waited for in this phase did not come."""

    def drop(self) -> None:
        """End it at once, whatever is unsent."""


class Books:
    """The connections of one server, of which `most` may be open. `patience` has the seconds of each silent phase."""

    def __init__(self, most: int, patience: Mapping[Phase, float], loop: asyncio.AbstractEventLoop) -> None:
        self.most = most
        self.closed = Sparing(LOG, "connections_closed", loop.time)
        self._loop = loop
        self._patience = patience
        self._since: dict[Phase, dict[Held, float]] = {phase: {} for phase in Phase}
        self._half = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many are open."""
        return sum(map(len, self._since.values()))

    def enter(self, connection: Held) -> None:
        """Take up a new connection; if it is one too many, another one goes, or it goes itself."""
        self.move(connection, Phase.FRESH)
        if len(self) > self.most:
            self.shed("crowded", connection)
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_SECONDS, self._swept)

    def move(self, connection: Held, phase: Phase) -> None:
        """Note that a connection is in a phase from now on."""
        self._forget(connection)
        connection.phase = phase
        self._since[phase][connection] = self._loop.time()

    def leave(self, connection: Held) -> None:
        """Forget a connection that is closed."""
        self._forget(connection)
        self.holds(connection, 0)

    def holds(self, connection: Held, half: int) -> None:
        """Note how much of an unfinished head a connection holds; of too many of them the oldest goes."""
        self._half += half - connection.half
        connection.half = half
        while self._half > HALF_HEADS_BYTES and (oldest := next(iter(self._since[Phase.HEAD]), None)) is not None:
            self._end(oldest, "crowded")

    def shed(self, why: str, newcomer: Held | None = None) -> bool:
        """End the silent connection that can best be done without, the newcomer last; return whether there was one.

        One that was answered before says more for itself than one that never asks, but for a moment everybody is new.
        """
        before = self._loop.time() - GRACE_SECONDS
        new = [item for phase in (Phase.FRESH, Phase.HEAD) for item in islice(self._since[phase].items(), 1)]
        by_age = sorted(new, key=itemgetter(1))
        lasting = [each for each, since in by_age if since <= before]
        others = [each for each, since in by_age if since > before]
        for each in chain(islice(self._since[Phase.CLOSING], 1), lasting, islice(self._since[Phase.IDLE], 1), others):
            if each is not newcomer:
                self._end(each, why)
                return True
        if newcomer is not None:
            self._end(newcomer, why)
        return newcomer is not None

    def stalled(self, connection: Held) -> None:
        """End a connection whose client does not read."""
        self._end(connection, "stalled")

    def sweep(self) -> None:
        """End the connections that are late."""
        now = self._loop.time()
        for phase, patience in self._patience.items():
            held = self._since[phase]
            late = list(takewhile(lambda each: held[each] + patience <= now, held))  # noqa: B023 - used up at once
            for each in late:
                self.closed.note(phase.value)
                each.late(phase)
        self.closed.flush()

    def _swept(self) -> None:
        self.sweep()
        self._timer = self._loop.call_later(SWEEP_SECONDS, self._swept) if len(self) else None

    def _end(self, connection: Held, why: str) -> None:
        self.closed.note(why)
        self.leave(connection)
        connection.drop()

    def _forget(self, connection: Held) -> None:
        if connection.phase is not None:
            del self._since[connection.phase][connection]
            connection.phase = None
