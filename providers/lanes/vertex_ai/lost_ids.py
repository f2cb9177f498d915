"""Rows that came back without any id, known again by the request that came back with them.

The last resort: no page promises that a generateContent row shows its id (UNVERIFIED). Requests are compared as
canonical JSON, exactly, or else with names in any case and numbers in any spelling, as far as that tells them apart.
Equal requests are interchangeable. What is like no request, or like several that differ, stays without an id: a line
is told to be missing, never given another's answer. They are compared in a process of its own (`apart`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_plugin.providers.apart import unpack
from proxy_plugin.providers.errors import Short, TooLarge
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.members import pieces
from proxy_plugin.providers.kept import publish
from proxy_plugin.providers.lanes.vertex_ai.rows import LABEL, echoed, whose

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Intake

_TABLE = """CREATE TABLE line (id TEXT PRIMARY KEY, loose BLOB, exact BLOB, taken INT) WITHOUT ROWID;
CREATE INDEX l ON line (loose)"""  # 1,000,000 lines take 129 MB [measured]
_EXACT = "SELECT id FROM line WHERE loose = ? AND exact = ? AND NOT taken ORDER BY id LIMIT 1"
_LOOSE = "SELECT min(CASE WHEN NOT taken THEN id END) FROM line WHERE loose = ? HAVING count(DISTINCT exact) = 1"


def any_lost(outputs: Iterable[Path], mark: str) -> bool:
    """Tell whether a row of these files has no id. Blocking."""
    return any(_is_lost(line, mark.encode()) for path in outputs for line in _lines(path))


async def restore(outputs: Sequence[Path], document: Path, mark: str, intake: Intake | None) -> None:
    """Write into each row without an id that of the line of the document whose request it shows.

    A file whose requests are too many, or too large, for the process that compares them keeps its rows as they are.
    """
    for path in outputs:
        if not await asyncio.to_thread(any_lost, [path], mark):
            continue
        known = path.with_name(f".{path.name}.known")
        more = {"own": str(path), "outputs": json.dumps([str(each) for each in outputs])}
        try:
            await unpack(__name__, document, known, intake, more, last=False)
        except (Short, TooLarge):
            await asyncio.to_thread(known.unlink, missing_ok=True)
        else:
            await asyncio.to_thread(publish, known, path)


def rows(document: Path, more: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the rows of the file `own`, with ids, of those that no row of the `outputs` has. A tool of `apart`."""
    with closing(sqlite3.connect(":memory:")) as known:
        known.executescript(_TABLE)
        known.executemany("INSERT OR IGNORE INTO line VALUES (?, ?, ?, 0)", _requests(document))
        taken = (own for path in json.loads(more["outputs"]) for line in _lines(Path(path)) if (own := _id(line)))
        known.executemany("UPDATE line SET taken = 1 WHERE id = ?", ((own,) for own in taken))
        for line in _lines(Path(more["own"])):
            yield _with_id(line, known).rstrip(b"\n")


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _is_lost(line: bytes, mark: bytes) -> bool:
    return mark not in line and bool(line.strip()) and _id(line) is None


def _id(line: bytes) -> str | None:
    try:
        return whose(pieces(line))
    except ValueError:  # a corrupt line is nobody's
        return ""


def _requests(document: Path) -> Iterator[tuple[str, bytes, bytes]]:
    for line in _lines(document):
        if (own := _id(line)) and (hashes := _hashes(line)):
            yield own, *hashes


def _with_id(line: bytes, known: sqlite3.Connection) -> bytes:
    if not line.strip() or _id(line) is not None:
        return line
    if (hashes := _hashes(line)) is None:
        return line
    loose, exact = hashes
    found = known.execute(_EXACT, (loose, exact)).fetchone() or known.execute(_LOOSE, (loose,)).fetchone()
    if not found or found[0] is None:
        return line
    known.execute("UPDATE line SET taken = 1 WHERE id = ?", found)
    return line.rstrip()[:-1] + b',"key":' + msgspec.json.encode(found[0]) + b"}"


def _hashes(line: bytes) -> tuple[bytes, bytes] | None:
    """Return the hashes of a line's request: in any spelling, and as it is; None of what has none."""
    try:
        request = _request(line)
        return _hash(_loosened(request)), _hash(request)
    except (ValueError, RecursionError):  # halves of characters, or nested too deeply
        return None


def _request(line: bytes) -> dict[str, Any]:
    row = pieces(line)
    request = {name: read(raw) for name, raw in (echoed(row) or row).items() if name not in {"key", "custom_id"}}
    if isinstance(labels := request.get("labels"), dict):
        request["labels"] = {name: value for name, value in labels.items() if name != LABEL}
    if not request.get("labels"):
        request.pop("labels", None)
    return request


def _loosened(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = ((name.replace("_", "").lower(), _loosened(inner)) for name, inner in value.items())
        return {name: inner for name, inner in pairs if inner not in (None, {}, [])}
    if isinstance(value, list):
        return [_loosened(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hash(value: Any) -> bytes:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted", enc_hook=str)).digest()[:16]
