"""One account at one base URL: everything an adapter may call.

Facts about aiohttp 3.13 and 3.14 that the code relies on:
 - a redirect would carry credentials and body to another host, so none is followed;
 - GET, PUT and DELETE are silently repeated on a dropped kept-alive connection, POST is not; creates and uploads
   use fresh connections all the same;
 - the read timeout of a socket starts when the request body has been sent, so a stalled upload needs its own.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from proxy_plugin.providers.echoes import Echoes
from proxy_plugin.providers.errors import ProviderError, Refused, Short, TryLater
from proxy_plugin.providers.http.bodies import Beyond, form_frame, json_body, packing, read, sent, store
from proxy_plugin.providers.http.complaints import read_complaint
from proxy_plugin.providers.http.connections import Connections
from proxy_plugin.providers.http.outcomes import (
    BROKEN,
    LONGEST_WAIT,
    Call,
    broken,
    no_answer,
    retry_after,
    unsuccessful,
)
from proxy_plugin.providers.kept import publish

MAX_COMPLAINT = 1 << 16  # bytes of an error body that are read
MAX_MESSAGE = 500  # characters of a provider's message that are kept
_SCHEMES = {"bearer", "basic", "key", "token"}
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]+")
_PLAIN = {"Accept-Encoding": "identity"}  # 1 MB of gzip is 1 GB of zeros: nothing packed is asked for or read
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer. `json` is the decoded body, None for an empty one."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    json: Any = field(repr=False)

    def fields(self) -> dict[str, Any]:
        """Return the body if it is an object, else {}."""
        return self.json if isinstance(self.json, dict) else {}

    def pause(self) -> float | None:
        """Return the seconds until the next call that the provider asks for, at most an hour."""
        after = retry_after(self.headers)
        return None if after is None else min(after, LONGEST_WAIT)


class Origin:
    """One account at one base URL. Paths are relative to it, so a credential cannot reach another host.

    A call answers with 2xx or raises. Safe calls (`request`, `upload`, `download`, `first_line`) raise `TryLater` for
    no or an unreadable answer and for 408, 409, 425, 429 and 5xx, `Refused` for the rest. Nothing is sent while the
    provider's Retry-After of an earlier 429 or 503 lasts: that is `TryLater` at once.
    """

    def __init__(
        self,
        http: Connections,
        account: str,
        base_url: str,
        secret_headers: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> None:
        self._base = plain_url(base_url)
        self._http, self._account = http, account
        carried = _beneath(http.carried, _PLAIN, headers, secret_headers)
        self._headers = _sendable({**carried, **_PLAIN, **headers, **secret_headers})
        self._echoes = Echoes(_secrets(secret_headers.values()))

    def __repr__(self) -> str:
        return f"Origin({self._base})"

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a call that may be repeated freely."""
        call = Call(method, path, asyncio.timeout(self._http.settings.request_timeout))
        body = json_body(json)
        more = {**body.pop("headers", {}), **(headers or {})}
        async with self._exchange(call, params=params, headers=more, **body) as response:
            return await self._reply(call, response)

    async def create(self, path: str, *, json: object = None, document: Path | None = None) -> Reply:
        """POST what must not be sent twice: a JSON value, or the JSON document in a file.

        Raises `TryLater` when no connection was made, for 429 and while the account is held; `Refused` for other
        4xx and redirects; `OutcomeUnknown` for everything else: timeouts, lost or unreadable answers, 408, 409,
        425, 303 and 5xx.
        """
        limits = self._http.settings
        if document is not None:
            call = Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.read_timeout), create=True)
            return await self._send_file(call, document, (b"", b""), "application/json")
        call = Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.create_timeout), create=True)
        async with self._exchange(call, fresh=True, **json_body(json)) as response:
            return await self._reply(call, response)

    async def upload(
        self, path: str, fields: Mapping[str, str], file: Path, filename: str, *, once: bool = False
    ) -> Reply:
        """POST a multipart form, `file` last, from disk with a Content-Length. `once`: raises like `create`."""
        limits = self._http.settings
        call = Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.read_timeout), create=once)
        boundary = secrets.token_hex(16)
        kind = f"multipart/form-data; boundary={boundary}"
        return await self._send_file(call, file, form_frame(boundary, fields, filename), kind)

    async def send(
        self, path: str, file: Path, *, start: int, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> Reply:
        """POST the bytes of a file from `start` on, from disk with a Content-Length: a call that may be repeated."""
        limits = self._http.settings
        call = Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.read_timeout))
        kind = "application/octet-stream"
        return await self._send_file(call, file, (b"", b""), kind, headers, params, start)

    async def download(
        self, path: str, to: Path, expect_bytes: int | None = None, params: Mapping[str, str] | None = None
    ) -> int:
        """Store a reply's body as `to`, whole and durable or not at all; return its size in bytes.

        A broken body and a full disk are `TryLater`. One that has not `expect_bytes`, or more than the intake takes, is
        `Short`: it is left at the first byte too many. An intake that cuts keeps the beginning of what is too long.
        """
        call, intake = Call("GET", path, asyncio.timeout(None)), self._http.intake
        taken = None if intake is None else intake.most_bytes
        bounds = [bound for bound in (expect_bytes, taken) if bound is not None]
        part = to.with_name(to.name + ".part")
        try:
            async with self._exchange(call, params=params) as response:
                size = await store(response, part, min(bounds, default=None), intake)
                if expect_bytes not in (None, size):
                    raise Short(f"{call}: {size} bytes arrived, {expect_bytes} were announced")
                await asyncio.to_thread(publish, part, to)
        except Beyond:
            raise Short(f"{call}: more than the {min(bounds)} bytes came that are taken") from None
        finally:
            part.unlink(missing_ok=True)
        return size

    @asynccontextmanager
    async def reading(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield an answer whose body is read as fast as its reader likes. What breaks off inside is `TryLater`."""
        call = Call("GET", path, asyncio.timeout(None))
        async with self._exchange(call, headers=headers) as response:
            yield response

    async def first_line(self, path: str) -> bytes:
        """Return the first line with text of a reply's body, cut where a small reply would be; the rest is not read."""
        call = Call("GET", path, asyncio.timeout(self._http.settings.request_timeout))
        async with self._exchange(call) as response:
            head = await read(response, self._http.settings.max_reply_bytes, one_line=True)
        return head.lstrip().partition(b"\n")[0]

    def clean(self, text: str) -> str:
        """Return a provider's words fit to be shown: our credentials masked, on one line, at most 500 characters."""
        text = self._echoes.hide(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
        return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:MAX_MESSAGE]

    async def _send_file(
        self,
        call: Call,
        path: Path,
        frame: tuple[bytes, bytes],
        content_type: str,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        start: int = 0,
    ) -> Reply:
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            file.seek(start)
            size = len(frame[0]) + os.fstat(file.fileno()).st_size - start + len(frame[1])
            headers = {**(headers or {}), "Content-Type": content_type, "Content-Length": str(size)}
            body = sent(call, frame, file, self._http.settings)
            async with self._exchange(call, fresh=True, headers=headers, data=body, params=params) as response:
                return await self._reply(call, response)

    @asynccontextmanager
    async def _exchange(
        self, call: Call, *, fresh: bool = False, headers: Mapping[str, str] | None = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a 2xx response, or raise what its absence means. Covers what is done with the body, too."""
        if held := self._http.held(self._account):
            raise TryLater(f"{call}: not sent, the provider asked for a pause", after=held)
        url = self._url(call.path)
        request = self._http.session(fresh=fresh).request(
            call.method,
            url,
            headers={**self._headers, **(headers or {})},
            allow_redirects=False,
            proxy=self._http.proxy(url),
            timeout=self._timeouts(call),
            trace_request_ctx=call,
            **options,
        )
        try:
            async with call.deadline, request as response:
                if not 200 <= response.status < 300:
                    raise await self._failure(call, response)
                if packed := packing(response):
                    raise no_answer(call, f"{call}: HTTP {response.status} as {packed}, which was not asked for")
                yield response
        except BROKEN as error:
            raise broken(call, error) from None  # the chain would show URLs and headers in a traceback

    def _url(self, path: str) -> URL:
        if not _PATH.fullmatch(path) or {"", ".", ".."} & set(path.split("/")):
            raise ValueError("not a relative path below the base URL")
        return URL(f"{self._base}/{path}", encoded=True)

    def _timeouts(self, call: Call) -> aiohttp.ClientTimeout:
        """No total here, the call's own deadline stands for it. `connect` includes waiting for a free connection."""
        limits = self._http.settings
        silence = limits.create_timeout if call.create else limits.read_timeout
        connect = limits.connect_timeout + limits.read_timeout
        return aiohttp.ClientTimeout(
            total=None, connect=connect, sock_connect=limits.connect_timeout, sock_read=silence
        )

    async def _reply(self, call: Call, response: aiohttp.ClientResponse) -> Reply:
        body = await read(response, self._http.settings.max_reply_bytes)  # JSON cut short is unreadable below
        try:
            return Reply(response.status, response.headers, msgspec.json.decode(body) if body.strip() else None)
        except (ValueError, RecursionError):
            raise no_answer(call, f"{call}: HTTP {response.status} with an unreadable body") from None

    def refusal(self, body: bytes, status: int | None = None, *, code: str = "refused") -> Refused:
        """Return the `Refused` that an error body describes, cleaned; `code` where the body has none that is plain."""
        found, message, param = read_complaint(body)
        if found and _CODE.fullmatch(found) and self.clean(found) == found:
            code = found
        return Refused(self.clean(message) or code, code=code, status=status, param=self.clean(param or "") or None)

    async def _failure(self, call: Call, response: aiohttp.ClientResponse) -> ProviderError:
        """Return what an answer other than 2xx proves."""
        status, after = response.status, retry_after(response.headers, self._http.now)
        after = None if after is None else min(after, LONGEST_WAIT)
        if status in {429, 503} and after:
            self._http.hold(self._account, after)
        return unsuccessful(call, status, after, await self._refusal_of(response))

    async def _refusal_of(self, response: aiohttp.ClientResponse) -> Refused:
        """Read an error body. The status alone counts when it cannot be read."""
        try:
            body = b"" if packing(response) else await read(response, MAX_COMPLAINT)
        except BROKEN:
            body = b""
        return self.refusal(body, response.status, code=f"http_{response.status}")


def plain_url(text: str) -> str:
    """Return a base URL without its last slash. Raises ValueError, which does not show it, for any other text."""
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.host or url.user or url.query_string or url.fragment:
        raise ValueError("a base URL is http(s)://host[:port][/path], without user, query and fragment")
    return str(url).rstrip("/")


def _beneath(carried: Mapping[str, str], *own: Mapping[str, str]) -> dict[str, str]:
    """Return what is carried without what a call says itself, whatever the case of its name."""
    taken = {name.lower() for headers in own for name in headers}
    return {name: value for name, value in carried.items() if name.lower() not in taken}


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"header {name} holds characters that cannot be sent")
    return dict(headers)


def _secrets(values: Iterable[str]) -> Iterable[str]:
    """Return the secret parts of header values."""
    return {part for value in values for part in value.split() if part.lower() not in _SCHEMES}
