"""What is wrong with the settings of storage together, what they do not do, and how they are told in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from proxy_plugin.config.bounds import CacheSettings
from proxy_plugin.config.sections import Secrets, Storage
from proxy_plugin.config.stores.kinds import FILE

# Beside virtual keys in what `check --live` has found; no slug is so. The last is there where clocks are apart.
DATABASE, STORE, CLOCK = "(database)", "(object store)", "(clock)"
_EXTRA = "pip install 'proxy-plugin[replicas]'"
_OF_S3 = re.compile(r"(aws_)?(server_side_encryption|sse_)")
_ENCRYPTED = {
    "gs": "Cloud Storage encrypts with the default key of the bucket: set it there",
    "az": "Azure Blob encrypts with the key of the account or of the container: set it there",
}
_NEEDED = (("database_url", "psycopg"), ("blob_url", "obstore"))


def problems(section: str, parts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what would stop the start. `section` is the name of ours, `parts` has its sections by name."""
    storage, path = parts["storage"] or Storage(), f"{section}.storage"
    if storage.blob_url is not None and storage.database_url is None:
        yield f"{path}.blob_url: needs a database_url beside it; without one, files are kept in data_dir"
    if storage.blob_options and storage.blob_url is None:
        yield f"{path}.blob_options: means nothing without a blob_url"
    yield from (f"{path}.blob_options{problem}" for problem in _not_of_this_store(storage))
    lacking = {
        setting: package
        for setting, package in _NEEDED
        if getattr(storage, setting) is not None and find_spec(package) is None
    }
    for setting, package in lacking.items():
        yield f"{path}.{setting}: needs the package {package}, which is not installed: {_EXTRA}"


def _not_of_this_store(storage: Storage) -> Iterator[str]:
    """Yield options that would not be heard: whoever asks for encryption must not believe to have it."""
    kind = urlsplit(storage.blob_url or "s3:").scheme
    if kind == FILE and storage.blob_options:
        yield ": a folder has none"
    for name in filter(_OF_S3.match, storage.blob_options if kind in _ENCRYPTED else ()):
        yield f".{name}: is of S3 alone; {_ENCRYPTED[kind]}"


def warnings(section: str, parts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what works with replicas, but not as one may think."""
    storage = parts["storage"] or Storage()
    if not storage.shared:
        return
    if storage.blob_url is None:
        yield f"{section}.storage.blob_url: not set, so files are in data_dir, which one gateway owns: run no other"
    if (parts["secrets"] or Secrets()).seal_key is None:
        yield f"{section}.secrets.seal_key: not set, so callers cannot bring provider keys, which replicas share"
    if (parts["cache"] or CacheSettings()).dir is not None:
        yield f"{section}.cache.dir: answers are kept by each replica for itself; no two may have the same folder"


def described(storage: Storage) -> str:
    """Return where durable things are, without user names and passwords."""
    if storage.database is None:
        return f"one gateway: SQLite and files in {storage.data_dir}"
    url = urlsplit(storage.database)
    database = f"PostgreSQL at {url.netloc.rpartition('@')[2] or 'a local socket'}{url.path}"
    return f"replicas: {database}, files in {storage.blob_url or f'{storage.data_dir} of one gateway'}"
