"""What adapters have noted beside documents, put into the rows of their parts, where replicas look for it.

An adapter notes a name that it must not use again in a hidden file beside a part's document (`providers/kept.py`). A
machine that goes would take that along, so replicas keep it in the part's `results`.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from proxy_plugin.storage.tables import batches


def into_rows(copy: sqlite3.Connection, folders: Path) -> int:
    """Write the notes of parts of batches that have not ended into a copy of their rows; return how many."""
    query = (
        "SELECT p.batch_id, p.n, p.file, b.split_dir, p.results FROM parts p JOIN batches b ON b.id = p.batch_id"
        " WHERE p.batch_id = ?"
    )
    found = 0
    for batch_id in batches.live_ids(copy):
        for _, n, file, split_dir, results in copy.execute(query, (batch_id,)).fetchall():
            if (text := _note(folders / batch_id, file, split_dir)) is not None:
                known = json.loads(results or '{"native": {}}') | {"beside": text}
                values = (json.dumps(known, ensure_ascii=False), batch_id, n)
                copy.execute("UPDATE parts SET results = ? WHERE batch_id = ? AND n = ?", values)
                found += 1
    return found


def _note(folder: Path, file: str, split_dir: str | None) -> str | None:
    """Return what was noted: beside a document of the split, or beside one that a cut or a rescue has made."""
    for home in (folder, *([] if split_dir is None else [folder / split_dir])):
        document = home / file
        note = document.with_name(f".{document.name}.note")
        if note.exists():
            return note.read_text()
    return None
