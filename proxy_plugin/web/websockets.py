"""A websocket of a client, and that of the upstream behind it: messages pass both ways until one side ends."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType, hdrs, web
from multidict import CIMultiDict

MOST_BYTES = 16 * 2**20  # of one message, which is held whole; as uvicorn's, behind which LiteLLM runs
_OURS = (
    hdrs.SEC_WEBSOCKET_EXTENSIONS,  # each hop has its own handshake
    hdrs.SEC_WEBSOCKET_KEY,
    hdrs.SEC_WEBSOCKET_PROTOCOL,
    hdrs.SEC_WEBSOCKET_VERSION,
)
_UNSENDABLE = {1004, 1005, 1006, 1015}  # RFC 6455, 7.4.1: these say why no code came
Socket = web.WebSocketResponse | ClientWebSocketResponse[bool]


class _Ended(NamedTuple):
    code: int
    reason: bytes = b""


def is_asked(request: web.Request) -> bool:
    """Tell whether a request asks for a websocket."""
    return request.method == hdrs.METH_GET and request.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"


def handshake(headers: CIMultiDict[str]) -> tuple[CIMultiDict[str], list[str]]:
    """Return the headers for the upstream's own handshake, and the sub-protocols that the client offers."""
    offered = ",".join(headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))
    kept = CIMultiDict(headers)
    for name in _OURS:
        kept.popall(name, None)
    return kept, [each.strip() for each in offered.split(",") if each.strip()]


async def joined(request: web.Request, behind: ClientWebSocketResponse[bool]) -> web.WebSocketResponse:
    """Accept the client's websocket as the upstream did, and pass messages until either side ends."""
    protocols = (behind.protocol,) if behind.protocol else ()
    front = web.WebSocketResponse(protocols=protocols, max_msg_size=MOST_BYTES)
    await front.prepare(request)
    ways: dict[asyncio.Task[_Ended], Socket] = {
        asyncio.create_task(_pass(front, behind), name="websocket up"): behind,
        asyncio.create_task(_pass(behind, front), name="websocket down"): front,
    }
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            ended = _Ended(WSCloseCode.INTERNAL_ERROR) if way.exception() else way.result()
            await ways[way].close(code=ended.code, message=ended.reason)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await front.close(code=WSCloseCode.GOING_AWAY)
    return front


async def _pass(source: Socket, sink: Socket) -> _Ended:
    """Pass messages on until the source ends, and return how."""
    while True:
        message = await source.receive()
        if message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is WSMsgType.CLOSE:
            code = message.data or WSCloseCode.OK
            return _Ended(WSCloseCode.OK if code in _UNSENDABLE else code, (message.extra or "").encode())
        else:  # it was lost, or broke the protocol
            lost = source.close_code
            return _Ended(WSCloseCode.GOING_AWAY if lost is None or lost in _UNSENDABLE else lost)
