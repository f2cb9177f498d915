"""Two versions side by side: what the version before says to its database, this version's schema takes.

`statements/NNNN.jsonl` is every statement of the version whose schema was NNNN, as `python -m tools.statements` wrote
them down. A schema file behind it may add, and take nothing away.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from proxy_plugin.storage import sqlite

KEPT = sorted((Path(__file__).parent / "statements").glob("*.jsonl"))
SQL = resources.files("proxy_plugin.storage") / "sql"
ADDS = (
    re.compile(r"CREATE TABLE \w+ \("),
    re.compile(r"CREATE INDEX \w+ ON "),
    re.compile(r"CREATE UNIQUE INDEX \w+ ON (?P<table>\w+) "),
    re.compile(r"ALTER TABLE \w+ ADD COLUMN (?P<column>.+)"),
    re.compile(r"INSERT INTO (?P<table>\w+) "),
    re.compile(r"CREATE (OR REPLACE )?FUNCTION proxy_plugin_\w+\("),
    re.compile(r"CREATE TRIGGER \w+ AFTER "),  # tells of what the version before does, and changes none of it
)
BODY = re.compile(r"\$\$.*?\$\$", re.DOTALL)


def statements() -> list[str]:
    return [json.loads(line) for path in KEPT for line in path.read_text().splitlines()]


@pytest.fixture
def schema() -> Iterator[sqlite3.Connection]:
    with closing(sqlite.connect(Path(":memory:"))) as conn:
        sqlite.migrate(conn)
        yield conn


def test_what_the_version_before_says_is_taken(schema: sqlite3.Connection) -> None:
    refused = {}
    for sql in statements():
        named = re.findall(r":(\w+)", sql)
        values = dict.fromkeys(named) if named else [None] * sql.count("?")
        try:
            schema.execute(f"EXPLAIN {sql}", values).fetchall()
        except sqlite3.Error as error:
            refused[sql] = str(error)
    assert refused == {}
    assert len(statements()) > 200


def test_it_said_something_to_every_table_that_it_had(schema: sqlite3.Connection) -> None:
    """A table of which nothing is written down would be free to change."""
    said = " ".join(statements())
    known = {name for (name,) in schema.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    added = {name for _, sql in added_since() for name in re.findall(r"CREATE TABLE (\w+)", sql)}
    assert {name for name in known - added if not re.search(rf"\b{name}\b", said)} == set()


def added_since() -> list[tuple[str, str]]:
    """Return (file, statement) of the schema files that are newer than what is written down."""
    oldest = min(path.stem for path in KEPT)
    files = sorted(each.name for each in SQL.iterdir() if each.name.endswith(".sql") and each.name[:4] > oldest)
    return [(name, each) for name in files for each in split((SQL / name).read_text())]


def split(text: str) -> list[str]:
    bare = BODY.sub("$$", re.sub(r"--.*", "", text))
    return [" ".join(each.split()) for each in bare.split(";") if each.strip()]


def problem_of(sql: str, new_tables: set[str]) -> str | None:
    found = next((match for pattern in ADDS if (match := pattern.match(sql))), None)
    if found is None:
        return "neither a new table, nor a new index, nor a new column"
    parts = found.groupdict()
    if "table" in parts and parts["table"] not in new_tables:
        return "the version before does not keep to it"
    if "NOT NULL" in parts.get("column", "") and " DEFAULT " not in parts["column"]:
        return "the version before gives it no value"
    return None


def test_a_newer_schema_adds_and_takes_nothing_away() -> None:
    added = added_since()
    new_tables = {name for _, sql in added for name in re.findall(r"CREATE TABLE (\w+)", sql)}
    assert [(name, sql, why) for name, sql in added if (why := problem_of(sql, new_tables))] == []
    assert added


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE parts",
        "ALTER TABLE parts DROP COLUMN mark",
        "ALTER TABLE parts RENAME COLUMN mark TO sign",
        "ALTER TABLE parts ADD COLUMN sign TEXT NOT NULL",
        "CREATE UNIQUE INDEX one ON parts (mark)",
        "UPDATE parts SET mark = ''",
        "DROP INDEX parts_due",
        "CREATE TRIGGER one BEFORE INSERT ON parts",
    ],
)
def test_what_would_stop_the_version_before_is_seen(sql: str) -> None:
    assert problem_of(sql, {"claims"}) is not None


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE parts ADD COLUMN sign TEXT",
        "ALTER TABLE parts ADD COLUMN sign TEXT NOT NULL DEFAULT ''",
        "CREATE UNIQUE INDEX one ON claims (id)",
        "CREATE INDEX one ON parts (mark)",
    ],
)
def test_what_it_does_not_notice_may_be_added(sql: str) -> None:
    assert problem_of(sql, {"claims"}) is None
