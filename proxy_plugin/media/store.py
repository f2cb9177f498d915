"""What became of each picture URL of a batch: one file a URL, named by its hash, in one folder of the batch.

A file's first line is the media type of the picture, and the picture follows; or `-` and the reason why there is none.
It appears whole or not at all, so what is there after a kill is kept and the rest is fetched again. No reason holds a
part of a URL: that is the users' content.
"""

from __future__ import annotations

import hashlib
import os
from binascii import b2a_base64
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from proxy_plugin.ground.durable import sync_file, sync_folder
from proxy_plugin.media.parts import Picture, taken_apart
from proxy_plugin.providers.base import LineRejected

URLS = "urls"  # the list of what is to be fetched: one JSON string a line
MAX_URL = 8_192  # characters
UNAVAILABLE = "media_unavailable"
BAD_URL = f"its URL is no plain web address of at most {MAX_URL} visible ASCII characters, without user and password"
_NO_PICTURE = b"-"
_HEAD_BYTES = 1_024  # of the first line
_CHUNK = 3 * 64 * 1024  # base64 of a multiple of 3 bytes has no padding
_MODE = 0o600
# A picture of one grey point: stands for those that a plan does not fetch.
_POINT = b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="


class Media(msgspec.Struct, frozen=True):
    """Where the pictures of a batch are. `missing` says why one that has no file was not fetched.

    Lines may grow as if they had brought their pictures themselves: each to `max_line_bytes`, all of them together by
    `max_file_bytes`. Without that, one picture in a million lines would fill any disk.
    """

    folder: str
    missing: str
    max_line_bytes: int
    max_file_bytes: int


def name_of(url: str) -> str:
    """Return the name of a URL's file."""
    return hashlib.sha256(url.encode()).hexdigest()


def create(path: Path) -> IO[bytes]:
    """Open a new file that only the gateway may read."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, _MODE))


def publish(part: Path, to: Path) -> None:
    """Give a written file its name, durably."""
    sync_file(part)
    part.replace(to)
    sync_folder(to.parent)


def write_reason(folder: Path, url: str, reason: str) -> None:
    """Keep why there is no picture of a URL."""
    to = folder / name_of(url)
    part = to.with_suffix(".part")
    with create(part) as stream:
        stream.write(_NO_PICTURE + reason.encode() + b"\n")
    publish(part, to)


def known(folder: Path) -> dict[str, int]:
    """Return the names of the URLs that need no fetching any more, with the sizes of their files."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if len(entry.name) == 64}


class Stored(NamedTuple):
    """A picture on the disk: `media` is its type, its `size` bytes begin at `offset`."""

    path: Path
    media: bytes
    offset: int
    size: int

    @property
    def length(self) -> int:
        """Return the length of its data URI as a JSON string."""
        return len(b'"data:;base64,"') + len(self.media) + (self.size + 2) // 3 * 4

    def uri(self) -> Iterator[bytes]:
        """Yield its data URI as a JSON string, read from the disk piece by piece."""
        yield b'"data:' + self.media + b";base64,"
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            while chunk := stream.read(_CHUNK):
                yield b2a_base64(chunk, newline=False)
        yield b'"'


class Album:
    """Puts the pictures of one batch into its lines. `filled` counts the lines that had any.

    Without `media`, for a plan, a tiny picture stands for each.
    """

    def __init__(self, media: Media | None) -> None:
        self._media = media
        self._room = media.max_file_bytes if media else 0
        self.filled = 0

    def fill(self, body: bytes) -> bytes:
        """Return the body with data URIs in the place of picture URLs. Raises LineRejected."""
        pieces, pictures = taken_apart(body)
        if not pictures:
            return body
        if self._media is None:
            filled = (b'"data:image/png;base64,' + _POINT + b'"').join(pieces)
        else:
            stored = [_stored(self._media, each) for each in pictures]
            self._make_room(self._media, sum(map(len, pieces)), sum(each.length for each in stored))
            filled = _joined(pieces, stored)
        self.filled += 1
        return filled

    def _make_room(self, media: Media, text: int, pictures: int) -> None:
        if text + pictures > media.max_line_bytes:
            limit = f"limits.max_line_bytes is {media.max_line_bytes}. Use smaller pictures."
            message = f"With its pictures the line has {text + pictures} bytes; {limit}"
            raise LineRejected(message, code="line_too_large", param="body")
        if pictures > self._room:
            limit = f"{media.max_file_bytes} bytes (limits.max_file_bytes)"
            message = f"With the pictures of all lines up to this one the file has more than {limit}; split the file."
            raise LineRejected(message, code=UNAVAILABLE, param="body")
        self._room -= pictures


def _joined(pieces: list[bytes], pictures: list[Stored]) -> bytes:
    text = bytearray(pieces[0])
    for picture, piece in zip(pictures, pieces[1:], strict=True):
        for chunk in picture.uri():
            text += chunk
        text += piece
    return bytes(text)


def _stored(media: Media, picture: Picture) -> Stored:
    try:
        path = Path(media.folder, name_of(picture.url))
        with path.open("rb") as stream:
            head = stream.readline(_HEAD_BYTES).removesuffix(b"\n")
            offset, size = stream.tell(), os.fstat(stream.fileno()).st_size
    except FileNotFoundError:
        raise _unavailable(picture, BAD_URL if len(picture.url) > MAX_URL else media.missing) from None
    if head.startswith(_NO_PICTURE):
        raise _unavailable(picture, head.removeprefix(_NO_PICTURE).decode())
    return Stored(path, head, offset, size - offset)


def _unavailable(picture: Picture, reason: str) -> LineRejected:
    message = f"{picture.path}: the picture was not fetched: {reason}. Correct that, or send it as a data URI."
    return LineRejected(message, code=UNAVAILABLE, param=picture.path)
