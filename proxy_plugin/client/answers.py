"""Rows of a batch as answers: one for every line, in the order of the input, failed ones too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from proxy_plugin.commands.problems import Unreachable
from proxy_plugin.commands.wording import JSON, mapping, objects

LINE_BYTES = 256 * 1024 * 1024  # a row of embeddings may be this long


class LineAnswer(NamedTuple):
    """What one line got. `pandas.DataFrame(batch)` and `polars.DataFrame(batch)` have these fields as columns.

    `text` is what the model wrote, the first choice of several; None where there is none, as for embeddings and for
    lines that failed. `error` says in one sentence why a line failed, else None. `status` is the HTTP status of the
    provider's answer and `body` the whole of it, None where there was none.
    """

    custom_id: str
    text: str | None
    error: str | None
    status: int | None
    body: JSON | None


def answers(blocks: Iterable[bytes]) -> Iterator[LineAnswer]:
    """Yield an answer for each row. Raises Unreachable for what is no JSON line."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        if len(rest) > LINE_BYTES:
            raise _no_rows()
        yield from map(_answer, filter(None, whole))
    if rest:
        yield _answer(rest)


def _answer(line: bytes) -> LineAnswer:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise _no_rows()
    response = mapping(row.get("response"))
    body, status = response.get("body"), response.get("status_code")
    failed = bool(row.get("error")) or not (type(status) is int and status < 400)
    return LineAnswer(
        custom_id=str(row.get("custom_id")),
        text=None if failed else _text(mapping(body)),
        error=_reason(row, mapping(body)) if failed else None,
        status=status if type(status) is int else None,
        body=body if isinstance(body, dict) else None,
    )


def _text(body: Any) -> str | None:
    """Return what the model wrote, in the shapes of chat, completions and responses."""
    for choice in objects(body.get("choices"))[:1]:
        found = mapping(choice.get("message")).get("content", choice.get("text"))
        return found if isinstance(found, str) else None
    pieces = [
        piece.get("text", "")
        for item in objects(body.get("output"))
        for piece in objects(item.get("content"))
        if piece.get("type") == "output_text"
    ]
    return "".join(map(str, pieces)) if pieces else None


def _reason(row: JSON, body: Any) -> str:
    for error in (row.get("error"), body.get("error"), body):
        if isinstance(error, str):
            return error
        if said := mapping(error).get("message"):
            return str(said)
    return "the provider gave no reason"


def _no_rows() -> Unreachable:
    return Unreachable("the gateway answers something that is no row of a batch: check the base URL.", sent=True)
