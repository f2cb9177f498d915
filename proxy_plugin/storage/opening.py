"""Which registry a gateway has."""

from __future__ import annotations

from pathlib import Path

from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.sqlite import SqliteRegistry


def registry_of(data_dir: Path, database_url: str | None = None) -> Registry:
    """Return the registry of all replicas where there is a URL of a database, else that in the data directory.

    Nothing is opened yet. psycopg is loaded for the former alone.
    """
    if database_url is None:
        return SqliteRegistry(data_dir)
    from proxy_plugin.storage.postgres import PostgresRegistry  # noqa: PLC0415

    return PostgresRegistry(database_url)
