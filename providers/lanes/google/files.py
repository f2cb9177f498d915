"""Google's Files API: an upload that goes on where it broke off, and what is told of a stored file.

Source: "Files API", ai.google.dev, and google-genai 3.6.1 (`_api_client.py`, `files.py`), read 2026-11-29. The address
of an upload comes in a header of its start. Its query is the credential; the host stays the account's own, as in
Google's SDK, and the path is that of the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from proxy_plugin.providers.base import PartFile, Refused, TryLater
from proxy_plugin.providers.calls import LONGEST_PAUSE, PAUSES, gone, patiently

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin, Reply

UPLOAD = "X-Goog-Upload-"
KIND = "application/jsonl"


async def upload(origin: Origin, part: PartFile, name: str) -> dict[str, Any]:
    """Upload a part's document under a display name; return the record of the file. Raises TryLater or Refused.

    After any doubt the service is asked how much it has, and the rest is sent from there.
    """
    address = await _begin(origin, part, name)
    offset, pauses = 0, iter(PAUSES)
    while True:
        try:
            reply = await _rest(origin, part, address, offset)
        except TryLater as error:
            pause = next(pauses, None)
            if pause is None or (error.after or 0.0) > LONGEST_PAUSE or error.status == 404:
                raise
            await asyncio.sleep(max(pause, error.after or 0.0))
        else:
            return _stored(reply)
        has = await _received(origin, part, address)
        if has > offset:  # it moves, so it may go on moving
            pauses = iter(PAUSES)
        offset = has


async def absent(call: Awaitable[object]) -> bool:
    """Return whether a call is answered with "not found".

    UNVERIFIED: users see a 403 for files that are not there, "... or it may not exist".
    """
    try:
        return await gone(call)
    except Refused as error:
        if error.status != 403 or "may not exist" not in error.message:
            raise
        return True


async def _begin(origin: Origin, part: PartFile, name: str) -> dict[str, str]:
    """Begin an upload; return the query of its address."""
    headers = {
        f"{UPLOAD}Protocol": "resumable",
        f"{UPLOAD}Command": "start",
        f"{UPLOAD}Header-Content-Length": str(part.bytes),
        f"{UPLOAD}Header-Content-Type": KIND,
    }
    about = {"file": {"displayName": name, "mimeType": KIND}}
    reply = await patiently(lambda: origin.request("POST", "files", json=about, headers=headers))
    address = dict(parse_qsl(urlsplit(reply.headers.get(f"{UPLOAD}URL", "")).query))
    if not address:
        raise TryLater("the start of an upload was answered without its address")
    return address


async def _rest(origin: Origin, part: PartFile, address: Mapping[str, str], offset: int) -> Reply:
    """Send what is missing and end the upload. A send that is one too many has left nothing there."""
    headers = {f"{UPLOAD}Command": "upload, finalize", f"{UPLOAD}Offset": str(offset)}
    send = partial(origin.send, "files", part.path, start=offset, headers=headers, params=address)
    return await _of_session(patiently(send))


async def _received(origin: Origin, part: PartFile, address: Mapping[str, str]) -> int:
    """Return how many bytes of an open upload have arrived. Raises TryLater where it is open no more."""
    headers = {f"{UPLOAD}Command": "query"}
    reply = await _of_session(patiently(lambda: origin.request("POST", "files", headers=headers, params=address)))
    size = reply.headers.get(f"{UPLOAD}Size-Received", "")
    state = reply.headers.get(f"{UPLOAD}Status")
    if state != "active" or not size.isdigit() or int(size) > part.bytes:
        raise TryLater("an upload ended in an unknown way, so it is looked for among the files")
    return int(size)


async def _of_session(call: Awaitable[Reply]) -> Reply:
    """An upload that is known no more is begun anew: that is no refusal of the document."""
    try:
        return await call
    except Refused as error:
        if error.status not in {404, 410}:
            raise
        raise TryLater("the upload is not known any more", status=404) from None


def _stored(reply: Reply) -> dict[str, Any]:
    file = reply.fields().get("file")
    if reply.headers.get(f"{UPLOAD}Status") != "final" or not isinstance(file, dict):
        raise TryLater("the end of an upload was answered without the record of a file")
    return file
