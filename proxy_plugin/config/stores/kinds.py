"""Kinds of values: the URL of a database, that of an object store, and what a store wants beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, SecretStr

DATABASES = ("postgresql", "postgres")
STORES = ("s3", "gs", "az")
FILE = "file"
_ENCODED = "in a password write %40 for @, %3A for :, %2F for /, %3F for ?, %23 for #, %25 for % and %20 for a space"
_UNREADABLE = re.compile(r"\s|%(?![0-9A-Fa-f]{2})|%00")
_SECRET = re.compile(r"key$|secret|token|passw|credential|sas", re.IGNORECASE)  # names of options, not `access_key_id`


def _database(value: SecretStr) -> SecretStr:
    """Refuse what is no URL of PostgreSQL with a database in it."""
    text = value.get_secret_value()
    try:
        url = urlsplit(text)  # several hosts may stand in it, and sockets behind a `?host=`
        usable = url.scheme in DATABASES and len(url.path) > 1
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"must be postgresql://HOST/DATABASE, with user and password before the host; {_ENCODED}")
    if not _falls_apart(text, url):
        raise ValueError(f"cannot be read: {_ENCODED}")
    return value


def _falls_apart(text: str, url: SplitResult) -> bool:
    """Tell whether the parts of a URL are what they were meant to be.

    A password that has a separator is cut there, and its rest would be shown as a host, a port or a database.
    """
    hosts = url.netloc.partition("@")[2] if "@" in url.netloc else url.netloc
    ports = [each.rpartition("]")[2].partition(":")[2] for each in hosts.split(",")]
    known = all("=" in each for each in url.query.split("&")) or not url.query
    strange = "@" in hosts + url.path or url.fragment or _UNREADABLE.search(text)
    return known and not strange and all(port.isdigit() or not port for port in ports)


def _store(text: str) -> str:
    """Refuse what is no place of a store, and a password in it: it would be shown and logged."""
    try:
        url = urlsplit(text)
        local = url.scheme == FILE and not url.netloc and len(url.path) > 1
        usable = local or (url.scheme in STORES and bool(url.hostname))
        bare = url.port is None and "@" not in url.netloc and not url.query and not url.fragment
    except ValueError:
        usable = bare = False
    if not usable:
        raise ValueError("must be s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER")
    if not bare:
        raise ValueError("holds a bucket and a prefix alone; keys, endpoint and the like belong into blob_options")
    return text.rstrip("/")


def hidden(value: object) -> object:
    """Return options as texts; those with the name of a secret hidden."""
    return {name: _option(str(name), each) for name, each in value.items()} if isinstance(value, Mapping) else value


def _option(name: str, value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return SecretStr(value) if isinstance(value, str) and _SECRET.search(name) else value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
BlobUrl = Annotated[str, AfterValidator(_store)]
OptionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
OptionValue = str | SecretStr | bool | int
