"""The pure half of xAI's adapter: OpenAI's lines out, pages of results in.

Shapes: the project's reference page, captures of 2026-08-28. Lines of Responses run as chat there and come back as
chat, so that the translation is made here, both ways. Answers are handed on as the bytes they came in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from proxy_plugin.providers.base import LineIn, Native, Row, Target, Usage
from proxy_plugin.providers.formats.json_text import has_long_numbers, read, read_exactly, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.members import members, pieces
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.rows import CANCELLED, EMPTY, EXPIRED, answered, text_of, tokens_of, unanswered
from proxy_plugin.providers.formats.shapes import Answer, Translated
from proxy_plugin.providers.formats.surrogates import mended, places

IMAGES = frozenset({"/v1/images/generations", "/v1/images/edits"})
ENDPOINTS = through_chat.ENDPOINTS | IMAGES
_NOT_RUN = {"batch cancelled": CANCELLED, "batch canceled": CANCELLED, "batch expired": EXPIRED}
_RESULTS = re.compile(r'"results"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()
_UNSENT = {"stream": None, "stream_options": None}


class _Page(msgspec.Struct):
    results: list[msgspec.Raw]
    pagination_token: Any = None


_whole = msgspec.json.Decoder(_Page).decode


class Page(NamedTuple):
    """One page of results: its rows as JSON texts, and the token of the next page. `whole`: it was not cut."""

    rows: list[str]
    token: str | None
    whole: bool


def request_line(line: LineIn, target: Target) -> Native:
    """Return the line of an input file. Raises LineRejected."""
    drop, strict = target.drop_params, target.strict_params

    def native(chat: bytes) -> Translated:
        losses = Losses(allowed=drop, strict=strict, provider="xAI's API")
        return Translated(_sendable(chat, target.model, losses), losses.settled())

    translated = through_chat.translate(line.endpoint, line.body, native, drop_params=drop, strict_params=strict)
    url = line.endpoint if line.endpoint in IMAGES else through_chat.CHAT
    head = msgspec.json.encode({"custom_id": line.native_id, "method": "POST", "url": url})
    return Native(head[:-1] + b',"body":' + translated.body + b"}", dropped=translated.dropped)


def _sendable(body: bytes, model: str | None, losses: Losses) -> bytes:
    """Return a body without `stream` and halves of characters, for either of which xAI refuses the whole file."""
    given = pieces(body)
    if not body.lstrip().startswith(b"{"):
        raise rejected("body", "must be a JSON object", "invalid_type")
    if given.get("stream") == b"true":
        losses.never("stream", "answers of a batch are not streamed; remove it")
    changes: dict[str, str | None] = {**_UNSENT, **({} if model is None else {"model": model})}
    made = body if model is None and given.keys().isdisjoint(_UNSENT) else _edited(body, changes)
    whole = mended(made)
    if whole is not made:
        for path in list(dict.fromkeys(places(read(body))))[:100] or ["body"]:
            losses.hint(path, "holds half of a character", "Cut texts between characters", instead="U+FFFD")
    return whole.strip().replace(b"\n", b" ").replace(b"\r", b" ")


def _edited(body: bytes, changes: dict[str, str | None]) -> bytes:
    """Return an object with other texts for some members, None: without them; all else is as it was."""
    pairs = [(key, write(value)) for key, value in changes.items() if value is not None]
    pairs += [(key, body[start:end]) for key, start, end in members(body) if key not in changes]
    return b"{" + b",".join(write(key) + b":" + value for key, value in pairs) + b"}"


def result_row(line: bytes, endpoint: str) -> Row | None:
    """Read a result as an answer of `endpoint`; None for a blank line. Raises ValueError: corrupt."""
    if not line.strip():
        return None
    found = pieces(line)
    native_id = text_of(found.get("batch_request_id", b""))
    if not native_id:
        raise ValueError("not a result with a batch_request_id")
    result = pieces(found.get("batch_result", b"null"))
    # The wrapper's name tells the endpoint; there is one.
    body = next(iter(pieces(result.get("response", b"null")).values()), b"null")
    if body.startswith(b"{"):
        answer = _completion(body) if endpoint not in IMAGES else Answer(body, tokens_of(None), "")
        return answered(native_id, "", through_chat.answer(endpoint, answer))
    words = _words(read(result.get("error", b"null")))
    if not words:
        return unanswered(native_id, *EMPTY)
    return unanswered(native_id, *_NOT_RUN.get(words.strip(" .").lower(), ("request_failed", words)))


def _completion(body: bytes) -> Answer:
    """Return a chat.completion. Turns of a search that stand in it beside each other are one answer: its last."""
    given = read_exactly(body) if has_long_numbers(body) else read(body)
    usage, model, choices = tokens_of(given.get("usage")), given.get("model"), given.get("choices")
    last: dict[Any, Any] = {}
    for each in choices if isinstance(choices, list) else []:
        last[each.get("index") if isinstance(each, dict) else None] = each
    if isinstance(choices, list) and len(last) < len(choices):
        body = write({**given, "choices": list(last.values())})
    return Answer(body, _with_thoughts(usage, given.get("usage")), model if isinstance(model, str) else "")


def _with_thoughts(usage: Usage, told: Any) -> Usage:
    """Return the tokens that are paid for: those of reasoning stand beside the completion's (captured)."""
    total = told.get("total_tokens") if isinstance(told, dict) else None
    if total != usage.input_tokens + usage.output_tokens + usage.reasoning_tokens:
        return usage
    return replace(usage, output_tokens=usage.output_tokens + usage.reasoning_tokens)


def _words(error: Any) -> str:
    """Return what an error says: a text, or the gRPC form's object."""
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def read_page(text: str) -> Page:
    """Read a page of results; of one that was cut, the rows that are whole.

    Rows are stepped over, not read: the standard library holds the interpreter's lock for a whole page.
    """
    try:
        found = _whole(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        begun = _RESULTS.search(text)
        return Page(list(_elements(text, begun.end())) if begun else [], None, whole=False)
    token = found.pagination_token
    rows = [_on_one_line(bytes(row).decode()) for row in found.results]
    return Page(rows, token if isinstance(token, str) and token else None, whole=True)


def _on_one_line(row: str) -> str:
    return row.replace("\n", " ").replace("\r", " ")


def _elements(text: str, place: int) -> Iterator[str]:
    """Yield the elements of an array as they are written, as far as they are whole."""
    while (begin := _BETWEEN.match(text, place)) and begin.end() < len(text) and text[begin.end()] != "]":
        try:
            _, place = _DECODER.raw_decode(text, begin.end())
        except (ValueError, RecursionError):
            return
        yield _on_one_line(text[begin.end() : place])
