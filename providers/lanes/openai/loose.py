"""Result rows of services of which no page shows one, brought into the shape that OpenAI gives them.

Seen with copies of the API (reference page of compatible services, 2026-11-29, knob 8): the answer's body alone in
`response`, and a body as JSON text.
"""

from __future__ import annotations

import msgspec


class _Line(msgspec.Struct):
    custom_id: msgspec.Raw
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Response(msgspec.Struct):
    status_code: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def tightened(line: bytes) -> bytes:
    """Return a row as OpenAI writes it; one that has that shape, or none that is known, as it is."""
    try:
        row = msgspec.json.decode(line, type=_Line)
        response = msgspec.json.decode(_unpacked(row.response), type=_Response)
    except (msgspec.DecodeError, RecursionError):
        return line
    if response.body is msgspec.UNSET and response.status_code is msgspec.UNSET:
        status, body = b"200", _unpacked(row.response)
    elif isinstance(response.body, msgspec.Raw):
        status, body = bytes(response.status_code or b"200"), _unpacked(response.body)
    else:
        return line
    made = b'{"status_code":%s,"request_id":"","body":%s}' % (status, body)
    error = b"null" if row.error == b"{}" else bytes(row.error)
    return b'{"custom_id":%s,"response":%s,"error":%s}' % (bytes(row.custom_id), made, error)


def _unpacked(value: msgspec.Raw) -> bytes:
    """Return an object that was written as JSON text; anything else as it is."""
    if not bytes(value).startswith(b'"'):
        return bytes(value)
    inside = msgspec.json.decode(value, type=str).strip().encode()
    msgspec.json.decode(inside)
    return inside if inside.startswith(b"{") else bytes(value)
