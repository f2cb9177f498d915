"""The bytes that a stand-in keeps: what was uploaded, and results; behind its API or behind signed URLs.

A signed URL is `PREFIX/signed/TOKEN?expires=...`: whoever has it needs no key, and who sends one is refused, as S3
refuses a second way to authenticate.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.multipart import Form, Malformed, PartHead, boundary_of
from proxy_plugin.providers.sandbox.replies import Refused, Reply
from proxy_plugin.providers.sandbox.uploads.lines import survey

LONGEST_BODY = 1024 * 1024  # bytes of a JSON request
LONGEST_FIELD = 1024
SIGNED, BESIDE = "/signed/{token}", "/signed/beside/{token}"

Complain = Callable[[int, str], Refused]
"""An error in the provider's own shape: status and words."""


@dataclass(slots=True)
class Blob:
    """One stored document. `path` may not be there yet; times are Unix seconds of the sandbox clock."""

    id: str
    account: str
    name: str
    path: Path
    created: float
    kind: str = ""
    size: int = 0
    lines: int = 0
    mark: str | None = None
    whole: bool = False
    ready: bool = False  # where somebody has to say that it is whole
    deleted: bool = False
    shown: bool = True  # what a form brings is not, before its end: one that breaks off leaves nothing


@dataclass(frozen=True, slots=True)
class _Link:
    blob: Blob
    until: float
    headers: Mapping[str, str]


class Blobs:
    """All documents of a stand-in, and its signed URLs."""

    def __init__(self, services: Services, complain: Complain, prefix: str, *, link_seconds: float = 600.0) -> None:
        """`prefix`: the path under which the dialect's routes are."""
        self._services, self._complain, self._seconds = services, complain, link_seconds
        self._signed = f"{prefix}/signed/"
        self._folder = services.directory / "blobs"
        self.reset()

    def reset(self) -> None:
        self.all: dict[str, Blob] = {}
        self._links: dict[str, _Link] = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def new(self, account: str, name: str, *, blob_id: str | None = None, kind: str = "", shown: bool = True) -> Blob:
        key = blob_id or f"file-{secrets.token_hex(12)}"
        path = self._folder / secrets.token_hex(12)
        self.all[key] = Blob(key, account, name, path, self._services.clock.now(), kind, shown=shown)
        return self.all[key]

    def find(self, account: str, blob_id: str) -> Blob | None:
        blob = self.all.get(blob_id)
        return blob if blob and blob.account == account and blob.shown and not blob.deleted else None

    def of(self, account: str) -> list[Blob]:
        """Those of an account, newest first."""
        ours = (blob for blob in reversed(self.all.values()) if blob.account == account)
        return [blob for blob in ours if blob.shown and not blob.deleted]

    async def fill(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Write a document; memory holds one chunk. What breaks off leaves it as it was."""
        beside = blob.path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            with beside.open("wb") as file:
                async for piece in chunks:
                    await asyncio.to_thread(file.write, piece)
            beside.replace(blob.path)
        finally:
            beside.unlink(missing_ok=True)
        blob.size, blob.whole = blob.path.stat().st_size, True
        blob.lines, blob.mark = await self._services.work.run(blob.size, survey, blob.path)

    def write(self, blob: Blob, data: bytes) -> Blob:
        """Write results."""
        blob.path.write_bytes(data)
        blob.size, blob.whole, blob.lines = len(data), True, data.count(b"\n")
        return blob

    def delete(self, blob: Blob) -> None:
        blob.deleted = True
        blob.path.unlink(missing_ok=True)

    def content(self, blob: Blob, kind: str = "application/octet-stream") -> Reply:
        return Reply(200, headers={"content-type": kind}, path=blob.path, size=blob.size, subject=blob.id)

    # Forms and JSON

    async def form(
        self, request: web.Request, known: Collection[str], document: str | None, take: Callable[[], Blob]
    ) -> tuple[dict[str, str], Blob | None]:
        """The fields of a multipart form, and what the document in it has become. Raises `Refused`."""
        fields, blob = dict[str, str](), None
        try:
            form = Form(request.content.iter_any(), boundary_of(request.headers.get("content-type", "")))
            while (head := await form.next_part()) is not None:
                if head.name == document and blob is None:
                    blob = take()
                    blob.name = blob.name or head.filename or ""
                    await self.fill(blob, form.body())
                else:
                    fields[head.name] = await self._field(form, head, known, fields)
        except Malformed as wrong:
            raise self._complain(400, f"Could not parse the form: {wrong}.") from None
        if document and blob is None:
            raise self._complain(400, f"{document} is required")
        if blob:
            blob.shown = True
        return fields, blob

    async def _field(self, form: Form, head: PartHead, known: Collection[str], seen: Collection[str]) -> str:
        if head.name not in known or head.name in seen:
            raise self._complain(400, f"unknown field {head.name}")
        value = b"".join([piece async for piece in form.body()])
        if len(value) > LONGEST_FIELD:
            raise self._complain(400, f"{head.name} is too long")
        return value.decode("utf-8", "replace")

    async def body(self, request: web.Request, known: Collection[str], needed: Collection[str]) -> dict[str, Any]:
        """The members of a JSON request. Raises `Refused` for unknown ones, and where a needed one is missing."""
        if request.content_type != "application/json":
            raise self._complain(400, "the content type must be application/json")
        try:
            value = json.loads((await request.content.read(LONGEST_BODY)).decode())
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._complain(400, "the body must be a JSON object")
        if wrong := [name for name in value if name not in known]:
            raise self._complain(400, f"unknown field {wrong[0]}")
        if missing := [name for name in needed if name not in value]:
            raise self._complain(400, f"{missing[0]} is required")
        return value

    # Signed URLs

    def sign(
        self, request: web.Request, blob: Blob, headers: Mapping[str, str] | None = None, *, beside: bool = False
    ) -> str:
        """A URL for this document, good for the next minutes, with these `headers` alone.

        `beside`: for what lies beside results, so that faults of those do not meet it.
        """
        token, until = secrets.token_urlsafe(12), self._services.clock.now() + self._seconds
        self._links[token] = _Link(blob, until, headers or {})
        aside = "beside/" if beside else ""
        return f"{request.scheme}://{request.host}{self._signed}{aside}{token}?expires={until:.0f}"

    def bearer(self, request: web.Request) -> str | None:
        """The account of a signed URL; None for any other. Raises `Refused`."""
        if not request.path.startswith(self._signed):
            return None
        token = request.match_info["token"]
        if "authorization" in request.headers:
            raise Refused(Reply(400, b"<Error><Code>InvalidArgument</Code></Error>"))
        link = self._links.get(token)
        if link is None or self._services.clock.now() > link.until:
            raise Refused(Reply(403, b"<Error><Code>AccessDenied</Code></Error>"))
        if any(request.headers.get(name) != value for name, value in link.headers.items()):
            raise Refused(Reply(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"))
        return link.blob.account

    def routes(self) -> list[Route]:
        """Those behind signed URLs."""
        return [
            Route("PUT", SIGNED, "store.put", self._put),
            Route("GET", SIGNED, "store.get", self._get),
            Route("GET", BESIDE, "store.get_beside", self._get),
        ]

    async def _put(self, request: web.Request, _: str) -> Act:
        blob = self._links[request.match_info["token"]].blob
        if request.content_length is None:
            raise Refused(Reply(411, b"<Error><Code>MissingContentLength</Code></Error>"))
        await self.fill(blob, request.content.iter_any())

        async def act() -> Reply:
            return Reply(200, headers={"etag": '"0"'}, subject=blob.id)

        return act

    async def _get(self, request: web.Request, _: str) -> Act:
        blob = self._links[request.match_info["token"]].blob

        async def act() -> Reply:
            return self.content(blob)

        return act
