"""How a call to a provider is made, proven and answered: the half of an `Origin` that knows no kind of call.

Facts about aiohttp 3.13 and 3.14 that the code relies on:
 - a redirect would carry credentials and body to another host, so none is followed;
 - GET, PUT and DELETE are silently repeated on a dropped kept-alive connection, POST is not; creates and uploads
   use fresh connections all the same;
 - the read timeout of a socket starts when the request body has been sent, so a stalled upload needs its own.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from proxy_plugin.providers.echoes import Echoes
from proxy_plugin.providers.errors import ProviderError, Refused, TryLater
from proxy_plugin.providers.http.bodies import NOTHING, Body, packing, read
from proxy_plugin.providers.http.complaints import read_complaint, told_type
from proxy_plugin.providers.http.connections import CALL, Connections
from proxy_plugin.providers.http.outcomes import (
    BROKEN,
    LONGEST_WAIT,
    Call,
    broken,
    no_answer,
    retry_after,
    unsuccessful,
)
from proxy_plugin.providers.signing.remedies import remedy
from proxy_plugin.providers.signing.signer import Outgoing, Signed, Signer

MAX_COMPLAINT = 1 << 16  # bytes of an error body that are read
MAX_MESSAGE = 500  # characters of a provider's message that are kept
MOVED = frozenset({302, 303, 307})
ENDED = frozenset({400, 403})  # the statuses with which AWS tells that a key has ended
ROOT = "/"  # the path of a service that has one address alone
GOES_ON = frozenset({308})  # of an upload in pieces, with the bytes that have arrived: Google's "resume incomplete"
PLAIN = {"Accept-Encoding": "identity"}  # 1 MB of gzip is 1 GB of zeros: nothing packed is asked for or read
_SCHEMES = {"bearer", "basic", "key", "token"}
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]+")
_NOTHING_SIGNED = Signed({})
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


class Exchange:
    """One account at one base URL, and how it is called. What may be called is an `Origin`'s to say."""

    def __init__(
        self,
        http: Connections,
        account: str,
        base_url: str,
        secret_headers: Mapping[str, str],
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._base, self._params, self._public = plain_url(base_url), params or {}, False
        self._http, self._account = http, account
        self._signer = signer
        carried = _beneath(http.carried, PLAIN, headers, secret_headers)
        self._headers = _sendable({**carried, **PLAIN, **headers, **secret_headers})
        self._secrets = frozenset(_secrets(secret_headers.values()))
        self._echoes = Echoes(self._secrets)

    def __repr__(self) -> str:
        return f"Origin({self._base})"

    def clean(self, text: str) -> str:
        """Return a provider's words fit to be shown: our credentials masked, on one line, at most 500 characters."""
        text = self._echoes.hide(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
        return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:MAX_MESSAGE]

    @asynccontextmanager
    async def _exchange(
        self,
        call: Call,
        body: Body = NOTHING,
        *,
        fresh: bool = False,
        also: frozenset[int] = frozenset(),
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a 2xx response, or one with a status of `also`, or raise what its absence means.

        Covers what is done with the body, too.
        """
        if held := self._http.held(self._account):
            raise TryLater(f"{call}: not sent, the provider asked for a pause", after=held)
        asked = {**self._params, **(params or {})}
        url = self._url(call.path)
        url = url.update_query(asked) if asked else url  # a query that is signed stays as it is written
        head = {**self._headers, **body.headers, **(headers or {})}
        try:
            async with call.deadline, self._answered(call, url, head, body, fresh=fresh) as response:
                if response.status // 100 != 2 and response.status not in also:
                    raise await self._failure(call, response)
                if packed := packing(response):
                    raise no_answer(call, f"{call}: HTTP {response.status} as {packed}, which was not asked for")
                yield response
        except BROKEN as error:
            raise broken(call, error) from None  # the chain would show URLs and headers in a traceback

    @asynccontextmanager
    async def _answered(
        self, call: Call, url: URL, headers: Mapping[str, str], body: Body, *, fresh: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer to a signed request.

        After a 401, or a code that says that a key has ended, nothing was taken, and a new one gets one more try.
        """
        for tries in (1, 2):
            signed = await self._signed(call, url, headers, body)
            CALL.set(call)
            request = self._http.session(fresh=fresh, public=self._public).request(
                call.method,
                url,
                headers={**headers, **_sendable(signed.headers)},
                data=body.sent(call, self._http.settings),
                allow_redirects=False,
                proxy=self._http.proxy(url),
                timeout=self._timeouts(call),
                trace_request_ctx=call,
            )
            async with request as response:
                if tries == 1 and (response.status == 401 or await self._has_ended(call, response)):
                    call.connected = False  # nothing was taken, whatever becomes of the renewal
                    if await self._renewed(signed):
                        continue
                yield response
                return

    async def _signed(self, call: Call, url: URL, headers: Mapping[str, str], body: Body) -> Signed:
        """Return the headers that prove the account for this one call; what is secret of them is masked from now on."""
        if self._signer is None:
            return _NOTHING_SIGNED
        signed = await self._signer.sign(Outgoing(call.method, str(url), headers, body.sha256))
        if signed.secret and signed.secret not in self._secrets:
            self._secrets |= {signed.secret}
            self._echoes = Echoes(self._secrets)
        return signed

    async def _has_ended(self, call: Call, response: aiohttp.ClientResponse) -> bool:
        """Tell whether an answer says that what proved the account has ended. Its body is kept with the call."""
        ended = self._signer.ended if self._signer is not None else frozenset[str]()
        if not ended or response.status not in ENDED:
            return False
        call.complaint = await self._complaint(response)
        return told_type(response.headers) in ended or read_complaint(call.complaint)[0] in ended

    async def _renewed(self, refused: Signed) -> bool:
        return self._signer is not None and await self._signer.renew(refused)

    def _url(self, path: str) -> URL:
        if path == ROOT:
            return URL(f"{self._base}/", encoded=True)
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
        named = code
        if found and _CODE.fullmatch(found) and self.clean(found) == found:
            code = found
        message = self.clean(message) or code
        if self._signer is not None and (advice := remedy(named, message) or remedy(code, message)):
            message = f"{message} ({advice})"
        return Refused(message, code=code, status=status, param=self.clean(param or "") or None)

    async def _failure(self, call: Call, response: aiohttp.ClientResponse) -> ProviderError:
        """Return what an answer other than 2xx proves."""
        status, after = response.status, retry_after(response.headers, self._http.now)
        after = None if after is None else min(after, LONGEST_WAIT)
        if status in {429, 503} and after:
            self._http.hold(self._account, after)
        return unsuccessful(call, status, after, await self._refusal_of(call, response))

    async def _refusal_of(self, call: Call, response: aiohttp.ClientResponse) -> Refused:
        """Read an error body, if that has not been done. The status alone counts when it cannot be read."""
        body = await self._complaint(response) if call.complaint is None else call.complaint
        told, code = told_type(response.headers), f"http_{response.status}"
        return self.refusal(body, response.status, code=told if told and _CODE.fullmatch(told) else code)

    async def _complaint(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return b"" if packing(response) else await read(response, MAX_COMPLAINT)
        except BROKEN:
            return b""


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
