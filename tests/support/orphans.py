"""Objects that rows name, and objects that none does."""

from __future__ import annotations

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files
from tests.support.rows import batch_row, file_row

KEPT = {
    "files/01/file-01",
    "files/01/file-01.index",
    "batches/batch_live/split-a-1/assignment",
    "batches/batch_ended/file-02.ledger.jsonl",
    "files/02/file-02",
}
ORPHANS = {
    "files/03/file-03",
    "files/04/part_04",
    "batches/batch_ended/file-09.ledger.jsonl",
    "batches/batch_ended/rows-00000-a-1/000.rows",
    "batches/batch_gone/repeats",
}


def rows(conn: Connection) -> None:
    """Write the rows that name them."""
    for name in ("file-01", "file-02"):
        files.insert(conn, file_row(name))
    batches.insert(conn, batch_row("batch_live", input_file_id="file-01"), is_retry=False, most=9)
    ended = batches.insert(
        conn, batch_row("batch_ended", input_file_id="file-01", state="merging"), is_retry=False, most=9
    )
    batches.end(conn, ended, "completed", 1.0, total=1, output_file_id="file-02")
