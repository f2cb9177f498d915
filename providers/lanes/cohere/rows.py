"""The pure half of Cohere's adapter: records of the input dataset out, those of the output dataset in.

Shapes: notebook "Batch Inference with Cohere", 2026-08-20: `{"custom_id", "body"}` both ways, an answer being the plain
answer of Embed v2, without a status. Failed records and chat are shown nowhere (UNVERIFIED): a body may be an object
or its JSON text, a chat answer OpenAI's or Cohere's own, an error stand in its own member or in place of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target, Usage
from proxy_plugin.providers.formats.cohere.answers import to_completion
from proxy_plugin.providers.formats.embeddings import cohere
from proxy_plugin.providers.formats.embeddings.common import Facts
from proxy_plugin.providers.formats.openai.carried import edited, read_native, record
from proxy_plugin.providers.formats.rows import EMPTY, answered, carried, refused, unanswered
from proxy_plugin.providers.formats.shapes import Answer

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
OWN = {"/v2/chat": CHAT, "/v2/embed": EMBEDDINGS}  # bodies in the API's own words -> the endpoint that answers so
BASE64 = "base64"  # the partition of lines that want their vectors so: a record does not tell


def request_record(line: LineIn, target: Target) -> Native:
    """Return a record of the input dataset, without the model. Raises LineRejected.

    What the caller has written in Cohere's words, or as OpenAI's chat, goes as it is.
    """
    if line.endpoint in {CHAT, *OWN}:
        return Native(record(line.native_id, edited(line.body, {"model": None})))
    made = cohere.to_cohere_embeddings(
        line.body, model=target.model, drop_params=target.drop_params, strict_params=target.strict_params
    )
    if len(made.bodies) > 1:
        message = f"a line holds {cohere.MAX_TEXTS} texts in a batch at Cohere; spread input over several lines"
        raise LineRejected(message, code="unsupported_value", param="input")
    partition = BASE64 if made.facts.base64 else ""
    data = record(line.native_id, made.bodies[0])
    return Native(data, inputs=made.facts.inputs, partition=partition, dropped=made.dropped)


def result_row(line: bytes, source: str, endpoint: str) -> Row | None:
    """Read a record, written as JSON with the job's model; None for a blank one. Raises ValueError: corrupt."""
    if not line.strip():
        return None
    row = read_native(line)
    body, text, model = row.fields.get("body"), row.written.get("body", b""), str(row.fields.get("model", ""))
    if isinstance(body, str) and body.lstrip().startswith("{"):
        text = body.encode(errors="replace").replace(b"\n", b" ").replace(b"\r", b" ").strip()
        body = json.loads(text)
    found = body if isinstance(body, dict) else {}
    if _stays(found, endpoint):
        return _as_it_is(row.custom_id, text, found, model)
    if endpoint == EMBEDDINGS and found.get("embeddings"):
        return _embedded(row.custom_id, text, model, base64=f".{BASE64}." in source)
    if endpoint != EMBEDDINGS and "choices" in found:
        return carried(row.custom_id, text, {"model": model, **found})
    if endpoint == CHAT and isinstance(found.get("message"), dict):
        return answered(row.custom_id, "", to_completion(found, model=model))
    return _failed(row.custom_id, row.fields, found, body)


def _stays(found: Mapping[str, Any], endpoint: str) -> bool:
    """Tell whether an answer is handed on as Cohere's: so are vectors of types that OpenAI's answers do not have."""
    embeddings = found.get("embeddings")
    if endpoint in OWN:
        return bool(embeddings) or isinstance(found.get("message"), dict)
    is_typed = isinstance(embeddings, dict) and not embeddings.get("float") and any(embeddings.values())
    return endpoint == EMBEDDINGS and is_typed


def _as_it_is(native_id: str, body: bytes, found: Mapping[str, Any], model: str) -> Row:
    """Return the row of an answer in Cohere's words, with its tokens."""
    if "message" in found:
        return answered(native_id, "", to_completion(found, model=model)._replace(body=body))
    return answered(native_id, "", Answer(body, Usage(cohere.read_part(body).tokens, 0), model))


def _embedded(native_id: str, body: bytes, model: str, *, base64: bool) -> Row:
    """A record does not tell how many texts were asked for: vectors that are left out at its end are not missed."""
    count = len(cohere.read_part(body).vectors)
    answer = cohere.join([body], Facts(model, count, max(count, 1), base64))
    if isinstance(answer, Answer):
        return answered(native_id, "", answer)
    return refused(native_id, "Cohere returned no embedding of an input.", status=500, code=answer.code)


def _failed(native_id: str, fields: Mapping[str, Any], found: Mapping[str, Any], body: object) -> Row:
    error = fields.get("error") or fields.get("errors") or found.get("error") or found.get("message") or body
    if not error:
        return unanswered(native_id, *EMPTY)
    told = (fields.get("status_code"), found.get("status_code"), *(error.values() if isinstance(error, dict) else ()))
    status = next((code for code in told if type(code) is int and 400 <= code <= 599), 400)
    words = error.get("message") if isinstance(error, dict) else error
    message = words if isinstance(words, str) and words else "Cohere gave no reason for this error."
    return refused(native_id, message, status=status)
