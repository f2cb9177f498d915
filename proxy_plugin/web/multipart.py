"""multipart/form-data as a stream of parts: strict, of bounded memory, without input or output of its own.

The parser is python-multipart's low-level one; `bench/multipart.py` compares it with others on 200 MB in 64 KiB chunks
and on bad bodies (best of 3, 2 busy cores, Python 3.11, 2026-11-21; memory grew by 0.2 MB at most with each):

| parser | MB/s | unfinished boundaries | why, or why not |
|---|---|---|---|
| aiohttp 3.14.5 MultipartReader | 3,600 | refused | many kinds of errors and warnings, some holding content |
| python-multipart 0.0.34 | 4,300 | 83 | chosen: one kind of error, bounded headers, typed |
| multipart 2.0.1 | 4,500 | refused | untyped; module name is also python-multipart's, which LiteLLM installs |
| multipart 2.0.1, strict | 4,500 | refused | refuses the usual last CRLF when it comes in a chunk of its own |
| streaming-form-data 2.1.0 | 7,300 | 88 | a cut body and an endless header pass without an error |

All are many times as fast as the rest of an upload (100 to 250 MB/s), so strictness and errors decide. Two things are
left to us: to ask for the closing boundary (`finish`) and to silence its logger. A preamble is refused, an epilogue
ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_HEADERS = 8  # of one part
MAX_HEADER_BYTES = 4224  # of one line
_ESCAPES = ((b"%22", b'"'), (b"%0D", b"\r"), (b"%0A", b"\n"))  # all that browsers and httpx escape (WHATWG HTML)
_SILENT = logging.getLogger("proxy_plugin.multipart.silent")  # the library's warnings quote bytes of the body
_SILENT.disabled = True


class Malformed(Exception):
    """The body is no multipart/form-data with this boundary. The message holds none of its content."""


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of one part. `filename` is what the client claims, undecoded."""

    name: str
    filename: bytes | None


Event = Part | memoryview | None


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a Content-Type header names. Raises Malformed."""
    kind, options = parse_options_header(content_type.encode("latin-1", "replace").decode("latin-1"))
    if kind != b"multipart/form-data":
        raise Malformed("the Content-Type is not multipart/form-data")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 250 or boundary.strip(b"\r\n") != boundary:
        raise Malformed("the Content-Type names no usable boundary")
    return boundary


class Form:
    """One body, fed in chunks of any size."""

    def __init__(self, boundary: bytes) -> None:
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._ended = False
        self._parser = MultipartParser(
            boundary, self._callbacks(), max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER_BYTES
        )
        self._parser.logger = _SILENT

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield what the chunk completes: a Part, pieces of its content (valid until the next chunk), None at its end.

        Raises Malformed.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Malformed(_reason(error)) from None
        events, self._events = self._events, []
        yield from events

    def finish(self) -> None:
        """Raise Malformed unless the closing boundary was there."""
        if not self._ended:
            raise Malformed("the body ends before its closing boundary")

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_part,
            "on_part_data": lambda data, start, end: self._events.append(memoryview(data)[start:end]),
            "on_part_end": lambda: self._events.append(None),
            "on_end": self._on_end,
        }

    def _on_header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _on_part(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._headers.clear()
        name = options.get(b"name")
        if kind != b"form-data" or not name:
            raise Malformed("a part has no Content-Disposition with a name")
        filename = options.get(b"filename")
        self._events.append(Part(_unescape(name).decode(errors="replace"), filename and _unescape(filename)))

    def _on_end(self) -> None:
        self._ended = True


def _reason(error: FormParserError) -> str:
    if str(error).startswith("Maximum header"):
        limits = f"{MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes"
        return f"a part has more than {limits}; shorten its file name"
    return "the body is not well-formed multipart/form-data with the boundary that its Content-Type names"


def _unescape(value: bytes) -> bytes:
    for escaped, plain in _ESCAPES:
        value = value.replace(escaped, plain)
    return value
