"""Whose turn it is: due rows by workspace, and the queue for a place on a virtual key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from msgspec import structs

from proxy_plugin.storage import sqlite
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, due, files, parts, queues
from proxy_plugin.storage.tables.due import Due
from tests.support.rows import batch_row, file_row, part_row

NOW = 1000.0


@pytest.fixture
def conn(empty: Connection) -> Connection:
    files.insert(empty, file_row())
    return empty


class Books:
    """Batches of one part each, named by their workspace and a number."""

    def __init__(self, conn: Connection) -> None:
        self._conn, self._made = conn, 0

    def add(self, workspace: str, **columns: object) -> str:
        self._made += 1
        name = f"{workspace}{self._made}"
        batches.insert(self._conn, batch_row(name, workspace=workspace), is_retry=False)
        known = {"state": "planned", "due_at": 0.0, "mark": name} | columns
        parts.insert(self._conn, part_row(name, **known))
        return name

    def queue(self, workspaces: str, **columns: object) -> list[str]:
        waiting = {"note": queues.NO_ROOM, "due_at": NOW + 3600} | columns
        return [self.add(workspace, **waiting) for workspace in workspaces]


@pytest.fixture
def books(conn: Connection) -> Books:
    return Books(conn)


def everything(workspace: str, workspaces: int) -> int:
    return 100


def test_due_rows_are_told_by_workspace_in_order_of_creation(conn: Connection, books: Books) -> None:
    names = [books.add(each) for each in "abab"]
    books.add("c", due_at=NOW + 1)
    books.add("d", due_at=None, state="collected")
    found = due.rows(conn, NOW, everything)
    assert {name: [row.id for row in rows] for name, rows in found.items()} == {"a": names[::2], "b": names[1::2]}


def test_parts_batches_and_files_of_a_workspace_take_turns(conn: Connection, books: Books) -> None:
    made = [books.add("one"), books.add("one")]
    for n in range(3):
        files.insert(conn, file_row(f"file-due-{n}", due_at=0.0))
    conn.execute("UPDATE batches SET due_at = 0 WHERE id = ?", (made[1],))
    assert due.of_workspace(conn, "one", NOW, 2) == [
        Due("part", made[0], 0),
        Due("batch", made[1], 0),
        Due("file", "file-due-0", 0),
        Due("part", made[1], 0),
        Due("file", "file-due-1", 0),
    ]


def test_what_is_due_longest_comes_first(conn: Connection, books: Books) -> None:
    late = [books.add("one", due_at=at) for at in (30.0, 10.0, 20.0)]
    ready = books.add("one", due_at=0.0)
    books.add("one", due_at=NOW + 1)
    assert [row.id for row in due.of_workspace(conn, "one", NOW, 9)] == [ready, late[1], late[2], late[0]]
    assert due.next_after(conn, NOW) == NOW + 1


QUEUES = [  # who waits, in order of creation; who has how many jobs; the order in which they are served
    ("aaaa", "", "aaaa"),
    ("aaab", "", "abaa"),
    ("aaabb", "", "ababa"),
    ("abcabc", "", "abcabc"),
    ("aabbcc", "", "abcabc"),
    ("aaab", "aa", "baaa"),
    ("aaabbb", "aa", "bbabaa"),
    ("baaa", "bbb", "aaab"),
    ("ab", "abab", "ab"),
    ("aaaaaaaaab", "aaaaaaaaaaaaaaaaaaaa", "baaaaaaaaa"),
    ("bac", "ca", "bac"),
    ("", "aa", ""),
]


@pytest.mark.parametrize(("waiting", "running", "served"), QUEUES)
def test_a_place_goes_to_the_workspace_with_the_fewest_jobs(
    conn: Connection, books: Books, waiting: str, running: str, served: str
) -> None:
    for each in running:
        books.add(each, state="running")
    names, order = books.queue(waiting), list[str]()
    while (first := queues.first(conn, "lane")) is not None:
        part = parts.get(conn, first.batch_id, first.n)
        assert part is not None
        parts.move(conn, part, "staging")
        queues.served(conn, "lane", first.workspace)
        order.append(first.batch_id)
    assert "".join(name[0] for name in order) == served
    for workspace in set(waiting):
        assert [n for n in order if n[0] == workspace] == [n for n in names if n[0] == workspace]


def test_the_only_place_is_taken_in_turn(conn: Connection, books: Books) -> None:
    """With one job at a time all have the fewest whenever the place falls free."""
    books.queue("aaaaabb")
    order = ""
    while (first := queues.first(conn, "lane")) is not None:
        part = parts.get(conn, first.batch_id, first.n)
        assert part is not None
        queues.served(conn, "lane", first.workspace)
        for state in ("staging", "staged", "creating", "running", "ended"):
            part = parts.move(conn, part, state)
        order += first.workspace
    assert order == "ababaaa"


@pytest.mark.parametrize("end", ["ended", "refused", "planned"])
def test_a_place_that_falls_free_wakes_one_part(conn: Connection, books: Books, end: str) -> None:
    leaves = parts.get(conn, books.add("a", state="running", due_at=NOW + 5), 0)
    names = books.queue("aab")
    elsewhere = books.queue("ab", slug="other")
    assert leaves is not None
    parts.move(conn, leaves, end, due_at=NOW + 5)
    woken = [row.id for rows in due.rows(conn, NOW, everything).values() for row in rows if row.kind == "part"]
    assert woken == names[:1]
    assert not set(woken) & set(elsewhere)


def test_parts_that_wait_for_quota_are_not_in_the_queue(conn: Connection, books: Books) -> None:
    books.queue("a", note="token_limit_exceeded")
    [name] = books.queue("b")
    first = queues.first(conn, "lane")
    assert first is not None
    assert first.batch_id == name


def test_a_create_that_is_resolved_calls_one_part(conn: Connection, books: Books) -> None:
    names = books.queue("aaabb", state="creating", note=queues.NO_TURN)
    order = []
    for _ in names:
        queues.call_first(conn, "lane")
        [(batch_id, n)] = queues.called(conn, "lane", NOW)
        part = parts.get(conn, batch_id, n)
        assert part is not None
        parts.move(conn, part, "running", due_at=NOW + 5)
        order.append(batch_id[0])
    assert order == list("ababa")
    queues.call_first(conn, "lane")
    assert queues.called(conn, "lane", NOW) == set()


def test_a_called_part_that_rests_holds_nobody_up(conn: Connection, books: Books) -> None:
    [name] = books.queue("a", state="creating", note=queues.NO_TURN)
    queues.call_first(conn, "lane")
    assert queues.called(conn, "lane", NOW) == {(name, 0)}
    parts.postpone(conn, name, 0, NOW + 60)
    assert queues.called(conn, "lane", NOW) == set()


ASKED: dict[str, Callable[[Connection], object]] = {
    "what is due": lambda conn: due.rows(conn, NOW, lambda *_: 5),
    "when the next is due": lambda conn: due.next_after(conn, NOW),
    "the first in the queue": lambda conn: queues.first(conn, "lane"),
    "whether anybody waits": lambda conn: queues.anybody(conn, "lane"),
    "how long it is": lambda conn: queues.length(conn, "lane", queues.NO_ROOM, 10),
    "who was called": lambda conn: queues.called(conn, "lane", NOW),
    "the first to be created": lambda conn: queues.first(conn, "lane", queues.NO_TURN),
    "what is in flight": lambda conn: parts.in_flight(conn, "lane"),
    "a place that falls free": lambda conn: queues.wake_first(conn, "lane"),
}


def work(conn: sqlite3.Connection, asked: Callable[[Connection], object]) -> int:
    """Return how many instructions of the database's machine it took."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    conn.set_progress_handler(step, 1)
    try:
        asked(conn)
    finally:
        conn.set_progress_handler(None, 1)
    return count


@pytest.mark.parametrize("what", ASKED)
def test_no_question_costs_more_for_a_longer_queue(what: str) -> None:
    conn = sqlite.connect(Path(":memory:"))
    sqlite.migrate(conn)
    files.insert(conn, file_row())
    books = Books(conn)

    def grow(times: int) -> None:
        conn.execute("BEGIN")
        books.queue("aaaab" * times)
        books.queue("aab" * times, due_at=0.0)
        books.queue("ab" * times, state="ended", due_at=NOW + 9, note=None)
        conn.execute("COMMIT")

    for _ in range(5):
        books.add("a", state="running", due_at=NOW + 7)
    grow(10)
    before = work(conn, ASKED[what])
    grow(300)
    assert work(conn, ASKED[what]) <= before * 1.2 + 20
    conn.close()


def test_overdue_polls_are_told_in_turns_and_woken_parts_are_left_alone(conn: Connection, books: Books) -> None:
    late = [books.add(each, state="running", due_at=at) for each, at in (("a", 5.0), ("a", 6.0), ("b", 7.0))]
    books.add("a", state="running", due_at=0.0)
    books.add("a", state="running", due_at=NOW + 1)
    books.add("a", state="ended", due_at=4.0)
    found = due.overdue_polls(conn, NOW)
    assert [each.batch_id for each in found] == [late[0], late[2], late[1]]
    due.put_off(conn, found[0], NOW + 9)
    conn.execute("UPDATE parts SET due_at = 0 WHERE batch_id = ?", (late[2],))
    due.put_off(conn, found[1], NOW + 9)
    rows = [parts.get(conn, name, 0) for name in late]
    assert [row.due_at for row in rows if row is not None] == [NOW + 9, 6.0, 0.0]


def test_parts_of_the_schema_before_have_their_turn(tmp_path: Path) -> None:
    """Version 2 knew the workspace of a part by its batch alone."""
    scripts = resources.files("proxy_plugin.storage") / "sql"
    conn = sqlite.connect(tmp_path / "registry.sqlite3")
    conn.executescript("CREATE TABLE schema_version (version INTEGER NOT NULL);")
    for number in (1, 2):
        conn.executescript((scripts / f"000{number}.sql").read_text())
        conn.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))
    file = file_row()
    fields = [name for name in file.__struct_fields__ if name != "wish"]
    names = ", ".join(fields)
    values = ", ".join(f":{name}" for name in fields)
    conn.execute(f"INSERT INTO files ({names}) VALUES ({values})", structs.asdict(file))
    for n, workspace in enumerate("aab"):
        batch = batch_row(f"{workspace}{n}", workspace=workspace)
        part = part_row(f"{workspace}{n}", state="planned", due_at=0.0, mark=str(n), note=queues.NO_ROOM)
        for table, row in (("batches", batch), ("parts", part)):
            known = [
                name
                for name in row.__struct_fields__
                if name not in {"cached", "way", "requests", "goes_on", "rescue", "identity", "webhook"}
            ]
            values = ", ".join(f":{name}" for name in known)
            conn.execute(f"INSERT INTO {table} ({', '.join(known)}) VALUES ({values})", structs.asdict(row))
    sqlite.migrate(conn)
    assert {name: len(rows) for name, rows in due.rows(conn, NOW, everything).items()} == {"a": 2, "b": 1}
    first = queues.first(conn, "lane")
    assert first is not None
    assert first[:3] == ("a0", 0, "a")
    conn.close()
