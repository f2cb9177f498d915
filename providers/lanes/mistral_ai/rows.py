"""The pure half of Mistral's adapter: `{"custom_id", "body"}` out, rows of both result files in.

Shapes: the project's reference page, captures of 2026-09-02: the body of an error is JSON inside of a text.
"""

from __future__ import annotations

import msgspec

from proxy_plugin.providers.base import LineIn, Native, Row, Target
from proxy_plugin.providers.formats.embeddings.common import Facts
from proxy_plugin.providers.formats.embeddings.mistral import join, read_part, to_mistral_embeddings
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.members import pieces
from proxy_plugin.providers.formats.mistral.chat import to_completion, to_mistral
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.rows import EMPTY, answered, error_of, failed, text_of, unanswered
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer, Translated

EMBEDDINGS = "/v1/embeddings"
ENDPOINTS = through_chat.ENDPOINTS | {EMBEDDINGS}
BASE64 = "base64"  # the partition of lines that want their vectors so: nothing else of a line is at hand with its row


def request_line(line: LineIn, target: Target) -> Native:
    """Return the line of an input file. Raises LineRejected."""
    drop, strict = target.drop_params, target.strict_params
    if line.endpoint == EMBEDDINGS:
        fan = to_mistral_embeddings(line.body, model=target.model, drop_params=drop, strict_params=strict)
        data = _record(line.native_id, fan.bodies[0])
        partition = BASE64 if fan.facts.base64 else ""
        return Native(data, inputs=fan.facts.inputs, partition=partition, dropped=fan.dropped)

    def native(chat: bytes) -> Translated:
        return to_mistral(chat, model=target.model, drop_params=drop, strict_params=strict)

    translated = through_chat.translate(line.endpoint, line.body, native, drop_params=drop, strict_params=strict)
    return Native(_record(line.native_id, translated.body), dropped=translated.dropped)


def result_row(line: bytes, source: str, endpoint: str) -> Row | None:
    """Read a row of the output or the error file; None for a blank line. Raises ValueError: corrupt."""
    if not line.strip():
        return None
    row = pieces(line)
    native_id, request_id = text_of(row.get("custom_id", b"")), text_of(row.get("id", b""))
    if not native_id:
        raise ValueError("not a result row with a custom_id")
    response = pieces(row.get("response", b"null"))
    body, status = response.get("body", b"null"), _status(response.get("status_code", b"0"))
    if 200 <= status <= 299 and body.startswith(b"{"):
        found = _answer(endpoint, body, source)
        return answered(native_id, request_id, found) if isinstance(found, Answer) else failed(native_id, "", found)
    if status:
        return failed(native_id, request_id, error_of(status, read(body)))
    error = row.get("error", b"null")
    if error not in {b"null", b'""', b"{}"}:
        return failed(native_id, request_id, error_of(500, read(error)))
    return unanswered(native_id, *EMPTY)


def _answer(endpoint: str, body: bytes, source: str) -> Answer | ErrorAnswer:
    if endpoint != EMBEDDINGS:
        return through_chat.answer(endpoint, to_completion(body))
    inputs = len(read_part(body).vectors)
    return join([body], Facts("", inputs, inputs, BASE64 in source))


def _record(native_id: str, body: bytes) -> bytes:
    return b'{"custom_id":' + msgspec.json.encode(native_id) + b',"body":' + body + b"}"


def _status(raw: bytes) -> int:
    digits = raw.strip(b'"')
    return int(digits[:4]) if digits.isdigit() else 0
