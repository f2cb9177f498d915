"""A file's content as one JSON string, for clients that were generated from OpenAI's description.

That description says of `GET /files/{file_id}/content` that it answers `application/json` with a string (commit
f85dbe2, 2026-08-21), and strict generated clients parse what they get. OpenAI's service sends the bytes, and the SDKs
of OpenAI and Portkey expect them, some of them under the same `Accept`: so only who sends none of their headers and
accepts nothing but JSON gets the string.
"""

from __future__ import annotations

import codecs

import orjson
from aiohttp import hdrs, web

TYPE = "application/json"
_SDK_PREFIXES = ("x-stainless-", "x-portkey-")


def asked_for(request: web.Request) -> bool:
    """Tell whether this client has to be given a JSON string."""
    if [value.strip().lower() for value in request.headers.getall(hdrs.ACCEPT, [])] != [TYPE]:
        return False
    return not any(name.lower().startswith(_SDK_PREFIXES) for name in request.headers)


def response() -> web.StreamResponse:
    """Return the beginning of the answer, whose length nobody knows before the whole file is read."""
    answer = web.StreamResponse(headers={"X-Content-Type-Options": "nosniff"})
    answer.content_type = TYPE
    return answer


class Text:
    """Bytes on their way into one JSON string. What is no UTF-8 becomes U+FFFD, also where blocks meet."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False

    def feed(self, block: bytes) -> bytes:
        """Return the JSON of what the block completes."""
        opening = b"" if self._begun else b'"'
        self._begun = True
        return opening + orjson.dumps(self._decoder.decode(block))[1:-1]

    def end(self) -> bytes:
        """Return what closes the string."""
        return self._closing(orjson.dumps(self._decoder.decode(b"", final=True)))

    def _closing(self, last: bytes) -> bytes:
        return last[1:] if self._begun else last
