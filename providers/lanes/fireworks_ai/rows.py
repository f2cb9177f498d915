"""The pure half of Fireworks' adapter: request lines out, result lines in.

Shapes: "Batch inference" guide, docs.fireworks.ai, copy of 2026-11-29; captures of 2026-08-30. An answer is the value
of `response`. The lines of `error-data` are described nowhere (UNVERIFIED): every form that names its line is read.
"""

from __future__ import annotations

import re
from typing import Any

from proxy_plugin.providers.base import LineIn, Native, Row
from proxy_plugin.providers.formats.openai.carried import edited, inner, read_native, record
from proxy_plugin.providers.formats.rows import carried, refused


def request_line(line: LineIn) -> Native:
    """Return the line of an input dataset. Raises LineRejected."""
    return Native(record(line.native_id, edited(line.body, {"model": None})))


def result_row(line: bytes) -> Row | None:
    """Read a line of the output dataset; None for one that says nothing of an answer. Raises ValueError: corrupt."""
    if not line.strip():
        return None
    row = read_native(line)
    body, written = row.fields.get("response"), row.written.get("response", b"")
    if isinstance(body, dict) and isinstance(body.get("body"), dict):  # in OpenAI's wrapper, which nobody has seen
        body, written = body["body"], inner(written)["body"]
    if isinstance(body, dict) and "choices" in body:
        return carried(row.custom_id, written, body)
    error = row.fields.get("error") or (body.get("error") if isinstance(body, dict) else None) or body
    return refused(row.custom_id, _words(error), status=_status(row.fields, error)) if error else None


def _words(error: Any) -> str:
    words = error.get("message") if isinstance(error, dict) else error
    return words if isinstance(words, str) and words else "Fireworks gave no reason for this error."


def _status(fields: Any, error: Any) -> int:
    """Return an HTTP status that is told anywhere; 400 where none is."""
    places = (fields, error) if isinstance(error, dict) else (fields,)
    told = [str(place.get(name)) for place in places for name in ("status_code", "code")]
    return next((int(each) for each in told if re.fullmatch("[45][0-9]{2}", each)), 400)
