"""Google's records: names with their kind in front, 64-bit numbers as texts, jobs as operations, lists by page token.

Source: types and `batches.py` of google-genai 3.6.1. A list has no filter, and no page tells its order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.listing import Listing, identifier, rfc_3339


def id_in(name: object) -> str | None:
    """Return the id in a name such as `files/abc`."""
    return identifier({"id": name.rpartition("/")[2]}) if isinstance(name, str) else None


def facts_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts of a file, or of a job: it is an operation, whose facts are its metadata."""
    metadata = record.get("metadata")
    return metadata if isinstance(metadata, dict) else record


def number(record: Mapping[str, Any], name: str, absent: int | None = None) -> int | None:
    """Return a number that is written as a text."""
    found = record.get(name, absent)
    if isinstance(found, str) and found.isascii() and found.isdigit():
        return int(found[:20])
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _listed(record: Mapping[str, Any]) -> tuple[str | None, object]:
    return id_in(record.get("name")), facts_of(record).get("createTime")


def _list(path: str, records: str) -> Listing:
    return Listing(
        *(path, 100, "pageToken", rfc_3339),
        size="pageSize",
        newest_first=False,
        records=records,
        omits_empty=True,
        paging=("nextPageToken",),
        read=_listed,
    )


JOBS, FILES = _list("batches", "operations"), _list("files", "files")
