"""Many batches over all lanes through a front, while replicas are killed and stopped and their servers fail."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.support.lines import jsonl
from tests.support.postgres import Databases
from tests.support.stack import ENDS
from tests.whole.kills.all_lanes import LANES, Line, due_for, line_for, said_in
from tests.whole.replicas.rig import Replicas

LOOK = 0.25  # seconds between a client's looks at its batch


@dataclass(frozen=True)
class Pace:
    """How much, and how bad. Times are in seconds."""

    batches: int
    lines: int  # of a batch
    lanes: int  # that a batch names
    clients: int  # batches at a time
    cap: int  # jobs of an account at a time
    seconds: float  # of bad weather, over which the batches begin
    every: float  # between two kills
    stopped: float  # for which one replica stands still, once
    restarts: int  # of the database: in turn an orderly one and a crash


def lanes_of(number: int, pace: Pace) -> Sequence[str]:
    """Return the lanes of a batch, so that over the batches all of them come up equally often."""
    names = [each.provider for each in LANES]
    random.Random(20261130).shuffle(names)
    return [names[(number * pace.lanes + n) % len(names)] for n in range(pace.lanes)]


def lines_of(number: int, pace: Pace) -> list[Line]:
    """Return the lines of a batch, its lanes by turns."""
    by_name = {each.provider: each for each in LANES}
    lanes = [by_name[name] for name in lanes_of(number, pace)]
    return [line_for(n, lanes[n % len(lanes)], f"Say {n} of {number}") for n in range(pace.lines)]


@dataclass
class Clients:
    """Those who send batches. Each checks what it gets, line by line; `sent` counts the lines of each lane."""

    replicas: Replicas
    pace: Pace
    sent: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # that each batch took
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Send all batches, over the time of the weather, and return when all have been checked."""
        begun = time.monotonic()
        with ThreadPoolExecutor(self.pace.clients) as pool:
            for done in [pool.submit(self._one, n, begun) for n in range(self.pace.batches)]:
                done.result()

    def _one(self, number: int, begun: float) -> None:
        time.sleep(max(0.0, begun + number * self.pace.seconds / self.pace.batches - time.monotonic()))
        started, lines = time.monotonic(), lines_of(number, self.pace)
        front, insist = self.replicas.front, self.replicas.insist
        file_id = insist(lambda: front.upload(jsonl(lines)))
        asked = {"idempotency-key": f"batch-{number}"}
        order = {"input_file_id": file_id, "endpoint": "auto", "completion_window": "24h"}
        batch_id = insist(lambda: front.call("POST", "/batches", order, headers=asked))["id"]
        while (batch := insist(lambda: front.batch(batch_id)))["status"] not in ENDS:
            time.sleep(LOOK)
        assert (batch["status"], batch["error_file_id"]) == ("completed", None), batch
        assert batch["request_counts"] == {"total": len(lines), "completed": len(lines), "failed": 0}
        rows = insist(lambda: front.rows(batch["output_file_id"]))
        assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
        for row, line in zip(rows, lines, strict=True):
            assert said_in(row, line["url"]) == due_for(line), line["body"]["model"]
        with self._lock:
            self.sent.update(line["body"]["model"].partition("/")[0][1:] for line in lines)
            self.seconds.append(time.monotonic() - started)


@dataclass
class Weather:
    """What happens to the replicas meanwhile, chosen by a seed before it begins."""

    replicas: Replicas
    pace: Pace
    chance: random.Random
    databases: Databases | None = None
    happened: Counter[str] = field(default_factory=Counter)

    def run(self, still: Callable[[], bool]) -> None:
        """Let it happen for as long as there is `still` something to harm. Nobody stands still at the end."""
        begun = time.monotonic()
        try:
            for moment, what, act in self._plan():
                while time.monotonic() < begun + moment and still():
                    self.replicas.keep()
                    time.sleep(0.05)
                if still():
                    act()
                    self.happened[what] += 1
            while still():
                self.replicas.keep()
                time.sleep(0.05)
        finally:
            for n in [*self.replicas.stopped]:
                self.replicas.go_on(n)

    def _plan(self) -> list[tuple[float, str, Callable[[], None]]]:
        pace, count = self.pace, len(self.replicas.gateways)
        stands, since = self.chance.randrange(count), pace.seconds / 3
        plan: list[tuple[float, str, Callable[[], None]]] = []
        if pace.stopped and count > 1:
            plan.append((since, "stopped", lambda: self.replicas.stop(stands)))
            plan.append((since + pace.stopped, "went on", lambda: self.replicas.go_on(stands)))
        for k in range(1, int(pace.seconds / pace.every) + 1):
            spared = stands if pace.stopped and since <= k * pace.every < since + pace.stopped + pace.every else None
            plan.append((k * pace.every, "killed", self._kill(spared)))
        if self.databases:
            moments = (pace.seconds * (k + 0.5) / pace.restarts for k in range(pace.restarts))
            plan += [(at, "database restarted", self._restart(crash=k % 2 == 1)) for k, at in enumerate(moments)]
        return sorted(plan, key=lambda each: each[0])

    def _kill(self, spared: int | None) -> Callable[[], None]:
        others = [n for n in range(len(self.replicas.gateways)) if n != spared or len(self.replicas.gateways) == 1]
        chosen = self.chance.choice(others)
        return lambda: self.replicas.kill(chosen)

    def _restart(self, *, crash: bool) -> Callable[[], None]:
        assert self.databases is not None
        server = self.databases.server
        return lambda: server.restart(server.CRASH if crash else None)
