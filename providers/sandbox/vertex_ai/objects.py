"""Cloud Storage, as far as batches need it: uploads that can be resumed, objects that are made once, lists, downloads.

Source: the project's reference page of Vertex AI, section 2; "Resumable uploads" and the JSON API of Cloud Storage's
docs. Buckets and objects are those of an account; what another has stored nobody sees.
"""

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply
from proxy_plugin.providers.sandbox.vertex_ai.options import Options

GRANULE = 256 << 10
OURS = "pp-"  # in the keys of what is a part's
_SPAN = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_LIST = frozenset({"prefix", "maxResults", "pageToken", "fields", "delimiter", "projection", "prettyPrint", "versions"})


@dataclass(slots=True)
class Object:
    """An object, or an upload that becomes one."""

    account: str
    bucket: str
    key: str
    path: Path
    metadata: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    received: int = 0
    whole: bool = False
    md5: str = ""
    generation: int = 0
    created: float = 0.0


class Objects:
    """The objects of all accounts, and their routes."""

    def __init__(
        self, services: Services, prefix: str, options: Callable[[], Options], refuse: Callable[[int, str], Refused]
    ) -> None:
        self._services, self._prefix, self._options, self._refuse = services, prefix, options, refuse
        self._folder = services.directory / "objects"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.reset()

    def reset(self) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._uploads: dict[str, Object] = {}
        self._made = self._broken = 0
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def routes(self) -> list[Route]:
        bucket, one = "storage/v1/b/{bucket}", "storage/v1/b/{bucket}/o/{key:.+}"
        return [
            Route("POST", f"/upload/{bucket}/o", "objects.begin", self._begin),
            Route("PUT", f"/upload/{bucket}/o", "objects.send", self._send),
            Route("DELETE", f"/upload/{bucket}/o", "objects.abandon", self._abandon),
            Route("GET", f"/{bucket}/o", "objects.list", self._list),
            Route("GET", f"/{one}", "objects.retrieve", self._retrieve),
            Route("DELETE", f"/{one}", "objects.delete", self._delete),
            Route("GET", f"/download/{one}", "objects.content", self._content),
        ]

    def at(self, account: str, address: object) -> Path | None:
        """Where the bytes of `gs://BUCKET/KEY` are."""
        bucket, _, key = str(address).removeprefix("gs://").partition("/")
        found = self._objects.get((account, bucket, key))
        return found.path if found else None

    def write(self, account: str, address: str, data: bytes) -> None:
        """Make an object, as a job does."""
        bucket, _, key = address.removeprefix("gs://").partition("/")
        made = Object(account, bucket, key, self._new_path())
        made.received = made.path.write_bytes(data)
        self._add(made)

    def left(self) -> list[str]:
        """The keys of all objects of parts. Uploads that were not finished are seen by nobody and end by themselves."""
        return sorted(each.key for each in self._objects.values() if OURS in each.key)

    def of(self, account: str) -> Iterator[str]:
        """The addresses of an account's objects."""
        return (f"gs://{bucket}/{key}" for owner, bucket, key in sorted(self._objects) if owner == account)

    # Uploads

    async def _begin(self, request: web.Request, account: str) -> Act:
        bucket, key = self._bucket(request), request.query.get("name", "")
        if request.query.get("uploadType") == "media":
            return await self._media(request, Object(account, bucket, key, self._new_path()))
        if request.query.get("uploadType") != "resumable":
            raise self._refuse(400, "The sandbox knows uploads of the types resumable and media.")
        about = await request.json() if request.can_read_body else {}
        key = key or str(about.get("name", ""))
        if not key:
            raise self._refuse(400, "Required parameter: name")
        once = request.query.get("ifGenerationMatch") == "0"

        async def act() -> Reply:
            made = Object(account, bucket, key, self._new_path(), about.get("metadata", {}), once)
            made.path.touch()
            self._check_once(made)
            upload_id = secrets.token_urlsafe(24)
            self._uploads[upload_id] = made
            base = f"{request.scheme}://{request.host}{self._prefix}"
            where = f"{base}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={key}&upload_id={upload_id}"
            return Reply(200, headers={"location": where, "x-guploader-uploadid": upload_id}, subject=key)

        return act

    async def _media(self, request: web.Request, made: Object) -> Act:
        """An upload in one call, as other clients make it."""
        if not made.key:
            raise self._refuse(400, "Required parameter: name")
        async for chunk in request.content.iter_any():
            await self._keep(made, chunk)

        async def act() -> Reply:
            self._add(made)
            return json_reply(self._facts(made), subject=made.key)

        return act

    async def _send(self, request: web.Request, account: str) -> Act:
        upload = self._upload(request, account)
        span = _SPAN.fullmatch(request.headers.get("content-range", ""))
        if span is None:
            raise self._refuse(400, "Content-Range is missing or wrong.")
        start, end, total = (None if text in {None, "*"} else int(text) for text in span.groups())
        data = await self._data(request, upload)
        if start is not None and (start > upload.received or end is None or end - start + 1 != len(data)):
            raise self._refuse(400, f"Invalid request. {upload.received} bytes have come.")
        ends = total is not None and (end is None or end + 1 == total)
        if start is not None and not ends and len(data) % GRANULE:
            raise self._refuse(400, "A piece that is not the last has a multiple of 256 KiB.")

        async def act() -> Reply:
            if not upload.whole:
                if start is not None:
                    await self._keep(upload, data[upload.received - start :])
                if total is None or upload.received < total:
                    has = {"range": f"bytes=0-{upload.received - 1}"} if upload.received else {}
                    return Reply(308, headers=has, subject=upload.key)
                self._check_once(upload)
                await asyncio.to_thread(self._add, upload)
            return json_reply(self._facts(upload), subject=upload.key)

        return act

    async def _data(self, request: web.Request, upload: Object) -> bytes:
        """Read a piece; the first `upload_breaks` of them break off behind so many bytes, which are kept."""
        breaks = self._options().upload_breaks
        most = breaks[self._broken] if self._broken < len(breaks) else None
        data = bytearray()
        async for chunk in request.content.iter_any():
            data += chunk
            if most is not None and len(data) > most:
                self._broken += 1
                await self._keep(upload, bytes(data[: most // GRANULE * GRANULE]))
                raise ConnectionError
        return bytes(data)

    async def _keep(self, upload: Object, data: bytes) -> None:
        with upload.path.open("ab") as file:
            upload.received += await asyncio.to_thread(file.write, data)

    async def _abandon(self, request: web.Request, account: str) -> Act:
        upload = self._upload(request, account)

        async def act() -> Reply:
            if upload.whole:
                raise self._refuse(400, "The upload has ended.")
            del self._uploads[request.query["upload_id"]]
            upload.path.unlink(missing_ok=True)
            return Reply(499, subject=upload.key)

        return act

    # Objects

    async def _list(self, request: web.Request, account: str) -> Act:
        bucket, query = self._bucket(request), request.query
        if unknown := set(query) - _LIST:
            raise self._refuse(400, f"Unknown parameter {min(unknown)}")
        size, start = int(query.get("maxResults", "1000")), int(query.get("pageToken", "0"))

        async def act() -> Reply:
            keys = sorted(key for owner, place, key in self._objects if (owner, place) == (account, bucket))
            keys = [key for key in keys if key.startswith(query.get("prefix", ""))]
            shown = [self._facts(self._objects[account, bucket, key]) for key in keys[start : start + size]]
            more = {"nextPageToken": str(start + size)} if start + size < len(keys) else {}
            return json_reply({"kind": "storage#objects", **({"items": shown} if shown else {}), **more})

        return act

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        if request.query.get("alt") == "media":
            return await self._content(request, account)

        async def act() -> Reply:
            found = self._object(request, account)
            return json_reply(self._facts(found), subject=found.key)

        return act

    async def _content(self, request: web.Request, account: str) -> Act:
        if request.query.get("alt") != "media":
            raise self._refuse(400, "A download asks for alt=media.")

        async def act() -> Reply:
            found = self._object(request, account)
            kind = {"content-type": "application/octet-stream"}
            return Reply(200, headers=kind, path=found.path, size=found.received, subject=found.key)

        return act

    async def _delete(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            found = self._object(request, account)
            del self._objects[account, found.bucket, found.key]
            found.path.unlink(missing_ok=True)
            return Reply(204, subject=found.key)

        return act

    def _bucket(self, request: web.Request) -> str:
        bucket = request.match_info["bucket"]
        if bucket in self._options().closed_buckets:
            words = "does not have storage.objects.list access to the Google Cloud Storage bucket."
            raise self._refuse(403, f"batches@sandbox.iam.gserviceaccount.com {words}")
        if bucket not in self._options().buckets:
            raise self._refuse(404, "The specified bucket does not exist.")
        return bucket

    def _object(self, request: web.Request, account: str) -> Object:
        bucket, key = self._bucket(request), request.match_info["key"]
        if (found := self._objects.get((account, bucket, key))) is None:
            raise self._refuse(404, f"No such object: {bucket}/{key}")
        return found

    def _upload(self, request: web.Request, account: str) -> Object:
        upload = self._uploads.get(request.query.get("upload_id", ""))
        if upload is None or upload.account != account:
            raise self._refuse(410 if self._options().uploads_gone else 404, "The upload is not known.")
        return upload

    def _check_once(self, made: Object) -> None:
        if made.once and (made.account, made.bucket, made.key) in self._objects:
            raise self._refuse(412, "At least one of the pre-conditions you specified did not hold.")

    def _add(self, made: Object) -> None:
        self._made += 1
        made.whole, made.generation, made.created = True, self._made, self._services.clock.now()
        with made.path.open("rb") as file:
            made.md5 = base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()
        self._objects[made.account, made.bucket, made.key] = made

    def _facts(self, found: Object) -> dict[str, Any]:
        told = {"kind": "storage#object", "name": found.key, "bucket": found.bucket, "size": str(found.received)}
        when = datetime.fromtimestamp(found.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        told |= {"id": f"{found.bucket}/{found.key}/{found.generation}", "timeCreated": when, "updated": when}
        return {**told, "generation": str(found.generation), "md5Hash": found.md5, "metadata": dict(found.metadata)}

    def _new_path(self) -> Path:
        return self._folder / secrets.token_hex(8)
