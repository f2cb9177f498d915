"""The file that a command uploads, read in blocks, and the multipart form around it, whose length is known before."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self, cast

from proxy_plugin.commands.problems import Misuse
from proxy_plugin.commands.wording import clean

BLOCK_BYTES = 256 * 1024
LINE_BYTES = 16 * 1024 * 1024  # what the gateway takes by default (limits.max_line_bytes)
STDIN = Path("-")
_STDIN_NAME = "stdin.jsonl"
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class InputFile:
    """A file of lines that is not empty, plain or gzip; `-` is stdin. Its size is what it had when it was opened."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises Misuse."""
        self._shown = "stdin" if path == STDIN else clean(path)
        self._stored = _stdin() if path == STDIN else _open(path)
        self._stored_size = os.fstat(self._stored.fileno()).st_size
        try:
            self._packed = self._stored.read(2) == _GZIP
            self._file = self._rewound()
            self.size = self._all_bytes()
        except BaseException:
            self._stored.close()
            raise
        self.name = _STDIN_NAME if path == STDIN else path.name.removesuffix(".gz" if self._packed else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stored.close()

    def _all_bytes(self) -> int:
        blocks = iter(lambda: self._read(BLOCK_BYTES), b"")
        found = sum(map(len, blocks)) if self._packed else self._stored_size
        if not found:
            raise Misuse(f"{self._shown} is empty: put one request on each line.")
        return found

    def _rewound(self) -> BinaryIO:
        """Return the lines from their beginning; what is packed is unpacked as it is read, and again each time."""
        self._stored.seek(0)
        if not self._packed:
            return self._stored
        from gzip import GzipFile  # noqa: PLC0415

        return cast("BinaryIO", GzipFile(fileobj=self._stored, mode="rb"))

    def endpoint(self) -> str:
        """Return the `url` of the first line that is not blank. Raises Misuse."""
        self._file = self._rewound()
        number, line = 1, self._line().removeprefix(_BOM)
        while line and not line.strip():
            number, line = number + 1, self._line()
        if not line:
            raise Misuse(f"{self._shown} holds nothing but blank lines: put one request on each line.")
        return self._url(line, number)

    def blocks(self) -> Iterator[bytes]:
        """Yield exactly `size` bytes. Raises Misuse if the file changed its length meanwhile."""
        self._file = self._rewound()
        left = self.size
        while left and (block := self._read(min(BLOCK_BYTES, left))):
            left -= len(block)
            yield block
        if left or os.fstat(self._stored.fileno()).st_size != self._stored_size:
            raise Misuse(f"{self._shown} changed while it was uploaded; nothing was submitted: send it again.")

    def _read(self, size: int) -> bytes:
        with self._readable():
            return self._file.read(size)

    def _line(self) -> bytes:
        with self._readable():
            return self._file.readline(LINE_BYTES)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error, OSError) as error:  # gzip's own are of the first two, or without a number
            if isinstance(error, OSError) and error.errno is not None:
                raise Misuse(f"{self._shown} cannot be read: {error.strerror}; nothing was submitted.") from None
            raise Misuse(f"{self._shown} is no whole gzip file; nothing was submitted: make it again.") from None

    def _url(self, line: bytes, number: int) -> str:
        try:
            url = json.loads(line)["url"]
        except (ValueError, KeyError, TypeError, RecursionError):
            url = None
        if not isinstance(url, str):
            raise Misuse(f"line {number} of {self._shown} is no request with a `url`: mend it or give --endpoint.")
        return url


def _open(path: Path) -> BinaryIO:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise Misuse(f"{clean(path)} is a directory: name the JSONL file in it.")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise Misuse(f"{clean(path)} is not a regular file: name one, or pipe the lines to `-`.")
        return path.open("rb")
    except FileNotFoundError:
        raise Misuse(f"there is no file {clean(path)}: check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise Misuse(f"{clean(path)} cannot be read: {reason}.") from None


def _stdin() -> BinaryIO:
    """Return stdin as a file: itself where it is one, else a copy of it on the disk, for its size has to be known."""
    stream = sys.stdin.buffer
    try:
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return stream
        if sys.stdin.isatty():
            sys.stderr.write("lines are read from the terminal; Ctrl-D ends them\n")
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - InputFile closes it
        shutil.copyfileobj(stream, spool, BLOCK_BYTES)
        spool.seek(0)
    except OSError as error:
        raise Misuse(f"stdin cannot be kept: {error.strerror}; nothing was submitted.") from None
    return cast("BinaryIO", spool)


class FileForm:
    """`purpose=batch` and the file as multipart/form-data (RFC 7578)."""

    def __init__(self, file: InputFile) -> None:
        edge = secrets.token_hex(16)
        self._file = file
        self._head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{_escaped(file.name)}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        ).encode("utf-8", "replace")
        self._tail = f"\r\n--{edge}--\r\n".encode()
        self.content_type = f"multipart/form-data; boundary={edge}"
        self.length = len(self._head) + file.size + len(self._tail)

    def blocks(self) -> Iterator[bytes]:
        """Yield the body. Raises Misuse if the file changes under it."""
        yield self._head
        yield from self._file.blocks()
        yield self._tail


def _escaped(name: str) -> str:
    """Escape a file name as the HTML standard does for forms ("multipart/form-data encoding algorithm")."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
