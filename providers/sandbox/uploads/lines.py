"""The lines `{"custom_id", "body"}` of a job, for stand-ins whose answers are OpenAI's: judged and answered.

Runs in worker threads and processes. Answers come in the order in which lines "run": a seeded shuffle, so that neither
full nor partial results ever come in input order. What a row looks like is the dialect's business.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from proxy_plugin.providers.sandbox.answers import POISON, Style, UnknownMarker, markers, poison, user_text
from proxy_plugin.providers.sandbox.openai.bodies import response_body

MARK = 10  # characters of a prefix that all custom_ids of a job may share


class Bad(ValueError):
    """The whole job is refused in these words."""


class Answer(NamedTuple):
    """What became of one line. `status` 0: an answer without anything in it. `body` is JSON, of a 200 alone."""

    custom_id: str
    status: int
    body: bytes = b""
    message: str = ""  # of what is no 200
    ran: bool = True
    rows: int = 1  # of it in the results: none, or the same twice
    foreign: str | None = None  # a custom_id nobody sent, under which the same row stands once more

    @property
    def ok(self) -> bool:
        return self.status == 200


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked for. `check` is a function of a module: it looks at a whole line and raises `Bad`."""

    source: Path
    endpoint: str
    identity: str
    created: int
    seed: int
    style: Style
    most: int
    check: Callable[[Mapping[str, Any]], None]
    model: str | None = None  # of the job, where lines name none


def survey(path: Path) -> tuple[int, str | None]:
    """How many lines a document has, and the mark with which all their custom_ids begin."""
    marks, count = set[str | None](), 0
    with path.open("rb") as lines:
        for raw in lines:
            count += 1
            try:
                custom_id = json.loads(raw).get("custom_id")
            except (ValueError, AttributeError):
                custom_id = None
            marks.add(custom_id[:MARK] if isinstance(custom_id, str) and len(custom_id) >= MARK else None)
    return count, marks.pop() if len(marks) == 1 else None


def answer_lines(task: Task) -> list[Answer]:
    """Judge and answer all lines. Raises `Bad` for the first that spoils the job."""
    found, ids = list[Answer](), set[str]()
    try:
        with task.source.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if number > task.most:
                    raise Bad(f"the file has more than {task.most} requests")
                line = _line(raw, number, task, ids)
                found.append(_answer(line, f"{task.identity}{number:x}", task))
    except FileNotFoundError:
        raise Bad("Failed to download input file: HTTP 404") from None
    if not found:
        raise Bad("the input has no requests")
    random.Random(task.seed).shuffle(found)
    return found


def _line(raw: bytes, number: int, task: Task, ids: set[str]) -> Mapping[str, Any]:
    try:
        line = json.loads(raw.decode())
        custom_id, body = line["custom_id"], line["body"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Bad(f"line {number}: not a JSON object with custom_id and body") from None
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 64 or not isinstance(body, dict):
        raise Bad(f"line {number}: custom_id must be a text of up to 64 characters, body an object")
    if custom_id in ids:
        raise Bad(f"line {number}: custom_id is not unique")
    ids.add(custom_id)
    try:
        task.check(line)
    except Bad as wrong:
        raise Bad(f"line {number}: {wrong}") from None
    if b"[[sandbox:poison" in raw and (way := poison(task.endpoint, body)):
        raise Bad(POISON if way == "silent" else f"line {number}: {POISON}")
    return dict(line)


def _answer(line: Mapping[str, Any], identity: str, task: Task) -> Answer:
    custom_id, body = line["custom_id"], line["body"]
    try:
        wanted = markers(user_text(task.endpoint, body))
    except UnknownMarker as wrong:
        return Answer(custom_id, 400, message=f"The sandbox knows no marker {wrong}.")
    rows = 0 if "missing" in wanted else 2 if "duplicate" in wanted else 1
    foreign = (wanted["foreign"] or f"stranger-{identity}") if "foreign" in wanted else None
    if "expire" in wanted:
        return Answer(custom_id, 408, message="The request expired.", ran=False, rows=rows, foreign=foreign)
    status = 408 if "timeout" in wanted else int(wanted.get("error", 200))
    if status != 200:
        message = f"The line asked the sandbox for an error {status}." if status else ""
        return Answer(custom_id, status, message=message, rows=rows, foreign=foreign)
    made, _, _ = response_body(
        task.endpoint, _as_openais(body), identity=identity, created=task.created, style=task.style
    )
    made["model"] = body.get("model", task.model)
    return Answer(custom_id, 200, dumps(made), rows=rows, foreign=foreign)


def _as_openais(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Cohere's inputs as OpenAI's; any other body as it is."""
    if "inputs" not in body:
        return body
    texts = [part["text"] for each in body["inputs"] for part in each["content"] if part["type"] == "text"]
    return {"input": texts, "dimensions": body.get("output_dimension")}


def dumps(value: Any) -> bytes:
    """JSON; the standard library writes what orjson refuses (lone surrogates)."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()
