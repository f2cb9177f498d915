"""The pure half of the OpenAI-compatible adapters: request lines out, result lines in.

Shapes: "Batch API" guide, developers.openai.com/api/docs/guides/batch, copy of 2026-06-27; API reference, pages
"Batch" and "The request output object", openapi.yaml of 2026-08-21.

Bodies are never decoded and written again: integers beyond 64 bits, escapes and key order survive only as bytes.
Measured with msgspec 0.22: it refuses a lone surrogate escape (`"\\ud83d"`) even in a value it only skips, and answers
cut off by `max_tokens` hold such halves of emoji. So those texts take a slower way, through `members`.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target, Usage
from proxy_plugin.providers.formats.members import may_name, members, read_slowly, replace_model

_NULL = msgspec.Raw(b"null")
_EMBEDDINGS = "/v1/embeddings"


class _Embedding(msgspec.Struct):
    input: Any = None


class _Line(msgspec.Struct):
    custom_id: str
    response: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL


class _Body(msgspec.Struct):
    model: Any = None
    usage: Any = None


class _Answer(msgspec.Struct):
    status_code: Any = None
    body: _Body | None = None


class _OddAnswer(msgspec.Struct):
    """A response whose body is no object."""

    status_code: Any = None
    body: Any = None


_HEAD = re.compile(rb'\{"id": ?"[\w-]*", ?"custom_id": ?"([\w-]*)", ?"response": ?(?=\{)')
_TAILS = (b',"error":null}', b', "error": null}')


class _PlainDetails(msgspec.Struct, gc=False):
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0


_NO_DETAILS = _PlainDetails()


class _PlainCounts(msgspec.Struct, gc=False):
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens_details: _PlainDetails | None = None
    output_tokens_details: _PlainDetails | None = None
    prompt_tokens_details: _PlainDetails | None = None
    completion_tokens_details: _PlainDetails | None = None


class _PlainBody(msgspec.Struct, gc=False):
    model: str
    usage: _PlainCounts


class _PlainAnswer(msgspec.Struct, gc=False):
    """The response of an ordinary row."""

    status_code: int
    body: _PlainBody


_plain_answer = msgspec.json.Decoder(_PlainAnswer).decode


def request_line(line: LineIn, target: Target, url: str | None, stripped: frozenset[str] = frozenset()) -> Native:
    """Return the line of a batch input file. Raises LineRejected for a body that is no JSON object.

    `url` None: the line names neither url nor method. `stripped`: members of the body that stay behind.
    """
    if not line.body.lstrip().startswith(b"{"):
        raise LineRejected("body must be a JSON object", code="invalid_type", param="body")
    body = line.body if target.model is None else replace_model(line.body, target.model)
    body, dropped = without(body, stripped) if stripped else (body, ())
    # A newline inside a JSON text is whitespace between tokens: strings cannot hold a raw one.
    text = body.strip().replace(b"\n", b" ").replace(b"\r", b" ")
    head = line.native_id.encode()  # an id of ours has no escape
    data = b"".join((b'{"custom_id":"', head, b'"', _between(url), text, b"}"))
    return Native(data, inputs=count_inputs(body) if line.endpoint == _EMBEDDINGS else 1, dropped=dropped)


@lru_cache(64)
def _between(url: str | None) -> bytes:
    """Return what stands between a line's id and its body."""
    return b',"body":' if url is None else b',"method":"POST","url":%b,"body":' % msgspec.json.encode(url)


def without(body: bytes, names: frozenset[str]) -> tuple[bytes, tuple[str, ...]]:
    """Return a JSON object without the members of these names, every other byte of a value as it was, and which went.

    A body that has none of them, by its bytes, is given back as it came; one with an escape is looked into.
    """
    if not may_name(body, *names):
        return body, ()
    found = list(members(body))
    gone = dict.fromkeys(key for key, _, _ in found if key in names)
    kept = [msgspec.json.encode(key) + b":" + body[start:end] for key, start, end in found if key not in names]
    return (b"{" + b",".join(kept) + b"}", tuple(gone)) if gone else (body, ())


def count_inputs(body: bytes) -> int:
    """Return how many inputs an embeddings body holds: a text or one array of tokens is 1, else the list's length."""
    try:
        given = msgspec.json.decode(body, type=_Embedding).input
    except msgspec.DecodeError:
        given = json.loads(body).get("input")
    if isinstance(given, list) and given and isinstance(given[0], str | list):
        return len(given)
    return 1


def result_row(line: bytes) -> Row | None:
    """Read a line of an output or error file; None for a blank one. Raises ValueError for a corrupt line."""
    return _ordinary_row(line) or careful_row(line)


def careful_row(line: bytes) -> Row | None:
    """Read a line whatever it is: `result_row` gives the same, sooner where a line is what most are.

    A response without status or body, an error that is a bare text and a row with neither occur with providers that
    copy the API; `status_code: 0` was reported by users of OpenAI's.
    """
    if not line.strip():
        return None
    line.decode()  # msgspec does not look into texts that it skips
    try:
        row = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, RecursionError):
        row = _slow_line(line)
    response, error = bytes(row.response), bytes(row.error)
    if response.startswith(b"{"):
        answer = _answer(response)
        status = _status(answer.status_code)
        if answer.body is not None and 200 <= status <= 299:
            return _answered(row.custom_id, response, answer)
        if not 200 <= status <= 299 and (answer.body is not None or not _says(error)):
            return Row(row.custom_id, ok=False, response=response, code=str(status))
    return _failed(row.custom_id, error)


def _ordinary_row(line: bytes) -> Row | None:
    """Return the row of a line that was answered, as OpenAI writes it; None where it is to be looked into.

    What stands between its head and its tail is one object, so the line is what it seems: a decode less, and no
    dictionaries.
    """
    head = _HEAD.match(line)
    if head is None or not line.endswith(_TAILS) or not (line.isascii() or line.decode()):
        return None
    response = line[head.end() : line.rindex(b",")]
    try:
        answer = _plain_answer(response)
    except (msgspec.MsgspecError, RecursionError):
        return None
    usage = _plain_usage(answer.body.usage)
    if usage is None or not 200 <= answer.status_code <= 299:
        return None
    return Row(head[1].decode(), ok=True, response=response, model=answer.body.model, usage=usage)


def _plain_usage(counts: _PlainCounts) -> Usage | None:
    """Return what `read_usage` makes of the same counts, None where one of them is negative."""
    read = counts.input_tokens_details or counts.prompt_tokens_details or _NO_DETAILS
    made = counts.output_tokens_details or counts.completion_tokens_details or _NO_DETAILS
    given, spent = counts.input_tokens or counts.prompt_tokens, counts.output_tokens or counts.completion_tokens
    if given < 0 or spent < 0 or read.cached_tokens < 0 or made.reasoning_tokens < 0 or read.cache_write_tokens < 0:
        return None
    return Usage(given, spent, read.cached_tokens, made.reasoning_tokens, read.cache_write_tokens)


def _answered(native_id: str, response: bytes, answer: _Answer | _OddAnswer) -> Row:
    body = answer.body if isinstance(answer.body, _Body) else _Body()
    model = body.model if isinstance(body.model, str) else None
    return Row(native_id, ok=True, response=response, model=model, usage=read_usage(body.usage))


def _failed(native_id: str, error: bytes) -> Row:
    """Return the row of a line without an answer; `error` stays as it is if it is an object."""
    if not _says(error):
        message = "The provider returned neither a response nor an error for this request."
        error = msgspec.json.encode({"code": "empty_result", "message": message})
    elif not error.startswith(b"{"):
        words = error if error.startswith(b'"') else msgspec.json.encode(error.decode())
        error = b'{"code":"provider_error","message":' + words + b"}"
    code = json.loads(error).get("code")
    word = str(code)[:64] if isinstance(code, str | int) else "provider_error"
    return Row(native_id, ok=False, error=error, code=word)


def read_usage(given: object) -> Usage | None:
    """Read token counts under their chat names (prompt, completion) or their newer ones (input, output)."""
    if not isinstance(given, dict):
        return None
    return Usage(
        input_tokens=_first(given, "input_tokens", "prompt_tokens"),
        output_tokens=_first(given, "output_tokens", "completion_tokens"),
        cached_tokens=_detail(given, "cached_tokens", "input_tokens_details", "prompt_tokens_details"),
        reasoning_tokens=_detail(given, "reasoning_tokens", "output_tokens_details", "completion_tokens_details"),
        cache_write_tokens=_detail(given, "cache_write_tokens", "input_tokens_details", "prompt_tokens_details"),
    )


def _first(counts: dict[str, Any], *names: str) -> int:
    found = (counts.get(name) for name in names)
    return next((count for count in found if isinstance(count, int) and count > 0), 0)


def _detail(given: dict[str, Any], name: str, *groups: str) -> int:
    details = (given.get(group) for group in groups)
    return next((_first(group, name) for group in details if isinstance(group, dict)), 0)


def _status(given: object) -> int:
    """Return an HTTP status, 0 for what is none."""
    if isinstance(given, str) and given.isascii() and given.isdigit():
        given = int(given[:4])
    return given if isinstance(given, int) and not isinstance(given, bool) else 0


def _says(error: bytes) -> bool:
    return error not in {b"null", b'""', b"{}", b"[]", b"false"}


def _answer(response: bytes) -> _Answer | _OddAnswer:
    with suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(response, type=_Answer)
    with suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(response, type=_OddAnswer)
    fields = json.loads(response)
    body = fields.get("body")
    if isinstance(body, dict):
        return _Answer(fields.get("status_code"), _Body(body.get("model"), body.get("usage")))
    return _OddAnswer(fields.get("status_code"), body)


def _slow_line(line: bytes) -> _Line:
    custom_id, _, written = read_slowly(line, "result row")
    raws = {key: msgspec.Raw(value) for key, value in written.items()}
    return _Line(custom_id, raws.get("response", _NULL), raws.get("error", _NULL))
