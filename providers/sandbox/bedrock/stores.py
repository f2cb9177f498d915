"""S3 as Bedrock's stand-in has it: buckets that are folders, objects that are files, uploads in parts.

Source: "Amazon S3 API Reference" of these calls. The same folders may be served by a real server of S3 beside.
"""

import asyncio
import hashlib
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route
from proxy_plugin.providers.sandbox.replies import Refused, Reply

BUCKET, STRANGERS, OWNER = "batches", "strangers/", "111122223333"
PAGE = 1000


@dataclass(slots=True)
class Upload:
    """An upload that is not finished: its parts are files of a folder, named by their numbers."""

    bucket: Path
    key: str
    folder: Path


class Store:
    """The buckets of all accounts. `check` compares a signature with the hash of the body that came."""

    def __init__(self, root: Path, check: Callable[[web.Request, str], None]) -> None:
        self.root, self._parts, self._check = root / "buckets", root / "parts", check
        self.shared = False  # do all accounts have the same buckets?
        self.uploads: dict[str, Upload] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all objects."""
        for folder in (self.root, self._parts):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.uploads.clear()

    def left(self) -> list[str]:
        """The keys of all objects and unfinished uploads that are not a stranger's."""
        keys = [str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()]
        return sorted(key for key in (*keys, *(each.key for each in self.uploads.values())) if STRANGERS not in key)

    def routes(self) -> list[Route]:
        """The routes of all calls."""
        bucket, key = "/s3/{bucket}", "/s3/{bucket}/{key:.+}"
        return [
            Route("GET", bucket, "objects.list", self._list),
            Route("GET", "/s3/{bucket}/{key:.+/manifest\\.json\\.out}", "objects.manifest", self._get),
            Route("GET", key, "objects.get", self._get),
            Route("HEAD", key, "objects.head", self._get),
            Route("PUT", key, "objects.put", self._put),
            Route("POST", key, "objects.post", self._post),
            Route("DELETE", key, "objects.delete", self._delete),
        ]

    def folder(self, account: str, bucket: str) -> Path | None:
        """The folder of a bucket, None where this account has none of this name."""
        top = self.root / ("" if self.shared else account)
        (top / BUCKET).mkdir(parents=True, exist_ok=True)
        return top / bucket if (top / bucket).is_dir() else None

    def path(self, account: str, uri: str) -> Path | None:
        """The file behind an s3 URI."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        folder = self.folder(account, bucket) if uri.startswith("s3://") else None
        return folder and folder / key

    def _of(self, request: web.Request, account: str) -> tuple[Path, str]:
        folder = self.folder(account, request.match_info["bucket"])
        if folder is None:
            raise _refused(404, "NoSuchBucket", "The specified bucket does not exist")
        if request.headers.get("x-amz-expected-bucket-owner", OWNER) != OWNER:
            raise _refused(403, "AccessDenied", "Access Denied")
        return folder, unquote(request.match_info.get("key", ""))

    async def _received(self, request: web.Request) -> tuple[Path, str]:
        """A body in a file of its own, and its MD5. Memory holds one chunk."""
        path, sha256, md5 = self._parts / secrets.token_hex(8), hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        with path.open("wb") as file:
            async for chunk in request.content.iter_any():
                file.write(chunk)
                sha256.update(chunk)
                md5.update(chunk)
        try:
            self._check(request, sha256.hexdigest())
        except Refused:
            path.unlink()
            raise
        return path, f'"{md5.hexdigest()}"'

    async def _put(self, request: web.Request, account: str) -> Act:
        bucket, key = self._of(request, account)
        path, tag = await self._received(request)

        async def act() -> Reply:
            number = request.query.get("partNumber")
            to = bucket / key if number is None else self._upload(request).folder / number
            to.parent.mkdir(parents=True, exist_ok=True)
            path.replace(to)
            return Reply(200, headers={"etag": tag}, subject=key)

        return act

    async def _post(self, request: web.Request, account: str) -> Act:
        bucket, key = self._of(request, account)
        body = await request.read()
        self._check(request, hashlib.sha256(body).hexdigest())

        async def act() -> Reply:
            if "uploads" in request.query:
                upload = Upload(bucket, key, self._parts / secrets.token_hex(8))
                upload.folder.mkdir()
                self.uploads[upload.folder.name] = upload
                return _xml("InitiateMultipartUploadResult", f"<UploadId>{upload.folder.name}</UploadId>", key)
            upload = self._upload(request)
            await asyncio.to_thread(_join, upload.folder, bucket / key)
            del self.uploads[upload.folder.name]
            return _xml("CompleteMultipartUploadResult", f"<Key>{escape(key)}</Key>", key)

        return act

    async def _get(self, request: web.Request, account: str) -> Act:
        bucket, key = self._of(request, account)
        path = bucket / key

        async def act() -> Reply:
            if "uploadId" in request.query:
                return self._list_parts(request, key)
            if not path.is_file():
                raise _refused(404, "NoSuchKey", "The specified key does not exist.")
            return Reply(200, path=path, size=path.stat().st_size, subject=key)

        return act

    async def _delete(self, request: web.Request, account: str) -> Act:
        bucket, key = self._of(request, account)

        async def act() -> Reply:
            if "uploadId" in request.query:
                upload = self._upload(request)
                shutil.rmtree(upload.folder)
                del self.uploads[upload.folder.name]
            else:
                _remove(bucket / key, bucket)
            return Reply(204, subject=key)

        return act

    async def _list(self, request: web.Request, account: str) -> Act:
        bucket, _ = self._of(request, account)
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")

        async def act() -> Reply:
            if "uploads" in request.query:
                return self._list_uploads(bucket, prefix)
            top = bucket
            keys = sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())
            found = [key for key in keys if key.startswith(prefix) and key > after]
            page = found[:PAGE]
            more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(found) > PAGE else ""
            items = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{(top / key).stat().st_size}</Size></Contents>"
                for key in page
            )
            return _xml("ListBucketResult", f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{items}")

        return act

    def _list_uploads(self, bucket: Path, prefix: str) -> Reply:
        found = (each for each in self.uploads.values() if each.bucket == bucket and each.key.startswith(prefix))
        items = "".join(
            f"<Upload><Key>{escape(each.key)}</Key><UploadId>{each.folder.name}</UploadId></Upload>" for each in found
        )
        return _xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{items}")

    def _list_parts(self, request: web.Request, key: str) -> Reply:
        items = ""
        for path in sorted(self._upload(request).folder.iterdir(), key=lambda path: int(path.name)):
            tag = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            items += f"<Part><PartNumber>{path.name}</PartNumber><ETag>&quot;{tag}&quot;</ETag>"
            items += f"<Size>{path.stat().st_size}</Size></Part>"
        return _xml("ListPartsResult", f"<IsTruncated>false</IsTruncated>{items}", key)

    def _upload(self, request: web.Request) -> Upload:
        upload = self.uploads.get(request.query.get("uploadId", ""))
        if upload is None:
            raise _refused(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload


def error(code: str, message: str) -> bytes:
    """The body of an error."""
    return f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()


def _refused(status: int, code: str, message: str) -> Refused:
    return Refused(Reply(status, error(code, message), {"content-type": "application/xml"}))


def _xml(name: str, inner: str, subject: str | None = None) -> Reply:
    text = f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{name}>'
    return Reply(200, text.encode(), {"content-type": "application/xml"}, subject=subject)


def _join(folder: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    whole = folder.with_suffix(".whole")
    with whole.open("wb") as file:
        for part in sorted(folder.iterdir(), key=lambda path: int(path.name)):
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, file)
    whole.replace(to)
    shutil.rmtree(folder)


def _remove(path: Path, top: Path) -> None:
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == top or not folder.is_dir() or any(folder.iterdir()):
            break
        folder.rmdir()
