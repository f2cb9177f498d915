"""The pure half of the Anthropic adapter: elements of `requests` out, result lines in.

Shapes: "Batch processing", Claude Platform documentation, copy of 2026-09-26; types of the official SDK, 2.11; an
error is nested twice, `result.error.error` [captured 2026-09-02].

A message is handed on as the bytes it came in. Measured with msgspec 0.22: it refuses a lone surrogate escape even in a
value it only skips, and answers cut off by `max_tokens` hold such halves of emoji, so those lines take a slower way.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from proxy_plugin.providers.base import LineIn, Native, Row, Target
from proxy_plugin.providers.formats.anthropic.answers import PlainMessage, plain_answer, to_completion
from proxy_plugin.providers.formats.anthropic.errors import error_row
from proxy_plugin.providers.formats.anthropic.requests import own_params, to_messages
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.members import members, read_slowly
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.shapes import Translated

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"  # lines whose body is in the API's own words, and answers in them
READ_BYTES = 1 << 20
_ENDED = re.compile(r"results-(\d{1,12})\.jsonl")
LONGEST_REST = 64 << 20  # bytes after the last newline; 300,000 tokens of escaped text are 8 MB at most
# OpenAI's texts, "Batch API" guide, copy of 2026-06-27.
NOT_RUN = {
    "canceled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
}

_NULL = msgspec.Raw(b"null")


class _Result(msgspec.Struct):
    type: Any = None
    message: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


class _PlainResult(msgspec.Struct):
    type: Literal["succeeded"]
    message: PlainMessage


class _PlainLine(msgspec.Struct):
    """An ordinary answer, read in one go."""

    custom_id: str
    result: _PlainResult


_plain_line = msgspec.json.Decoder(_PlainLine).decode


class _Identified(msgspec.Struct):
    """What has an id: a message under `id`, an error's envelope under `request_id`."""

    id: Any = None
    request_id: Any = None


def request_element(line: LineIn, target: Target) -> Native:
    """Return `{"custom_id", "params"}` on one line. Raises LineRejected."""

    def native(chat: bytes) -> Translated:
        return to_messages(chat, model=target.model, drop_params=target.drop_params, strict_params=target.strict_params)

    switches = {"drop_params": target.drop_params, "strict_params": target.strict_params}
    if line.endpoint == MESSAGES:
        translated = own_params(line.body, model=target.model, **switches)
    else:
        translated = through_chat.translate(line.endpoint, line.body, native, **switches)
    head = b'{"custom_id":' + msgspec.json.encode(line.native_id) + b',"params":'
    return Native(head + translated.body + b"}", dropped=translated.dropped)


def results_name(ended: float | None) -> str:
    """Return the name of a job's results, which holds when the job ended (Unix seconds): no result says so itself."""
    return "results.jsonl" if ended is None else f"results-{max(0, int(ended))}.jsonl"


def result_row(line: bytes, source: str, endpoint: str) -> Row | None:
    """Read a line of the results as an answer of `endpoint`; None for a blank one. Raises ValueError: corrupt.

    `source` is the `results_name`: an answer was created when its job ended, 0 where that is not known.

    What became of a request in a way that no page describes is an error of its line, not of the file.
    """
    if endpoint == CHAT and (row := _plain_row(line, source)) is not None:
        return row
    return careful_row(line, source, endpoint)


def careful_row(line: bytes, source: str, endpoint: str) -> Row | None:
    """Read any line; what an ordinary one comes to is the same."""
    if not line.strip():
        return None
    found = _read(line)
    kind, message = found.result.type, bytes(found.result.message)
    if kind == "succeeded" and message.startswith(b"{"):
        return _answered(found.custom_id, message, endpoint, created=_created(source))
    if kind == "errored":
        return _errored(found.custom_id, bytes(found.result.error), endpoint)
    if isinstance(kind, str) and kind in NOT_RUN:
        return _failed(found.custom_id, *NOT_RUN[kind])
    return _failed(found.custom_id, "empty_result", "The provider returned neither a message nor an error.")


def _plain_row(line: bytes, source: str) -> Row | None:
    try:
        found = _plain_line(line)
        if not line.isascii():
            line.decode()  # msgspec does not look into texts that it skips
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    message = found.result.message
    answer = plain_answer(message, created=_created(source))
    if answer is None:
        return None
    response = _response(200, message.id, answer.body)
    return Row(found.custom_id, ok=True, response=response, model=message.model or None, usage=answer.usage)


@lru_cache(64)
def _created(source: str) -> int:
    ended = _ENDED.fullmatch(source)
    return int(ended[1]) if ended else 0


def custom_id_of(line: bytes) -> str:
    """Return whose result a line is. Raises ValueError for a corrupt or blank line."""
    return _read(line).custom_id


def ends_whole(path: Path) -> bool:
    """Tell whether a result file ends with a whole row, its line break left out or not. An empty one does."""
    with path.open("rb") as file:
        rest = _last_line(file, path.stat().st_size)
    if rest is None:
        return False
    try:
        return not rest.strip() or bool(_read(rest))
    except ValueError:
        return False


def _last_line(file: BinaryIO, size: int) -> bytes | None:
    """Return what stands behind the last line break; None where that is more than any row has."""
    rest = b""
    while size and len(rest) <= LONGEST_REST:
        start = max(size - READ_BYTES, 0)
        file.seek(start)
        block = file.read(size - start)
        if (found := block.rfind(b"\n")) >= 0:
            return block[found + 1 :] + rest
        rest, size = block + rest, start
    return rest if not size else None


def _answered(native_id: str, message: bytes, endpoint: str, *, created: int) -> Row:
    completion = to_completion(message, created=created)
    native = endpoint == MESSAGES
    answer = completion._replace(body=message) if native else through_chat.answer(endpoint, completion)
    response = _response(200, _identity(message).id, answer.body)
    # A name is stored as UTF-8, which has no halves of characters.
    model = answer.model.encode(errors="replace").decode()
    return Row(native_id, ok=True, response=response, model=model or None, usage=answer.usage)


def _errored(native_id: str, error: bytes, endpoint: str) -> Row:
    answer = error_row(error)
    body = error if endpoint == MESSAGES and error.startswith(b"{") else answer.body
    response = _response(answer.status, _identity(error).request_id, body)
    return Row(native_id, ok=False, response=response, code=str(answer.status))


def _failed(native_id: str, code: str, message: str) -> Row:
    return Row(native_id, ok=False, error=msgspec.json.encode({"code": code, "message": message}), code=code)


def _response(status: int, request_id: object, body: bytes) -> bytes:
    name = write(request_id if isinstance(request_id, str) else "")
    return b'{"status_code":%d,"request_id":%s,"body":%s}' % (status, name, body)


def _identity(text: bytes) -> _Identified:
    try:
        return msgspec.json.decode(text, type=_Identified)
    except msgspec.ValidationError:  # no object
        return _Identified()
    except (msgspec.DecodeError, RecursionError):
        fields = json.loads(text)
        return _Identified(fields.get("id"), fields.get("request_id")) if isinstance(fields, dict) else _Identified()


def _read(line: bytes) -> _Line:
    line.decode()  # msgspec does not look into texts that it skips
    try:
        return msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, RecursionError):
        return _read_slowly(line)


def _read_slowly(line: bytes) -> _Line:
    custom_id, fields, written = read_slowly(line, "result")
    result = written.get("result", b"")
    if not result.startswith(b"{"):
        return _Line(custom_id, _Result())
    raws = {key: msgspec.Raw(result[start:end]) for key, start, end in members(result)}
    return _Line(custom_id, _Result(fields["result"].get("type"), raws.get("message", _NULL), raws.get("error", _NULL)))
