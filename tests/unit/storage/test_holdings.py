"""What a workspace has: running sums that are always what counting would say."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from importlib import resources

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.storage import sqlite
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, holdings, parts, uploads
from proxy_plugin.storage.tables.uploads import Closed, TooMuch, UploadPartRow, UploadRow
from tests.support.rows import Fresh, batch_row, file_row, part_row

COUNTED = """SELECT (SELECT COUNT(*) FROM files WHERE workspace = :w AND removed_at IS NULL)
 + (SELECT COUNT(*) FROM uploads WHERE workspace = :w AND state = 'pending')
 + (SELECT COUNT(*) FROM uploads u JOIN upload_parts p ON p.upload_id = u.id WHERE u.workspace = :w
    AND p.removed_at IS NULL)"""
MOST = 6
STOOD_AGAINST = (sqlite3.IntegrityError, psycopg.IntegrityError)


def opened(version: int) -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    folder = resources.files("proxy_plugin.storage") / "sql"
    made.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    for number in range(1, version + 1):
        made.executescript((folder / f"{number:04d}.sql").read_text())
        made.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))
    return made


def upload_row(number: int, workspace: str) -> UploadRow:
    known = {"purpose": "batch", "filename": "f", "mime_type": "m", "kept_seconds": 60}
    return UploadRow(id=f"upload_{number}", workspace=workspace, bytes=100, created_at=0, expires_at=9, **known)  # type: ignore[arg-type]


def counted(conn: Connection, workspace: str) -> int:
    return int(conn.execute(COUNTED, {"w": workspace}).fetchone()[0])


class Tenants:
    """Two workspaces that do what the routes and the housekeeping do."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.made = 0

    def act(self, what: str, which: int, workspace: str) -> None:
        self.made += 1
        upload = f"upload_{which}"
        if what == "file":
            files.insert_new(self.conn, file_row(f"file-{self.made}", workspace=workspace), MOST)
        elif what == "file elsewhere":
            files.insert(self.conn, file_row(f"file-{self.made}", workspace=workspace, removed_at=1))
        elif what == "result":
            files.insert(self.conn, file_row(f"file-{self.made}", workspace=workspace))
        elif what == "remove":
            files.mark_removed(self.conn, f"file-{which}", 1.0)
        elif what == "upload":
            uploads.insert(self.conn, upload_row(self.made, workspace), MOST)
        elif what == "part":
            uploads.add_part(
                self.conn, UploadPartRow(id=f"p{self.made}", upload_id=upload, bytes=3, created_at=0), MOST
            )
        elif what == "complete":
            uploads.complete(self.conn, upload, file_row(f"file-{self.made}", workspace=self._owner(upload)), [])
        elif what == "cancel":
            uploads.cancel(self.conn, upload, 0)
        else:
            uploads.expire(self.conn, upload, 99)

    def _owner(self, upload: str) -> str:
        found = self.conn.execute("SELECT workspace FROM uploads WHERE id = ?", (upload,)).fetchone()
        return str(found[0]) if found else "a"


ACTS = st.sampled_from(
    ["file", "file elsewhere", "result", "remove", "upload", "part", "part", "complete", "cancel", "expire"]
)


@given(st.lists(st.tuples(ACTS, st.integers(1, 12), st.sampled_from(["a", "b"])), max_size=40))
def test_the_sums_are_what_counting_says(fresh: Fresh, acts: list[tuple[str, int, str]]) -> None:
    with fresh() as conn:
        sums_are_what_counting_says(Tenants(conn), acts)


def sums_are_what_counting_says(there: Tenants, acts: list[tuple[str, int, str]]) -> None:
    for what, which, workspace in acts:
        with suppress(Closed, TooMuch, AssertionError, holdings.TooMany, *STOOD_AGAINST):
            there.conn.execute("SAVEPOINT one")
            there.act(what, which, workspace)
            there.conn.execute("RELEASE one")
            continue
        there.conn.execute("ROLLBACK TO one")
        there.conn.execute("RELEASE one")
    for workspace in ("a", "b"):
        assert holdings.files(there.conn, workspace) == counted(there.conn, workspace)


def test_a_database_of_the_version_before_is_counted_once() -> None:
    conn = opened(version=2)
    conn.executescript(
        "INSERT INTO workspaces (name, bytes) VALUES ('a', 7);"
        "INSERT INTO files (id, workspace, purpose, filename, bytes, sha256, created_at, state, removed_at) VALUES"
        " ('f1', 'a', 'batch', 'x', 1, '', 1, 'processed', NULL), ('f2', 'a', 'batch', 'x', 1, '', 1, 'processed', 5);"
        "INSERT INTO uploads (id, workspace, purpose, filename, mime_type, bytes, kept_seconds, created_at, expires_at,"
        " state) VALUES ('u1', 'a', 'batch', 'x', 'm', 9, 9, 1, 9, 'pending'), ('u2', 'b', 'batch', 'x', 'm', 9, 9, 1,"
        " 9, 'pending'), ('u3', 'a', 'batch', 'x', 'm', 9, 9, 1, 9, 'cancelled');"
        "INSERT INTO upload_parts (id, upload_id, bytes, created_at, removed_at) VALUES ('p1', 'u1', 3, 1, NULL),"
        " ('p2', 'u2', 3, 1, NULL), ('p3', 'u3', 3, 1, 8);"
    )
    sqlite.migrate(conn)
    assert [(name, holdings.files(conn, name), counted(conn, name)) for name in ("a", "b")] == [
        ("a", 3, 3),
        ("b", 2, 2),
    ]
    assert files.stored_bytes(conn, "a") == 7


@pytest.mark.parametrize("most", [1, 2, 5])
def test_only_open_batches_of_the_workspace_count(empty: Connection, most: int) -> None:
    conn = empty
    files.insert(conn, file_row())
    for n, state in enumerate(("completed", "failed", "expired", "cancelled")):
        batches.insert(conn, batch_row(f"batch_ended{n}", state=state), is_retry=False, most=most)
    for n in range(most):
        batches.insert(conn, batch_row(f"batch_{n}", state="running"), is_retry=False, most=most)
    with pytest.raises(holdings.TooManyBatches):
        batches.insert(conn, batch_row("batch_more"), is_retry=False, most=most)
    batches.insert(conn, batch_row("batch_other", workspace="two"), is_retry=False, most=most)


def test_documents_of_open_batches_of_the_workspace_count(empty: Connection) -> None:
    files.insert(empty, file_row())
    many = 2**33
    for n, state in enumerate(("validating", "splitting", "running", "merging", "completed", "cancelled")):
        batches.insert(empty, batch_row(f"batch_{n}", state=state), is_retry=False)
        parts.insert(empty, part_row(f"batch_{n}", mark=f"mark-{n}", bytes=many << n, state="staging"))
    batches.insert(empty, batch_row("batch_other", workspace="two"), is_retry=False)
    parts.insert(empty, part_row("batch_other", mark="mark-other", bytes=7, state="accepted"))
    cut = msgspec.structs.replace(part_row("batch_0", mark="mark-cut", bytes=5, state="replaced"), n=1)
    parts.insert(empty, cut)
    found = [holdings.documents(empty, each) for each in ("one", "two", "three")]
    assert found == [many * (1 + 2 + 4 + 8), 7, 0]
    assert {type(each) for each in found} == {int}
