"""The lines of a job: read, judged, answered, in the order in which they run. Runs in worker threads and processes.

What a wire has of its own is a `Form`: which lines it takes, and how it writes a result. The order is a seeded shuffle,
so that neither full nor partial results ever come in input order.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from proxy_plugin.providers.sandbox.answers import POISON, Style, UnknownMarker, markers, poison, user_text
from proxy_plugin.providers.sandbox.openai.bodies import response_body

JSON = Mapping[str, Any]


class Bad(Exception):
    """A line for which the whole file is refused. `line` is 1-based, None: the provider does not tell."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message, line)
        self.message, self.line = message, line

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class Wrong(Exception):
    """A line that is answered with an error (400) of its own, in these words."""


class Outcome(NamedTuple):
    """What became of a line: an answer (2xx) with a body, an error of that status in words; 0: it did not run."""

    status: int
    words: str = ""
    body: JSON = MappingProxyType({})
    endpoint: str = ""

    @property
    def well(self) -> bool:
        """Whether it was answered."""
        return 200 <= self.status < 300


MARK = 10  # characters of a prefix that all custom_ids of a job may share
CANCELLED, EXPIRED = Outcome(0, "cancelled"), Outcome(0, "expired")
EMPTY = Outcome(200)


class Form:
    """How one wire writes its lines. Stateless, for it goes to other processes; `order` is the create's body."""

    key = "custom_id"  # the member that holds a line's id
    unique = False  # do two lines with one id spoil the file?
    halves = False  # are halves of characters taken, which are no UTF-8?
    errors_paid = True  # is a line that is answered with an error paid for?
    gone = "input file not found"  # why a job fails whose lines are not there
    empty = Outcome(500, "an empty answer")  # what is answered with status 0, or `EMPTY`

    def check(self, line: JSON, order: JSON) -> None:
        """Judge a line. Raises `Bad`, whose line is filled in."""

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        """The endpoint that answers a line, and the body that the model sees. Raises `Wrong`."""
        raise NotImplementedError

    def named(self, line: JSON) -> str:
        """The client's name of a line."""
        return str(line.get(self.key) or "")

    def answer(self, endpoint: str, body: JSON, identity: str, created: int, style: Style) -> JSON:
        """What the model answers."""
        return response_body(endpoint, body, identity=identity, created=created, style=style)[0]

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        """A line's result as JSON text; b"" where it has none."""
        raise NotImplementedError

    def result_of(self, line: JSON, order: JSON, identity: str, outcome: Outcome) -> bytes:  # noqa: ARG002
        """The same, for a wire that shows the line again."""
        return self.result(self.named(line), identity, outcome)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a line leaves behind. `copies`: how often its row is in the results; `foreign`: a row of nobody's."""

    custom_id: str
    identity: str
    status: int
    row: bytes
    copies: int = 1
    foreign: bytes = b""


@dataclass(frozen=True, slots=True)
class Task:
    """What `run` needs to know. `seed` shuffles, `identity` makes the ids of rows, `created` is in Unix seconds."""

    source: Path
    form: Form
    order: JSON
    identity: str
    created: int
    seed: int
    style: Style


def mark_of(source: Path) -> str | None:
    """The mark with which all custom_ids of a file begin."""
    marks = set[str | None]()
    with source.open("rb") as lines:
        for raw in lines:
            try:
                custom_id = json.loads(raw).get("custom_id")
            except (ValueError, AttributeError):
                custom_id = None
            marks.add(custom_id[:MARK] if isinstance(custom_id, str) and len(custom_id) >= MARK else None)
    return marks.pop() if len(marks) == 1 else None


def own_line(line: JSON) -> JSON:
    """The body of a line that is `{"custom_id", "body"}` and nothing else. Raises `Bad`."""
    custom_id, body = line.get("custom_id"), line.get("body")
    if set(line) != {"custom_id", "body"} or not isinstance(body, dict):
        raise Bad("a line has custom_id and body")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 64:
        raise Bad("custom_id must be a text of up to 64 characters")
    return body


def judge(source: Path, form: Form, order: JSON) -> str | None:
    """Read every line as an upload or a create does; what is wrong, None for nothing."""
    try:
        for _ in _judged(source, form, order):
            pass
    except Bad as bad:
        return str(bad)
    return None


def run(task: Task) -> tuple[list[Ran], str | None]:
    """Judge and answer every line; the rows in running order, or what is wrong with the file."""
    try:
        rows = [_run(line, number, task) for number, line in _judged(task.source, task.form, task.order)]
    except (Bad, FileNotFoundError) as bad:
        return [], task.form.gone if isinstance(bad, FileNotFoundError) else str(bad)
    random.Random(task.seed).shuffle(rows)
    return rows, None


def _judged(source: Path, form: Form, order: JSON) -> Iterator[tuple[int, dict[str, Any]]]:
    number, ids = 0, set[str]()
    with source.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            line = _object(raw, number, halves=form.halves)
            try:
                form.check(line, order)
                way = b"[[sandbox:poison" in raw and _poison(line, form, order)
            except Bad as bad:
                raise Bad(bad.message, bad.line or number) from None
            if way:
                raise Bad(POISON, None if way == "silent" else number)
            if form.unique:
                if line[form.key] in ids:
                    raise Bad(f"{form.key} is not unique", number)
                ids.add(line[form.key])
            yield number, line
    if not number:
        raise Bad("the file has no lines")


def _poison(line: JSON, form: Form, order: JSON) -> str | None:
    try:
        return poison(*form.asked(line, order))
    except Wrong:
        return None


def _object(raw: bytes, number: int, *, halves: bool) -> dict[str, Any]:
    """The standard library reads what orjson alters, halves of characters too, which many services refuse."""
    try:
        line = json.loads(raw.decode())
        json.dumps(line, ensure_ascii=halves).encode()
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        raise Bad("not a valid JSON object", number)
    return line


def _run(line: JSON, number: int, task: Task) -> Ran:
    custom_id, identity = task.form.named(line), f"{task.identity}{number:x}"
    try:
        endpoint, body = task.form.asked(line, task.order)
        wanted = markers(user_text(endpoint, body), task.style)
    except (UnknownMarker, Wrong) as wrong:
        words = f"The sandbox knows no marker {wrong}." if isinstance(wrong, UnknownMarker) else str(wrong)
        wanted, outcome = {}, Outcome(400, words)
    else:
        outcome = _outcome(endpoint, body, wanted, identity, task)
    row = task.form.result_of(line, task.order, identity, outcome)
    foreign = b""
    if "foreign" in wanted:
        foreign = task.form.result(wanted["foreign"] or f"stranger-{identity}", f"s{identity}", outcome)
    copies = 0 if "missing" in wanted else 1 + ("duplicate" in wanted)
    return Ran(custom_id, identity, outcome.status, row, copies, foreign)


def _outcome(endpoint: str, body: JSON, wanted: Mapping[str, str], identity: str, task: Task) -> Outcome:
    if "expire" in wanted:
        return EXPIRED
    if "timeout" in wanted:
        return Outcome(504, "The model did not answer in time.")
    status = int(wanted.get("error", 200))
    if status == 0:
        return task.form.empty
    if not 200 <= status < 300:
        return Outcome(status, f"The line asked the sandbox for an error {status}.")
    made = task.form.answer(endpoint, body, identity, task.created, task.style)
    return Outcome(status, body=made, endpoint=endpoint)


def dumps(value: Any) -> bytes:
    """JSON text in one line."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()
