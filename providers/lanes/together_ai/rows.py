"""The pure half of Together's adapter: request lines out, result lines in.

Shapes: Together's own agent skill of 2026-08-18; captures of 2026-09-02 and 2026-09-04. A line has custom_id and body,
an answer no `error`, an error no status: `{"code": "batch_client_error", "message"}` whatever went wrong.
"""

from __future__ import annotations

from proxy_plugin.providers.base import LineIn, Native, Row, Target
from proxy_plugin.providers.formats.openai.carried import edited, inner, read_native, record
from proxy_plugin.providers.formats.rows import EMPTY, carried, refused, unanswered

CLIENT_ERROR = "batch_client_error"


def request_line(line: LineIn, target: Target) -> Native:
    """Return the line of an input file; only a target's model changes its body. Raises LineRejected."""
    return Native(record(line.native_id, edited(line.body, {} if target.model is None else {"model": target.model})))


def result_row(line: bytes) -> Row | None:
    """Read a line of an output or error file; None for a blank one. Raises ValueError: corrupt."""
    if not line.strip():
        return None
    row = read_native(line)
    response, error = row.fields.get("response"), row.fields.get("error")
    if isinstance(response, dict) and isinstance(body := response.get("body"), dict):
        status = response.get("status_code", 200)
        if status == 200:
            return carried(row.custom_id, inner(row.written["response"])["body"], body)
        if isinstance(status, int) and 400 <= status <= 599:
            return refused(row.custom_id, _words(body.get("error")), status=status)
    if not error:
        return unanswered(row.custom_id, *EMPTY)
    code = str(error.get("code") or "provider_error")[:64] if isinstance(error, dict) else "provider_error"
    if code == CLIENT_ERROR:
        return refused(row.custom_id, _words(error), code=code)
    return unanswered(row.custom_id, code, _words(error))


def _words(error: object) -> str:
    words = error.get("message") if isinstance(error, dict) else error
    return words if isinstance(words, str) and words else "Together gave no reason for this error."
