"""From a multipart request to a stored file: temp file, sync, rename, sync of the folder, one row, reply.

The way of the bytes is `spool`'s; this module knows forms and what a file needs to be kept.

Measured on 2 busy cores: 200 MB in 0.7 to 1 s with its sync and 3 MB of growth; 50 uploads at once with 48 MB of growth
(58 MB where the server keeps aiohttp's `read_bufsize` of 256 KiB instead of 64) and no gap of the loop above 60 ms.

The parser is python-multipart's: 4,300 MB/s in 64 KiB chunks, no growth, bounded headers, one kind of error. The one
that is much faster lets a cut body pass; `web.multipart` has the comparison, `bench/multipart.py` makes it.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy_plugin.access import litellm_words
from proxy_plugin.access.litellm_words import Words
from proxy_plugin.api.files import at_provider
from proxy_plugin.api.files.at_provider import Accounts
from proxy_plugin.api.files.room import Store, require_files, require_turn
from proxy_plugin.api.files.spool import Bound, Spool, keep, spooling
from proxy_plugin.config.bounds import Limits
from proxy_plugin.config.sections import Config
from proxy_plugin.ground import sentences
from proxy_plugin.ground.clock import Clock
from proxy_plugin.ground.errors import BadRequest, GatewayError
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.space import to_the_end
from proxy_plugin.storage.tables import files
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.web.content_encoding import is_gzip, unpacked_by_server, unpacking
from proxy_plugin.web.keys import CALLER, HEADERS
from proxy_plugin.web.multipart import Form, Malformed, Part, boundary_of
from proxy_plugin.web.pace import pace_of
from proxy_plugin.web.queries import integer, one_of

CHUNK_BYTES = 64 * 1024  # of the body, parsed at once on the event loop
FORM_BYTES = 64 * 1024  # all of a body that is not the file: headers, fields, boundaries
IDLE_SECONDS = 120.0  # without a byte from the client
PURPOSE = "batch"
FILE_FIELD = "file"
DEFAULT_NAME = "file.jsonl"
NAME_CHARACTERS = 512
KEPT_SECONDS = 30 * 86_400  # "Files", OpenAI API reference: the default for purpose batch
EXPIRES_SECONDS = range(3600, 2_592_000 + 1)  # FileExpirationAfter, openapi.yaml of 2026-08-21
_FIELDS = {
    "purpose": "purpose",
    "expires_after[anchor]": "anchor",
    "expires_after[seconds]": "seconds",
    "expires_after.anchor": "anchor",  # Azure OpenAI's spelling
    "expires_after.seconds": "seconds",
    "expires_after": "expires_after",  # OpenAPI's default for an object in a form: JSON
    **{name: name for name in litellm_words.FORM},
}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class IdleUpload(GatewayError):
    """The client sent nothing for too long; nothing was kept."""

    status: ClassVar[int] = 408
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "upload_idle"


async def precheck(request: web.Request, store: Store) -> None:
    """Refuse what the headers of an upload alone show to be impossible, before a byte of the body is read.

    The workspace's quota is checked only where the caller is known already. Raises GatewayError.
    """
    await precheck_form(request, store, _bound(store.limits))


async def precheck_form(request: web.Request, store: Store, bound: Bound) -> None:
    """Do the same for a form whose file may have `bound`."""
    caller = request.get(CALLER)
    workspace = None if caller is None else caller.workspace
    require_turn(store, workspace)
    _boundary(request)
    bound.check((request.content_length or 0) - FORM_BYTES)  # gzip makes nothing larger that is worth its name
    await store.room.require(workspace, least_bytes(request))
    await require_files(store, workspace)


async def receive(
    request: web.Request, store: Store, accounts: Accounts, *, idle_seconds: float = IDLE_SECONDS
) -> FileRow:
    """Store the file of an upload and return its row; it is durable, and due for its scan.

    Raises GatewayError; ConnectionError when the client leaves. Then nothing is stored.
    """
    await precheck(request, store)
    workspace = request[CALLER].workspace
    async with spooling(store, workspace, _bound(store.limits), least_bytes(request), new_id()) as spool:
        fields = Fields(FILE_FIELD, _FIELDS, _check_early, partial(_check_place, request, accounts.config))
        await read_form(request, store.blobs, spool, fields, idle_seconds)
        words = _check_place(request, accounts.config, fields.values)
        if fields.values.get("purpose") in at_provider.PURPOSES:
            return await at_provider.store(request, store, accounts, _for_provider(fields, spool))
        row = _row(store.clock, workspace, fields, spool)
        if words.provider or words.models:
            row = msgspec.structs.replace(row, wish=json.dumps(words._asdict()))
        await to_the_end(keep(store, spool, row.id, "ingest", files.insert_new, row, store.limits.max_workspace_files))
        return row


def _bound(limits: Limits) -> Bound:
    most = limits.max_file_bytes
    return Bound(most, f"The file exceeds {most} bytes, this gateway's limit; split it into several.", FILE_FIELD)


class Fields:
    """The small fields of a form, and the claimed name of its file once that part has begun.

    `file` is the name of the file's part, `known` our names by those of the fields that are read; `check` is given
    what is read so far whenever a field has ended, `before` when the file begins.
    """

    def __init__(
        self,
        file: str,
        known: Mapping[str, str] | None = None,
        check: Callable[[dict[str, str]], None] | None = None,
        before: Callable[[dict[str, str]], object] | None = None,
    ) -> None:
        self.file = file
        self.filename: bytes | None = None
        self.has_file = False
        self.values: dict[str, str] = {}
        self._known, self._check, self._before = known or {}, check, before
        self._name: str | None = None  # ours, of the field that is being read
        self._value = bytearray()

    def begin(self, part: Part) -> None:
        """Take the beginning of a part. Raises BadRequest for a second file."""
        if part.name == self.file:
            if self.has_file:
                raise BadRequest(f"The form has more than one '{self.file}'; send one at a time.", param=self.file)
            self.has_file, self.filename = True, part.filename
            if self._before is not None:
                self._before(self.values)
        self._name = self._known.get(part.name)
        self._value.clear()

    def add(self, data: memoryview) -> None:
        """Take a piece of the field that has begun."""
        if self._name is not None:
            self._value += data

    def end(self) -> None:
        """Check what can be checked at once: a purpose sent first spares the client the upload."""
        if self._name is None:
            return
        if self._name in self.values:
            raise BadRequest(f"The form has '{self._name}' more than once.", param=_param(self._name))
        self.values[self._name] = self._value.decode(errors="replace").strip()
        if self._check is not None:
            self._check(self.values)


async def read_form(
    request: web.Request, blobs: Blobs, spool: Spool, fields: Fields, idle_seconds: float = IDLE_SECONDS
) -> None:
    """Read a form to its end, its file into the spool. Raises Malformed and GatewayError."""
    form, received, in_file = Form(_boundary(request)), 0, False
    read = unpacking(request, partial(_next_chunk, request, idle_seconds), blobs.write)
    while chunk := await read():
        received += len(chunk)
        for event in form.feed(chunk):
            if isinstance(event, Part):
                fields.begin(event)
                in_file = event.name == fields.file
            elif event is None:
                fields.end()
                in_file = False
            elif in_file:
                await spool.add(event)
            else:
                fields.add(event)
        if received - spool.size > FORM_BYTES:
            raise BadRequest(f"The form has more than {FORM_BYTES // 1024} KiB beside its file.")
    _finish(request, form)
    if not fields.has_file:
        raise sentences.missing(fields.file).refusal()
    await spool.flush()


def _finish(request: web.Request, form: Form) -> None:
    try:
        form.finish()
    except Malformed as error:
        if unpacked_by_server(request):  # which sees no difference between the two
            raise Malformed(f"{error}, or the gzip stream that it comes in ends early") from None
        raise


async def _next_chunk(request: web.Request, idle_seconds: float) -> bytes:
    try:
        async with asyncio.timeout(idle_seconds):
            return await pace_of(request).read(partial(request.content.read, CHUNK_BYTES))
    except TimeoutError:
        raise IdleUpload(f"The upload was dropped: nothing came for {idle_seconds:g} seconds.") from None
    except (aiohttp.ClientPayloadError, web.RequestPayloadError, HttpProcessingError):
        broken = "its gzip stream is" if is_gzip(request) and unpacked_by_server(request) else "its chunks are"
        raise Malformed(f"the body ends early or {broken} malformed") from None


def _row(clock: Clock, workspace: str, fields: Fields, spool: Spool) -> FileRow:
    _check_purpose(fields.values)
    kept = kept_seconds(fields.values)
    if not spool.size:
        raise BadRequest("The file is empty; a batch needs at least one line.", param=FILE_FIELD, code="empty_file")
    return file_row(clock, workspace, display_name(fields.filename), spool, kept)


def new_id() -> str:
    """Return the id of a file that is yet to come."""
    return f"file-{secrets.token_hex(12)}"


def file_row(clock: Clock, workspace: str, filename: str, spool: Spool, kept: int) -> FileRow:
    """Return the row of a spooled batch file, due for its scan, that is kept for `kept` seconds."""
    now = int(clock.now())
    assert spool.name is not None
    return FileRow(
        id=spool.name,
        workspace=workspace,
        purpose=PURPOSE,
        filename=filename,
        bytes=spool.size,
        sha256=spool.sha256(),
        created_at=now,
        expires_at=now + kept,
        state="uploaded",
        due_at=0.0,
    )


def _for_provider(fields: Fields, spool: Spool) -> at_provider.Upload:
    kept = kept_seconds(fields.values) if set(fields.values) - {"purpose", *litellm_words.FORM} else None
    name, purpose = display_name(fields.filename), fields.values["purpose"]
    return at_provider.Upload(spool.path, spool.size, spool.sha256(), purpose, name, kept)


def _check_early(values: dict[str, str]) -> None:
    """A purpose that is sent first and cannot be spares the client the upload."""
    if "purpose" in values:
        _check_purpose(values)


def _check_place(request: web.Request, config: Config, values: dict[str, str]) -> Words:
    """Return what an upload says in LiteLLM's words of where it goes; a file for a provider takes the account from it.

    Looked at when the file begins, with the fields before it, and at the end with all. Raises GatewayError.
    """
    words = litellm_words.read(values, request.query, request.headers)
    if values.get("purpose") in at_provider.PURPOSES:
        asked = litellm_words.one_account(request[HEADERS], words, config, request[CALLER])
        at_provider.precheck(request, asked, config, values["purpose"])
        request[HEADERS] = asked
    elif words != Words():
        said = litellm_words.naming(values, request.query, request.headers)
        litellm_words.check(words, config, request[CALLER], one=True, said=said)
    return words


def _check_purpose(values: dict[str, str]) -> None:
    if "purpose" not in values:
        raise sentences.missing("purpose").refusal()
    if values["purpose"] not in (PURPOSE, *at_provider.PURPOSES):
        known = ", ".join(f"'{purpose}'" for purpose in (PURPOSE, *at_provider.PURPOSES))
        told = f"'{values['purpose']}'" if sentences.is_word(values["purpose"]) else "What was sent"
        raise BadRequest(f"{told} is not one of [{known}] - 'purpose'", param="purpose")  # OpenAI's, which ends so


def kept_seconds(values: dict[str, str]) -> int:
    """Return how long the file is kept. OpenAI: both fields or none, anchor `created_at`. Raises BadRequest."""
    values = values | _from_json(values)
    anchor, seconds = values.get("anchor"), values.get("seconds")
    if anchor is None and seconds is None:
        return KEPT_SECONDS
    for name, found in (("anchor", anchor), ("seconds", seconds)):
        if found is None:
            raise sentences.missing(_param(name)).refusal()
    one_of(_param("anchor"), str(anchor), ("created_at",))
    return integer(_param("seconds"), str(seconds), EXPIRES_SECONDS[0], EXPIRES_SECONDS[-1])


def _from_json(values: dict[str, str]) -> dict[str, str]:
    found: Any = None
    if "expires_after" not in values:
        return {}
    with suppress(ValueError, RecursionError):
        found = json.loads(values["expires_after"])
    if not isinstance(found, dict) or {"anchor", "seconds"} & set(values):
        raise BadRequest("'expires_after' has to be one object with 'anchor' and 'seconds'.", param="expires_after")
    return {name: str(found[name]) for name in ("anchor", "seconds") if name in found}


def _param(field: str) -> str:
    return f"expires_after.{field}" if field in ("anchor", "seconds") else field


def display_name(claimed: bytes | None) -> str:
    """Return the file's name as it is shown: nothing is ever opened by it, so it may look like a path."""
    text = _CONTROLS.sub("", (claimed or b"").decode(errors="replace")).strip()
    return text[:NAME_CHARACTERS] or DEFAULT_NAME


def _boundary(request: web.Request) -> bytes:
    try:
        return boundary_of(request.headers.get("Content-Type", ""))
    except Malformed as error:
        raise BadRequest(f"Send the file as multipart/form-data: {error}.") from None


def least_bytes(request: web.Request) -> int:
    """Return the fewest bytes that the file of this request can have. Raises UnsupportedEncoding."""
    return 0 if is_gzip(request) else max(0, (request.content_length or 0) - FORM_BYTES)
