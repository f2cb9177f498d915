"""What people have at hand as the lines of a batch: texts, conversations, whole lines, the rows of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from proxy_plugin.commands.problems import Misuse
from proxy_plugin.commands.wording import JSON, clean

CHAT = "/v1/chat/completions"
ROWS_AT_ONCE = 1_000  # of a table
_TEXT_FIELD = {"/v1/completions": "prompt", "/v1/embeddings": "input", "/v1/responses": "input"}
_CONTENT = ("messages", "prompt", "input")
_WHOLE = frozenset({"body", "params", "request", "modelInput", "batch_request"})  # lines as they stand, lanes' own too

Make = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How something becomes a line. `make` gets a row and returns its body; without one the row's own columns do."""

    endpoint: str = CHAT
    model: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    make: Make | None = None


def write(lines: Iterable[Any], file: BinaryIO, recipe: Recipe) -> int:
    """Write one JSON line for each and return how many they are. Raises Misuse for what is no line."""
    count = 0
    for count, (name, each) in enumerate(_each(lines), 1):
        try:
            text = json.dumps(_line(name, each, recipe), ensure_ascii=False, allow_nan=False, default=_plain)
        except (TypeError, ValueError) as error:
            raise Misuse(f"line {count} cannot be written as JSON: {clean(error)}.") from None
        except Misuse as problem:
            raise Misuse(f"line {count}: {problem}") from None
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")
    if not count:
        raise Misuse("there are no lines to submit.")
    return count


def _each(lines: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield every line with the name it has if it brings none: of a row of pandas' that is its index."""
    if hasattr(lines, "iloc") and hasattr(lines, "columns"):  # pandas
        for start in range(0, len(lines), ROWS_AT_ONCE):  # type: ignore[arg-type]
            piece = lines.iloc[start : start + ROWS_AT_ONCE]
            yield from zip(map(str, piece.index), piece.to_dict("records"), strict=True)
    elif hasattr(lines, "iter_rows"):  # polars
        yield from _numbered(lines.iter_rows(named=True))
    elif isinstance(lines, str | bytes | Mapping) or not isinstance(lines, Iterable):
        raise Misuse("lines are a list, a table, or the path of a JSONL file.")
    else:
        yield from _numbered(lines)


def _numbered(lines: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"line-{n}", each) for n, each in enumerate(lines, 1))


def _line(name: str, each: Any, recipe: Recipe) -> Mapping[str, Any]:
    if isinstance(each, Mapping) and recipe.make is None and _WHOLE & each.keys():
        return {"custom_id": name} | ({"method": "POST", "url": recipe.endpoint} if "body" in each else {}) | dict(each)
    row = each if isinstance(each, Mapping) else {_content_of(each): each}
    body = _body(row, recipe) if recipe.make is None else dict(recipe.make(row))
    body = {"model": recipe.model} | body if recipe.model and "model" not in body else body
    named = row.get("custom_id")
    return {
        "custom_id": name if _is_missing(named) else str(named),
        "method": "POST",
        "url": recipe.endpoint,
        "body": {**recipe.parameters, **body},
    }


def _content_of(each: Any) -> str:
    if isinstance(each, str):
        return "prompt"
    if isinstance(each, list) and all(isinstance(message, Mapping) for message in each):
        return "messages"
    raise Misuse("it is no text, no list of messages, and no mapping with one of messages, prompt, input or body.")


def _body(row: Mapping[str, Any], recipe: Recipe) -> JSON:
    """Return the body of a row by the columns that say something of it; all others are the caller's own."""
    found = next((name for name in _CONTENT if not _is_missing(row.get(name))), None)
    if found is None:
        if empty := next((name for name in _CONTENT if name in row), None):
            raise Misuse(f"its {empty} is empty: leave it out of what is submitted.")
        columns = ", ".join(clean(name) for name in list(row)[:10])
        raise Misuse(
            f"it has none of messages, prompt, input and body, but {columns or 'nothing'}: rename a column, or say "
            "with body=lambda row: {...} what each line sends."
        )
    model = row.get("model")
    return ({} if _is_missing(model) else {"model": model}) | _content(found, row[found], recipe)


def _content(name: str, value: Any, recipe: Recipe) -> JSON:
    if recipe.endpoint != CHAT:
        return {_TEXT_FIELD.get(recipe.endpoint, name): value}
    messages = list(value) if name == "messages" else [{"role": "user", "content": value}]
    system = [{"role": "system", "content": recipe.system}] if recipe.system else []
    return {"messages": [*system, *messages]}


def _is_missing(value: object) -> bool:
    """Tell whether a cell is empty: tables write that as None, NaN or a value that is not equal to itself."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType"


def _plain(value: Any) -> Any:
    """Return what a cell of a table holds as JSON has it: numbers and lists of numpy's, times as text."""
    for name in ("tolist", "isoformat"):
        if hasattr(value, name):
            return getattr(value, name)()
    raise TypeError(f"{type(value).__name__} is no value of JSON")
