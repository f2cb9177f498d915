"""The file that a command uploads, read in blocks, and the multipart form around it, whose length is known before."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from proxy_plugin.commands.problems import Misuse
from proxy_plugin.commands.wording import clean

BLOCK_BYTES = 256 * 1024
LINE_BYTES = 16 * 1024 * 1024  # what the gateway takes by default (limits.max_line_bytes)
_BOM = b"\xef\xbb\xbf"


class InputFile:
    """A regular file that is not empty. Its size is the one that it had when it was opened."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises Misuse."""
        self.path, self.name = path, path.name
        self._file, self.size = _open(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def endpoint(self) -> str:
        """Return the `url` of the first line that is not blank. Raises Misuse."""
        self._file.seek(0)
        number, line = 1, self._line().removeprefix(_BOM)
        while line and not line.strip():
            number, line = number + 1, self._line()
        if not line:
            raise Misuse(f"{clean(self.path)} holds nothing but blank lines: put one request on each line.")
        return self._url(line, number)

    def blocks(self) -> Iterator[bytes]:
        """Yield exactly `size` bytes. Raises Misuse if the file changed its length meanwhile."""
        self._file.seek(0)
        left = self.size
        while left and (block := self._read(min(BLOCK_BYTES, left))):
            left -= len(block)
            yield block
        if left or os.fstat(self._file.fileno()).st_size != self.size:
            raise Misuse(f"{clean(self.path)} changed while it was uploaded; nothing was submitted: send it again.")

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise Misuse(f"{clean(self.path)} cannot be read: {error.strerror}; nothing was submitted.") from None

    def _line(self) -> bytes:
        return self._file.readline(LINE_BYTES)

    def _url(self, line: bytes, number: int) -> str:
        try:
            url = json.loads(line)["url"]
        except (ValueError, KeyError, TypeError, RecursionError):
            url = None
        if not isinstance(url, str):
            raise Misuse(f"line {number} of {clean(self.path)} is no request with a `url`: mend it or give --endpoint.")
        return url


def _open(path: Path) -> tuple[BinaryIO, int]:
    """Return the open file and its size."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise Misuse(f"{clean(path)} is a directory: name the JSONL file in it.")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise Misuse(f"{clean(path)} is not a regular file: the size of an upload has to be known; store it first.")
        if not status.st_size:
            raise Misuse(f"{clean(path)} is empty: put one request on each line.")
        file = path.open("rb")
        return file, os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise Misuse(f"there is no file {clean(path)}: check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise Misuse(f"{clean(path)} cannot be read: {reason}.") from None


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
