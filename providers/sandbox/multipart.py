"""A strict reader of multipart/form-data (RFC 7578) that holds one chunk at a time."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

LONGEST_HEAD = 16 * 1024

_BOUNDARY = re.compile(r'multipart/form-data\s*;.*?\bboundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([\w*]+)=(?:"((?:\\.|[^"\\])*)"|([^\s;"]+))')


class Malformed(ValueError):
    """The body is not a well-formed form; the message says where."""


@dataclass(frozen=True, slots=True)
class PartHead:
    name: str
    filename: str | None


def boundary_of(content_type: str) -> bytes:
    """The boundary of a Content-Type header. Raises `Malformed`."""
    if (found := _BOUNDARY.match(content_type)) is None:
        raise Malformed("the content type is not multipart/form-data with a boundary")
    return str(found[1] or found[2]).encode()


class Form:
    """Parts in order: `await next_part()`, then all of `body()`, until `next_part` gives None."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # so that the first delimiter looks like the others
        self._inside = False

    async def next_part(self) -> PartHead | None:
        if not self._inside:
            await self._expect(self._delimiter, "the first boundary is missing")
        self._inside = True
        if (following := await self._take(2)) == b"--":
            await self._expect_end()
            return None
        if following != b"\r\n":
            raise Malformed("a boundary is not followed by a line end")
        return _part_head(await self._head())

    async def body(self) -> AsyncIterator[bytes]:
        """The bytes of the current part, up to and without its closing boundary."""
        while (at := self._buffer.find(self._delimiter)) < 0:
            keep = len(self._delimiter) - 1
            if len(self._buffer) > keep:
                piece, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
                yield piece
            if not await self._more():
                raise Malformed("the body ends inside a part")
        piece, self._buffer = self._buffer[:at], self._buffer[at + len(self._delimiter) :]
        if piece:
            yield piece

    async def _head(self) -> str:
        while (at := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > LONGEST_HEAD or not await self._more():
                raise Malformed("the headers of a part do not end")
        head, self._buffer = self._buffer[:at], self._buffer[at + 4 :]
        return head.decode("utf-8", "surrogateescape")

    async def _more(self) -> bool:
        chunk = await anext(self._chunks, b"")
        self._buffer += chunk
        return bool(chunk)

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size and await self._more():
            pass
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    async def _expect(self, wanted: bytes, otherwise: str) -> None:
        if await self._take(len(wanted)) != wanted:
            raise Malformed(otherwise)

    async def _expect_end(self) -> None:
        if await self._take(3) not in {b"", b"\r\n"}:
            raise Malformed("there is something after the last boundary")


def _part_head(head: str) -> PartHead:
    lines = [line.partition(":") for line in head.split("\r\n")]
    if not all(colon for _, colon, _ in lines):
        raise Malformed("a part has a header without a colon")
    fields = {name.strip().lower(): value.strip() for name, _, value in lines}
    disposition = fields.get("content-disposition", "")
    if not disposition.lower().startswith("form-data"):
        raise Malformed("a part has no content-disposition: form-data")
    given = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(disposition)}
    if "name" not in given:
        raise Malformed("a part has no name")
    return PartHead(given["name"], _unescaped(given.get("filename")))


def _unescaped(filename: str | None) -> str | None:
    """Undo the escapes of both habits: percent escapes of HTML forms and backslashes of MIME."""
    if filename is None:
        return None
    for escape, plain in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n"), ('\\"', '"'), ("\\\\", "\\")):
        filename = filename.replace(escape, plain)
    return filename
