"""Files for other purposes than batches, in the store of a service that speaks OpenAI's Files API.

Source: API reference, page "Files", openapi.yaml of 2026-08-21. There is no idempotency key, and a file has no field
for a mark of ours: an upload whose reply was lost cannot be told from the same file of somebody else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.base import Content, NewFile, OutcomeUnknown, StoredFile
from proxy_plugin.providers.calls import gone
from proxy_plugin.providers.listing import identifier

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

PURPOSES = frozenset({"assistants", "fine-tune", "vision", "user_data", "evals"})  # `FilePurpose` beside `batch`
DESCRIBING = ("Content-Length", "Content-Range", "Accept-Ranges", "ETag", "Last-Modified")


async def store(origin: Origin, file: NewFile) -> Mapping[str, Any]:
    """Upload a file and return its record. Raises like `StoresFiles.store_file`."""
    fields = {"purpose": file.purpose}
    if file.lifetime is not None:
        fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(file.lifetime)}
    return (await origin.upload("files", fields, file.path, file.filename, once=True)).fields()


def stored(record: Mapping[str, Any]) -> StoredFile:
    """Read the record of a file. Raises OutcomeUnknown where it names none."""
    file_id = identifier(record)
    if file_id is None:
        raise OutcomeUnknown("an upload was answered without the id of a file")
    size, created, expires = (_number(record, name) for name in ("bytes", "created_at", "expires_at"))
    return StoredFile(file_id, size, created, expires)


@asynccontextmanager
async def content(origin: Origin, file_id: str, asked: Mapping[str, str]) -> AsyncIterator[Content]:
    """Yield the content of a file. See `StoresFiles.read_file`."""
    async with origin.reading(f"files/{file_id}/content", asked) as answer:
        headers = {name: answer.headers[name] for name in DESCRIBING if name in answer.headers}
        if "Content-Encoding" in answer.headers:  # undone on the way, so the length is another one
            headers.pop("Content-Length", None)
        yield Content(answer.status, headers, answer.content.iter_any())


async def delete(origin: Origin, file_id: str) -> None:
    """Delete a file. See `StoresFiles.delete_file`."""
    await gone(origin.request("DELETE", f"files/{file_id}"))


def _number(record: Mapping[str, Any], name: str) -> int | None:
    found = record.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
