"""Bodies of calls: what is read of one before it is a line like any other, and what is made of its answer."""

from __future__ import annotations

import base64
import json
import struct
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from proxy_plugin.alone.order import STREAMING
from proxy_plugin.alone.refusals import NO_OBJECT
from proxy_plugin.direct.verdict import json_text
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.ground.surrogates import marked, unmarked
from proxy_plugin.lines.body_changes import BodyEditor
from proxy_plugin.lines.envelope import METHOD, Envelope
from proxy_plugin.routing.route import Changes

ID = "ppcall0000" + "00000000"  # the native id of every call, in a line's form: kept answers are shared
UNNAMED = "?"  # the model of a body that names none
VECTORS = "/v1/embeddings"
_STREAM, _OPTIONS, _FORM = "stream", "stream_options", "encoding_format"


class Call(NamedTuple):
    """A body, without what asks for a stream. `options`: its `stream_options`; `as_text`: vectors are base64."""

    line: Envelope
    stream: bool = False
    options: bytes | None = None
    as_text: bool = False


class _Body(msgspec.Struct, gc=False):
    model: str | UnsetType = UNSET
    stream: bool | None = None
    stream_options: Raw | UnsetType = UNSET
    encoding_format: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Body).decode
_without_stream = BodyEditor(Changes(remove=(_STREAM, _OPTIONS)))
_without_form = BodyEditor(Changes(remove=(_FORM,)))


def call_of(endpoint: str, body: bytes) -> Call:
    """Read a body. Raises BadRequest."""
    try:
        text = json_text(body.strip())
        found = _decode(text or b"") if text is not None and text.startswith(b"{") else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = _slowly(body)
    if found is None or text is None:
        raise BadRequest(NO_OBJECT)
    if found.stream and endpoint not in STREAMING:
        raise BadRequest(f"Answers of {endpoint} do not come as a stream; leave 'stream' out.", param=_STREAM)
    if found.stream is not None or found.stream_options is not UNSET:
        text, _ = _without_stream.edit(text)
    options = found.stream_options if isinstance(found.stream_options, Raw) else Raw(b"null")
    line = Envelope(ID, b'"%b"' % ID.encode(), endpoint, METHOD, text, found.model or UNNAMED, stream=False)
    as_text = endpoint == VECTORS and found.encoding_format == Raw(b'"base64"')
    return Call(line, bool(found.stream), None if bytes(options) == b"null" else bytes(options), as_text)


def _slowly(body: bytes) -> _Body | None:
    """Read what msgspec refuses: halves of surrogate pairs. Raises BadRequest for members of another type."""
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
        if not isinstance(found, dict):
            return None
        model, stream, options = found.get("model", UNSET), found.get(_STREAM), found.get(_OPTIONS)
        if not isinstance(model, str | UnsetType):
            raise BadRequest("'model' must be a string.", param="model", code="invalid_type")
        if not isinstance(stream, bool | None):
            raise BadRequest("'stream' must be true or false.", param=_STREAM, code="invalid_type")
        return _Body(model, stream, Raw(json.dumps(options).encode()) if _OPTIONS in found else UNSET)
    return None


def numbers_instead(body: bytes) -> bytes:
    """Return a body of embeddings that asks for numbers."""
    return _without_form.edit(body)[0]


def as_base64(answer: bytes) -> bytes:
    """Return an answer of embeddings with its vectors as OpenAI's SDKs ask for them: little-endian f32 in base64."""
    found: dict[str, Any] = msgspec.json.decode(answer)
    for entry in found.get("data") or ():
        vector = entry.get("embedding")
        if isinstance(vector, list):
            entry["embedding"] = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return msgspec.json.encode(found)


class _Response(msgspec.Struct, gc=False):
    body: Raw
    status_code: int = 200


_response = msgspec.json.Decoder(_Response).decode


def body_in(response: bytes) -> tuple[int, bytes]:
    """Return status and body of the `response` of an output row."""
    try:
        found = _response(response)
        return found.status_code, bytes(found.body)
    except msgspec.MsgspecError:  # an escaped half of a surrogate pair, even in a value that is only stepped over
        found = _response(bytes(marked(response)))
        return found.status_code, unmarked(bytes(found.body))


def row_text(request_id: str, status: int, body: bytes) -> bytes:
    """Return what a provider answered as a row of its results, for the lane to read."""
    head = msgspec.json.encode({"status_code": status, "request_id": request_id})
    named = msgspec.json.encode({"id": "call", "custom_id": ID})
    return b'%b,"response":%b,"body":%b},"error":null}' % (named[:-1], head[:-1], body)
