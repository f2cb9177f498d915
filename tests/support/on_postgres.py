"""Runs the gateways of other tests on PostgreSQL: `python -m pytest -p tests.support.on_postgres tests/api ...`.

Each data directory has a database of its own, so a gateway that is started again finds what it left. Who opens SQLite's
file in the tests' process is given that. Tests that write into the file, or count on what it takes of the disk, fail.
A database takes 7 MB, and stays until the end.
"""

from __future__ import annotations

import atexit
import sqlite3
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Self

from proxy_plugin import app
from proxy_plugin.storage import sessions
from proxy_plugin.storage.postgres import PostgresRegistry
from proxy_plugin.storage.registry import Registry
from tests.support import files_app, rows
from tests.support.postgres import Databases, serving
from tests.support.stack import Gateway

_stack = ExitStack()
atexit.register(_stack.close)


@cache
def _databases() -> Databases:
    return _stack.enter_context(serving())


@cache
def _url(data_dir: Path) -> str:
    return _databases().like("schema", rows.make_schema)


def _registry_of(data_dir: Path, database_url: str | None = None) -> Registry:
    return PostgresRegistry(database_url or _url(data_dir))


class _Looking:
    """A connection as tests have it that look into the registry."""

    def __init__(self, url: str) -> None:
        self._session = sessions.connect(url)
        self.execute = self._session.tables.execute

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stay open, as one of SQLite does."""

    def commit(self) -> None:
        """Each statement is committed already."""

    def close(self) -> None:
        """Let it go."""
        self._session.close()


def _connect(path: Any, *args: Any, **kwargs: Any) -> Any:
    file = Path(str(path))
    return _Looking(_url(file.parent)) if file.name == "registry.sqlite3" else _sqlite(path, *args, **kwargs)


_sqlite = sqlite3.connect


def _set() -> None:
    """Let gateways in the tests' process, and those of processes, have a database."""
    for module in (app, files_app):
        vars(module)["registry_of"] = _registry_of
    write = Gateway.write_config

    def with_database(self: Gateway) -> None:
        storage: dict[str, Any] = {"data_dir": str(self.data), "database_url": _url(self.data)}
        self.sections = {"storage": storage} | self.sections
        write(self)

    vars(sqlite3)["connect"] = _connect
    Gateway.write_config = with_database  # type: ignore[method-assign]


_databases()  # before a test may start no process
_set()
