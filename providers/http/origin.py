"""One account at one base URL: everything an adapter may call."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from yarl import URL

from proxy_plugin.providers.echoes import Echoes
from proxy_plugin.providers.errors import ProviderError, Refused, Short, TryLater
from proxy_plugin.providers.http.bodies import (
    Beyond,
    Body,
    file_body,
    form_body,
    form_end,
    form_fields,
    form_frame,
    json_body,
    read,
    store,
)
from proxy_plugin.providers.http.connections import Connections, may_be_public
from proxy_plugin.providers.http.exchange import GOES_ON, MOVED, PLAIN, Exchange, Reply
from proxy_plugin.providers.http.outcomes import Call
from proxy_plugin.providers.kept import publish

_OVER = frozenset({401, 403, 404, 410})  # what stores answer to a signed URL that has expired
_LINK = "signed-link"  # what messages call it: its path and query are nobody's business


class Origin(Exchange):
    """One account at one base URL. Paths are relative to it, so a credential cannot reach another host.

    A call answers with 2xx or raises. Safe calls (`request`, `upload`, `download`, `first_line`) raise `TryLater` for
    no or an unreadable answer and for 408, 409, 425, 429 and 5xx, `Refused` for the rest. Nothing is sent while the
    provider's Retry-After of an earlier 429 or 503 lasts: that is `TryLater` at once.
    """

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        form: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a call that may be repeated freely, with a JSON value or a form."""
        call = Call(method, path, asyncio.timeout(self._http.settings.request_timeout))
        body = json_body(json) if form is None else form_body(form)
        async with self._exchange(call, body, params=params, headers=headers) as response:
            return await self._reply(call, response)

    async def create(
        self,
        path: str,
        *,
        json: object = None,
        document: Path | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        """POST what must not be sent twice: a JSON value, or the JSON document in a file.

        Raises `TryLater` when no connection was made, for 429 and while the account is held; `Refused` for other
        4xx and redirects; `OutcomeUnknown` for everything else: timeouts, lost or unreadable answers, 408, 409,
        425, 303 and 5xx.
        """
        limits, late = self._http.settings, self._http.is_late
        if document is not None:
            within = asyncio.timeout(limits.connect_timeout + limits.read_timeout)
            call = Call("POST", path, within, create=True, is_late=late)
            return await self._send_file(call, document, (b"", b""), "application/json")
        within = asyncio.timeout(limits.connect_timeout + limits.create_timeout)
        call = Call("POST", path, within, create=True, is_late=late)
        async with self._exchange(call, json_body(json), fresh=True, params=params) as response:
            return await self._reply(call, response)

    async def text(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Make a call that may be repeated freely and is not answered in JSON; return the answer's body."""
        call = Call(method, path, asyncio.timeout(self._http.settings.request_timeout))
        async with self._exchange(call, Body(body), params=params, headers=headers) as response:
            return await read(response, self._http.settings.max_reply_bytes)

    async def pointed(self, path: str, fields: Mapping[str, str]) -> Reply:
        """POST a form that is answered with a redirect, and return that answer. Nobody goes where it leads."""
        call = Call("POST", path, asyncio.timeout(self._http.settings.request_timeout))
        boundary = secrets.token_hex(16)
        form = form_fields(boundary, fields).encode().removesuffix(b"\r\n") + form_end(boundary)
        body = Body(form, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
        async with self._exchange(call, body, also=MOVED) as response:
            return Reply(response.status, response.headers, None)

    async def upload(
        self,
        path: str,
        fields: Mapping[str, str],
        file: Path,
        filename: str,
        *,
        once: bool = False,
        field: str = "file",
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        """POST a multipart form, the file last, from disk with a Content-Length. `once`: raises like `create`."""
        limits = self._http.settings
        call = Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.read_timeout), create=once)
        boundary = secrets.token_hex(16)
        kind = f"multipart/form-data; boundary={boundary}"
        return await self._send_file(call, file, form_frame(boundary, fields, filename, field), kind, params=params)

    async def linked(self, path: str) -> str | None:
        """Return the signed URL that is answered in place of content, None where content is answered."""
        call = Call("GET", path, asyncio.timeout(self._http.settings.request_timeout))
        async with self._exchange(call, also=MOVED) as response:
            return response.headers.get("Location") if response.status in MOVED else None

    async def send(
        self, path: str, file: Path, *, start: int, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> Reply:
        """POST the bytes of a file from `start` on, from disk with a Content-Length: a call that may be repeated."""
        limits = self._http.settings
        call = Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.read_timeout))
        kind = "application/octet-stream"
        return await self._send_file(call, file, (b"", b""), kind, start=start, headers=headers, params=params)

    async def put_piece(
        self, path: str, file: Path, start: int, size: int, *, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> Reply:
        """PUT `size` bytes of a file from `start` on, from disk: a call that may be repeated. A 308 is an answer."""
        limits = self._http.settings
        call = Call("PUT", path, asyncio.timeout(limits.connect_timeout + limits.read_timeout))
        opened = await asyncio.to_thread(file.open, "rb")
        with opened:
            body = file_body((b"", b""), opened, "application/octet-stream", start, size)
            async with self._exchange(call, body, fresh=True, also=GOES_ON, headers=headers, params=params) as response:
                if response.status in GOES_ON:
                    return Reply(response.status, response.headers, None)
                return await self._reply(call, response)

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

    def link(self, url: str) -> Link:
        """Bind calls to a signed URL that the provider gave. Raises TryLater for what is none. See `Link`."""
        return Link(self._http, self._account, self._base, url)

    async def _send_file(
        self,
        call: Call,
        path: Path,
        frame: tuple[bytes, bytes],
        content_type: str,
        *,
        start: int = 0,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            body = file_body(frame, file, content_type, start)
            async with self._exchange(call, body, fresh=True, headers=headers, params=params) as response:
                return await self._reply(call, response)


class Link(Origin):
    """One signed URL of a store: it is its own credential, so headers of the account and of its caller stay behind.

    It is at the provider's own host, or called by TLS and in no private network. One that is refused as expired is
    `TryLater`: whoever gave it gives another.
    """

    def __init__(self, http: Connections, account: str, base: str, url: str) -> None:
        link = _joined(base, url)
        at_home = bool(link.host) and link.origin() == URL(base).origin()
        if not link.host or link.user or not (at_home or (link.scheme == "https" and may_be_public(link.host))):
            raise TryLater("the provider gave a link that cannot be followed")
        super().__init__(http, f"{account}\x1f{link.host}", str(link.origin()), {}, {})
        self._link, self._headers, self._public = link, dict(PLAIN), not at_home
        self._echoes = Echoes(link.query.values())

    async def put(self, file: Path, headers: Mapping[str, str] | None = None) -> Reply:
        """Store a file there, whole or not at all; `headers` are those that were signed. It may be repeated freely."""
        limits = self._http.settings
        call = Call("PUT", _LINK, asyncio.timeout(limits.connect_timeout + limits.read_timeout))
        return await self._send_file(call, file, (b"", b""), "application/octet-stream", headers=headers)

    async def get(self, to: Path, expect_bytes: int | None = None) -> int:
        """Store what is there as `to`. See `Origin.download`."""
        return await self.download(_LINK, to, expect_bytes)

    def _url(self, path: str) -> URL:  # noqa: ARG002 - there is one
        return self._link

    async def _failure(self, call: Call, response: aiohttp.ClientResponse) -> ProviderError:
        found = await super()._failure(call, response)
        over = isinstance(found, Refused) and response.status in _OVER
        return TryLater(f"{call}: HTTP {response.status}, the link is over") if over else found


def _joined(base: str, url: str) -> URL:
    """Return where a link leads, also one that begins with a slash; an empty URL for what is no link."""
    try:
        link = URL(url, encoded=True)
        found = URL(base).join(link) if link.absolute or url.startswith("/") else URL()
        return found if found.host and found.port else URL()  # a port that is none is found out when it is read
    except ValueError:
        return URL()
