"""Google's Files API and its lists: an upload that goes on where it broke off, records, what is told of a file.

Sources: "Files API", ai.google.dev, and google-genai 3.6.1 (`_api_client.py`, `files.py`, `batches.py`), read
2026-11-29. The address of an upload comes in a header of its start. Its query is the credential; the host stays the
account's own, as in Google's SDK, and the path is that of the start. Names have their kind in front, 64-bit numbers are
texts, jobs are operations; a list has no filter, and no page tells its order.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from proxy_plugin.providers.base import AtWork, PartFile, Refused, TryLater
from proxy_plugin.providers.calls import gone, patiently, resumed
from proxy_plugin.providers.lanes.google import refusals
from proxy_plugin.providers.listing import Listing, identifier, rfc_3339
from proxy_plugin.providers.uploads import FileStore, filename

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin, Reply

UPLOAD = "X-Goog-Upload-"
KIND = "application/jsonl"
FILE_LASTS = 86_400.0  # seconds that an upload must have left of its 48 hours to be used for a new job


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


def _list(path: str, records: str) -> Listing:
    return Listing(
        *(path, 100, "pageToken", rfc_3339),
        size="pageSize",
        newest_first=False,
        records=records,
        omits_empty=True,
        paging=("nextPageToken",),
        read=lambda record: (id_in(record.get("name")), facts_of(record).get("createTime")),
    )


JOBS, FILES = _list("batches", "operations"), _list("files", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleFiles(FileStore):
    """The files of a project. `uploads` are the calls of "/upload"."""

    listing: Listing = FILES
    uploads: Origin

    async def put(self, origin: Origin, part: PartFile) -> Mapping[str, Any]:  # noqa: ARG002 - uploads have their own
        """Upload a part. After any doubt the service is asked how much it has, and the rest is sent from there."""
        address = await _begin(self.uploads, part)
        send = partial(_rest, self.uploads, part, address)
        return _stored(await resumed(send, partial(_received, self.uploads, part, address)))

    def told(self, file: Mapping[str, Any]) -> tuple[object, object]:
        """Return the display name of a file, and its size in bytes."""
        return file.get("displayName"), number(file, "sizeBytes")

    def usable(self, file: Mapping[str, Any]) -> bool:
        """Tell whether an upload lasts long enough for a job to read it."""
        expires = rfc_3339(file.get("expirationTime"))
        return expires is None or expires > time.time() + FILE_LASTS

    def check(self, origin: Origin, file: Mapping[str, Any]) -> None:
        """Raise TryLater while a file is processed, Refused where that failed."""
        if file.get("state") == "FAILED":
            raise refusals.of_status(origin, file.get("error"), "file_failed")
        if file.get("state") not in (None, "ACTIVE"):
            raise AtWork(f"files/{id_in(file.get('name'))}: the upload is still being processed")

    async def absent(self, call: Awaitable[object]) -> bool:
        """Return whether a call is answered with "not found".

        UNVERIFIED: users see a 403 for files that are not there, "... or it may not exist".
        """
        try:
            return await gone(call)
        except Refused as error:
            if error.status != 403 or "may not exist" not in error.message:
                raise
            return True


async def _begin(uploads: Origin, part: PartFile) -> dict[str, str]:
    """Begin an upload; return the query of its address."""
    headers = {
        f"{UPLOAD}Protocol": "resumable",
        f"{UPLOAD}Command": "start",
        f"{UPLOAD}Header-Content-Length": str(part.bytes),
        f"{UPLOAD}Header-Content-Type": KIND,
    }
    about = {"file": {"displayName": filename(part), "mimeType": KIND}}
    reply = await patiently(lambda: uploads.request("POST", "files", json=about, headers=headers))
    address = dict(parse_qsl(urlsplit(reply.headers.get(f"{UPLOAD}URL", "")).query))
    if not address:
        raise TryLater("the start of an upload was answered without its address")
    return address


async def _rest(uploads: Origin, part: PartFile, address: Mapping[str, str], offset: int) -> Reply:
    """Send what is missing and end the upload. A send that is one too many has left nothing there."""
    headers = {f"{UPLOAD}Command": "upload, finalize", f"{UPLOAD}Offset": str(offset)}
    send = partial(uploads.send, "files", part.path, start=offset, headers=headers, params=address)
    return await _of_session(patiently(send))


async def _received(uploads: Origin, part: PartFile, address: Mapping[str, str]) -> int:
    """Return how many bytes of an open upload have arrived. Raises TryLater where it is open no more."""
    headers = {f"{UPLOAD}Command": "query"}
    reply = await _of_session(patiently(lambda: uploads.request("POST", "files", headers=headers, params=address)))
    size = reply.headers.get(f"{UPLOAD}Size-Received", "")
    state = reply.headers.get(f"{UPLOAD}Status")
    if state != "active" or not size.isdigit() or int(size) > part.bytes:
        raise TryLater("an upload ended in an unknown way, so it is looked for among the files")
    return int(size)


async def _of_session(call: Awaitable[Reply]) -> Reply:
    """An upload that is known no more is begun anew: that is no refusal of the document."""
    try:
        return await call
    except Refused as error:
        if error.status not in {404, 410}:
            raise
        raise TryLater("the upload is not known any more", status=404) from None


def _stored(reply: Reply) -> dict[str, Any]:
    file = reply.fields().get("file")
    if reply.headers.get(f"{UPLOAD}Status") != "final" or not isinstance(file, dict):
        raise TryLater("the end of an upload was answered without the record of a file")
    return file
