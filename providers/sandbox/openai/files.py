"""OpenAI's Files API: https://api.openai.com/v1/files, per the OpenAPI description of 2026-08-21."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.multipart import Form, Malformed, PartHead, boundary_of
from proxy_plugin.providers.sandbox.openai.checks import (
    check_plain_encoding,
    check_query,
    expiry_seconds,
    listed,
    missing_parameter,
    page,
    query_limit,
    rate_limited,
    refused,
    unknown_parameter,
    wrong_type,
    wrong_value,
)
from proxy_plugin.providers.sandbox.openai.differences import Differences, timed
from proxy_plugin.providers.sandbox.openai.options import Settings, Window
from proxy_plugin.providers.sandbox.openai.validation import check_upload
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
DEFAULT_BATCH_EXPIRY = 30 * 86400
LONGEST_FIELD = 1024

_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_DOTTED = ("purpose", "expires_after.anchor", "expires_after.seconds")


@dataclass(slots=True)
class File:
    """One stored file; `created` and `expires` in Unix seconds of the sandbox clock."""

    id: str
    account: str
    filename: str
    purpose: str
    size: int
    created: float
    expires: float | None
    path: Path
    lines: int
    deleted: bool = False
    looks: int = 0

    def facts(self, differs: Differences) -> dict[str, Any]:
        """The File object."""
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": self.size,
            "created_at": timed(int(self.created), differs),
            "expires_at": None if self.expires is None else timed(int(self.expires), differs),
            "status": "processed" if self.ready(differs) else "pending",
            "status_details": None,
        }

    def ready(self, differs: Differences) -> bool:
        """Whether a batch may read it."""
        return self.purpose != "batch" or self.looks >= differs.pending_looks


@dataclass(slots=True)
class _Upload:
    """What has come in of one form so far."""

    path: Path
    fields: dict[str, str]
    filename: str | None = None
    size: int = 0
    lines: int = 0
    ends_in_newline: bool = True


class Files:
    """The stored files of all accounts, and their routes. Deleted ones lose their bytes at once."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self._services, self._settings = services, settings
        self._folder = services.directory / "files"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.reset()

    def reset(self) -> None:
        self._files: dict[str, File] = {}
        self._uploads = Window(60)

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/files", "files.create", self._create),
            Route("GET", "/files", "files.list", self._list),
            Route("GET", "/files/{file_id}", "files.retrieve", self._retrieve),
            Route("GET", "/files/{file_id}/content", "files.content", self._content),
            Route("GET", "/signed/{file_id}", "files.signed", self._signed),
            Route("DELETE", "/files/{file_id}", "files.delete", self._delete),
        ]

    def new_path(self) -> Path:
        """The place of a new file's bytes. Its name is the file's id."""
        return self._folder / f"file-{secrets.token_hex(12)}"

    def add(self, file: File) -> File:
        self._files[file.id] = file
        return file

    def delete(self, file: File) -> None:
        file.deleted = True
        file.path.unlink(missing_ok=True)

    def signed_url(self, request: web.Request, file_id: str) -> str:
        """An address of the content, which says by itself who may read it."""
        url = request.url.origin().with_path(f"/{self._services.name}/{self._differs.base}/signed/{file_id}")
        return str(url.with_query(expires="soon"))

    def signed_for(self, file_id: str) -> str | None:
        """Whose file a signed address leads to, where there are such addresses."""
        file = self._files.get(file_id) if self._signs else None
        return file.account if file else None

    def find(self, account: str, file_id: str, moment: float | None = None) -> File | None:
        """The file, unless it is unknown, deleted, another account's, or expired at `moment` (now)."""
        file = self._files.get(file_id)
        return file if file and file.account == account and self._visible(file, moment) else None

    def _visible(self, file: File, moment: float | None = None) -> bool:
        moment = self._services.clock.now() if moment is None else moment
        return not file.deleted and (file.expires is None or moment < file.expires)

    # POST /files

    async def _create(self, request: web.Request, account: str) -> Act:
        path = self.new_path()
        try:
            upload = await self._receive(request, path)
            lifetime = self._check(upload)
            await self._check_lines(upload)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

        async def act() -> Reply:
            now = self._services.clock.now()
            if not self._uploads.admits(account, now, self._settings.current.uploads_per_minute):
                raise rate_limited("file uploads per minute")
            expires = None if lifetime is None else now + lifetime
            name, purpose = upload.filename or "", upload.fields["purpose"]
            file = File(path.name, account, name, purpose, upload.size, now, expires, path, upload.lines)
            facts = self.add(file).facts(self._differs)
            return json_reply(self._wrapped(facts), subject=file.id)

        return act

    async def _receive(self, request: web.Request, path: Path) -> _Upload:
        """Stream the form to `path`. Memory holds one chunk."""
        check_plain_encoding(request)
        upload = _Upload(path, {})
        try:
            form = Form(request.content.iter_any(), boundary_of(request.headers.get("content-type", "")))
            while (head := await form.next_part()) is not None:
                await self._part(form, head, upload)
        except Malformed as wrong:
            raise refused(400, f"Could not parse multipart form: {wrong}.") from None
        return upload

    async def _part(self, form: Form, head: PartHead, upload: _Upload) -> None:
        if head.name == "file":
            if head.filename is None or upload.filename is not None:
                raise refused(400, "The form must hold one 'file' part with a filename.", "invalid_type", "file")
            upload.filename = head.filename
            handle = await asyncio.to_thread(upload.path.open, "wb")
            with handle:
                await self._store(form, handle, upload)
        elif head.name in self._known_fields() and head.name not in upload.fields:
            upload.fields[head.name] = await _text(form, head.name)
        else:
            raise unknown_parameter(head.name)

    def _known_fields(self) -> tuple[str, ...]:
        return _DOTTED if self._differs.dotted_expiry else _FIELDS if self._differs.expiries else _FIELDS[:1]

    async def _store(self, form: Form, handle: BinaryIO, upload: _Upload) -> None:
        limit = self._settings.current.max_file_bytes
        async for piece in form.body():
            upload.size += handle.write(piece)
            upload.lines += piece.count(b"\n")
            upload.ends_in_newline = piece.endswith(b"\n")
            if upload.size > limit:
                raise refused(413, "The data value transmitted exceeds the capacity limit.", None, "file")
        upload.lines += not upload.ends_in_newline

    def _check(self, upload: _Upload) -> int | None:
        """Judge a complete form; the file's lifetime in seconds, None for ever."""
        purpose = upload.fields.get("purpose")
        if upload.filename is None:
            raise missing_parameter("file")
        if purpose is None:
            raise missing_parameter("purpose")
        if purpose not in PURPOSES:
            raise wrong_value("purpose", PURPOSES)
        if purpose == "batch":
            self._check_batch_input(upload)
        given = _expires_after({name.replace(".", "[") + "]" * ("." in name): v for name, v in upload.fields.items()})
        if self._differs.dotted_expiry and given is not None and not 14 * 86400 <= given <= 30 * 86400:
            raise refused(400, "expires_after.seconds must be between 1209600 and 2592000.", None, "expires_after")
        return given if given is not None or purpose != "batch" else DEFAULT_BATCH_EXPIRY

    async def _check_lines(self, upload: _Upload) -> None:
        """Where lines are checked already here, the first that is no good is named in the refusal."""
        if not self._differs.checks_uploads or upload.fields.get("purpose") != "batch":
            return
        limit = self._settings.current.max_lines
        problem = await self._services.work.run(upload.size, check_upload, upload.path, self._differs, limit)
        if problem:
            where = "" if problem.line is None else f"Line {problem.line}: "
            raise refused(400, f"{where}{problem.message}", problem.code, problem.param)

    @property
    def _signs(self) -> bool:
        return self._differs.signed_content or self._differs.result_urls

    @property
    def _differs(self) -> Differences:
        return self._settings.current.differs

    def _check_batch_input(self, upload: _Upload) -> None:
        if not (upload.filename or "").endswith(".jsonl"):
            raise refused(400, "Invalid file format for Batch API. Must be .jsonl", None, "file")
        if upload.size > self._settings.current.max_batch_bytes:
            raise refused(413, "The batch input file exceeds the capacity limit.", None, "file")

    # The other routes

    async def _list(self, request: web.Request, account: str) -> Act:
        differs = self._differs
        check_query(request, differs.file_params)
        limit = query_limit(request, differs.most_files, differs.most_files)
        order, purpose = request.query.get("order", differs.file_orders[0]), request.query.get("purpose")
        if order not in differs.file_orders:
            raise wrong_value("order", differs.file_orders)
        if purpose is None and differs.needs_purpose:
            raise missing_parameter("purpose")

        async def act() -> Reply:
            mine = [file for file in self._files.values() if file.account == account and self._visible(file)]
            mine = [file for file in mine if purpose in {None, file.purpose}]
            mine.sort(key=lambda file: file.created)
            shown, more = page(request, mine if order == "asc" else mine[::-1], limit)
            return json_reply(self._wrapped(listed([file.facts(differs) for file in shown], more)))

        return act

    def _wrapped(self, value: dict[str, Any]) -> dict[str, Any]:
        return {"code": 20000, "message": "Ok", "status": True, "data": value} if self._differs.wrapped_files else value

    def _wanted(self, request: web.Request, account: str) -> File:
        file_id = request.match_info["file_id"]
        if (file := self.find(account, file_id)) is None:
            raise refused(404, f"No such File object: {file_id}", None, "id")
        return file

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            if not self._differs.files_by_id:
                raise refused(404, f"Invalid URL ({request.method} {request.path})")
            file = self._wanted(request, account)
            reply = json_reply(file.facts(self._differs))
            file.looks += 1
            return reply

        return act

    async def _content(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            file = self._wanted(request, account)
            if self._differs.signed_content:
                return Reply(302, headers={"location": self.signed_url(request, file.id)})
            return self._bytes(request, file)

        return act

    async def _signed(self, request: web.Request, account: str) -> Act:
        """Content at an address that says by itself who may read it."""

        async def act() -> Reply:
            return self._bytes(request, self._wanted(request, account))

        return act

    def _bytes(self, request: web.Request, file: File) -> Reply:
        headers = {"content-type": "application/octet-stream", "content-disposition": _attachment(file.filename)}
        span = _span(request, file.size) if self._settings.current.ranges else None
        if span is None:
            return Reply(200, headers=headers, path=file.path, size=file.size)
        headers["content-range"] = f"bytes {span[0]}-{span[-1]}/{file.size}"
        return Reply(206, headers=headers, path=file.path, size=len(span), start=span.start)

    async def _delete(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            file_id = request.match_info["file_id"]
            if self._differs.deletes_anything and self.find(account, file_id) is None:
                return json_reply({"id": file_id, "object": "file", "deleted": True})
            file = self._wanted(request, account)
            self.delete(file)
            return json_reply({"id": file.id, "object": "file", "deleted": True})

        return act


async def _text(form: Form, name: str) -> str:
    value = b""
    async for piece in form.body():
        value += piece
        if len(value) > LONGEST_FIELD:
            raise refused(400, f"Invalid '{name}': string too long.", "string_above_max_length", name)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise refused(400, f"Invalid '{name}': not UTF-8.", "invalid_value", name) from None


def _expires_after(fields: Mapping[str, str]) -> int | None:
    given: dict[str, Any] = {
        part: fields[f"expires_after[{part}]"] for part in ("anchor", "seconds") if f"expires_after[{part}]" in fields
    }
    if not given:
        return None
    if "seconds" in given:
        if not given["seconds"].isdecimal():
            raise wrong_type("expires_after.seconds", int, given["seconds"])
        given["seconds"] = int(given["seconds"])
    return expiry_seconds("expires_after", given)


def _span(request: web.Request, size: int) -> range | None:
    """The bytes that a Range header names, None for the whole file."""
    try:
        asked = request.http_range
    except ValueError:
        return None
    if asked == slice(None, None, 1):
        return None
    span = range(size)[asked]
    if not span:
        raise refused(416, "The requested range is not satisfiable.", "range_not_satisfiable")
    return span


def _attachment(filename: str) -> str:
    plain = "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "_" for letter in filename)
    extended = f"; filename*=utf-8''{quote(filename, errors='replace')}" if plain != filename else ""
    return f'attachment; filename="{plain}"{extended}'
