"""PostgreSQL as a registry: replicas take turns, a lost commit is asked for, and a database that is away is told."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import psycopg
import pytest

from proxy_plugin.storage import commits, dialect, reads, schema, sessions
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import CommitInDoubt, ConstraintError, DatabaseAway, SchemaTooNew, StorageError
from proxy_plugin.storage.postgres import PostgresRegistry
from proxy_plugin.storage.sessions import DatabaseSession
from proxy_plugin.storage.tables import batches, files, holdings
from proxy_plugin.storage.tables.batches import BatchRow
from tests.support import relay
from tests.support.relay import Relay, relayed
from tests.support.rows import add_workspace, batch_row, file_row, workspaces
from tests.support.waiting import eventually


@contextmanager
def opened(url: str) -> Iterator[PostgresRegistry]:
    made = PostgresRegistry(url)
    made.open()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def registry(migrated: str) -> Iterator[PostgresRegistry]:
    with opened(migrated) as made:
        yield made


@pytest.fixture
def behind(migrated: str) -> Iterator[tuple[PostgresRegistry, Relay]]:
    """A registry behind a relay."""
    with relayed(migrated) as (url, line), opened(url) as made:
        yield made, line


COMMIT = b"COMMIT\0"  # the statement, not the words of an isolation level


def xid(conn: Connection) -> str:
    return str(conn.execute("SELECT pg_current_xact_id()::text").fetchone()[0])


def crash(url: str) -> None:
    """Let a process of the server be killed: it ends all sessions, and recovers from its log."""
    with closing(sessions.connect(url)) as session, closing(sessions.connect(url)) as another:
        os.kill(session.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            sessions.command(another, "SELECT pg_sleep(60)")


def there(url: str) -> DatabaseSession | None:
    """Return a session, None while the server recovers."""
    with suppress(psycopg.OperationalError):
        return sessions.connect(url)
    return None


# ---- turns ----


async def test_what_a_replica_decides_by_what_it_read_holds_over_all_replicas(migrated: str) -> None:
    with opened(migrated) as one, opened(migrated) as two, opened(migrated) as three:
        await one.write(files.insert, file_row())
        rows = [batch_row(f"batch_{n}") for n in range(60)]
        found = await asyncio.gather(
            *(
                replica.write(batches.insert, row, is_retry=False, most=7)
                for replica, row in zip([one, two, three] * 20, rows, strict=True)
            ),
            return_exceptions=True,
        )
        assert {type(each) for each in found} == {BatchRow, holdings.TooManyBatches}
        assert sum(isinstance(each, BatchRow) for each in found) == 7
        assert await two.read(holdings.open_batches, "one", 100) == 7


async def test_writes_that_queue_up_share_a_transaction_until_their_turn_is_over(
    registry: PostgresRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = await asyncio.gather(*(registry.write(xid) for _ in range(60)))
    assert len(set(together)) < 10
    monkeypatch.setattr(commits, "TURN_SECONDS", -1.0)
    apart = await asyncio.gather(*(registry.write(xid) for _ in range(20)))
    assert len(set(apart)) == 20


async def test_a_replica_that_stands_still_in_its_turn_loses_it(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commits.SETTINGS, "idle_in_transaction_session_timeout", "200ms")
    with closing(sessions.connect(migrated, **commits.SETTINGS)) as stopped, opened(migrated) as other:
        sessions.command(stopped, commits._BEGIN)
        add_workspace(stopped.tables, "never")
        await other.write(add_workspace, "a")
        with pytest.raises(psycopg.Error):
            sessions.command(stopped, "COMMIT")
        assert await other.read(workspaces) == ["a"]


async def test_a_statement_that_waits_for_another_session_lets_this_process_go_on(migrated: str) -> None:
    """Read three times: it is prepared from the second on. Who held the interpreter meanwhile would wait for ever."""
    wait = "SELECT pg_advisory_xact_lock(1)"
    with closing(sessions.connect(migrated)) as holder, opened(migrated) as registry:
        for call in (registry.read, registry.read, registry.read, registry.write):
            sessions.command(holder, f"BEGIN; {wait}")
            waiting = asyncio.create_task(call(lambda conn: len(conn.execute(wait).fetchall())))
            while not await registry.scan(lambda conn: conn.execute(_WAITING).fetchone()):
                await asyncio.sleep(0)
            sessions.command(holder, "COMMIT")
            assert await waiting == 1


_WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


# ---- commits whose answer is lost ----


@pytest.mark.parametrize(
    "plan",
    [
        [(COMMIT, relay.CUT_BEFORE)],
        [(COMMIT, relay.CUT_AFTER)],
        [(COMMIT, relay.HANG_UP)],
        [(COMMIT, relay.CUT_BEFORE), (COMMIT, relay.CUT_AFTER)],
        [(COMMIT, relay.CUT_AFTER), (b"pg_xact_status", relay.CUT_AFTER)],
        [(COMMIT, relay.CUT_AFTER), (b"ROLLBACK\0", relay.CUT_BEFORE)],
    ],
)
async def test_a_commit_whose_answer_is_lost_has_happened_once(
    behind: tuple[PostgresRegistry, Relay], monkeypatch: pytest.MonkeyPatch, plan: list[tuple[bytes, str]]
) -> None:
    monkeypatch.setitem(commits.SETTINGS, "idle_in_transaction_session_timeout", "300ms")
    registry, line = behind
    registry._commits.close()  # the next session has these settings
    cut = line.act(*plan)
    results = await asyncio.gather(*(registry.write(add_workspace, name) for name in "aba"), return_exceptions=True)
    assert cut.is_set()
    assert [type(each) for each in results] == [int, int, ConstraintError]
    assert await registry.read(workspaces) == ["a", "b"]


@pytest.mark.parametrize("seed", [2, 3])
async def test_whatever_is_cut_each_write_happens_once(
    behind: tuple[PostgresRegistry, Relay], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(commits, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(commits, "PATIENCE", 60.0)
    registry, line = behind
    dice = random.Random(seed)
    line.watch = lambda _: dice.choices([relay.PASS, relay.CUT_BEFORE, relay.CUT_AFTER], [18, 1, 1])[0]
    names = [f"w{n:02d}" for n in range(20)]
    for start in range(0, len(names), 5):
        done = await asyncio.gather(*(registry.write(add_workspace, name) for name in names[start : start + 5]))
        assert done == [1] * 5, "one that ran twice would have failed"
    line.watch = lambda _: relay.PASS
    assert await registry.read(workspaces) == names


@pytest.mark.parametrize(
    ("name", "said"),
    [("_TIMELINE", "SELECT '00000002'"), ("_RECOVERED", "SELECT 'later'"), ("_STATUS", "SELECT NULLIF('{0}', '{0}')")],
)
async def test_a_commit_that_another_server_cannot_know_of_is_in_doubt(
    behind: tuple[PostgresRegistry, Relay], monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    """A standby that took over may have given its number to another one; of an old number nothing is kept."""
    registry, line = behind
    await registry.write(add_workspace, "a")
    line.act((COMMIT, relay.CUT_AFTER))
    monkeypatch.setattr(commits, name, said)
    with pytest.raises(CommitInDoubt):
        await registry.write(add_workspace, "b")
    assert await registry.read(workspaces) == ["a", "b"]


async def test_what_fails_here_while_a_commit_is_sent_is_no_answer_to_it(
    registry: PostgresRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session may look whole then; only the database says no."""
    lost = ["COMMIT"]

    def failing(session: DatabaseSession, text: str) -> str | None:
        found = sessions.command(session, text)
        if text in lost:
            lost.remove(text)
            raise psycopg.OperationalError("out of memory")
        return found

    monkeypatch.setattr(commits, "command", failing)
    assert await registry.write(add_workspace, "a") == 1, "one that ran twice would have failed"
    assert not lost


@pytest.mark.parametrize("given_again", [True, False])
async def test_a_number_that_a_server_gives_again_behind_a_crash_proves_nothing(
    migrated: str, given_again: bool
) -> None:
    """What is not in the server's log yet is lost, and another transaction has its number, and commits.

    This one writes nothing: its log is written five times a second, so that a row may be in it.
    """
    asked = list[str]()
    cut = asyncio.Event()

    def watch(data: bytes) -> str:
        if COMMIT in data:
            cut.set()
        return relay.CUT_BEFORE if cut.is_set() else relay.PASS

    with relayed(migrated) as (url, line), opened(url) as registry:
        line.watch = watch
        written = asyncio.create_task(registry.write(lambda conn: asked.append(xid(conn))))
        await eventually(cut.is_set)
        crash(migrated)
        with closing(await eventually(lambda: there(migrated))) as another:
            number = 0
            while given_again and number < int(asked[0]):
                number = int(xid(another.tables))
        line.watch = lambda _: relay.PASS
        given_again = number == int(asked[0])  # a vacuum of the server's may have brought it into the log
        if given_again:
            with pytest.raises(CommitInDoubt):
                await written
        else:
            await written
        assert len(asked) == (1 if given_again else 2), "what has not happened is run again"


async def test_nobody_is_told_that_a_commit_failed_while_it_is_in_doubt(
    behind: tuple[PostgresRegistry, Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "PATIENCE", 0.0)
    registry, line = behind
    away = line.act((COMMIT, relay.CUT_AFTER))
    first = asyncio.create_task(registry.write(add_workspace, "a"))
    while not away.is_set():
        await asyncio.sleep(0.01)
    line.watch = lambda _: relay.CUT_BEFORE
    with pytest.raises(DatabaseAway):
        await registry.write(add_workspace, "behind it")
    assert not first.done()
    line.watch = lambda _: relay.PASS
    assert await first == 1
    assert await registry.read(workspaces) == ["a"]


# ---- a database that is away ----


async def test_a_database_that_is_away_is_told_and_found_again(
    behind: tuple[PostgresRegistry, Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "PATIENCE", 0.0)
    monkeypatch.setattr(reads, "PATIENCE", 0.0)
    registry, line = behind
    assert await registry.away() is None
    line.watch = lambda _: relay.CUT_BEFORE
    assert await registry.away() is not None
    for call in (registry.write, registry.read, registry.scan):
        with pytest.raises(DatabaseAway):
            await call(workspaces)
    line.watch = lambda _: relay.PASS
    assert await registry.away() is None
    assert await registry.write(add_workspace, "a") == 1


async def test_where_no_more_sessions_can_be_had_those_that_are_there_read(
    behind: tuple[PostgresRegistry, Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "PATIENCE", 0.0)
    registry, line = behind
    await registry.read(workspaces)
    refused = []

    def watch(data: bytes) -> str:
        if b"\0user\0" not in data:
            return relay.PASS
        refused.append(data)
        return relay.CUT_BEFORE

    line.watch = watch
    while len(refused) < 2:
        assert await asyncio.gather(*(registry.read(workspaces) for _ in range(40))) == [[]] * 40


def test_a_database_that_is_not_there_is_told_at_the_start(migrated: str) -> None:
    with pytest.raises(DatabaseAway), opened(f"{migrated}_not_there"):
        pass


# ---- the schema ----


def test_replicas_that_start_together_make_the_schema_once(database: str) -> None:
    async def start() -> list[PostgresRegistry]:
        made = [PostgresRegistry(database) for _ in range(4)]
        await asyncio.gather(*(asyncio.to_thread(each.open) for each in made))
        return made

    for each in asyncio.run(start()):
        each.close()
    with closing(sessions.connect(database)) as session:
        found = session.tables.execute("SELECT version FROM schema_version ORDER BY version").fetchall()
    assert [row[0] for row in found] == list(range(1, len(list(schema.scripts(0))) + 1))


def test_a_later_schema_is_refused(migrated: str) -> None:
    with closing(sessions.connect(migrated)) as session:
        session.tables.execute("INSERT INTO schema_version VALUES (9999)")
    with pytest.raises(SchemaTooNew), opened(migrated):
        pass


# ---- values ----


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("SELECT 1 = 1, 1 = 2", (1, 0)),
        ("SELECT SUM(n), AVG(n) FROM (SELECT 1 AS n UNION ALL SELECT 2) t", (3, 1.5)),
        ("SELECT COALESCE(SUM(bytes), 0) FROM workspaces", (0,)),
    ],
)
def test_values_are_those_of_sqlite(empty: Connection, asked: str, found: tuple[object, ...]) -> None:
    row = tuple(empty.execute(asked).fetchone())
    assert [(type(each), each) for each in row] == [(type(each), each) for each in found]


def test_what_no_text_can_hold_there_is_replaced(empty: Connection) -> None:
    add_workspace(empty, "a\0b")
    assert workspaces(empty) in (["a\0b"], ["a\ufffdb"])


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        ("SELECT a FROM t WHERE b = ? AND c <> ':no ? '' :no' AND d = ?", None, None),
        ("SELECT :a, :b, :a", b"SELECT $1, $2, $1", ("a", "b")),
        ("SELECT :a::text LIKE '%s%'", b"SELECT $1::text LIKE '%s%'", ("a",)),
    ],
)
def test_places_of_parameters_are_numbered(ours: str, theirs: bytes | None, names: tuple[str, ...] | None) -> None:
    known = dialect.statement(ours)
    assert known.names == names
    assert known.text == (theirs or b"SELECT a FROM t WHERE b = $1 AND c <> ':no ? '' :no' AND d = $2")


async def test_errors_hold_nothing_of_what_a_row_has(registry: PostgresRegistry) -> None:
    await registry.write(add_workspace, "a secret")
    with pytest.raises(ConstraintError) as failure:
        await registry.write(add_workspace, "a secret")
    assert "secret" not in str(failure.value)


def _broken(conn: Connection) -> object:
    return conn.execute("SELECT nothing_of_this_name")


async def test_a_statement_that_is_wrong_is_no_reason_to_try_again(registry: PostgresRegistry) -> None:
    calls: list[Callable[..., object]] = [registry.write, registry.read]
    for call in calls:
        with pytest.raises(StorageError) as failure:
            await call(_broken)  # type: ignore[misc]
        assert not isinstance(failure.value, DatabaseAway)
