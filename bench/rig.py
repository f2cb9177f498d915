"""A gateway, the sandbox it talks to, and the watches on it, started for one measurement and taken down again.

Beside the gateway run on the same cores: the sandbox (at a lower priority), the client in this process, three probers,
and the control server. What they took of the CPU is measured with every phase.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

from bench import processes
from bench.client import Client
from bench.lines import MEGABYTE
from bench.probe import ControlServer, Series, Watch, largest
from proxy_plugin.ground.workers import default_count
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import every
from tests.support.stack import HEADERS, Gateway, lane

JOB_SECONDS = 40_000.0  # of the sandbox clock: a job ends when the clock is moved, not while it is being measured
SANDBOX_NICENESS = 10
SETTLE_SECONDS = 3.0
BASE_BYTES, WORKER_BYTES = 64 * MEGABYTE, 32 * MEGABYTE  # what the tree may grow by
GAP_BOUND = 0.1  # seconds
_PACE = {"run_seconds": JOB_SECONDS, "window_seconds": 10 * JOB_SECONDS}
_OPTIONS = {each.provider: {**each.unlimited, **_PACE} for each in every()}


def default_workers() -> int:
    """Return how many worker processes the gateway will have where nothing is configured."""
    return default_count()


def memory_bound(workers: int) -> int:
    """Return the bytes by which the tree may exceed the idle tree."""
    return BASE_BYTES + workers * WORKER_BYTES


def compile_once(folder: Path) -> None:
    """Let all processes started from here keep compiled modules in `folder`, as an installed package has them."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")


class Cpu(NamedTuple):
    """Seconds of CPU: the gateway's tree, what the benchmark runs beside it, and everything else on the machine."""

    gateway: float
    beside: float
    elsewhere: float

    def since(self, earlier: Cpu) -> Cpu:
        """Return what was used since an earlier reading."""
        return Cpu(*(max(0.0, now - then) for now, then in zip(self, earlier, strict=True)))


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time with a name; `moved` are the bytes of user content that went through."""

    name: str
    start: float
    end: float
    cpu: Cpu
    moved: int | None = None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


class Beyond(NamedTuple):
    """A round trip above the bound: seconds into the phase, its seconds, and the largest of the control meanwhile."""

    at: float
    wait: float
    control: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What the watches saw of one phase, in bytes and seconds; `late` is the prober's own delay."""

    phase: Phase
    growth: int
    root_growth: int  # of the gateway's own process, not necessarily at the same moment
    gap: float
    control_gap: float
    late: float
    beyond: tuple[Beyond, ...]


@dataclass(slots=True)
class _Watches:
    memory: Watch
    gaps: Watch
    control: Watch
    server: ControlServer

    def pids(self) -> list[int]:
        return [self.memory.pid, self.gaps.pid, self.control.pid, self.server.pid]


@dataclass(slots=True)
class Rig:
    """`with Rig(home) as rig`: everything runs, nothing is measured yet. `home` is made, and removed at the end."""

    home: Path
    engine: Mapping[str, Any] = field(default_factory=dict)
    lane: Mapping[str, Any] = field(default_factory=dict)  # options of the virtual key
    provider: str = "openai"
    watched: bool = True
    accounts: Mapping[str, str] = field(default_factory=dict)  # instead of one virtual key: slug -> provider
    limits: Mapping[str, int] = field(default_factory=dict)  # of the gateway
    database_url: str | None = None  # of its registry, which is in its folder otherwise
    phases: list[Phase] = field(default_factory=list)
    holds: list[tuple[float, float]] = field(default_factory=list)  # when the gateway was held, on the monotonic clock
    gateway: Gateway = field(init=False)
    sandbox: Sandbox = field(init=False)
    _watches: _Watches | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.home)
            keys = [f"{slug}=sk-{slug}" for slug in self.accounts]
            self.sandbox = stack.enter_context(Sandbox(keys=keys, options=_OPTIONS, directory=self.home / "sandbox"))
            os.setpriority(os.PRIO_PROCESS, self.sandbox.pid, SANDBOX_NICENESS)
            self.gateway = Gateway(self.home, self.virtual_keys(), dict(self.engine), dict(self.limits))
            if self.database_url is not None:
                place = {"data_dir": str(self.gateway.data), "database_url": self.database_url}
                self.gateway.sections = {"storage": place}
                self.gateway.write_config()
            stack.callback(self.gateway.close)
            self.gateway.start()
            if self.watched:
                self._watches = self._watch(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def virtual_keys(self) -> dict[str, dict[str, Any]]:
        """Return the gateway's accounts as its configuration has them."""
        named = {slug: {"provider": name, "api_key": f"sk-{slug}"} for slug, name in self.accounts.items()}
        return {
            slug: lane(self.sandbox, **each, **self.lane)
            for slug, each in (named or {"lane": {"provider": self.provider}}).items()
        }

    def client(self) -> Client:
        """Return a new connection of the caller; the rig closes it. With `accounts` the lines say where they go."""
        client = Client(self.gateway.port, HEADERS | ({"x-portkey-virtual-key": ""} if self.accounts else {}))
        self._stack.callback(client.close)
        return client

    @property
    def pid(self) -> int:
        """The gateway's process id."""
        assert self.gateway.process is not None
        return self.gateway.process.pid

    def _watch(self, stack: ExitStack) -> _Watches:
        server = ControlServer()
        stack.callback(server.stop)
        targets = (("memory", self.pid), ("gaps", self.gateway.port), ("gaps", server.port))
        memory, gaps, control = (Watch(what, at, self.home / f"{what}-of-{at}") for what, at in targets)
        for each in (memory, gaps, control):
            stack.callback(each.close)
        return _Watches(memory, gaps, control, server)

    # ---- measuring ----

    @contextmanager
    def phase(self, name: str, moved: int | None = None) -> Iterator[None]:
        """Measure what happens inside as one phase."""
        before = self._cpu()
        start = time.monotonic()
        yield
        end = time.monotonic()
        self.phases.append(Phase(name, start, end, self._cpu().since(before), moved))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the gateway do nothing meanwhile, so that what others do is no part of the next phase.

        Round trips that reach into it are left out of what is seen.
        """
        start = time.monotonic()
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)
            self.holds.append((start, time.monotonic()))

    def _cpu(self) -> Cpu:
        pids = [os.getpid(), *processes.tree(self.sandbox.pid)]
        pids += self._watches.pids() if self._watches is not None else []
        gateway, beside = processes.cpu_seconds(processes.tree(self.pid)), processes.cpu_seconds(pids)
        return Cpu(gateway, beside, processes.machine_seconds() - gateway - beside)

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Leave the gateway alone, first unwatched, then for the phase `idle`, from which all growth is measured."""
        time.sleep(seconds)
        with self.phase("idle"):
            time.sleep(seconds)

    def idle_bytes(self) -> int:
        """Return what the gateway's tree holds now."""
        return sum(map(processes.pss, processes.tree(self.pid)))

    def until(self, reached: Callable[[], object], *, every: float = 0.025, seconds: float = 3600.0) -> None:
        """Return when `reached` says so. Raises RuntimeError if the gateway ends before, TimeoutError."""
        deadline = time.monotonic() + seconds
        while not reached():
            if not self.gateway.alive():
                raise RuntimeError(f"the gateway has ended:\n{self.gateway.tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing came of it in {seconds:.0f} s:\n{self.gateway.tail()}")
            time.sleep(every)

    def finish(self) -> list[Seen]:
        """Stop the watches, stop the gateway, and return what was seen of every phase. The first must be `idle`."""
        watches, idle = self._watches, self.phases[0]
        assert watches is not None
        assert idle.name == "idle"
        series = _Series(watches.memory.stop(), watches.gaps.stop().without(self.holds), watches.control.stop())
        self.gateway.kill(signal.SIGTERM)
        quiet = series.memory.during(idle.start, idle.end)
        base = int(median(each.value for each in quiet)), int(median(each.more for each in quiet))
        return [series.seen(phase, base) for phase in self.phases]


@dataclass(frozen=True, slots=True)
class _Series:
    memory: Series
    gaps: Series
    control: Series

    def seen(self, phase: Phase, base: tuple[int, int]) -> Seen:
        memory = self.memory.during(phase.start, phase.end)
        waits = self.gaps.during(phase.start, phase.end)
        return Seen(
            phase=phase,
            growth=int(largest(memory)) - base[0],
            root_growth=int(max(each.more for each in memory)) - base[1],
            gap=largest(waits),
            control_gap=largest(self.control.during(phase.start, phase.end)),
            late=max(each.more for each in waits),
            beyond=tuple(
                Beyond(each.at - phase.start, each.value, largest(self.control.during(each.at, each.end)))
                for each in waits
                if each.value > GAP_BOUND
            ),
        )
