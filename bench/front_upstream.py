"""The upstream of `bench front`: a chat that answers at once, whole or in chunks as LiteLLM does, and large bodies.

python -m bench.front_upstream PORT
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import web

APART = 0.002  # seconds from one chunk to the next: a model's tokens do not come all at once
_WORDS = [f"word {n} " for n in range(30)]
_USAGE = {"prompt_tokens": 60, "completion_tokens": 60, "total_tokens": 120}
_LARGE = b"y" * 65_536


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer a chat call."""
    asked = await request.json()
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(_WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": _USAGE}
        )
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await answer.prepare(request)
    for word in _WORDS:
        delta = {"index": 0, "delta": {"content": word}}
        await answer.write(f"data: {json.dumps({'id': 'chatcmpl-1', 'choices': [delta]})}\n\n".encode())
        await asyncio.sleep(APART)
    await answer.write(b"data: [DONE]\n\n")
    return answer


async def swallow(request: web.Request) -> web.Response:
    """Count a body."""
    count = 0
    async for piece in request.content.iter_any():
        count += len(piece)
    return web.json_response({"bytes": count})


async def large(request: web.Request) -> web.StreamResponse:
    """Answer with so many bytes."""
    left = int(request.match_info["size"])
    answer = web.StreamResponse(headers={"Content-Length": str(left)})
    await answer.prepare(request)
    while left:
        await answer.write(_LARGE[:left])
        left -= min(left, len(_LARGE))
    return answer


def main() -> None:
    """Serve until it is ended."""
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/swallow", swallow)
    app.router.add_get("/large/{size}", large)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
