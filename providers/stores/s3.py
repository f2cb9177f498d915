"""S3 by its REST API, over the calls of one account. Addresses are in path style, which every server understands.

Sources: "Amazon S3 API Reference" (PutObject, CreateMultipartUpload, UploadPart, ListParts, ListMultipartUploads,
ListObjectsV2), "Multipart upload limits": parts of 5 MiB to 5 GiB but for the last, 10,000 at most; the project's
reference pages of Bedrock and of test servers, 2026-11-29. A part's ETag is its MD5 but where KMS encrypts, and there a
part that was sent is sent again. Keys are never used twice, so nothing is asked with If-None-Match.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree.ElementTree import Element, ParseError, SubElement, XMLParser, tostring

from proxy_plugin.providers import kept
from proxy_plugin.providers.base import JobStatus, Refused, TryLater
from proxy_plugin.providers.calls import gone, none_if_gone, patiently
from proxy_plugin.providers.listing import MOST_PAGES

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

HOST = "https://s3.{region}.amazonaws.com"
PIECE = 8 << 20  # bytes of a part, of which 10,000 are 80 GB
IN_FLIGHT = 4
CHUNK = 1 << 20
UNKNOWN = "NoSuchUpload"
MOST_BYTES, MOST_TAGS = 2 << 20, 40_000  # of an answer: a page names 1,000 objects, with 20 tags each at most
PIECE_OF_XML = 1 << 16


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket, as an account sees it. `stored` are the headers of what is stored: how it is encrypted."""

    origin: Origin
    name: str
    piece: int = PIECE
    stored: Mapping[str, str] = field(default_factory=dict)

    async def put(self, path: Path, key: str) -> None:
        """Make a file an object, in parts where it is large. Raises TryLater or Refused.

        An upload that was begun is gone on with: its id is durable beside the file before the first part leaves.
        """
        size = (await asyncio.to_thread(path.stat)).st_size
        if size <= self.piece:
            await patiently(partial(self._put, path, key, 0, size, {}, self.stored))
            return
        for fresh in (False, True):
            if await self._finished(path, key, await self._upload(path, key, fresh=fresh), size):
                return
        raise TryLater("an upload is not known any more")

    async def size(self, key: str) -> int | None:
        """Return how many bytes an object has, None where there is none."""
        reply = await none_if_gone(patiently(partial(self.origin.request, "HEAD", self._path(key))))
        return None if reply is None else int(reply.headers.get("Content-Length", 0))

    async def keys(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """Yield the objects whose keys begin so, with their sizes, in the order of their keys."""
        asked = {"list-type": "2", "prefix": prefix}
        async for page in self._pages(asked, {"NextContinuationToken": "continuation-token"}):
            for each in page.iterfind("{*}Contents"):
                if (key := _text(each, "Key")).startswith(prefix):
                    yield key, _number(each, "Size")

    async def bring(self, key: str, to: Path, status: JobStatus, size: int) -> None:
        """Make `to` hold an object of this size whole; the last reading takes what comes."""
        expected = None if status.last else size
        get = partial(self.origin.download, self._path(key), to, expected)
        await kept.bring(to, {"key": key, "size": size, "reading": status.reading}, partial(patiently, get))

    async def read(self, key: str) -> bytes:
        """Return a small object."""
        return await patiently(partial(self.origin.text, "GET", self._path(key)))

    async def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        await gone(patiently(partial(self.origin.text, "DELETE", self._path(key))))

    async def abandon(self, prefix: str) -> None:
        """Abort the unfinished uploads whose keys begin so."""
        found = [each async for each in self._uploads(prefix)]
        for key, upload in found:
            await self._abort(key, upload)

    # ---- a large file ----

    async def _upload(self, path: Path, key: str, *, fresh: bool = False) -> str:
        """Return the id of the upload of a file, which is durable beside it: that of an earlier run, or a new one."""
        known = await asyncio.to_thread(kept.noted, path)
        own = known.get("upload") if known.get("key") == key and not fresh else None
        if isinstance(own, str):
            return own
        begun = known.get("begun") == key  # the answer to its begin may have been lost
        await asyncio.to_thread(kept.note, path, {**known, "key": key, "begun": key, "upload": None}, keep=True)
        found = [each async for at, each in self._uploads(key) if at == key] if begun else []
        for each in found[1:]:
            await self._abort(key, each)
        upload = found[0] if found else await self._begin(key)
        await asyncio.to_thread(kept.note, path, {**known, "key": key, "begun": key, "upload": upload}, keep=True)
        return upload

    async def _begin(self, key: str) -> str:
        call = partial(self.origin.text, "POST", self._path(key), params={"uploads": ""}, headers=self.stored)
        upload = _text(await _xml(await call()), "UploadId")
        if not upload:
            raise TryLater("the start of an upload was answered without its id")
        return upload

    async def _finished(self, path: Path, key: str, upload: str, size: int) -> bool:
        """Send what an upload lacks and complete it; False where it is not known any more and made no object."""
        try:
            tags = dict(await self._sent(path, key, upload))
            await self._send(path, key, upload, size, tags)
            await self._complete(key, upload, tags)
        except Refused as refused:
            if refused.code != UNKNOWN:
                raise
            return await self.size(key) == size
        return True

    async def _sent(self, path: Path, key: str, upload: str) -> Sequence[tuple[int, str]]:
        """Return numbers and ETags of the parts that have arrived as they should."""
        found = list[tuple[int, str, int]]()
        pages = self._pages({"uploadId": upload}, {"NextPartNumberMarker": "part-number-marker"}, key)
        async for page in pages:
            for each in page.iterfind("{*}Part"):
                found.append((_number(each, "PartNumber"), _text(each, "ETag"), _number(each, "Size")))
        return await asyncio.to_thread(self._whole, path, found)

    def _whole(self, path: Path, found: Sequence[tuple[int, str, int]]) -> list[tuple[int, str]]:
        size = path.stat().st_size
        return [
            (number, tag)
            for number, tag, length in found
            if length == self._length(number, size) and tag.strip('"') == self._md5(path, number)
        ]

    async def _send(self, path: Path, key: str, upload: str, size: int, tags: dict[int, str]) -> None:
        """Send the parts that are not among `tags`, a few at a time, and add them."""
        missing = iter([number for number in range(1, -(-size // self.piece) + 1) if number not in tags])

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                params = {"partNumber": str(number), "uploadId": upload}
                start, length = (number - 1) * self.piece, self._length(number, size)
                tags[number] = await patiently(partial(self._put, path, key, start, length, params, {}))

        await _all([work(missing) for _ in range(IN_FLIGHT)])

    async def _put(
        self, path: Path, key: str, start: int, size: int, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> str:
        reply = await self.origin.put_piece(self._path(key), path, start, size, headers=headers, params=params)
        return str(reply.headers.get("ETag", ""))

    async def _complete(self, key: str, upload: str, tags: Mapping[int, str]) -> None:
        """Make one object of the parts. The answer's status comes before the work is done, so its body counts."""
        whole = Element("CompleteMultipartUpload")
        for number, tag in sorted(tags.items()):
            part = SubElement(whole, "Part")
            SubElement(part, "PartNumber").text, SubElement(part, "ETag").text = str(number), tag
        call = partial(self.origin.text, "POST", self._path(key), body=tostring(whole), params={"uploadId": upload})
        found = await _xml(await patiently(call))
        if not found.tag.endswith("CompleteMultipartUploadResult"):
            raise TryLater(f"an upload was not completed: {_text(found, 'Code')}")

    async def _uploads(self, prefix: str) -> AsyncIterator[tuple[str, str]]:
        markers = {"NextKeyMarker": "key-marker", "NextUploadIdMarker": "upload-id-marker"}
        try:
            async for page in self._pages({"uploads": "", "prefix": prefix}, markers):
                for each in page.iterfind("{*}Upload"):
                    if (key := _text(each, "Key")).startswith(prefix):
                        yield key, _text(each, "UploadId")
        except Refused as refused:  # a bucket without any, at some servers
            if refused.code != UNKNOWN:
                raise

    async def _abort(self, key: str, upload: str) -> None:
        call = partial(self.origin.text, "DELETE", self._path(key), params={"uploadId": upload})
        await gone(patiently(call))

    # ---- how it is asked ----

    async def _pages(
        self, asked: Mapping[str, str], markers: Mapping[str, str], key: str | None = None
    ) -> AsyncIterator[Element]:
        """Yield the answers to a question about the bucket, or an object, that has several."""
        path = self.name if key is None else self._path(key)
        for _ in range(MOST_PAGES):
            page = await _xml(await patiently(partial(self.origin.text, "GET", path, params=asked)))
            yield page
            if _text(page, "IsTruncated") != "true":
                return
            asked = {**asked, **{name: _text(page, told) for told, name in markers.items()}}
        raise Refused(f"s3://{self.name} has too many objects below this key to be read", code="list_too_long")

    def _path(self, key: str) -> str:
        return f"{self.name}/{quote(key, safe='/-_.~')}"

    def _length(self, number: int, size: int) -> int:
        return min(self.piece, size - (number - 1) * self.piece)

    def _md5(self, path: Path, number: int) -> str:
        digest, left = hashlib.md5(usedforsecurity=False), self.piece
        with path.open("rb") as file:
            file.seek((number - 1) * self.piece)
            while left and (chunk := file.read(min(CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
        return digest.hexdigest()


async def _all(works: Sequence[Awaitable[None]]) -> None:
    """Await all of them; where one fails the others end with it."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _xml(text: bytes) -> Element:
    """Read an answer in pieces, between which others run: 8 MB of tags take 1.4 s [measured]. Raises TryLater."""
    if len(text) > MOST_BYTES or text.count(b"<") > MOST_TAGS:
        raise TryLater("the store's answer holds more than a page of a list")
    parser = XMLParser()  # noqa: S314 - of the account's own store, and bounded
    try:
        for at in range(0, len(text), PIECE_OF_XML):
            parser.feed(text[at : at + PIECE_OF_XML])
            await asyncio.sleep(0)
        return parser.close()
    except ParseError:
        raise TryLater("the store's answer is no XML") from None


def _text(node: Element, name: str) -> str:
    return node.findtext(f"{{*}}{name}") or ""


def _number(node: Element, name: str) -> int:
    text = _text(node, name)
    return int(text) if text.isascii() and text.isdigit() else 0
