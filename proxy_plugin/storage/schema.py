"""The schema, as numbered SQL files: `NNNN.sql` for every database, and `NNNN.DIALECT.sql`, what one needs besides.

A gateway of the version before goes on beside one of this version: a file adds tables, and columns that may be NULL or
have a default, and takes nothing away that the version before names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import resources

from proxy_plugin.storage.errors import SchemaTooNew

VERSIONS = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"
VERSION = "SELECT COALESCE(MAX(version), 0) FROM schema_version"


def scripts(have: int, dialect: str = "", words: Callable[[str], str] = str) -> Iterator[str]:
    """Yield what brings a database from version `have` to this one, a script for each. Raises SchemaTooNew.

    `words` puts what is written for all databases into those of a dialect.
    """
    folder = resources.files(__package__) / "sql"
    names = {each.name for each in folder.iterdir()}
    known = sorted(name for name in names if re.fullmatch(r"\d{4}\.sql", name))
    if have > len(known):
        raise SchemaTooNew(f"the database has schema {have}, this version knows {len(known)}: upgrade the gateway")
    for number, name in enumerate(known[have:], have + 1):
        more = name.replace(".sql", f".{dialect}.sql")
        besides = (folder / more).read_text() if more in names else ""
        text = words((folder / name).read_text())
        yield f"{text}\n{besides}\nINSERT INTO schema_version (version) VALUES ({number});"
