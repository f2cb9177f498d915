"""Outgoing HTTP for adapters: one place that decides what an answer, or none, proves.

    Http      the connections, and the times before which an account must not be called again
    Origin    one account at one base URL: everything an adapter may call
    Reply     an answered call

Facts about aiohttp 3.13 and 3.14 that the code relies on:
 - a redirect would carry credentials and body to another host, so none is followed;
 - netrc is read when a session has `trust_env`, so proxies of the environment are looked up here instead;
 - GET, PUT and DELETE are silently repeated on a dropped kept-alive connection, POST is not; creates and uploads
   use fresh connections all the same;
 - `on_connection_create_end` runs after DNS, TCP, TLS and proxy CONNECT and before the first byte of a request,
   so a create that failed before it was provably not accepted;
 - the read timeout of a socket starts when the request body has been sent, so a stalled upload needs its own.
"""

from __future__ import annotations

import asyncio
import copy
import math
import os
import re
import secrets
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from yarl import URL

from proxy_plugin.providers.base import OutcomeUnknown, ProviderError, Refused, TryLater
from proxy_plugin.providers.complaints import read_complaint

SEND_CHUNK = 1 << 18
STORE_CHUNK = 1 << 20
MAX_COMPLAINT = 1 << 16  # bytes of an error body that are read
MAX_MESSAGE = 500  # characters of a provider's message that are kept
LONGEST_WAIT = 3600.0  # of a Retry-After: a wrong header must not silence an account for good

_BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
_SCHEMES = {"bearer", "basic", "key", "token"}
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]+")
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_IN_QUOTES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # as the HTML standard writes names in forms


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What the operator may set. Times are seconds."""

    outgoing_proxy: str | None = field(default=None, repr=False)  # its URL may hold a password
    ca_bundle: str | None = None  # a file or folder that replaces the system's certificate authorities
    trust_env: bool = False  # take the proxy from HTTPS_PROXY, HTTP_PROXY and NO_PROXY
    connect_timeout: float = 10.0  # TCP and TLS
    read_timeout: float = 60.0  # longest silence while a reply is read or a body is sent
    request_timeout: float = 180.0  # a whole small call
    create_timeout: float = 600.0  # until the answer to a create or an upload, once its body is sent
    max_reply_bytes: int = 8 << 20


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


@dataclass(slots=True)
class _Call:
    """One request on its way. `connected` becomes True before its first byte leaves."""

    method: str
    path: str
    deadline: asyncio.Timeout
    create: bool = False
    connected: bool = False

    def __str__(self) -> str:
        return f"{self.method} /{self.path}"

    def allow(self, seconds: float) -> None:
        """Give the call so many seconds from now."""
        self.deadline.reschedule(asyncio.get_running_loop().time() + seconds)


class Http:
    """Owner of all connections to providers. Made anywhere, first used on the event loop, closed there."""

    def __init__(
        self,
        settings: HttpSettings | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or HttpSettings()
        self.now = now
        self._monotonic = monotonic
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._held: dict[str, float] = {}
        self._tls = _tls(self.settings.ca_bundle)
        self.carried: Mapping[str, str] = {}  # headers that the client of the gateway wants the provider to get

    def carrying(self, headers: Mapping[str, str]) -> Http:
        """Return a view, with the same connections and gates, whose calls carry these headers below the adapter's."""
        view = copy.copy(self)
        view.carried = headers
        return view

    def origin(
        self, account: str, base_url: str, secret_headers: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Origin:
        """Bind calls to `base_url`. Equal `account` texts share the retry gate.

        The values of `secret_headers` are masked wherever a provider repeats them. Raises ValueError, without
        showing a value, for a base URL that is not plain http(s) and for a header that cannot be sent.
        """
        return Origin(self, account, base_url, secret_headers, headers or {})

    def hold(self, account: str, seconds: float) -> None:
        """Let nobody call `account` for that long."""
        now = self._monotonic()
        for name in [name for name, until in self._held.items() if until <= now]:
            del self._held[name]
        self._held[account] = max(self._held.get(account, now), now + seconds)

    def held(self, account: str) -> float:
        """Return for how many seconds `account` must not be called, 0.0 if it may."""
        return max(0.0, self._held.get(account, -math.inf) - self._monotonic())

    def session(self, *, fresh: bool) -> aiohttp.ClientSession:
        """Return the session that reuses connections, or the one that never does."""
        if fresh not in self._sessions:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_note_connection)
            connector = aiohttp.TCPConnector(ssl=self._tls, force_close=fresh)
            self._sessions[fresh] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),  # a cookie of one account must not travel with another's call
                headers={"User-Agent": "proxy-plugin"},
                trace_configs=[trace],
            )
        return self._sessions[fresh]

    def proxy(self, url: URL) -> str | None:
        """Return the proxy that leads to `url`, None for the direct way."""
        if self.settings.outgoing_proxy or not self.settings.trust_env:
            return self.settings.outgoing_proxy
        return None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)

    async def close(self) -> None:
        """Close all connections."""
        while self._sessions:
            await self._sessions.popitem()[1].close()


class Origin:
    """One account at one base URL. Paths are relative to it, so a credential cannot reach another host.

    A call answers with 2xx or raises. Safe calls (`request`, `upload`, `download`, `first_line`) raise `TryLater` for
    no or an unreadable answer and for 408, 409, 425, 429 and 5xx, `Refused` for the rest. Nothing is sent while the
    provider's Retry-After of an earlier 429 or 503 lasts: that is `TryLater` at once.
    """

    def __init__(
        self, http: Http, account: str, base_url: str, secret_headers: Mapping[str, str], headers: Mapping[str, str]
    ) -> None:
        self._base = plain_url(base_url)
        self._http, self._account = http, account
        self._headers = _sendable({**_beneath(http.carried, headers, secret_headers), **headers, **secret_headers})
        self._masks = _masks(secret_headers.values())

    def __repr__(self) -> str:
        return f"Origin({self._base})"

    async def request(
        self, method: str, path: str, *, json: object = None, params: Mapping[str, str] | None = None
    ) -> Reply:
        """Make a call that may be repeated freely."""
        call = _Call(method, path, asyncio.timeout(self._http.settings.request_timeout))
        async with self._exchange(call, params=params, **_json_body(json)) as response:
            return await self._reply(call, response)

    async def create(self, path: str, *, json: object = None, document: Path | None = None) -> Reply:
        """POST what must not be sent twice: a JSON value, or the JSON document in a file.

        Raises `TryLater` when no connection was made, for 429 and while the account is held; `Refused` for other
        4xx and redirects; `OutcomeUnknown` for everything else: timeouts, lost or unreadable answers, 408, 409,
        425, 303 and 5xx.
        """
        limits = self._http.settings
        if document is not None:
            call = _Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.read_timeout), create=True)
            return await self._send_file(call, document, (b"", b""), "application/json")
        call = _Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.create_timeout), create=True)
        async with self._exchange(call, fresh=True, **_json_body(json)) as response:
            return await self._reply(call, response)

    async def upload(
        self, path: str, fields: Mapping[str, str], file: Path, filename: str, *, once: bool = False
    ) -> Reply:
        """POST a multipart form, `file` last, from disk with a Content-Length. `once`: raises like `create`."""
        limits = self._http.settings
        call = _Call("POST", path, asyncio.timeout(limits.connect_timeout + limits.read_timeout), create=once)
        boundary = secrets.token_hex(16)
        kind = f"multipart/form-data; boundary={boundary}"
        return await self._send_file(call, file, _form_frame(boundary, fields, filename), kind)

    async def download(self, path: str, to: Path, expect_bytes: int | None = None) -> int:
        """Store a reply's body as `to`, whole and durable or not at all; return its size in bytes.

        A short body, one that differs from `expect_bytes`, and a full disk are `TryLater`.
        """
        call = _Call("GET", path, asyncio.timeout(None))
        part = to.with_name(to.name + ".part")
        try:
            async with self._exchange(call, headers={"Accept-Encoding": "identity"}) as response:
                size = await _store(response, part)
                if expect_bytes not in (None, size):
                    raise TryLater(f"{call}: {size} bytes arrived, {expect_bytes} were announced")
                await asyncio.to_thread(_publish, part, to)
        finally:
            part.unlink(missing_ok=True)
        return size

    @asynccontextmanager
    async def reading(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield an answer whose body is read as fast as its reader likes. What breaks off inside is `TryLater`."""
        call = _Call("GET", path, asyncio.timeout(None))
        async with self._exchange(call, headers={"Accept-Encoding": "identity", **headers}) as response:
            yield response

    async def first_line(self, path: str) -> bytes:
        """Return the first line with text of a reply's body, cut where a small reply would be; the rest is not read."""
        call = _Call("GET", path, asyncio.timeout(self._http.settings.request_timeout))
        async with self._exchange(call, headers={"Accept-Encoding": "identity"}) as response:
            head = await _read(response, self._http.settings.max_reply_bytes, one_line=True)
        return head.lstrip().partition(b"\n")[0]

    def clean(self, text: str) -> str:
        """Return a provider's words fit to be shown: our credentials masked, on one line, at most 500 characters."""
        text = self._masks.sub("[credential]", text) if self._masks else text
        return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:MAX_MESSAGE]

    async def _send_file(self, call: _Call, path: Path, frame: tuple[bytes, bytes], content_type: str) -> Reply:
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            size = len(frame[0]) + os.fstat(file.fileno()).st_size + len(frame[1])
            headers = {"Content-Type": content_type, "Content-Length": str(size)}
            body = _body(call, frame, file, self._http.settings)
            async with self._exchange(call, fresh=True, headers=headers, data=body) as response:
                return await self._reply(call, response)

    @asynccontextmanager
    async def _exchange(
        self, call: _Call, *, fresh: bool = False, headers: Mapping[str, str] | None = None, **options: Any
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
                yield response
        except _BROKEN as error:
            raise _broken(call, error) from None  # the chain would show URLs and headers in a traceback

    def _url(self, path: str) -> URL:
        if not _PATH.fullmatch(path) or {"", ".", ".."} & set(path.split("/")):
            raise ValueError("not a relative path below the base URL")
        return URL(f"{self._base}/{path}", encoded=True)

    def _timeouts(self, call: _Call) -> aiohttp.ClientTimeout:
        """No total here, the call's own deadline stands for it. `connect` includes waiting for a free connection."""
        limits = self._http.settings
        silence = limits.create_timeout if call.create else limits.read_timeout
        connect = limits.connect_timeout + limits.read_timeout
        return aiohttp.ClientTimeout(
            total=None, connect=connect, sock_connect=limits.connect_timeout, sock_read=silence
        )

    async def _reply(self, call: _Call, response: aiohttp.ClientResponse) -> Reply:
        body = await _read(response, self._http.settings.max_reply_bytes)  # JSON cut short is unreadable below
        try:
            return Reply(response.status, response.headers, msgspec.json.decode(body) if body.strip() else None)
        except (ValueError, RecursionError):
            raise _no_answer(call, f"{call}: HTTP {response.status} with an unreadable body") from None

    def refusal(self, body: bytes, status: int | None = None, *, code: str = "refused") -> Refused:
        """Return the `Refused` that an error body describes, cleaned; `code` where the body has none that is plain."""
        found, message, param = read_complaint(body)
        if found and _CODE.fullmatch(found) and self.clean(found) == found:
            code = found
        return Refused(self.clean(message) or code, code=code, status=status, param=self.clean(param or "") or None)

    async def _failure(self, call: _Call, response: aiohttp.ClientResponse) -> ProviderError:
        """Return what an answer other than 2xx proves."""
        status, after = response.status, retry_after(response.headers, self._http.now)
        after = None if after is None else min(after, LONGEST_WAIT)
        if status in {429, 503} and after:
            self._http.hold(self._account, after)
        refusal = await self._refusal_of(response)
        seen = f"{call}: HTTP {status} ({refusal.code})"
        if status == 429:
            return TryLater(seen, after=after, status=status)
        if status >= 500 or status in {408, 409, 425} or (status == 303 and call.create):
            return OutcomeUnknown(seen) if call.create else TryLater(seen, after=after, status=status)
        if status < 400:
            return Refused("redirects are not followed", code="unexpected_redirect", status=status)
        return refusal

    async def _refusal_of(self, response: aiohttp.ClientResponse) -> Refused:
        """Read an error body. The status alone counts when it cannot be read."""
        try:
            body = await _read(response, MAX_COMPLAINT)
        except _BROKEN:
            body = b""
        return self.refusal(body, response.status, code=f"http_{response.status}")


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds a reply asks to wait: `retry-after-ms`, or `Retry-After` as a number or an HTTP date.

    A date is measured against the reply's own `Date` where there is one, so that clocks need not agree.
    """
    text = headers.get("Retry-After", "")
    for number, unit in ((headers.get("retry-after-ms", ""), 1000.0), (text, 1.0)):
        try:
            seconds = float(number) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    until, sent = _http_date(text), _http_date(headers.get("Date", ""))
    return None if until is None else max(0.0, until - (now() if sent is None else sent))


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


async def _note_connection(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.connected = True


def _no_answer(call: _Call, message: str) -> ProviderError:
    return OutcomeUnknown(message) if call.create else TryLater(message)


def _broken(call: _Call, error: BaseException) -> ProviderError:
    """Return what a failed exchange proves. Only fixed texts are quoted: an error's own may hold URLs or headers."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    cause = getattr(inner, "verify_message", None) or getattr(inner, "reason", None)
    if not isinstance(inner, ssl.SSLError):
        number = getattr(inner, "errno", None)
        cause = os.strerror(number) if isinstance(number, int) and number > 0 else None
    message = f"{call}: {type(error).__name__}" + (f" ({cause})" if cause else "")
    found = _no_answer(call, message) if call.connected else TryLater(f"{message}, no connection was made")
    found.timed_out = isinstance(error, TimeoutError)
    return found


def _tls(ca_bundle: str | None) -> ssl.SSLContext | bool:
    if ca_bundle is None:
        return True
    folder = Path(ca_bundle).is_dir()
    return ssl.create_default_context(cafile=None if folder else ca_bundle, capath=ca_bundle if folder else None)


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


def _masks(values: Iterable[str]) -> re.Pattern[str] | None:
    """Match the secret parts of header values, and what begins like one: providers echo keys cut or starred out."""
    parts = {part for value in values for part in value.split() if part.lower() not in _SCHEMES}
    patterns = [re.escape(part[:8]) + r"[^\s\"']*" if len(part) > 8 else re.escape(part) for part in parts]
    return re.compile("|".join(sorted(patterns, key=len, reverse=True))) if patterns else None


def _json_body(json: object) -> dict[str, Any]:
    if json is None:
        return {}
    return {"data": msgspec.json.encode(json), "headers": {"Content-Type": "application/json"}}


def _form_frame(boundary: str, fields: Mapping[str, str], filename: str) -> tuple[bytes, bytes]:
    """Return the bytes before and after the file of a multipart form."""
    filename = filename.translate(_IN_QUOTES)
    disposition = f"--{boundary}\r\nContent-Disposition: form-data; name="
    head = "".join(f'{disposition}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    head += f'{disposition}"file"; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


async def _body(
    call: _Call, frame: tuple[bytes, bytes], file: IO[bytes], limits: HttpSettings
) -> AsyncGenerator[bytes, None]:
    """Yield the body chunk by chunk. A chunk is asked for when the one before has left; each renews the deadline."""
    if frame[0]:
        yield frame[0]
    while chunk := await asyncio.to_thread(file.read, SEND_CHUNK):
        call.allow(limits.read_timeout)
        yield chunk
    if frame[1]:
        yield frame[1]
    call.allow(limits.create_timeout)


async def _read(response: aiohttp.ClientResponse, limit: int, *, one_line: bool = False) -> bytes:
    """Return the body, of a longer one its first `limit` bytes; with `one_line` no more than shows a whole line."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit or (one_line and b"\n" in chunk and b"\n" in body.lstrip()):
            break
    return bytes(body[:limit])


async def _store(response: aiohttp.ClientResponse, path: Path) -> int:
    """Write the body to `path` in chunks of 1 MiB, off the event loop, and sync it; return its size."""
    waiting, size = bytearray(), 0
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in response.content.iter_any():
            waiting += chunk
            if len(waiting) >= STORE_CHUNK:
                size += await asyncio.to_thread(file.write, bytes(waiting))
                waiting.clear()
        size += await asyncio.to_thread(_finish, file, bytes(waiting))
    return size


def _finish(file: IO[bytes], rest: bytes) -> int:
    written = file.write(rest)
    file.flush()
    os.fsync(file.fileno())
    return written


def _publish(part: Path, to: Path) -> None:
    part.replace(to)
    folder = os.open(to.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
