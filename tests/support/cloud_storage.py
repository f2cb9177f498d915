"""Google Cloud Storage's XML API, small and strict, as a server of these tests: no package has one with multipart.

Sources (read in November 2026): cloud.google.com/storage/docs/xml-api/{get-bucket-list, get-object-download,
put-object-upload, delete-object, post-object-multipart, put-object-multipart, post-object-complete, delete-multipart,
reference-headers, reference-status}, /storage/docs/multipart-uploads, google.aip.dev/auth/4111 (self-signed JWT),
cloud.google.com/compute/docs/access/authenticate-workloads (a machine's own tokens).
Signatures of tokens are checked; what a page does not name is refused: parameters, and headers of another store.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import count
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from proxy_plugin.demo.servers import HOST
from proxy_plugin.providers.sandbox.replies import Refused
from proxy_plugin.providers.sandbox.tokens import ACCOUNT, CLOUD_PLATFORM, verified

LEAST_PART, MOST_PARTS, MOST_KEYS = 5 * 2**20, 10_000, 1000
LISTING = frozenset({"list-type", "prefix", "delimiter", "start-after", "continuation-token", "max-keys"})
_ASKED = {  # parameters of a call of an object, and what serves it
    ("PUT", frozenset[str]()): "put",
    ("GET", frozenset[str]()): "read",
    ("HEAD", frozenset[str]()): "read",
    ("DELETE", frozenset[str]()): "delete",
    ("POST", frozenset({"uploads"})): "begin",
    ("PUT", frozenset({"partNumber", "uploadId"})): "part",
    ("POST", frozenset({"uploadId"})): "complete",
    ("DELETE", frozenset({"uploadId"})): "abort",
}


@dataclass(frozen=True)
class _Stored:
    data: bytes
    generation: int
    at: float = field(default_factory=time.time)

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'


class _Wrong(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.answer = web.Response(
            status=status,
            text=f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{escape(message or code)}"
            "</Message></Error>",
            content_type="application/xml",
        )


class CloudStorage:
    """The server. `buckets` has its objects by name, `uploads` the parts of those that are not complete."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.buckets: dict[str, dict[str, _Stored]] = {}
        self.uploads: dict[str, tuple[str, str, dict[int, _Stored]]] = {}
        self.lent: list[str] = []  # tokens of its machine, each of which is over when the next one is asked for
        self._numbers = count(1_700_000_000_000_000)

    async def start(self) -> str:
        """Listen, and return the URL."""
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/computeMetadata/v1/instance/service-accounts/default/token", self._lend)
        app.router.add_route("*", "/{bucket}", self._of_bucket)
        app.router.add_route("*", "/{bucket}/{key:.+}", self._of_object)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0)
        await site.start()
        return f"http://{HOST}:{site.port}"

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()

    # ---- who asks, and what for ----

    async def _of_bucket(self, request: web.Request) -> web.Response:
        known = request.method == "GET" and not request.query.keys() - LISTING and request.query.get("list-type") == "2"
        try:
            objects = self._bucket(request)
            return _xml(_listed(request, objects)) if known else _Wrong(400, "InvalidArgument").answer
        except _Wrong as error:
            return error.answer

    async def _of_object(self, request: web.Request) -> web.Response:
        named = _ASKED.get((request.method, frozenset(request.query)), "unknown")
        act: Callable[..., web.Response] = getattr(self, f"_{named}")
        data = await request.read()
        try:
            return act(request, self._bucket(request), request.match_info["key"], data)
        except _Wrong as error:
            return error.answer

    def _bucket(self, request: web.Request) -> dict[str, _Stored]:
        if any(name.lower().startswith("x-amz-") for name in request.headers):
            raise _Wrong(400, "InvalidArgument", "a header of another store")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self._knows(token):
            raise _Wrong(401, "AuthenticationRequired", "Authentication required.")
        try:
            return self.buckets[request.match_info["bucket"]]
        except KeyError:
            raise _Wrong(404, "NoSuchBucket", "The specified bucket does not exist.") from None

    async def _lend(self, request: web.Request) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403)
        self.lent.append(secrets.token_hex(16))
        return web.json_response({"access_token": self.lent[-1], "expires_in": 0, "token_type": "Bearer"})

    def _knows(self, token: str) -> bool:
        if token in self.lent[-1:]:
            return True
        try:
            head, claims = verified(token)
        except Refused:
            return False
        who = (head.get("kid"), claims.get("iss"), claims.get("sub"), claims.get("scope"))
        begins, ends = claims.get("iat", 0), claims.get("exp", 0)
        ours = who == (self.key_id, ACCOUNT, ACCOUNT, CLOUD_PLATFORM)
        return ours and begins - 60 < time.time() < ends <= begins + 3600

    # ---- objects ----

    def _unknown(self, *_: object) -> web.Response:
        raise _Wrong(400, "InvalidArgument", "no call of an object has these parameters")

    def _put(self, request: web.Request, objects: dict[str, _Stored], key: str, data: bytes) -> web.Response:
        if "Content-Length" not in request.headers:
            raise _Wrong(411, "MissingContentLength")
        there = objects[key].generation if key in objects else 0
        if request.headers.get("x-goog-if-generation-match", str(there)) != str(there):
            raise _Wrong(412, "PreconditionFailed")
        made = objects[key] = _Stored(data, next(self._numbers))
        return web.Response(headers={"ETag": made.etag, "x-goog-generation": str(made.generation)})

    def _read(self, request: web.Request, objects: dict[str, _Stored], key: str, _: bytes) -> web.Response:
        found = _of(objects, key)
        headers = {"ETag": found.etag, "Last-Modified": formatdate(found.at, usegmt=True)}
        headers |= {"x-goog-generation": str(found.generation), "Accept-Ranges": "bytes"}
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(found.data))
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if span is None:
            return web.Response(body=found.data, headers=headers)
        start, stop = int(span[1]), min(int(span[2] or len(found.data)) + 1, len(found.data))
        if start >= len(found.data):
            raise _Wrong(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(found.data)}"
        return web.Response(status=206, body=found.data[start:stop], headers=headers)

    def _delete(self, _: web.Request, objects: dict[str, _Stored], key: str, __: bytes) -> web.Response:
        _of(objects, key)
        del objects[key]
        return web.Response(status=204)

    # ---- in parts ----

    def _begin(self, request: web.Request, _: dict[str, _Stored], key: str, data: bytes) -> web.Response:
        if data or any(name.lower().startswith("x-goog-if-") for name in request.headers):
            raise _Wrong(400, "InvalidArgument", "multipart uploads have no preconditions")
        bucket, name = request.match_info["bucket"], f"upload-{next(self._numbers)}"
        self.uploads[name] = (bucket, key, {})
        return _xml(_tagged("InitiateMultipartUploadResult", Bucket=bucket, Key=key, UploadId=name))

    def _parts(self, request: web.Request, key: str) -> dict[int, _Stored]:
        bucket, of, parts = self.uploads.get(request.query["uploadId"], ("", "", {}))
        if (bucket, of) != (request.match_info["bucket"], key):
            raise _Wrong(404, "NoSuchUpload", "The requested upload was not found.")
        return parts

    def _part(self, request: web.Request, _: dict[str, _Stored], key: str, data: bytes) -> web.Response:
        number, parts = int(request.query["partNumber"]), self._parts(request, key)
        if not 1 <= number <= MOST_PARTS:
            raise _Wrong(400, "InvalidArgument")
        made = parts[number] = _Stored(data, 0)
        return web.Response(headers={"ETag": made.etag})

    def _complete(self, request: web.Request, objects: dict[str, _Stored], key: str, data: bytes) -> web.Response:
        parts, named = self._parts(request, key), list(_named(data))
        if [number for number, _ in named] != sorted({number for number, _ in named}):
            raise _Wrong(400, "InvalidPartOrder")
        if not named or any(number not in parts or parts[number].etag != etag for number, etag in named):
            raise _Wrong(400, "InvalidPart")
        whole = [parts[number].data for number, _ in named]
        if any(len(each) < LEAST_PART for each in whole[:-1]):
            raise _Wrong(400, "EntityTooSmall")
        del self.uploads[request.query["uploadId"]]
        made = objects[key] = _Stored(b"".join(whole), next(self._numbers))
        where = _tagged("CompleteMultipartUploadResult", Bucket=request.match_info["bucket"], Key=key, ETag=made.etag)
        return _xml(where, {"x-goog-generation": str(made.generation)})

    def _abort(self, request: web.Request, _: dict[str, _Stored], key: str, __: bytes) -> web.Response:
        self._parts(request, key)
        del self.uploads[request.query["uploadId"]]
        return web.Response(status=204)


def _of(objects: dict[str, _Stored], key: str) -> _Stored:
    try:
        return objects[key]
    except KeyError:
        raise _Wrong(404, "NoSuchKey", "The specified key does not exist.") from None


def _named(data: bytes) -> Iterator[tuple[int, str]]:
    for part in ElementTree.fromstring(data).iterfind("{*}Part"):
        yield int(part.findtext("{*}PartNumber", "0")), part.findtext("{*}ETag", "")


def _listed(request: web.Request, objects: dict[str, _Stored]) -> str:
    """One page: keys in the order of their bytes, after the token or `start-after`."""
    asked = request.query
    prefix, after = asked.get("prefix", ""), asked.get("continuation-token") or asked.get("start-after", "")
    most = min(int(asked.get("max-keys", MOST_KEYS)), MOST_KEYS)
    found = sorted((key for key in objects if key.startswith(prefix) and key > after), key=str.encode)
    page = found[:most]
    more = {"NextContinuationToken": page[-1]} if len(found) > most else {}
    told = _tagged("", Name=request.match_info["bucket"], Prefix=prefix, IsTruncated=str(bool(more)).lower(), **more)
    return f"<ListBucketResult>{told}{''.join(_entry(key, objects[key]) for key in page)}</ListBucketResult>"


def _entry(key: str, stored: _Stored) -> str:
    at = datetime.fromtimestamp(stored.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    told = {"Key": key, "Generation": str(stored.generation), "MetaGeneration": "1", "LastModified": at}
    return _tagged("Contents", **told, ETag=stored.etag, Size=str(len(stored.data)))


def _tagged(tag: str, **values: str) -> str:
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())
    return f"<{tag}>{inside}</{tag}>" if tag else inside


def _xml(text: str, headers: dict[str, str] | None = None) -> web.Response:
    body = f"<?xml version='1.0' encoding='UTF-8'?>{text}"
    return web.Response(text=body, content_type="application/xml", headers=headers)
