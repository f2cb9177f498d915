"""Google Cloud Storage by its JSON API, over the calls of one account.

Source: the project's reference page of Vertex AI, section 2, and "Resumable uploads" of Cloud Storage's docs: an upload
has an address, takes pieces of a multiple of 256 KiB, answers 308 with the bytes it has (`Range`), and tells them again
when it is asked with `Content-Range: bytes */SIZE`; 404 and 410 say that it is over, 499 that it was cancelled.
`ifGenerationMatch=0` makes an object once: 412 says that there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from proxy_plugin.providers import kept
from proxy_plugin.providers.base import JobStatus, Refused, TryLater
from proxy_plugin.providers.calls import LONGEST_PAUSE, PAUSES, TOO_MANY, gone, none_if_gone, patiently
from proxy_plugin.providers.listing import MOST_PAGES

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin, Reply

HOST = "https://storage.googleapis.com"
GRANULE = 256 << 10  # bytes of which a piece of an upload has a multiple
PIECE = 8 << 20
MARK = "proxy-plugin"  # the member of an object's metadata that shows whose it is
THERE, OVER, GOES_ON = 412, frozenset({404, 410}), frozenset({308})
PAGE = 1000  # "maxResults", the most there are


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket, as an account sees it."""

    origin: Origin
    name: str
    piece: int = PIECE

    async def put(self, path: Path, key: str, mark: str) -> None:
        """Make a file an object with this mark, unless it is one already. Raises TryLater or Refused."""
        size = (await asyncio.to_thread(path.stat)).st_size
        try:
            await self._uploaded(path, key, mark, size)
        except Refused as refused:
            if refused.status != THERE:
                raise
        await asyncio.to_thread(_forget_upload, path)
        stored = await self._facts(key)
        if stored is None:
            raise TryLater(f"gs://{self.name}/{key} is not there after its upload")
        if stored.get("size") != str(size) or _mark(stored) != mark:
            where = f"gs://{self.name}/{key}"
            message = f"There is another object at {where}; move it away, or choose another folder for batches."
            raise Refused(message, code="object_exists", status=THERE)

    async def size(self, key: str) -> int | None:
        """Return how many bytes an object has, None where there is none."""
        found = await self._facts(key)
        return _number(found.get("size")) if found else None

    async def keys(self, prefix: str, page: int = PAGE) -> AsyncIterator[tuple[str, int]]:
        """Yield the objects whose keys begin so, with their sizes, in the order of their keys."""
        asked = {"prefix": prefix, "maxResults": str(page), "fields": "items(name,size),nextPageToken"}
        for _ in range(MOST_PAGES):
            reply = await patiently(partial(self.origin.request, "GET", f"{self._path()}/o", params=asked))
            for item in reply.fields().get("items") or ():
                if isinstance(item, dict) and str(item.get("name", "")).startswith(prefix):
                    yield item["name"], _number(item.get("size")) or 0
            token = reply.fields().get("nextPageToken")
            if not isinstance(token, str) or not token:
                return
            asked = {**asked, "pageToken": token}
        raise Refused(f"gs://{self.name}/{prefix} has too many objects to be read", code="list_too_long")

    async def bring(self, key: str, to: Path, status: JobStatus, size: int) -> None:
        """Make `to` hold an object of this size whole; the last reading takes what comes."""
        path, expected = f"download/{self._path()}/o/{quote(key, safe='')}", None if status.last else size
        facts = {"key": key, "size": size, "reading": status.reading}
        get = partial(self.origin.download, path, to, expected, params={"alt": "media"})
        await kept.bring(to, facts, partial(patiently, get))

    async def delete(self, key: str) -> None:
        """Delete an object."""
        await gone(patiently(partial(self.origin.request, "DELETE", self._object(key))))

    async def abandon(self, path: Path) -> None:
        """Cancel the upload of a file that was not finished; one that is over is no error."""
        session = (await asyncio.to_thread(kept.noted, path)).get("session")
        if isinstance(session, dict):
            try:
                await patiently(partial(self.origin.request, "DELETE", self._uploads(), params=session))
            except Refused as refused:
                if refused.status not in OVER | {400, 499}:
                    raise

    async def _uploaded(self, path: Path, key: str, mark: str, size: int) -> None:
        """Go on with the upload of an earlier run, or begin one.

        After any doubt the service is asked how much it has, and the rest is sent from there.
        """
        known, pauses, most = await asyncio.to_thread(kept.noted, path), iter(PAUSES), 0
        session = known.get("session") if known.get("key") == key else None
        offset = None if session else 0
        session = session or await self._begun(path, key, mark, known)
        while True:
            try:
                reply = await self._piece(session, path, offset, size)
            except TryLater as error:
                await _rest(pauses, error)
                offset = offset if error.status == TOO_MANY else None  # which took nothing
            except Refused as refused:
                if refused.status not in OVER:
                    raise
                await _rest(pauses, TryLater("the upload is not known any more"))
                session, offset = await self._begun(path, key, mark, known), 0
            else:
                if reply.status not in GOES_ON:
                    return
                has = _received(reply, size)
                if has > most:  # it moves, so it may go on moving
                    pauses, most = iter(PAUSES), has
                elif offset is not None:
                    await _rest(pauses, TryLater("an upload does not move"))
                offset = has

    async def _begun(self, path: Path, key: str, mark: str, known: Mapping[str, Any]) -> dict[str, str]:
        """Begin an upload; return the query of its address, which is durable beside the file before the first byte."""
        params = {"uploadType": "resumable", "name": key, "ifGenerationMatch": "0"}
        about = {"contentType": "application/jsonl", "metadata": {MARK: mark}}
        call = partial(self.origin.request, "POST", self._uploads(), json=about, params=params)
        address = (await patiently(call)).headers.get("Location", "")
        session = dict(parse_qsl(urlsplit(address).query))
        if not session.get("upload_id"):
            raise TryLater("the start of an upload was answered without its address")
        await asyncio.to_thread(kept.note, path, {**known, "key": key, "session": session}, keep=True)
        return session

    async def _piece(self, session: Mapping[str, str], path: Path, offset: int | None, size: int) -> Reply:
        """Send the next piece of an upload; where the offset is not known ask for it, as Google counts it."""
        start = size if offset is None else offset
        more = min(self.piece, size - start)
        span = f"{start}-{start + more - 1}" if more else "*"
        headers = {"Content-Range": f"bytes {span}/{size}"}
        return await self.origin.put_piece(self._uploads(), path, start, more, headers=headers, params=session)

    async def _facts(self, key: str) -> dict[str, Any] | None:
        asked = {"fields": "name,size,metadata"}
        reply = await none_if_gone(patiently(partial(self.origin.request, "GET", self._object(key), params=asked)))
        return None if reply is None else reply.fields()

    def _uploads(self) -> str:
        return f"upload/{self._path()}/o"

    def _object(self, key: str) -> str:
        return f"{self._path()}/o/{quote(key, safe='')}"

    def _path(self) -> str:
        return f"storage/v1/b/{self.name}"


def _forget_upload(path: Path) -> None:
    """Note that no upload is open. Blocking."""
    kept.note(path, {name: value for name, value in kept.noted(path).items() if name != "session"}, keep=True)


async def _rest(pauses: Iterator[float], error: TryLater) -> None:
    """Wait before a next try, or raise where there were enough."""
    pause = next(pauses, None)
    if pause is None or (error.after or 0.0) > LONGEST_PAUSE:
        raise error
    await asyncio.sleep(max(pause, error.after or 0.0))


def _received(reply: Reply, size: int) -> int:
    """Return how many bytes of an upload have arrived; without a `Range` none. Raises TryLater for nonsense.

    What is kept of a piece is a multiple of 256 KiB. gcp-storage-emulator 2026.7 says `0-0` where nothing has come.
    """
    told = reply.headers.get("Range", "bytes=0--1").removeprefix("bytes=0-")
    if told == "-1":
        return 0
    if not told.isdigit() or int(told) >= size:
        raise TryLater("an upload was answered with a range that it cannot have")
    has = int(told) + 1
    return has if has == size else has // GRANULE * GRANULE


def _mark(facts: Mapping[str, Any]) -> object:
    metadata = facts.get("metadata")
    return metadata.get(MARK) if isinstance(metadata, dict) else None


def _number(text: object) -> int | None:
    """Return a 64-bit number, which JSON has as text."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else None
