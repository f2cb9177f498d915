"""What PostgreSQL costs where SQLite would do: a read, a write, a step; writes of several replicas; status reads."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from bench import processes, report, status
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.opening import registry_of
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.tables import batches, files, parts
from tests.support.postgres import Databases, serving
from tests.support.rows import BATCH_ID, batch_row, file_row, part_row

ROUNDS, SECONDS = 9, 4.0
STATUS = ("batches in progress", "connections", "answers/s", "p50, ms", "p99, ms")
REPLICAS, AT_ONCE = (1, 2, 3), 64
_AFTER = {"staging": "staged", "staged": "creating", "creating": "staging"}
Do = Callable[[Registry], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of CPU: of the gateway's process, and of the database's."""

    here: float
    there: float


def run(home: Path, times: int, seconds: float, counts: list[int]) -> None:
    """Print the tables."""
    home.mkdir(parents=True, exist_ok=True)
    with serving() as databases:
        report.say("### PostgreSQL beside SQLite, microseconds of CPU")
        report.say(report.table(("", "SQLite", "PostgreSQL: gateway", "server"), _costs(home, databases, times)))
        report.say(
            f"Medians of {ROUNDS} rounds of {times}, in turns. A step reads a part, moves it and writes that down; of"
            " 50 writes at once those that queue up share a transaction."
        )
        report.say("### Writes a second over all replicas, which take turns")
        rows = [(n, *_together(databases.fresh(), n, seconds)) for n in REPLICAS]
        report.say(report.table(("replicas", "writes/s", "the slowest replica's part of that"), rows))
        report.say(f"Each replica has {AT_ONCE} writes under way. The server does not sync its log.")
        found = status.measure(home / "status", counts, seconds, database_url=databases.fresh())
        report.say("### GET /v1/batches/{id} on one core, from PostgreSQL")
        report.say(report.table(STATUS, _rows(found)))


def _rows(found: Iterator[status.Measured]) -> list[tuple[object, ...]]:
    return [
        (each.batches, each.connections, f"{each.rate:.0f}", *(f"{each.quantile(q) * 1e3:.2f}" for q in (0.5, 0.99)))
        for each in found
    ]


# ---- the cost of one ----


async def _read(registry: Registry) -> None:
    await registry.read(batches.get, BATCH_ID)


async def _write(registry: Registry) -> None:
    await registry.write(batches.postpone, BATCH_ID, 1.0)


async def _writes(registry: Registry) -> None:
    await asyncio.gather(*(_write(registry) for _ in range(50)))


async def _step(registry: Registry) -> None:
    part = await registry.read(parts.get, BATCH_ID, 0)
    assert part is not None
    await registry.write(_move, part)


def _move(conn: Connection, part: parts.PartRow) -> None:
    parts.move(conn, part, _AFTER[part.state])


_ASKED: dict[str, tuple[Do, int]] = {
    "a read": (_read, 1),
    "a write": (_write, 1),
    "a write of 50 at once": (_writes, 50),
    "a step": (_step, 1),
}


def _costs(home: Path, databases: Databases, times: int) -> list[tuple[str, ...]]:
    small, large = registry_of(home), registry_of(home, databases.fresh())
    for each in (small, large):
        each.open()
    try:
        return asyncio.run(_measured(small, large, databases, times))
    finally:
        small.close()
        large.close()


async def _measured(small: Registry, large: Registry, databases: Databases, times: int) -> list[tuple[str, ...]]:
    for each in (small, large):
        await each.write(_fill)
    rows = list[tuple[str, ...]]()
    for name, (do, count) in _ASKED.items():
        found = [
            (await _cost(small, do, databases, times), await _cost(large, do, databases, times)) for _ in range(ROUNDS)
        ]
        here, other = (median(each[n].here for each in found) / count for n in (0, 1))
        there = median(each[1].there for each in found) / count
        rows.append((name, f"{here:.0f}", f"{other:.0f}", f"{there:.0f}"))
    return rows


def _fill(conn: Connection) -> None:
    files.insert(conn, file_row())
    batches.insert(conn, batch_row(), is_retry=False)
    parts.insert(conn, msgspec.structs.replace(part_row(BATCH_ID, state="staging"), n=0))


async def _cost(registry: Registry, do: Do, databases: Databases, times: int) -> Cost:
    pids = processes.tree(databases.server.pid)
    here, there = time.process_time(), processes.cpu_seconds(pids)
    for _ in range(times):
        await do(registry)
    return Cost((time.process_time() - here) / times * 1e6, (processes.cpu_seconds(pids) - there) / times * 1e6)


# ---- several at once ----


def _together(url: str, replicas: int, seconds: float) -> tuple[str, str]:
    with multiprocessing.get_context("spawn").Pool(replicas) as pool:
        counts = pool.starmap(replica, [(url, seconds)] * replicas, 1)
    return f"{sum(counts) / seconds:.0f}", f"{min(counts) / sum(counts):.2f}"


def replica(url: str, seconds: float) -> int:
    """Write as much as goes for so long; return how many writes that were. In a process of its own."""
    registry = registry_of(Path(), url)
    registry.open()
    try:
        return asyncio.run(_busy(registry, seconds))
    finally:
        registry.close()


async def _busy(registry: Registry, seconds: float) -> int:
    until = time.monotonic() + seconds

    async def one() -> int:
        count = 0
        while time.monotonic() < until:
            await _write(registry)
            count += 1
        return count

    return sum(await asyncio.gather(*(one() for _ in range(AT_ONCE))))
