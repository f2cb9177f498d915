"""Google's Files API: resumable uploads, the records of files, and downloads of what Google made itself."""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.google.errors import check_query, json_object, members, page, refused
from proxy_plugin.providers.sandbox.google.options import Settings
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

GRANULE = 1024  # what is kept of a send that breaks off is a multiple of it; Google's own is 256 KiB
UPLOAD = "X-Goog-Upload-"


def stamp(moment: float) -> str:
    """A time as Google writes it, in nanoseconds."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@dataclass(slots=True)
class File:
    """One file. Moments are Unix seconds of the sandbox clock. `session`: of an upload that is not complete."""

    id: str
    account: str
    display: str
    kind: str
    size: int
    path: Path
    made: bool = False  # by Google
    failed: bool = False
    session: str = ""
    received: int = 0
    created: float = 0.0
    ready: float = 0.0
    expires: float = 0.0
    sha256: str = ""

    def facts(self, now: float, base: str) -> dict[str, Any]:
        state = "FAILED" if self.failed else "ACTIVE" if now >= self.ready else "PROCESSING"
        found = {
            "name": f"files/{self.id}",
            "displayName": self.display,
            "mimeType": self.kind,
            "sizeBytes": str(self.size),
            "createTime": stamp(self.created),
            "updateTime": stamp(self.created),
            "expirationTime": stamp(self.expires),
            "sha256Hash": self.sha256,
            "uri": f"{base}/v1beta/files/{self.id}",
            "state": state,
            "source": "GENERATED" if self.made else "UPLOADED",
        }
        if self.made:
            found["downloadUri"] = f"{base}/v1beta/files/{self.id}:download?alt=media"
        return found | ({"error": {"code": 3, "message": "The file is no JSONL."}} if self.failed else {})


class Files:
    """The files of all accounts, and their routes."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self._services, self._settings = services, settings
        self._folder = services.directory / "files"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.reset()

    def reset(self) -> None:
        self._files: dict[str, File] = {}
        self._sessions: dict[str, File] = {}
        self._broken = 0

    def routes(self, version: str) -> list[Route]:
        one = f"/{version}/files/{{file_id:[a-z0-9-]+}}"
        return [
            Route("POST", f"/upload/{version}/files", "files.create", self._upload),
            Route("GET", f"/{version}/files", "files.list", self._list),
            Route("GET", f"{one}:download", "files.content", self._content),
            Route("GET", f"/download{one}:download", "files.content", self._content),
            Route("GET", one, "files.retrieve", self._retrieve),
            Route("DELETE", one, "files.delete", self._delete),
        ]

    def new_path(self) -> Path:
        return self._folder / secrets.token_hex(8)

    def add(self, file: File, *, file_id: str = "") -> File:
        """Let a file that is complete be seen."""
        now, options = self._services.clock.now(), self._settings.current
        file.id, file.created = file_id or file.id, now
        file.ready = now if file.made else now + options.processing_seconds
        file.expires, file.failed = now + options.file_seconds, options.upload_fails and not file.made
        self._files[file.id] = file
        return file

    def find(self, account: str, file_id: str) -> File | None:
        file = self._files.get(file_id)
        mine = file is not None and file.account == account and self._services.clock.now() < file.expires
        return file if mine else None

    def wanted(self, account: str, file_id: str) -> File:
        """Raises `Refused` for a file that is not there, or another project's."""
        if (file := self.find(account, file_id)) is None:
            words = f"You do not have permission to access the File {file_id} or it may not exist."
            raise refused(self._settings.current.gone_status, words)
        return file

    def uploader(self, request: web.Request) -> str | None:
        """Whose upload a request goes on with."""
        session = self._sessions.get(request.query.get("upload_id", ""))
        return session.account if session else None

    def base(self, request: web.Request) -> str:
        return f"{request.scheme}://{request.host}/{self._services.name}"

    def _reply(self, request: web.Request, file: File) -> Reply:
        return json_reply(file.facts(self._services.clock.now(), self.base(request)), subject=file.id)

    # Uploads

    async def _upload(self, request: web.Request, account: str) -> Act:
        check_query(request, ("upload_id", "upload_protocol"))
        command = request.headers.get(f"{UPLOAD}Command", "")
        if command == "start":
            return await self._start(request, account)
        session = self._sessions.get(request.query.get("upload_id", ""))
        if session is None or session.account != account:
            raise refused(404, "The upload is not known.")
        if command == "query":
            return self._always(session)
        if command in {"upload", "upload, finalize"}:
            return await self._take(request, session, last="finalize" in command)
        raise refused(400, "Invalid X-Goog-Upload-Command.")

    async def _start(self, request: web.Request, account: str) -> Act:
        about = await json_object(request, optional=True)
        given = members(about, ("file",), "upload").get("file", {})
        given = members(given, ("name", "displayName", "mimeType", "sizeBytes"), "file")
        size = request.headers.get(f"{UPLOAD}Header-Content-Length", "")
        if request.headers.get(f"{UPLOAD}Protocol") != "resumable" or not size.isdigit():
            raise refused(400, "An upload begins with its protocol and its length.")
        if int(size) > self._settings.current.max_file_bytes:
            raise refused(400, "The file is too large.")
        kind = given.get("mimeType") or request.headers.get(f"{UPLOAD}Header-Content-Type", "")
        if not kind:
            raise refused(400, "The upload names no mimeType.")

        async def act() -> Reply:
            token, path = secrets.token_urlsafe(18), self.new_path()
            await asyncio.to_thread(path.touch)
            name = str(given.get("name", "")).removeprefix("files/") or secrets.token_hex(6)
            self._sessions[token] = File(name, account, given.get("displayName", ""), kind, int(size), path)
            self._sessions[token].session = token
            url = f"{self.base(request)}{request.path.removeprefix(f'/{self._services.name}')}"
            headers = {f"{UPLOAD}URL": f"{url}?upload_id={token}&upload_protocol=resumable"}
            return Reply(200, headers={**headers, f"{UPLOAD}Status": "active"})

        return act

    async def _take(self, request: web.Request, session: File, *, last: bool) -> Act:
        """Bytes are kept as they arrive, whatever becomes of the request."""
        offset = request.headers.get(f"{UPLOAD}Offset", "")
        if not session.session or not offset.isdigit() or int(offset) != session.received:
            raise refused(400, f"The offset is not {session.received}, where the upload is.")
        breaks = self._settings.current.upload_breaks
        most = breaks[self._broken] if self._broken < len(breaks) else None
        data = bytearray()
        async for chunk in request.content.iter_any():
            data += chunk
            if most is not None and len(data) > most:
                self._broken += 1
                await self._keep(session, bytes(data[: most // GRANULE * GRANULE]))
                raise ConnectionError
        if session.received + len(data) > session.size:
            raise refused(400, "More bytes came than were announced.")

        async def act() -> Reply:
            await self._keep(session, bytes(data))
            if last and session.received != session.size:
                raise refused(400, f"{session.received} of {session.size} bytes have come.")
            if not last:
                return self._state(session)
            session.sha256 = base64.b64encode(hashlib.sha256(session.path.read_bytes()).hexdigest().encode()).decode()
            session.session = ""
            facts = self.add(session).facts(self._services.clock.now(), self.base(request))
            return json_reply({"file": facts}, headers={f"{UPLOAD}Status": "final"}, subject=session.id)

        return act

    async def _keep(self, session: File, data: bytes) -> None:
        with session.path.open("ab") as file:
            session.received += await asyncio.to_thread(file.write, data)

    def _state(self, session: File) -> Reply:
        if not session.session:
            return Reply(200, headers={f"{UPLOAD}Status": "final"})
        return Reply(200, headers={f"{UPLOAD}Status": "active", f"{UPLOAD}Size-Received": str(session.received)})

    def _always(self, session: File) -> Act:
        async def act() -> Reply:
            return self._state(session)

        return act

    # The other routes

    async def _list(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            mine = [file for file in self._files.values() if self.find(account, file.id)][::-1]
            start, end = page(request, len(mine), 10)
            now, base = self._services.clock.now(), self.base(request)
            found: dict[str, Any] = {"files": [file.facts(now, base) for file in mine[start:end]]} if mine else {}
            return json_reply(found | ({"nextPageToken": f"page-{end}"} if end < len(mine) else {}))

        return act

    def _about(self, request: web.Request, account: str, deed: Callable[[File], Awaitable[Reply]]) -> Act:
        async def act() -> Reply:
            return await deed(self.wanted(account, request.match_info["file_id"]))

        return act

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        check_query(request)

        async def shown(file: File) -> Reply:
            return self._reply(request, file)

        return self._about(request, account, shown)

    async def _delete(self, request: web.Request, account: str) -> Act:
        check_query(request)

        async def deleted(file: File) -> Reply:
            del self._files[file.id]
            await asyncio.to_thread(file.path.unlink, missing_ok=True)
            return json_reply({})

        return self._about(request, account, deleted)

    async def _content(self, request: web.Request, account: str) -> Act:
        check_query(request, ("alt",))
        if request.query.get("alt") != "media":
            raise refused(400, "A download asks for alt=media.")

        async def read(file: File) -> Reply:
            if not file.made:
                raise refused(400, "Only files that were generated can be downloaded.")
            return Reply(200, headers={"content-type": file.kind}, path=file.path, size=file.size, subject=file.id)

        return self._about(request, account, read)
