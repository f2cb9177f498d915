"""Google's files: resumable uploads, and what is told of a file."""

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act
from proxy_plugin.providers.sandbox.kit.files import File
from proxy_plugin.providers.sandbox.kit.wire import Wire
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

GRANULE = 1024  # what is kept of a send that breaks off is a multiple of it; Google's own is 256 KiB
UPLOAD = "X-Goog-Upload-"
HOST = "https://generativelanguage.googleapis.com/v1beta"


@dataclass(slots=True)
class Session:
    """An upload; `file.size` is how much of it has come."""

    file: File
    announced: int
    open: bool = True

    def state(self) -> Reply:
        if not self.open:
            return Reply(200, headers={f"{UPLOAD}Status": "final"})
        return Reply(200, headers={f"{UPLOAD}Status": "active", f"{UPLOAD}Size-Received": str(self.file.size)})


class Uploads:
    """The uploads of all accounts. The address of one is its own credential: Google's SDK sends no key to it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.reset()

    def reset(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._broken = 0

    def account(self, request: web.Request) -> str | None:
        """Whose upload a request goes on with."""
        session = self._sessions.get(request.query.get("upload_id", ""))
        return session.file.account if session else None

    async def serve(self, request: web.Request, account: str) -> Act:
        self._wire.query(request, ("upload_id", "upload_protocol"))
        command = request.headers.get(f"{UPLOAD}Command", "")
        if command == "start":
            return await self._start(request, account)
        session = self._sessions.get(request.query.get("upload_id", ""))
        if session is None or session.file.account != account:
            raise self._wire.refused(404, "The upload is not known.")
        if command in {"upload", "upload, finalize"}:
            return await self._take(request, session, last="finalize" in command)
        if command != "query":
            raise self._wire.refused(400, "Invalid X-Goog-Upload-Command.")

        async def act() -> Reply:
            return session.state()

        return act

    async def _start(self, request: web.Request, account: str) -> Act:
        about = await self._wire.read(request) if request.can_read_body else {}
        given = members(self._wire, about, ("file",), "upload").get("file", {})
        given = members(self._wire, given, ("name", "displayName", "mimeType", "sizeBytes"), "file")
        size = request.headers.get(f"{UPLOAD}Header-Content-Length", "")
        if request.headers.get(f"{UPLOAD}Protocol") != "resumable" or not size.isdigit():
            raise self._wire.refused(400, "An upload begins with its protocol and its length.")
        if int(size) > self._wire.current.max_file_bytes:
            raise self._wire.refused(400, "The file is too large.")
        kind = given.get("mimeType") or request.headers.get(f"{UPLOAD}Header-Content-Type", "")
        if not kind:
            raise self._wire.refused(400, "The upload names no mimeType.")

        async def act() -> Reply:
            token, name = secrets.token_urlsafe(18), str(given.get("name", "")).removeprefix("files/")
            file = self._wire.files.new(account, given.get("displayName", ""), name)
            file.fields["mimeType"] = kind
            await asyncio.to_thread(file.path.touch)
            self._sessions[token] = Session(file, int(size))
            address = f"{request.url.origin()}{request.path}?upload_id={token}&upload_protocol=resumable"
            return Reply(200, headers={f"{UPLOAD}URL": address, f"{UPLOAD}Status": "active"})

        return act

    async def _take(self, request: web.Request, session: Session, *, last: bool) -> Act:
        """Bytes are kept as they arrive, whatever becomes of the request."""
        file, offset = session.file, request.headers.get(f"{UPLOAD}Offset", "")
        if not session.open or not offset.isdigit() or int(offset) != file.size:
            raise self._wire.refused(400, f"The offset is not {file.size}, where the upload is.")
        data = await self._bytes(request, file)
        if file.size + len(data) > session.announced:
            raise self._wire.refused(400, "More bytes came than were announced.")

        async def act() -> Reply:
            await _keep(file, data)
            if last and file.size != session.announced:
                raise self._wire.refused(400, f"{file.size} of {session.announced} bytes have come.")
            if not last:
                return session.state()
            session.open, whole = False, await asyncio.to_thread(file.path.read_bytes)
            file.lines = whole.count(b"\n")
            file.fields["sha256"] = base64.b64encode(hashlib.sha256(whole).hexdigest().encode()).decode()
            facts = told(self._wire, self._wire.files.add(file))
            return json_reply({"file": facts}, headers={f"{UPLOAD}Status": "final"}, subject=file.id)

        return act

    async def _bytes(self, request: web.Request, file: File) -> bytes:
        """What is sent; the connection ends where the options say so, and some of it is kept."""
        breaks = self._wire.current.upload_breaks
        most = breaks[self._broken] if self._broken < len(breaks) else None
        data = bytearray()
        async for chunk in request.content.iter_any():
            data += chunk
            if most is not None and len(data) > most:
                self._broken += 1
                await _keep(file, bytes(data[: most // GRANULE * GRANULE]))
                raise ConnectionError
        return bytes(data)


async def _keep(file: File, data: bytes) -> None:
    with file.path.open("ab") as kept:
        file.size += await asyncio.to_thread(kept.write, data)


def told(wire: Wire, file: File) -> dict[str, Any]:
    """The record of a file; those that Google made can be downloaded."""
    made, options, now = "mimeType" not in file.fields, wire.current, wire.services.clock.now()
    failed, ready = options.upload_fails and not made, made or now >= file.created + options.processing_seconds
    more = {"downloadUri": f"{HOST}/files/{file.id}:download?alt=media"} if made else {}
    return {
        "name": f"files/{file.id}",
        "displayName": file.filename,
        "mimeType": file.fields.get("mimeType", "application/jsonl"),
        "sizeBytes": str(file.size),
        "createTime": stamp(file.created),
        "updateTime": stamp(file.created),
        "expirationTime": stamp(file.created + options.file_seconds),
        "sha256Hash": file.fields.get("sha256", ""),
        "uri": f"{HOST}/files/{file.id}",
        "state": "FAILED" if failed else "ACTIVE" if ready else "PROCESSING",
        "source": "GENERATED" if made else "UPLOADED",
        **more,
        **({"error": {"code": 3, "message": "The file is no JSONL."}} if failed else {}),
    }


def members(wire: Wire, given: Any, known: Collection[str], where: str) -> dict[str, Any]:
    """The members of an object in Google's spelling: it takes display_name for displayName. Raises `Refused`."""
    if not isinstance(given, dict):
        raise wire.refused(400, f"Invalid value at '{where}'.")
    found = {re.sub("_([a-z])", lambda part: part[1].upper(), name): value for name, value in given.items()}
    if unknown := found.keys() - set(known):
        words = f"Unknown name \"{min(unknown)}\" at '{where}': Cannot find field."
        raise wire.refused(400, f"Invalid JSON payload received. {words}")
    return found


def stamp(moment: float) -> str:
    """A time as Google writes it, in nanoseconds."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
