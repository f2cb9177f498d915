"""A provider's file store: what has been uploaded, and the results of jobs."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Services
from proxy_plugin.providers.sandbox.multipart import Form, Malformed, boundary_of
from proxy_plugin.providers.sandbox.replies import Refused, Reply

LONGEST_FIELD = 1024
Refuse = Callable[[int, str], Refused]


@dataclass(slots=True)
class File:
    """One stored file. `fields` are those of its form, in their order; `created` is in Unix seconds."""

    id: str
    account: str
    path: Path
    filename: str = ""
    size: int = 0
    lines: int = 0
    created: float = 0.0
    fields: dict[str, str] = field(default_factory=dict)


class Files:
    """The files of all accounts. Deleted ones lose their bytes at once."""

    def __init__(self, services: Services, new_id: Callable[[], str], keeps: Callable[[File], bool]) -> None:
        """`keeps`: whether a file is there still."""
        self._services, self._new_id, self._keeps = services, new_id, keeps
        self._folder = services.directory / "files"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, File] = {}

    def reset(self) -> None:
        self._files = {}
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def new(self, account: str, filename: str = "", file_id: str = "") -> File:
        """A file that nobody sees yet; its bytes go to its path."""
        return File(file_id or self._new_id(), account, self._folder / secrets.token_hex(12), filename)

    async def receive(
        self,
        request: web.Request,
        account: str,
        known: Collection[str],
        refuse: Refuse,
        *,
        document: str | None = "file",
        last: bool = False,
    ) -> File:
        """Read a form with these text fields and one `document`; nobody sees it yet. Memory holds one chunk.

        `last`: fields behind the file are refused.
        """
        file = self.new(account)
        try:
            form = Form(request.content.iter_any(), boundary_of(request.headers.get("content-type", "")))
            while (head := await form.next_part()) is not None:
                if head.name == document and head.filename is not None and not file.path.exists():
                    file.filename = head.filename
                    await self.fill(file, form.body())
                elif head.name not in known or head.name in file.fields or (last and file.path.exists()):
                    _fail(refuse(422, f"{head.name}: Extra inputs are not permitted"))
                else:
                    file.fields[head.name] = await _text(form, refuse)
            if document and not file.path.exists():
                _fail(refuse(422, f"{document}: Field required"))
        except Malformed as wrong:
            file.path.unlink(missing_ok=True)
            raise refuse(400, f"There was an error parsing the body: {wrong}") from None
        except BaseException:
            file.path.unlink(missing_ok=True)
            raise
        return file

    async def fill(self, file: File, chunks: AsyncIterator[bytes]) -> None:
        """Write a file, whole or not at all; memory holds one chunk."""
        beside, lines, last = file.path.with_suffix(f".{secrets.token_hex(4)}"), 0, b"\n"
        try:
            with await asyncio.to_thread(beside.open, "wb") as handle:
                async for piece in chunks:
                    handle.write(piece)
                    lines += piece.count(b"\n")
                    last = piece or last
                file.size = handle.tell()
            beside.replace(file.path)
        finally:
            beside.unlink(missing_ok=True)
        file.lines = lines + (not last.endswith(b"\n"))

    def add(self, file: File) -> File:
        """Show a file, which may have no bytes yet."""
        file.created = self._services.clock.now()
        file.size = file.path.stat().st_size if file.path.exists() else 0
        self._files[file.id] = file
        return file

    def find(self, account: str, file_id: object) -> File | None:
        """A file of this account."""
        file = self._files.get(file_id) if isinstance(file_id, str) else None
        return file if file and file.account == account and self._keeps(file) else None

    def taken(self, file_id: str) -> bool:
        """Whether a file has this id."""
        return file_id in self._files

    def of(self, account: str) -> Iterator[File]:
        """The files of an account, newest first."""
        return (file for file in reversed(self._files.values()) if file.account == account and self._keeps(file))

    def delete(self, file: File) -> None:
        """Take a file away."""
        del self._files[file.id]
        file.path.unlink(missing_ok=True)


def content(file: File) -> Reply:
    """The answer that holds a file's bytes."""
    return Reply(
        200, headers={"content-type": "application/octet-stream"}, path=file.path, size=file.size, subject=file.id
    )


def _fail(refused: Refused) -> NoReturn:
    raise refused


async def _text(form: Form, refuse: Refuse) -> str:
    value = b""
    async for piece in form.body():
        value += piece
        if len(value) > LONGEST_FIELD:
            raise refuse(422, "a form field is too long")
    return value.decode("utf-8", "replace")
