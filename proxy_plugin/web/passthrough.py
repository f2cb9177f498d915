"""Requests that are not ours: streamed to the upstream and back, or left to the application without our keys."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any, ClassVar

import aiohttp
import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping
from yarl import URL

from proxy_plugin.access.callers import API_KEY, CREDENTIAL_HEADERS, Caller, Callers
from proxy_plugin.access.headers import strip_credentials
from proxy_plugin.config import Server
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import BadRequest, GatewayError
from proxy_plugin.providers.http.ahead import Ahead, Connector
from proxy_plugin.providers.http.connections import follow_nowhere
from proxy_plugin.web import websockets
from proxy_plugin.web.content_encoding import unpacked_by_server
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.pace import pace_of

LOG = logging.getLogger("proxy_plugin.upstream")
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 0.5  # between looks whether the client of a slow answer is still there
MODELS_SECONDS, MODELS_BYTES = 10.0, 8 * 2**20  # for its list of models
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",  # answered here, before the body was asked for
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_ADDED_BY_AIOHTTP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class UpstreamFailed(GatewayError):
    """The upstream cannot be reached, or hung up before it answered."""

    status: ClassVar[int] = 502
    default_code: ClassVar[str | None] = "upstream_failed"


class WebsocketRefused(GatewayError):
    """The upstream does not open this websocket, for the reason that its status says."""

    status: ClassVar[int] = 502
    default_code: ClassVar[str | None] = "upstream_refused"

    def __init__(self, status: int) -> None:
        super().__init__(f"The upstream of this gateway refused the websocket with HTTP {status}.")
        if status >= web.HTTPBadRequest.status_code:
            self.status = status  # type: ignore[misc]
        if status < web.HTTPInternalServerError.status_code:
            self.type = BadRequest.type  # type: ignore[misc]


class ClientGone(ConnectionError):
    """Nobody waits for the answer any more."""


class _Kind(Enum):
    """What a connection is for."""

    KEPT = "requests without a body, one after the other"
    FRESH = "one request with a body"
    WEBSOCKET = "one websocket"


class Upstream:
    """The application behind the gateway, at one base URL. Made anywhere, first used on the event loop, closed there.

    Nothing is buffered, redirects are passed back, and no total time is set: answers may stream for hours. Requests
    with a body get a connection that no other had: one that met a stale one could not be repeated, as it may have been
    paid for. While they follow each other closely it is opened before they come.
    """

    def __init__(self, server: Server, callers: Callers) -> None:
        self._base = (server.upstream or "").rstrip("/")
        self._keeps_host = server.upstream_host == "client"
        self._callers = callers
        self._ca_bundle = server.ca_bundle
        self._sessions: dict[_Kind, aiohttp.ClientSession] = {}
        self._connectors: dict[_Kind, Connector] = {}
        self._ahead: Ahead | None = None

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Stream a request there and its answer back. Raises UpstreamFailed if there is no answer."""
        if websockets.is_asked(request):
            return await self._websocket(request)
        answer = await relayed(request, self._call(request), _failed)
        if request.body_exists and self._ahead is not None:
            self._ahead.call_ended(self._connectors[_Kind.FRESH])
        return answer

    async def models(self, request: web.Request) -> list[dict[str, Any]]:
        """Return the models that it lists for this caller; none where it refuses, or fails, which is logged."""
        headers = self._headers(request)
        headers["Accept-Encoding"] = "identity"
        headers.popall(hdrs.IF_NONE_MATCH, None)
        try:
            async with asyncio.timeout(MODELS_SECONDS):
                asked = self._session(_Kind.KEPT).get(self._url(request), headers=headers, allow_redirects=False)
                async with asked as answer:
                    if answer.status == web.HTTPOk.status_code:
                        return await _listed(answer)
            reason = f"HTTP {answer.status}"
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
            reason = type(error).__name__
        logs.event(LOG, "upstream_models_missing", reason=reason)
        return []

    async def close(self) -> None:
        """Close all connections."""
        if self._ahead is not None:
            await self._ahead.close()
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def _call(self, request: web.Request) -> aiohttp.ClientResponse:
        has_body = request.body_exists
        return await self._session(_Kind.FRESH if has_body else _Kind.KEPT).request(
            request.method,
            self._url(request),
            headers=self._headers(request),
            data=await _sent(request) if has_body else None,
            allow_redirects=False,
        )

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        headers, protocols = websockets.handshake(self._headers(request))
        try:
            behind = await self._session(_Kind.WEBSOCKET).ws_connect(
                self._url(request), headers=headers, protocols=protocols, max_msg_size=websockets.MOST_BYTES
            )
        except aiohttp.WSServerHandshakeError as error:
            logs.event(LOG, "upstream_websocket_refused", status=error.status)
            raise WebsocketRefused(error.status) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _failed(error) from error
        async with behind:
            return await websockets.joined(request, behind)

    def _url(self, request: web.Request) -> URL:
        return URL(self._base + self._callers.keys.without_in_query(request.rel_url.raw_path_qs), encoded=True)

    def _headers(self, request: web.Request) -> CIMultiDict[str]:
        kept = _request_headers(request, self._callers)
        host = kept.pop(hdrs.HOST, None)
        if host is not None:
            kept.setdefault(hdrs.X_FORWARDED_HOST, host)
            if self._keeps_host:
                kept[hdrs.HOST] = host
        kept.setdefault(hdrs.X_FORWARDED_PROTO, request.scheme)
        if request.remote is not None:
            kept[hdrs.X_FORWARDED_FOR] = ", ".join([*kept.popall(hdrs.X_FORWARDED_FOR, []), request.remote])
        return kept

    def _session(self, kind: _Kind) -> aiohttp.ClientSession:
        if kind not in self._sessions:
            self._ahead = self._ahead or Ahead(URL(self._base))
            tls = ssl.create_default_context(cafile=self._ca_bundle) if self._ca_bundle else True
            trace = aiohttp.TraceConfig()
            trace.on_request_redirect.append(follow_nowhere)
            self._connectors[kind] = Connector(self._ahead, force_close=kind is not _Kind.KEPT, tls=tls)
            self._sessions[kind] = aiohttp.ClientSession(
                connector=self._connectors[kind],
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_ADDED_BY_AIOHTTP,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                trace_configs=[trace] if kind is _Kind.WEBSOCKET else None,  # calls follow none by themselves
            )
        return self._sessions[kind]


async def relayed(
    request: web.Request,
    begun: Coroutine[Any, Any, aiohttp.ClientResponse],
    failed: Callable[[BaseException], GatewayError],
) -> web.StreamResponse:
    """Stream an answer back while the client waits. Raises what `failed` makes of an error if there is none."""
    try:
        answer = await _while_client_waits(request, begun)
    except ClientGone:
        raise
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        if isinstance(error.__cause__, GatewayError):  # not the other side's fault, but the client's body's
            raise error.__cause__ from None
        raise failed(error) from error
    async with answer:
        return await _stream_back(request, answer)


def _failed(error: BaseException) -> UpstreamFailed:
    logs.event(LOG, "upstream_failed", level=logging.WARNING, error=error)
    return UpstreamFailed("The upstream of this gateway did not answer.")


class _Models(msgspec.Struct):
    data: list[dict[str, Any]]


async def _listed(answer: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """Return the entries of a list of models. Raises msgspec.MsgspecError for what is none, or too long."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MODELS_BYTES:
            raise msgspec.DecodeError("too long")
    return [each for each in msgspec.json.decode(body, type=_Models).data if isinstance(each.get("id"), str)]


class _Watch:
    """Does something when the client has gone, within half a second: what it waits for may be long in coming."""

    def __init__(self, request: web.Request, end: Callable[[], None]) -> None:
        self.gone = False
        self._request, self._end = request, end
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if self._request.transport is None:
            self.gone = True
            self._end()
        else:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()


async def _while_client_waits(
    request: web.Request, call: Coroutine[Any, Any, aiohttp.ClientResponse]
) -> aiohttp.ClientResponse:
    """Return the answer; a client that hangs up meanwhile ends the call, so that nobody pays for an unread answer.

    In the task that asks: one of its own would cost a turn of the event loop, and be one more to end.
    """
    limit = asyncio.timeout(None)
    watch = _Watch(request, lambda: limit.reschedule(0.0))
    try:
        async with limit:
            return await call
    except TimeoutError:
        if limit.expired():
            raise ClientGone from None
        raise
    finally:
        watch.end()


async def _sent(request: web.Request) -> bytes | AsyncIterator[bytes]:
    """Return the body as it comes, or at once if it has come: then it leaves in one packet with the headers."""
    if not request.content.is_eof():
        await asyncio.sleep(0)  # most clients send it right behind their headers
    if request.content.at_eof() or not request.content.is_eof():
        return _body(request)
    return await request.content.read()


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    pace = pace_of(request)
    while chunk := await pace.read(request.content.readany):
        yield chunk


class _WithFirstPiece(web.StreamResponse):
    """An answer of which a piece is there already: both leave in one packet. Else the head leaves alone, at once."""

    _send_headers_immediately = False


async def _stream_back(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Copy the answer. One that breaks off is broken off here too, so that nobody takes half of it for the whole."""
    kept = _end_to_end(answer.headers)
    kind = _WithFirstPiece if answer.content.total_bytes else web.StreamResponse
    response = kind(status=answer.status, reason=answer.reason, headers=kept)
    await response.prepare(request)
    watch = _Watch(request, answer.close)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except aiohttp.ClientError as error:
        if watch.gone:
            raise ClientGone from None
        logs.event(LOG, "upstream_broke_off", level=logging.WARNING, error=error)
        if request.transport is not None:
            await response.write(b"")  # the head at least, so that nobody takes it for a request that was not answered
            request.transport.abort()
    finally:
        watch.end()
    return response


def _request_headers(request: web.Request, callers: Callers) -> CIMultiDict[str]:
    kept = _end_to_end(_without_our_keys(request, callers))
    if unpacked_by_server(request):
        kept.popall(hdrs.CONTENT_ENCODING)
        kept.popall(hdrs.CONTENT_LENGTH, None)
    return kept


def _end_to_end(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> CIMultiDict[str]:
    """Return the headers that are meant for the other end, not for this connection (RFC 9110, 7.6.1)."""
    named = {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, []) for name in value.split(",")}
    return CIMultiDict(_except(headers, _HOP_BY_HOP | named))


def _except(headers: CIMultiDictProxy[str] | CIMultiDict[str], names: Iterable[str]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in headers.items() if name.lower() not in names)


def without_our_keys(request: web.Request, callers: Callers) -> web.Request:
    """Return the request as the wrapped application may see it: no header and no query holds a key of this gateway."""
    kept, target = _without_our_keys(request, callers), callers.keys.without_in_query(request.rel_url.raw_path_qs)
    if kept == request.headers and target == request.rel_url.raw_path_qs:
        return request
    headers = CIMultiDict((name, _encodable(value)) for name, value in kept.items())
    return request.clone(headers=headers, rel_url=URL(target, encoded=True))


def _encodable(value: str) -> str:
    """Return a value that `clone` can encode: what is no UTF-8 is read as Latin-1, HTTP's older habit."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _without_our_keys(request: web.Request, callers: Callers) -> CIMultiDict[str]:
    """Look at each header on its own too: a wrong key in one must not carry a right one in another to the outside."""
    kept = CIMultiDict(request.headers)
    with suppress(GatewayError):  # nobody of ours: the application behind has its own callers
        caller = request.get(CALLER) or callers.authenticate(request.headers, request.remote)
        kept = strip_credentials(kept, caller)
        if caller.forwards and caller.credential_in == API_KEY:  # the application behind looks for it elsewhere
            kept[hdrs.AUTHORIZATION] = f"Bearer {request.headers[API_KEY].strip()}"
    ours = {name for name, _ in _ours(kept, callers, request.remote)}
    kept = callers.keys.without(CIMultiDict(_except(kept, ours)) if ours else kept)
    if callers.lend:
        held = (caller.upstream_key for _, caller in _ours(request.headers, callers, request.remote))
        if (lent := next((key for key in held if key is not None), None)) is not None:
            kept.setdefault(hdrs.AUTHORIZATION, f"Bearer {lent.get_secret_value()}")
    return _as_litellm_reads(kept) if callers.of_litellm else kept


def _ours(headers: MultiMapping[str], callers: Callers, remote: str | None) -> Iterator[tuple[str, Caller]]:
    """Yield (header, whose it is) of each key of ours that may not be passed on."""
    for name in CREDENTIAL_HEADERS:
        for value in headers.getall(name, []):
            scheme, _, token = value.strip().partition(" ")
            key = token.strip() if scheme.lower() == "bearer" else value.strip()
            with suppress(GatewayError):
                caller = callers.authenticate(CIMultiDict({API_KEY: key}), remote)
                if caller.credential_in is not None and not caller.forwards:
                    yield name, caller


def _as_litellm_reads(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Put a key of LiteLLM's where it looks for keys: Portkey's clients have it in a header of their own."""
    keys = headers.popall(API_KEY, [])
    if keys and keys[0].strip():
        headers[hdrs.AUTHORIZATION] = f"Bearer {keys[0].strip()}"
    return headers
