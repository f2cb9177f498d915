"""Who takes which step, where several gateways share a PostgreSQL: procrastinate, claims as rows, or leases in rows.

procrastinate as its documents have it: a job a step, deferred in the transaction of the row's change, with a lock for
its row. Claims are `engine/replicas/claims.py`. Leases are taken by `FOR UPDATE SKIP LOCKED`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import psycopg
from procrastinate import App, PsycopgConnector

from bench import processes, report
from bench.claims_worker import CHANNEL, Order
from proxy_plugin.demo import postgres
from proxy_plugin.demo.postgres import Postgres

WAYS = ("procrastinate", "claims", "leases")
TITLES = {"procrastinate": "procrastinate", "claims": "claims", "leases": "FOR UPDATE SKIP LOCKED"}
SCHEMA = """
CREATE TABLE parts (batch_id TEXT, n BIGINT, workspace TEXT, place BIGINT, due_at DOUBLE PRECISION, left_steps INT,
    sent INT, begun_at DOUBLE PRECISION, ended_at DOUBLE PRECISION, by TEXT, holder TEXT, until DOUBLE PRECISION,
    PRIMARY KEY (batch_id, n));
CREATE INDEX parts_due ON parts (workspace, due_at, place, n) WHERE due_at IS NOT NULL;
CREATE INDEX parts_by_due ON parts (due_at, place, n) WHERE due_at IS NOT NULL;
CREATE TABLE batches (id TEXT, workspace TEXT, due_at DOUBLE PRECISION, seq BIGINT);
CREATE TABLE files (id TEXT, workspace TEXT, due_at DOUBLE PRECISION, seq BIGINT);
CREATE TABLE clearings (batch_id TEXT, part BIGINT, workspace TEXT, due_at DOUBLE PRECISION, place BIGINT);
CREATE TABLE claims (kind TEXT NOT NULL, id TEXT NOT NULL, n BIGINT NOT NULL, holder TEXT NOT NULL,
    token BIGINT NOT NULL, until DOUBLE PRECISION NOT NULL, PRIMARY KEY (kind, id, n));
CREATE INDEX claims_by_holder ON claims (holder);
CREATE INDEX claims_by_end ON claims (until);
"""
JOBS = (
    "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, args, scheduled_at) SELECT 'default',"
    " 'step', 0, batch_id || ':' || n, jsonb_build_object('id', batch_id, 'n', n),"
    " CASE WHEN due_at > 0 THEN to_timestamp(due_at) END FROM parts WHERE workspace = %s AND place >= %s"
    " ORDER BY place, n"
)
MOST_SECONDS = 3.0  # of one trial
LONGEST = 15.0  # that a small batch is waited for
STEPS = 6  # of a small batch, one behind the other


@dataclass(frozen=True, slots=True)
class Rate:
    """So many steps: seconds, CPU seconds of PostgreSQL and of the workers, statements and commits."""

    steps: int
    seconds: float
    database: float
    workers: float
    statements: int
    commits: int


class World:
    """One server, a fresh database for each trial, and its workers."""

    def __init__(self, home: Path, way: str) -> None:
        self.way, self.home = way, home
        self._server = Postgres(home / "postgres")
        self._number = 0
        self.url = ""

    def __enter__(self) -> World:
        postgres.SETTINGS.update({"fsync": "on", "full_page_writes": "on"})
        self.home.mkdir(parents=True, exist_ok=True)
        for each in (self.home, *self.home.parents[:2]):  # another user, whose server it is, has to pass
            each.chmod(each.stat().st_mode | 0o011)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(Postgres.CRASH)

    def fresh(self) -> None:
        """Begin with an empty database."""
        self._number += 1
        name = f"trial{self._number}"
        with psycopg.connect(self._server.url(), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}".encode())
        self.url = self._server.url(name)
        self.ask(SCHEMA)
        if self.way == "procrastinate":
            asyncio.run(_procrastinate_schema(self.url))

    def ask(self, sql: str, *values: object) -> list[Any]:
        """Run one statement by itself."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            found = conn.execute(sql.encode(), values or None)
            return found.fetchall() if found.description else []

    def put(self, workspace: str, rows: int, steps: int = 1, *, due_at: float = 0.0, first: int = 0) -> float:
        """Commit rows that are due, and wake the workers; return when that was."""
        query = (
            "INSERT INTO parts (batch_id, n, workspace, place, due_at, left_steps) SELECT %s || i, 0, %s, i, %s, %s"
            " FROM generate_series(%s::int, %s::int) i"
        )
        with psycopg.connect(self.url) as conn:
            values = (f"{workspace}-", workspace, due_at, steps, first, first + rows - 1)
            conn.execute(query.encode(), values)
            if self.way == "procrastinate":
                conn.execute(JOBS.encode(), (workspace, first))
            else:
                conn.execute(f"NOTIFY {CHANNEL}".encode())
            conn.commit()
            return time.time()

    @contextmanager
    def workers(self, count: int, **more: Any) -> Iterator[list[Worker]]:
        """Let so many processes work."""
        found = [Worker(Order(self.way, self.url, f"worker-{n}", **more)) for n in range(count)]
        try:
            for each in found:
                each.go()
            yield found
        finally:
            for each in found:
                each.kill()

    def until_done(self, workspace: str, rows: int, seconds: float = 30.0) -> bool:
        """Tell whether so many rows of a workspace had all their steps within so many seconds; all of `%`."""
        deadline = time.monotonic() + seconds
        with psycopg.connect(self.url, autocommit=True) as conn:
            query = b"SELECT COUNT(*) FROM parts WHERE workspace LIKE %s AND left_steps <= 0"
            while True:
                row = conn.execute(query, (workspace,)).fetchone()
                if row is not None and row[0] >= rows:
                    return True
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.02)

    def database_seconds(self) -> float:
        """Return the CPU seconds of the server so far."""
        return processes.cpu_seconds(processes.tree(self._server.pid))


class Worker:
    """One process of `bench.claims_worker`."""

    def __init__(self, order: Order) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.claims_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._say(msgspec.json.encode(order).decode())
        assert self._process.stdout is not None
        self._out = self._process.stdout
        assert self._out.readline().strip() == "ready"

    def go(self) -> None:
        """Let it begin."""
        self._say("go")

    def end(self) -> dict[str, Any]:
        """Let it end, and return what it says of itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        told: dict[str, Any] = json.loads(self._out.readline())
        self._process.wait(10)
        return told

    def stopped(self) -> None:
        """Return when it has stopped itself."""
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def goes_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()


async def _procrastinate_schema(url: str) -> None:
    async with App(connector=PsycopgConnector(conninfo=url)).open_async() as app:
        await app.schema_manager.apply_schema_async()


# ---- what is measured ----


def run(home: Path, rows: int = 1_500, crowd: int = 5_000, waiting: int = 10_000) -> None:
    """Print the tables."""
    rates, waits, found = list[tuple[object, ...]](), list[tuple[object, ...]](), list[tuple[object, ...]]()
    for way in WAYS:
        report.note(f"claims: {way}")
        with World(home / way, way) as world:
            rates += [_rate_row(way, count, rate(world, count, rows)) for count in (1, 2, 3)]
            rates.append(_rate_row(f"{way}, {waiting:,} rows wait", 2, rate(world, 2, rows, waiting)))
            waits.append((TITLES[way], *_milliseconds(latency(world)), *behind(world, crowd)))
            found.append((TITLES[way], *stopped(world)))
    head: tuple[str, ...] = (
        "steps",
        "processes",
        "steps/s",
        "PostgreSQL, ms a step",
        "worker, ms a step",
        "statements",
        "commits",
    )
    report.say(f"### Steps of {rows:,} due rows of ten workspaces")
    report.say(report.table(head, rates))
    report.say("### From a commit to the step")
    head = (
        "two processes",
        "median, ms",
        "largest of 40, ms",
        "small batch, ms",
        f"behind {crowd:,} rows, ms",
        "times",
    )
    report.say(report.table(head, waits))
    report.say("### A worker that was stopped behind the commit of `sent`")
    report.say(report.table(("it comes back when another has done the row", "creates", "commits of it then"), found))
    report.say(
        "A step is a read, and a transaction that changes the row and says when it is due again. Statements and commits"
        f" are a step's. A small batch has {STEPS} steps one behind the other, each waits 10 ms for its provider, as do"
        " those of the other workspace's rows. PostgreSQL writes to the disk (`fsync` is on)."
    )


def rate(world: World, count: int, rows: int, waiting: int = 0) -> Rate:
    """Let so many processes take the steps of so many due rows, while others wait for an hour to pass."""
    world.fresh()
    if waiting:
        world.put("waiting", waiting, due_at=time.time() + 3600)
    each = rows // 10
    for n in range(10):
        world.put(f"w{n}", each)
    world.ask("ANALYZE")
    commits, database = _commits(world), world.database_seconds()
    with world.workers(count) as workers:
        began = time.monotonic()
        world.until_done("w_", rows, MOST_SECONDS)
        seconds, database = time.monotonic() - began, world.database_seconds() - database
        told = [worker.end() for worker in workers]
    rows = max(sum(each["steps"] for each in told), 1)
    cpu, statements = (sum(each[name] for each in told) for name in ("cpu", "statements"))
    time.sleep(1.0)  # backends tell their statistics when they end
    return Rate(rows, seconds, database, cpu, statements, _commits(world) - commits)


def _commits(world: World) -> int:
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return int(world.ask(query)[0][0])


def _rate_row(what: str, count: int, found: Rate) -> tuple[object, ...]:
    each = (found.database / found.steps * 1000, found.workers / found.steps * 1000)
    counts = (found.statements / found.steps, found.commits / found.steps)
    return (
        what,
        count,
        f"{found.steps / found.seconds:.0f}",
        *(f"{ms:.2f}" for ms in each),
        *(f"{n:.1f}" for n in counts),
    )


def latency(world: World, times: int = 40) -> list[float]:
    """Return how long each of some rows waits, from its commit to its step, where nothing else is to be done."""
    world.fresh()
    with world.workers(2):
        world.put("warm", 20)
        world.until_done("warm", 20)
        found = []
        for n in range(times):
            committed = world.put("one", 1, first=n)
            world.until_done("one", n + 1)
            (row,) = world.ask("SELECT begun_at FROM parts WHERE workspace = 'one' AND place = %s", n)
            found.append(row[0] - committed)
        return found


def _milliseconds(found: Sequence[float]) -> tuple[str, str]:
    return f"{median(found) * 1000:.1f}", f"{max(found) * 1000:.1f}"


def behind(world: World, crowd: int) -> tuple[str, str, str]:
    """Return how long a small batch takes alone, and behind the due rows of another workspace."""
    quiet, busy = (_small(world, each) for each in (0, crowd))
    more = "more than " if busy >= LONGEST else ""
    return f"{quiet * 1000:.0f}", f"{more}{busy * 1000:.0f}", f"{more}{busy / quiet:.1f}"


def _small(world: World, crowd: int) -> float:
    world.fresh()
    with world.workers(2, pause=0.01):
        world.put("warm", 20)
        world.until_done("warm", 20)
        if crowd:
            world.put("big", crowd)
            world.ask("ANALYZE")
        time.sleep(0.5)
        began = world.put("small", 1, steps=STEPS)
        if not world.until_done("small", 1, LONGEST):
            return LONGEST
        ((ended,),) = world.ask("SELECT ended_at FROM parts WHERE workspace = 'small'")
        return float(ended) - began


def stopped(world: World) -> tuple[int, int]:
    """Stop a worker behind its `sent` until another has done the row; return creates, and commits when it is back."""
    world.fresh()
    log = world.home / "creates.log"
    told = {"life": 2.0, "log": str(log)}
    with world.workers(1, stops=True, **told) as first:
        world.put("one", 1)
        first[0].stopped()
        late = Worker(Order(world.way, world.url, "late", life=2.0, log=str(log)))
        try:
            late.go()
            world.until_done("one", 1, LONGEST)
            before = _commits_of(world)
            first[0].goes_on()
            time.sleep(3.0)
            return len(log.read_text().splitlines()), _commits_of(world) - before
        finally:
            late.kill()


def _commits_of(world: World) -> int:
    """Return how many steps the row has had: each commit of a worker takes one."""
    ((left,),) = world.ask("SELECT left_steps FROM parts WHERE workspace = 'one'")
    return -int(left)
