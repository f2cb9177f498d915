"""With `--shared` the gateways of all tests keep their rows in PostgreSQL and their bytes in an object store.

So the contract, the kills and the lanes are proved of that form, too, one gateway at a time. A gateway that is started
anew on the folder of an earlier one finds what that one left.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support import object_store, postgres


class SharedForm:
    """The servers, which begin with the first gateway, and which database and prefix belong to which folder."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._databases: postgres.Databases | None = None
        self._made: dict[Path, dict[str, Any]] = {}

    def storage(self, data: Path) -> dict[str, Any]:
        """Return the section `storage` of the gateway whose folder this is."""
        if data not in self._made:
            databases, (store, bucket) = self._servers()
            self._made[data] = {
                "data_dir": str(data),
                "database_url": databases.fresh(),
                "blob_url": f"{bucket}/{len(self._made)}",
                "blob_options": dict(store.options),
            }
        return self._made[data]

    def ask(self, data: Path, query: str) -> list[tuple[Any, ...]]:
        """Read the rows of the gateway whose folder this is."""
        assert self._databases is not None
        return self._databases.ask(query, self._made[data]["database_url"])

    def _servers(self) -> tuple[postgres.Databases, tuple[object_store.Store, str]]:
        if self._databases is None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self._databases = self._stack.enter_context(postgres.serving())
            store = self._stack.enter_context(object_store.moto(folder / "moto.log"))
            self._store = store, store.bucket()
        return self._databases, self._store

    def close(self) -> None:
        """End the servers."""
        self._stack.close()
