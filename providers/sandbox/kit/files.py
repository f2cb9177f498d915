"""A provider's file store: what has been uploaded, and the results of jobs."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Services
from proxy_plugin.providers.sandbox.multipart import Form, Malformed, PartHead, boundary_of
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
        file_id = file_id or self._new_id()
        return File(file_id, account, self._folder / file_id, filename)

    async def receive(
        self, request: web.Request, account: str, known: Collection[str], refuse: Refuse, *, last: bool = False
    ) -> File:
        """Read a form with these text fields and one `file`; nobody sees it yet. Memory holds one chunk.

        `last`: fields behind the file are refused.
        """
        file = self.new(account)
        try:
            form = Form(request.content.iter_any(), boundary_of(request.headers.get("content-type", "")))
            while (head := await form.next_part()) is not None:
                await _part(form, head, file, () if last and file.path.exists() else known, refuse)
            if not file.path.exists():
                _fail(refuse(422, "file: Field required"))
        except Malformed as wrong:
            file.path.unlink(missing_ok=True)
            raise refuse(400, f"There was an error parsing the body: {wrong}") from None
        except BaseException:
            file.path.unlink(missing_ok=True)
            raise
        return file

    def add(self, file: File) -> File:
        """Show a file."""
        file.created, file.size = self._services.clock.now(), file.path.stat().st_size
        self._files[file.id] = file
        return file

    def find(self, account: str, file_id: object) -> File | None:
        """A file of this account."""
        file = self._files.get(file_id) if isinstance(file_id, str) else None
        return file if file and file.account == account and self._keeps(file) else None

    def of(self, account: str) -> Iterator[File]:
        """The files of an account, newest first."""
        return (file for file in reversed(self._files.values()) if file.account == account and self._keeps(file))

    def delete(self, file: File) -> None:
        """Take a file away."""
        del self._files[file.id]
        file.path.unlink(missing_ok=True)


def content(file: File) -> Reply:
    """The answer that holds a file's bytes."""
    return Reply(200, headers={"content-type": "application/octet-stream"}, path=file.path, size=file.size)


async def _part(form: Form, head: PartHead, file: File, known: Collection[str], refuse: Refuse) -> None:
    if head.name == "file" and head.filename is not None and not file.path.exists():
        file.filename = head.filename
        await _store(form, file)
    elif head.name in known and head.name not in file.fields:
        file.fields[head.name] = await _text(form, refuse)
    else:
        raise refuse(422, f"{head.name}: Extra inputs are not permitted")


def _fail(refused: Refused) -> NoReturn:
    raise refused


async def _store(form: Form, file: File) -> None:
    last = b"\n"
    handle = await asyncio.to_thread(file.path.open, "wb")
    with handle:
        async for piece in form.body():
            handle.write(piece)
            file.lines += piece.count(b"\n")
            last = piece
    file.lines += not last.endswith(b"\n")


async def _text(form: Form, refuse: Refuse) -> str:
    value = b""
    async for piece in form.body():
        value += piece
        if len(value) > LONGEST_FIELD:
            raise refuse(422, "a form field is too long")
    return value.decode("utf-8", "replace")
