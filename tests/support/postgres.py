"""PostgreSQL for tests: one server a test session in memory, and a database of its own for each test.

The server itself is `proxy_plugin.demo.postgres`. Its folder is beside pytest's, which other users cannot enter.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy_plugin.demo.postgres import Postgres

MEMORY = Path("/dev/shm")


class Databases:
    """Databases of a server. `restart`, `stop` and `start` of `server` are anybody's who leaves it running."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._numbers = itertools.count()
        self._templates: dict[str, str] = {}

    def fresh(self, template: str = "template0") -> str:
        """Make a database like a template, which nobody may be connected to, and return its URL."""
        name = f"db{os.getpid()}_{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.server.url(name)

    def like(self, name: str, prepare: Callable[[str], object]) -> str:
        """Make a database like the one that `prepare` made of an empty one when this name was first asked for."""
        if name not in self._templates:
            url = self.fresh()
            prepare(url)
            self._templates[name] = url.rpartition("/")[2]
        return self.fresh(self._templates[name])

    def drop(self, url: str) -> None:
        """Take a database away, whoever is connected."""
        self.ask(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def ask(self, query: str, url: str = "") -> list[tuple[object, ...]]:
        """Run one statement by itself, in a database or beside all of them, and return its rows."""
        import psycopg  # here, for tests without a database have no use for it

        with psycopg.connect(url or self.server.url(), autocommit=True) as connection:
            found = connection.execute(query.encode())
            return found.fetchall() if found.description else []


@contextmanager
def serving() -> Iterator[Databases]:
    """Run a server in a folder of its own, in memory where there is such a place."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    server = Postgres(folder)
    try:
        yield Databases(server.start())
    finally:
        server.stop(Postgres.CRASH)  # nobody wants its data
        shutil.rmtree(folder, ignore_errors=True)
