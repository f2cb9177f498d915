"""The Uploads routes: a file in parts, for clients that would rather not send it in one request.

    announce ─> parts, each durable when it is answered ─> complete: one file like any other
             └> cancelled, or expired after an hour

Nothing is locked: however many requests complete or cancel one upload at once, the transaction that finds it pending
decides, and the others are told what it has become. Bytes that lost are removed; what a kill left of them is removed
at the next start. Where replicas share bytes, parts may come to any of them, and are read from the store. Joining eight
parts of 64 MB took 4.9 to 5.6 s with its sync, without a gap of the loop above 40 ms (2 busy cores, 2026-11-21).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from proxy_plugin.access.litellm_words import PROVIDER, Words
from proxy_plugin.api import ids
from proxy_plugin.api.files.form import (
    PURPOSE,
    Fields,
    display_name,
    file_row,
    kept_seconds,
    least_bytes,
    new_id,
    precheck_form,
    read_form,
)
from proxy_plugin.api.files.room import Store, too_many_files
from proxy_plugin.api.files.routes import file_object, store_of
from proxy_plugin.api.files.spool import BLOCK_BYTES, Bound, Spool, keep, spooling
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground import failpoints, sentences
from proxy_plugin.ground.errors import BadRequest, GatewayError, TooLarge
from proxy_plugin.storage.space import to_the_end
from proxy_plugin.storage.tables import files, holdings, uploads
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.uploads import MAX_PARTS, Closed, UploadPartRow, UploadRow
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.request_body import json_object
from proxy_plugin.web.served import Served

if TYPE_CHECKING:
    from hashlib import _Hash

    from proxy_plugin.storage.blobs import Blobs, Source

MAX_PART_BYTES = 64 * 2**20  # "Add upload part", OpenAI API reference, and what openai-python sends
LIFE_SECONDS = 3600  # "Create upload", OpenAI API reference
MIME_CHARACTERS = 256
PART_FIELD = "data"
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_PART_BOUND = Bound(MAX_PART_BYTES, f"A part may have at most {MAX_PART_BYTES} bytes; send more of them.", PART_FIELD)


async def _answer(request: web.Request, row: UploadRow) -> web.Response:
    """Return the upload as it is now; `file` is there while the file is."""
    gateway, file = request.app[GATEWAY], None
    now = gateway.clock.now()
    if row.file_id is not None:
        file = await gateway.registry.read(files.visible, row.workspace, row.file_id, now)
    return json_answer(upload_object(row, file, now))


def upload_object(row: UploadRow, file: FileRow | None, now: float) -> dict[str, Any]:
    """Return OpenAI's Upload. What is absent is left out."""
    shown = {
        "id": row.id,
        "object": "upload",
        "bytes": row.bytes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "filename": row.filename,
        "purpose": row.purpose,
        "status": row.status(now),
    }
    return shown if file is None else shown | {"file": file_object(file)}


# ---- the announcement ----


async def create_upload(request: web.Request) -> web.Response:
    """POST /uploads: announce a file of so many bytes. Nothing is reserved for it yet."""
    body = await json_object(request)
    if ids.said(request, body) != Words():
        raise BadRequest("An upload in parts goes nowhere yet: say where when you create the batch.", param=PROVIDER)
    store = store_of(request.app[GATEWAY])
    row = _announced(body, request[CALLER].workspace, int(store.clock.now()), store.limits.max_file_bytes)
    await store.room.require(row.workspace, row.bytes)
    most = store.limits.max_workspace_files
    try:
        await store.registry.write(uploads.insert, row, most)
    except holdings.TooManyFiles:
        raise too_many_files(most) from None
    return await _answer(request, row)


def _announced(body: dict[str, Any], workspace: str, now: int, most_bytes: int) -> UploadRow:
    _check_purpose(_text(body, "purpose"))
    return UploadRow(
        id=f"upload_{secrets.token_hex(12)}",
        workspace=workspace,
        purpose=PURPOSE,
        filename=display_name(_text(body, "filename").encode(errors="replace")),
        mime_type=_text(body, "mime_type")[:MIME_CHARACTERS],
        bytes=_size(body.get("bytes"), most_bytes),
        kept_seconds=_kept(body.get("expires_after")),
        created_at=now,
        expires_at=now + LIFE_SECONDS,
    )


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise sentences.missing(name).refusal()
    if not isinstance(value, str):
        raise sentences.wrong_type(name, sentences.STRING, value).refusal()
    if not value.strip():
        raise sentences.empty_string(name).refusal()
    return value


def _check_purpose(purpose: str) -> None:
    if purpose != PURPOSE:
        raise BadRequest(
            f"An upload in parts takes the purpose '{PURPOSE}' only; send a file for another purpose in one piece to "
            "'POST /v1/files'.",
            param="purpose",
        )


def _size(value: object, limit: int) -> int:
    if value is None:
        raise sentences.missing("bytes").refusal()
    if type(value) is not int:
        raise sentences.wrong_type("bytes", sentences.INTEGER, value).refusal()
    if value < 1:
        raise sentences.out_of_range("bytes", value, 1, limit).refusal()
    if value > limit:
        raise TooLarge(f"The file exceeds {limit} bytes, this gateway's limit; split it into several.", param="bytes")
    return value


def _kept(value: object) -> int:
    if value is None:
        return kept_seconds({})
    if not isinstance(value, dict):
        raise sentences.wrong_type("expires_after", sentences.OBJECT, value).refusal()
    return kept_seconds({name: str(value[name]) for name in ("anchor", "seconds") if value.get(name) is not None})


# ---- parts ----


async def precheck_part(request: web.Request) -> None:
    """Refuse what the headers of a part alone show to be impossible. Raises GatewayError."""
    await precheck_form(request, store_of(request.app[GATEWAY]), _PART_BOUND)


async def add_part(request: web.Request) -> web.Response:
    """POST /uploads/{upload_id}/parts: store one part. Its id is durable with its bytes when it is answered."""
    await precheck_part(request)
    store, upload = store_of(request.app[GATEWAY]), await ids.visible_upload(request)
    _require_pending(upload, store.clock.now())
    part_id = f"part_{secrets.token_hex(12)}"
    async with spooling(store, upload.workspace, _part_bound(upload), least_bytes(request), part_id) as spool:
        await read_form(request, store.blobs, spool, Fields(PART_FIELD))
        if not spool.size:
            raise BadRequest("The part is empty.", param=PART_FIELD)
        part = UploadPartRow(
            id=part_id,
            upload_id=upload.id,
            bytes=spool.size,
            created_at=int(store.clock.now()),
        )
        await to_the_end(_keep_part(store, spool, part))
    return json_answer(
        {"id": part.id, "object": "upload.part", "created_at": part.created_at, "upload_id": part.upload_id}
    )


def _part_bound(upload: UploadRow) -> Bound:
    if upload.bytes >= MAX_PART_BYTES:
        return _PART_BOUND
    message = f"The part alone exceeds the {upload.bytes} bytes for which its upload was created."
    return Bound(upload.bytes, message, PART_FIELD)


async def _keep_part(store: Store, spool: Spool, part: UploadPartRow) -> None:
    try:
        await keep(store, spool, part.id, "upload_part", uploads.add_part, part, store.limits.max_workspace_files)
    except Closed as closed:
        raise _not_pending(str(closed)) from None
    except uploads.TooMuch:
        raise BadRequest(
            f"The upload has too many parts: it takes {MAX_PARTS}, and twice its own bytes in them; cancel it and "
            "create another one.",
            param=PART_FIELD,
        ) from None


# ---- the end ----


async def complete_upload(request: web.Request) -> web.Response:
    """POST /uploads/{upload_id}/complete: make the parts one file. Doing so again gets the same answer."""
    gateway, upload = request.app[GATEWAY], await ids.visible_upload(request)
    body = await json_object(request)
    part_ids, md5 = _part_ids(body.get("part_ids")), _md5(body.get("md5"))
    if upload.state != "completed":
        _require_pending(upload, gateway.clock.now())
        chosen = _chosen(upload, await gateway.registry.read(uploads.parts, upload.id), part_ids)
        if await _complete(store_of(gateway), upload, chosen, md5):
            gateway.engine.wake()
        upload = await ids.visible_upload(request)
    parts = await gateway.registry.read(uploads.parts, upload.id)
    _require_made_of(upload, parts, part_ids, gateway.clock.now())
    return await _answer(request, upload)


def _part_ids(value: object) -> list[str]:
    if value is None:
        raise sentences.missing("part_ids").refusal()
    if not isinstance(value, list):
        raise sentences.wrong_type("part_ids", "an array of strings", value).refusal()
    if not value:
        raise sentences.empty_array("part_ids").refusal()
    for place, each in enumerate(value):
        if not isinstance(each, str):
            raise sentences.wrong_type(f"part_ids[{place}]", sentences.STRING, each).refusal()
    if len(value) > MAX_PARTS:
        raise BadRequest(f"'part_ids' may have at most {MAX_PARTS} entries.", param="part_ids")
    return value


def _md5(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _MD5.fullmatch(value):
        raise BadRequest("'md5' has to be the MD5 of the whole file, as 32 hexadecimal digits.", param="md5")
    return value.lower()


def _chosen(upload: UploadRow, parts: Iterable[UploadPartRow], part_ids: Sequence[str]) -> list[UploadPartRow]:
    known = {part.id: part for part in parts}
    chosen: dict[str, UploadPartRow] = {}
    for number, part_id in enumerate(part_ids, 1):
        if part_id not in known:
            raise BadRequest(f"Entry {number} of 'part_ids' is no part of this upload.", param="part_ids")
        if part_id in chosen:
            raise BadRequest(f"Entry {number} of 'part_ids' repeats an earlier one.", param="part_ids")
        chosen[part_id] = known[part_id]
    total = sum(part.bytes for part in chosen.values())
    if total != upload.bytes:
        raise BadRequest(
            f"The parts have {total} bytes together, the upload was created for {upload.bytes}.", param="part_ids"
        )
    return list(chosen.values())


async def _complete(store: Store, upload: UploadRow, chosen: Sequence[UploadPartRow], md5: str | None) -> bool:
    """Make the file. Returns False, without one, where another request has closed the upload meanwhile."""
    bound = Bound(upload.bytes, "A stored part is longer than it was.", "part_ids")
    with suppress(Closed, FileNotFoundError):
        async with spooling(store, None, bound, upload.bytes, new_id()) as spool:
            await _join(store.blobs, chosen, spool, md5)
            await to_the_end(_keep_file(store, upload, chosen, spool))
        return True
    return False


async def _join(blobs: Blobs, chosen: Sequence[UploadPartRow], spool: Spool, md5: str | None) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    for part in chosen:
        await _append(blobs, part, spool, digest)
    if md5 is not None and digest.hexdigest() != md5:
        raise BadRequest("'md5' is not the MD5 of the parts together; send the damaged part again.", param="md5")
    await spool.flush()
    failpoints.passing("upload.joined")


async def _append(blobs: Blobs, part: UploadPartRow, spool: Spool, digest: _Hash) -> None:
    source = await blobs.read(blobs.open, part.id)
    try:
        left = part.bytes
        while left:
            block = await blobs.read(_read_block, source, min(left, BLOCK_BYTES), part.bytes - left, digest)
            left -= len(block)
            await spool.add(block)
    finally:
        await blobs.read(source.close)


def _read_block(source: Source, count: int, offset: int, digest: _Hash) -> bytes:
    block = source.pread(count, offset)
    if not block:
        raise GatewayError("A stored part is damaged: it is shorter than it was.")
    digest.update(block)
    return block


async def _keep_file(store: Store, upload: UploadRow, chosen: Sequence[UploadPartRow], spool: Spool) -> None:
    row = file_row(store.clock, upload.workspace, upload.filename, spool, upload.kept_seconds)
    part_ids = [part.id for part in chosen]
    given_up = await keep(store, spool, row.id, "upload", uploads.complete, upload.id, file=row, part_ids=part_ids)
    await _remove_blobs(store.blobs, given_up)


def _require_made_of(upload: UploadRow, parts: Iterable[UploadPartRow], part_ids: Sequence[str], now: float) -> None:
    """Raise unless the upload is complete and its file has just these parts."""
    status = upload.status(now)
    if upload.state == "pending":
        raise GatewayError("A stored part is missing.")
    made_of = [part.id for part in parts if part.place is not None]
    if status != "completed" or made_of != list(part_ids):
        raise _not_pending(status)


async def cancel_upload(request: web.Request) -> web.Response:
    """POST /uploads/{upload_id}/cancel: give up the parts. Doing so again gets the same answer."""
    upload = await ids.visible_upload(request)
    try:
        await to_the_end(_cancel(store_of(request.app[GATEWAY]), upload.id))
    except Closed as closed:
        if str(closed) != "cancelled":
            raise _not_pending(str(closed)) from None
    return await _answer(request, await ids.visible_upload(request))


async def _cancel(store: Store, upload_id: str) -> None:
    given_up = await store.registry.write(uploads.cancel, upload_id, store.clock.now())
    failpoints.passing("upload.cancelled")
    await _remove_blobs(store.blobs, given_up)


async def _remove_blobs(blobs: Blobs, names: Sequence[str]) -> None:
    for name in names:
        await blobs.discard(name)


def _require_pending(upload: UploadRow, now: float) -> None:
    if (status := upload.status(now)) != "pending":
        raise _not_pending(status)


def _not_pending(status: str) -> BadRequest:
    return BadRequest(f"The upload is not pending any more: its status is '{status}'.", code="upload_not_pending")


ROUTES = [
    Served(hdrs.METH_POST, "/uploads", create_upload, new_work=True),
    Served(hdrs.METH_POST, "/uploads/{upload_id}/parts", add_part, precheck_part, new_work=True),
    Served(hdrs.METH_POST, "/uploads/{upload_id}/complete", complete_upload, new_work=True),
    Served(hdrs.METH_POST, "/uploads/{upload_id}/cancel", cancel_upload),
]
