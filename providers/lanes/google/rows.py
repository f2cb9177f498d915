"""The pure half of the Gemini adapter: lines of an input file out, lines of a result file in.

Shapes: "Batch API", ai.google.dev, and types of google-genai 3.6.1; a line with an error has `error`, or `status`.
Which line an answer is to says its `key` alone: results come in any order, and what has no key is nobody's.

A response is handed on as the bytes it came in; lines with halves of characters take a slower way (`formats.members`).
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target, Usage
from proxy_plugin.providers.formats.embeddings import gemini as embeddings
from proxy_plugin.providers.formats.embeddings.common import Facts
from proxy_plugin.providers.formats.gemini.answers import error_row, to_completion
from proxy_plugin.providers.formats.gemini.own_words import GENERATE, own_request
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.members import pieces
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.rows import (
    CANCELLED,
    EMPTY,
    answered,
    carried,
    error_of,
    failed,
    text_of,
    unanswered,
)
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer, Translated, count

EMBEDDINGS = "/v1/embeddings"
PACKED = "-b64"  # behind the key of a line whose vector is wanted in base64: only keys come back with the answers
_MODEL = re.compile(r"(?:models/|tunedModels/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SOURCE = re.compile(r"results-(\d{0,12})-([A-Za-z0-9._-]*)\.jsonl")


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
    elif line.endpoint == GENERATE:
        translated = own_request(line.body)
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
    line.decode()  # msgspec does not look into texts that it skips
    found = pieces(line.removeprefix(BOM_UTF8))
    key, packed = _key(found)
    for fault in (found.get("error", b""), found.get("status", b"")):
        if fault.startswith(b"{"):
            error = error_row(fault)
            return _failed(key, error._replace(body=b'{"error":' + fault + b"}") if endpoint == GENERATE else error)
    response = found.get("response", b"")
    if not response.startswith(b"{"):
        return unanswered(key, *EMPTY)
    if "custom_id" in found:
        return _as_openai_has_it(key, response)
    answer = _answer(response, source, endpoint, packed=packed)
    return answered(key, "", answer) if isinstance(answer, Answer) else _failed(key, answer)


def _answer(response: bytes, source: str, endpoint: str, *, packed: bool) -> Answer | ErrorAnswer:
    told = _SOURCE.fullmatch(source)
    ended, model = (int(told[1] or 0), told[2]) if told else (0, "")
    if endpoint == EMBEDDINGS:
        return embeddings.join([response], Facts(model, 1, 1, packed))
    completion = to_completion(response, created=ended, model=model)
    return completion._replace(body=response) if endpoint == GENERATE else through_chat.answer(endpoint, completion)


def _as_openai_has_it(key: str, response: bytes) -> Row:
    """Take a row that Google wrote as OpenAI does, for a line that was one (litellm 1.110.2). Thoughts are output."""
    found = pieces(response)
    status, body = read(found.get("status_code", b"null")), found.get("body", b"null")
    fields = read(body)
    if not isinstance(status, int) or not 200 <= status <= 299 or not isinstance(fields, dict):
        return failed(key, "", error_of(status if isinstance(status, int) else 500, fields))
    spent = fields.get("usage")
    given, answer = count(spent, "promptTokens"), count(spent, "completionTokens")
    made = max(count(spent, "totalTokens") - given, answer)
    return replace(carried(key, body, fields), usage=Usage(given, made, reasoning_tokens=made - answer))


def _failed(key: str, error: ErrorAnswer) -> Row:
    return unanswered(key, *CANCELLED) if error.status == 499 else failed(key, "", error)


def _key(found: Mapping[str, bytes]) -> tuple[str, bool]:
    """Return whose answer a line is, and whether its vector is wanted in base64."""
    key = text_of(found.get("key", b""))
    if not key:
        inside = pieces(found.get("metadata", b"null"))
        key = text_of(inside.get("key", b"")) or text_of(found.get("custom_id", b""))
    if not key:
        raise ValueError("a result without a key")
    return key.removesuffix(PACKED), key.endswith(PACKED)
