"""Where the gateway finds LiteLLM's process: a socket beside the gateway's own, or a route with the master key.

One of LiteLLM's processes listens at the socket: the one that holds the lock beside it, which goes with the process. A
question is one line of JSON, and so is the answer: `{"report": ...}`, `{"key": HASH}` or `{"team": ID}`.
"""

from __future__ import annotations

import asyncio
import fcntl
import hmac
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from proxy_plugin.inside.spend import PROXY, NotNow, answered

LOG = logging.getLogger("proxy_plugin.inside")
SOCKET = "litellm.sock"  # in data_dir
PATH = "/proxy-plugin/spend"
LOOK_SECONDS = 1.0  # between looks at the lock that another process holds
MOST_BYTES = 2**20  # of one question
_tasks: set[asyncio.Task[None]] = set()


def attend(path: Path) -> None:
    """Answer at this socket as soon as no other process does, as long as this one lives. Called on the event loop."""
    task = asyncio.get_running_loop().create_task(_attend(path), name="batch gateway's questions")
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _attend(path: Path) -> None:
    try:
        lock = _lock_of(path)
        while not _locked(lock):  # noqa: ASYNC110 - the end of another process sets no event
            await asyncio.sleep(LOOK_SECONDS)
        server = await asyncio.start_unix_server(_conversation, sock=_bound(path), limit=MOST_BYTES)
    except OSError as error:
        LOG.error("LiteLLM cannot be asked at %s: %s", path, error.strerror)  # noqa: TRY400
        return
    async with server:
        await server.serve_forever()


def _lock_of(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _bound(path: Path) -> socket.socket:
    """Return a socket that nobody else may connect to, from the first moment on."""
    path.unlink(missing_ok=True)
    found, mask = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), os.umask(0o177)
    try:
        found.bind(str(path))
    except OSError:
        found.close()
        raise
    finally:
        os.umask(mask)
    return found


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ValueError):  # the gateway is gone, or said too much
        status, answer = await reply(await reader.readline())
        if status >= 400:
            answer["again"] = status >= 500
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    writer.close()


async def reply(question: bytes) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer to a question: 400 where it is none, 503 where it may be asked again."""
    try:
        asked = json.loads(question)
        return 200, await answered(asked if isinstance(asked, Mapping) else {})
    except NotNow as error:
        return 503, {"error": str(error)}
    except ValueError as error:
        return 400, {"error": str(error)}
    except Exception as error:
        LOG.exception("A report of the batch gateway failed")
        return 503, {"error": type(error).__name__}


def route() -> Any:
    """Return the route of LiteLLM's application that answers a gateway in front: `POST`, with the master key."""
    from starlette.responses import JSONResponse  # noqa: PLC0415 - LiteLLM's process has it
    from starlette.routing import Route  # noqa: PLC0415

    async def endpoint(request: Any) -> Any:
        if not _is_master(request.headers.get("authorization", "")):
            refusal = {"message": "Only the master key may report spend.", "type": "invalid_request_error"}
            return JSONResponse({"error": refusal | {"param": None, "code": None}}, 401)
        status, answer = await reply(await request.body())
        return JSONResponse(answer, status)

    return Route(PATH, endpoint, methods=["POST"])


def _is_master(authorization: str) -> bool:
    master = getattr(sys.modules.get(PROXY), "master_key", None)
    presented = authorization.removeprefix("Bearer ").strip()
    return bool(master) and hmac.compare_digest(presented.encode(), str(master).encode())
