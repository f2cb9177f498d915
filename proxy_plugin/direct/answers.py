"""The answers of one part: each is on the disk before its call counts as done, and no two processes write them.

`answers.jsonl` has OpenAI's result rows. Their `id` is ours: whether the row is an answer, and the number of its record
in the document. What comes while the disk is at work is written and synced together.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from proxy_plugin.ground.durable import sync_folder
from proxy_plugin.ground.failpoints import passing

NAME = "answers.jsonl"
_HEAD = re.compile(rb'\{"id":"(ok|no)-(\d{1,9})",')
_LONGEST_HEAD = 32
_READ_BYTES = 256 * 1024
_SHARED_BYTES = 4 * 2**20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FULL_PAUSE = 1.0  # seconds between tries on a full disk: answers that are paid for wait, and keep their places
LOCK_SECONDS = 15.0  # that the process of an earlier life may take to end


class Busy(Exception):
    """Another process still writes the answers of this part."""


class Answers:
    """Which records of a part have a row, and the file that gets more. To be entered on an event loop."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._known = bytearray()
        self.ok = self.failed = self.bytes = 0
        self._descriptor = -1
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._some = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Answers:
        """Take the file, and cut off what the last process did not finish. Raises Busy, OSError."""
        await asyncio.to_thread(self._take)
        self._writer = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._writer is not None
        self._closing = True
        self._some.set()
        await self._writer
        os.close(self._descriptor)

    def has(self, record: int) -> bool:
        """Tell whether a record has its row."""
        return record >> 3 < len(self._known) and bool(self._known[record >> 3] & 1 << (record & 7))

    async def add(self, record: int, row: bytes, *, ok: bool) -> None:
        """Append a row, whose text begins behind its `id`; durable when this returns. Raises OSError."""
        line = b'{"id":"%s-%d",' % (b"ok" if ok else b"no", record) + row + b"\n"
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((line, written))
        self._some.set()
        await written
        self._note(record, ok=ok)

    def join(self, pieces: Iterable[bytes | memoryview]) -> int:
        """Add rows that another process has written, of records without one; return how many bytes there are now.

        Blocking, and instead of entering. Raises Busy, OSError.
        """
        self._take()
        try:
            for piece in pieces:
                self._append(b"".join(self._new_rows(bytes(piece))))
                self.bytes = os.fstat(self._descriptor).st_size
            return self.bytes
        finally:
            os.close(self._descriptor)

    def _new_rows(self, piece: bytes) -> Iterator[bytes]:
        for row in piece.split(b"\n"):
            found = _HEAD.match(row)
            if found is not None and not self.has(int(found[2])):
                self._note(int(found[2]), ok=found[1] == b"ok")
                yield row + b"\n"

    def _note(self, record: int, *, ok: bool) -> None:
        if self.has(record):
            return
        at = record >> 3
        self._known.extend(bytes(max(0, at + 1 - len(self._known))))
        self._known[at] |= 1 << (record & 7)
        self.ok += ok
        self.failed += not ok

    # ---- on a thread ----

    def _take(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _lock(self._descriptor)
        self.bytes = self._whole()
        os.ftruncate(self._descriptor, self.bytes)
        os.fsync(self._descriptor)
        sync_folder(self._path.parent)

    def _whole(self) -> int:
        """Note the rows that are whole and return how many bytes they have, up to the first that is not."""
        size = 0
        with self._path.open("rb", buffering=_READ_BYTES) as stream:
            while (read := _row(stream)) is not None:
                head, length = read
                found = _HEAD.match(head)
                if found is None:
                    break
                self._note(int(found[2]), ok=found[1] == b"ok")
                size += length
        return size

    async def _write(self) -> None:
        while not self._closing or self._waiting:
            await self._some.wait()
            taken, self._waiting = self._waiting, []
            if not self._closing:
                self._some.clear()
            failure = await self._written(b"".join(line for line, _ in taken)) if taken else None
            for _, written in taken:
                if written.done():  # nobody waits for it any more
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)

    async def _written(self, data: bytes) -> OSError | None:
        """Write what came; on a full disk try until there is room, or the end. Return what went wrong."""
        while True:
            try:
                await asyncio.to_thread(self._append, data)
            except OSError as error:
                if error.errno not in _FULL or self._closing:
                    return error
                await asyncio.sleep(FULL_PAUSE)
            else:
                self.bytes += len(data)
                return None

    def _append(self, data: bytes) -> None:
        """Write and sync; where that fails nothing of it is left in the file. Raises OSError."""
        left = memoryview(data)
        try:
            passing("answer.write")
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.bytes)
            raise


def rows_behind(path: Path, start: int) -> tuple[int, bytes]:
    """Return whole rows behind the first `start` bytes, some megabytes at most, and where they begin. Blocking.

    That is at 0 where a row has been taken back since: on a full disk.
    """
    data = bytearray()
    with suppress(FileNotFoundError), path.open("rb") as stream:
        stream.seek(max(start - 1, 0))
        start = 0 if start and stream.read(1) != b"\n" else start
        stream.seek(start)
        while not data.endswith(b"\n") and (more := stream.read(_SHARED_BYTES)):
            data += more[: more.rfind(b"\n") + 1] or more
    return start, bytes(data[: data.rfind(b"\n") + 1])


def _row(stream: object) -> tuple[bytes, int] | None:
    """Return the beginning of the next line and its length; None where no whole one is left."""
    head, length, last = b"", 0, b""
    while piece := stream.readline(_READ_BYTES):  # type: ignore[attr-defined]
        head = head or piece[:_LONGEST_HEAD]
        length += len(piece)
        if piece.endswith(b"\n"):
            whole = (last + piece)[-2:] == b"}\n" and b"\0" not in piece
            return (head, length) if whole else None
        last = piece[-1:]
    return None


def _lock(descriptor: int) -> None:
    """A worker leaves within a tenth of a second of its gateway, so this waits for it. Raises Busy."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.monotonic() > until:
            raise Busy("another process still writes the answers of this part")
        time.sleep(0.05)
