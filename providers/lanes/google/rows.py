"""The pure half of the Gemini adapter: lines of an input file out, lines of a result file in.

Shapes: "Batch API", ai.google.dev, and types of google-genai 3.6.1; a line with an error has `error`, or `status`.
Which line an answer is to says its `key` alone: results come in any order, and what has no key is nobody's.

A response is handed on as the bytes it came in; lines with halves of characters take a slower way (`formats.members`).
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target, Usage
from proxy_plugin.providers.formats.embeddings import gemini as embeddings
from proxy_plugin.providers.formats.embeddings.common import Facts
from proxy_plugin.providers.formats.gemini.answers import error_row, to_completion
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.members import members
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer, Translated, count

EMBEDDINGS = "/v1/embeddings"
PACKED = "-b64"  # behind the key of a line whose vector is wanted in base64: only keys come back with the answers
# OpenAI's text, "Batch API" guide, copy of 2026-06-27.
NOT_RUN = {"code": "batch_cancelled", "message": "This request was not executed because the batch was cancelled."}
_MODEL = re.compile(r"(?:models/|tunedModels/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SOURCE = re.compile(r"results-(\d{0,12})-([A-Za-z0-9._-]*)\.jsonl")
_NULL = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    key: Any = None
    custom_id: Any = None
    metadata: Any = None
    response: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    status: msgspec.Raw = _NULL


def request_line(line: LineIn, target: Target) -> Native:
    """Return `{"key", "request"}` on one line. Raises LineRejected."""
    drop, strict = target.drop_params, target.strict_params
    model_path(line.model)
    key = line.native_id
    if line.endpoint == EMBEDDINGS:
        fan = embeddings.to_gemini_embeddings(line.body, model=target.model, drop_params=drop, strict_params=strict)
        if len(fan.bodies) != 1:
            message = "Gemini embeds one text a request; send each text as a line of its own"
            raise LineRejected(message, code="unsupported_value", param="input")
        key += PACKED if fan.facts.base64 else ""
        translated = Translated(fan.bodies[0], fan.dropped)
    else:

        def native(chat: bytes) -> Translated:
            return to_generate_content(chat, model=target.model, drop_params=drop, strict_params=strict)

        translated = through_chat.translate(line.endpoint, line.body, native, drop_params=drop, strict_params=strict)
    head = b'{"key":' + msgspec.json.encode(key) + b',"request":'
    return Native(head + translated.body + b"}", dropped=translated.dropped)


def model_path(model: str) -> str:
    """Return the path of a model. Raises LineRejected for a name that cannot stand in one."""
    if not _MODEL.fullmatch(model):
        raise LineRejected("is not the name of a Gemini model", code="invalid_value", param="model")
    return model if "/" in model else f"models/{model}"


def results_name(ended: str, model: str) -> str:
    """Return the name of a job's results, which holds when it ended (Unix seconds) and its model: rows may not."""
    name = f"results-{ended}-{model.rpartition('/')[2]}.jsonl"
    return name if _SOURCE.fullmatch(name) else "results--.jsonl"


def result_row(line: bytes, source: str, endpoint: str) -> Row | None:
    """Read a line of the results as an answer of `endpoint`; None for a blank one. Raises ValueError: corrupt.

    What became of a request in a way that no page describes is an error of its line, not of the file.
    """
    if not line.strip():
        return None
    found = _read(line)
    key, packed = _key(found)
    response = bytes(found.response)
    for fault in (bytes(found.error), bytes(found.status)):
        if fault.startswith(b"{"):
            return _failed(key, fault)
    if not response.startswith(b"{"):
        said = {"code": "empty_result", "message": "The provider returned neither a response nor an error."}
        return Row(key, ok=False, error=msgspec.json.encode(said), code="empty_result")
    if found.custom_id is not None:
        return _as_openai_has_it(key, response)
    return _answered(key, response, source, endpoint, packed=packed)


def _answered(key: str, response: bytes, source: str, endpoint: str, *, packed: bool) -> Row:
    told = _SOURCE.fullmatch(source)
    ended, model = (int(told[1] or 0), told[2]) if told else (0, "")
    answer: Answer | ErrorAnswer
    if endpoint == EMBEDDINGS:
        answer = embeddings.join([response], Facts(model, 1, 1, packed))
    else:
        answer = through_chat.answer(endpoint, to_completion(response, created=ended, model=model))
    written = _response(answer.status, answer.body)
    if not isinstance(answer, Answer):
        return Row(key, ok=False, response=written, code=str(answer.status))
    # A name is stored as UTF-8, which has no halves of characters.
    name = answer.model.encode(errors="replace").decode() or None
    return Row(key, answer.status == 200, written, code=answer.code or None, model=name, usage=answer.usage)


def _as_openai_has_it(key: str, response: bytes) -> Row:
    """Take a row that Google wrote as OpenAI does, for a line that was one (litellm 1.110.2). Thoughts are output."""
    fields = json.loads(response)
    status, body = fields.get("status_code"), fields.get("body")
    ok = isinstance(status, int) and 200 <= status <= 299 and isinstance(body, dict)
    if not ok:
        return Row(key, ok=False, response=response, code=str(status))
    spent = body.get("usage")
    given = count(spent, "promptTokens")
    made = max(count(spent, "totalTokens") - given, count(spent, "completionTokens"))
    model = body.get("model")
    usage = Usage(given, made, reasoning_tokens=made - count(spent, "completionTokens"))
    return Row(key, ok=True, response=response, model=model if isinstance(model, str) else None, usage=usage)


def _failed(key: str, fault: bytes) -> Row:
    answer = error_row(fault)
    if answer.status == 499:
        return Row(key, ok=False, error=msgspec.json.encode(NOT_RUN), code=NOT_RUN["code"])
    return Row(key, ok=False, response=_response(answer.status, answer.body), code=str(answer.status))


def _response(status: int, body: bytes) -> bytes:
    return b'{"status_code":%d,"request_id":"","body":%s}' % (status, body)


def _key(line: _Line) -> tuple[str, bool]:
    """Return whose answer a line is, and whether its vector is wanted in base64."""
    inside = line.metadata.get("key") if isinstance(line.metadata, dict) else None
    key = next((each for each in (line.key, inside, line.custom_id) if isinstance(each, str)), None)
    if key is None:
        raise ValueError("a result without a key")
    return key.removesuffix(PACKED), key.endswith(PACKED)


def _read(line: bytes) -> _Line:
    line.decode()  # msgspec does not look into texts that it skips
    try:
        return msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("not a result row")  # noqa: TRY004 - the contract's word for a corrupt line
    written = {name: msgspec.Raw(line[start:end]) for name, start, end in members(line)}
    raws = {name: written[name] for name in ("response", "error", "status") if name in written}
    return _Line(fields.get("key"), fields.get("custom_id"), fields.get("metadata"), **raws)
