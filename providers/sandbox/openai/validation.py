"""What is wrong with the lines of an OpenAI batch: the first bad line ends the check (reference page)."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proxy_plugin.providers.sandbox.answers import POISON, Style, poison
from proxy_plugin.providers.sandbox.openai.bodies import input_count
from proxy_plugin.providers.sandbox.openai.differences import Differences

OPENAIS_OWN = Differences()


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing wrong with an input file, as in `batch.errors.data[]`; `line` is 1-based."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Bad(Exception):
    def __init__(self, code: str, message: str, param: str | None = None, line: int | None = None) -> None:
        self.problem = Problem(code, message, param, line)
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What `examine` needs to know. `seed` shuffles, `identity` makes row ids, `created` is in Unix seconds.

    `endpoint` is OpenAI's path, `url` what lines name for it.
    """

    source: Path
    folder: Path
    endpoint: str
    url: str
    identity: str
    created: int
    seed: int
    max_lines: int
    max_embedding_inputs: int
    unknown_models: frozenset[str]
    style: Style
    differs: Differences = OPENAIS_OWN


@dataclass(slots=True)
class Seen:
    """What one line leaves behind for the judgement of the next."""

    ids: set[str] = field(default_factory=set)
    model: str | None = None
    embedding_inputs: int = 0


def numbered(problem: Problem, differs: Differences) -> Problem:
    problem = replace(problem, code=differs.codes.get(problem.code, problem.code))
    return problem if problem.line is None else replace(problem, line=problem.line - 1 + differs.first_line)


def no_such_file() -> Problem:
    """Unknown, deleted, foreign and wrong-purpose files are told apart by nobody (reference page, table)."""
    return Problem("invalid_request", "The input file could not be found or cannot be used for a batch.", "file_id")


def check_upload(source: Path, differs: Differences, max_lines: int) -> Problem | None:
    """What is wrong with the lines of a file that is checked when it is uploaded. Whole batches take the same check."""
    ours = next(iter(differs.endpoints.items()), ("/v1/chat/completions", "/v1/chat/completions"))
    task = Assignment(
        source=source,
        folder=source.parent,
        endpoint=ours[1],
        url=ours[0],
        identity="",
        created=0,
        seed=0,
        max_lines=max_lines,
        max_embedding_inputs=max_lines,
        unknown_models=frozenset(),
        style="digest",
        differs=differs,
    )
    seen = Seen()
    try:
        with source.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                checked(raw, number, seen, task)
    except Bad as bad:
        return numbered(bad.problem, differs)
    return None


def checked(raw: bytes, number: int, seen: Seen, task: Assignment) -> dict[str, Any]:
    if number > task.max_lines:
        raise Bad("too_many_tasks", f"The batch has more than {task.max_lines} requests.")
    line = _parsed(raw, number)
    _check_envelope(line, number, seen, task)
    _check_body(line["body"], number, seen, task)
    if b"[[sandbox:poison" in raw and (way := poison(task.endpoint, line["body"])):
        raise Bad("invalid_request", POISON, "body.messages", None if way == "silent" else number)
    return line


def _parsed(raw: bytes, number: int) -> dict[str, Any]:
    """The standard library reads what orjson refuses or alters: lone surrogates, integers beyond 64 bits."""
    try:
        line = json.loads(raw.decode(), parse_constant=_not_json)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        raise Bad("invalid_json_line", "This line is not parseable as valid JSON.", None, number)
    return line


def _not_json(word: str) -> None:
    raise ValueError(word)


def _check_envelope(line: dict[str, Any], number: int, seen: Seen, task: Assignment) -> None:
    where = () if task.differs.bare_lines else (("method", str), ("url", str))
    for name, kind in (("custom_id", str), *where, ("body", dict)):
        if line.get(name) in (None, ""):
            raise Bad("missing_required_parameter", f"Missing required parameter: '{name}'.", name, number)
        if not isinstance(line[name], kind):
            raise Bad("invalid_request", f"Invalid type for '{name}'.", name, number)
        if name == "custom_id":
            _check_unique(line[name], number, seen)
    if task.differs.bare_lines:
        if set(line) - {"custom_id", "body"}:
            raise Bad("invalid_request", "A line is custom_id and body.", None, number)
        return
    if line["method"] != "POST":
        raise Bad("invalid_request", "The method of a batch request must be POST.", "method", number)
    if line["url"] != task.url:
        message = "The URL provided for this request does not match the batch endpoint."
        raise Bad("invalid_url", message, "url", number)


def _check_unique(custom_id: str, number: int, seen: Seen) -> None:
    if custom_id in seen.ids:
        message = "The custom_id for this request is a duplicate of another request."
        raise Bad("duplicate_custom_id", message, "custom_id", number)
    seen.ids.add(custom_id)


def _check_body(body: dict[str, Any], number: int, seen: Seen, task: Assignment) -> None:
    model = body.get("model", "omni-moderation-latest" if task.endpoint == "/v1/moderations" else None)
    if not isinstance(model, str) or not model:
        raise Bad("invalid_request", "The model of this request is missing.", "body.model", number)
    if seen.model is not None and model != seen.model and not task.differs.many_models:
        message = "The model of this request differs from the other requests of the batch."
        raise Bad("mismatched_model", message, "body.model", number)
    if model == "no-such-model" or model in task.unknown_models:
        message = "The provided model does not exist or is not supported by the Batch API."
        raise Bad("model_not_found", message, "body.model", number)
    if body.get("stream") and not task.differs.streams_fail:
        raise Bad("streaming_unsupported", "Streaming is not supported in the Batch API.", "body.stream", number)
    seen.model = model
    if task.endpoint == "/v1/embeddings":
        seen.embedding_inputs += input_count(body)
        if seen.embedding_inputs > task.max_embedding_inputs:
            message = f"The batch has more than {task.max_embedding_inputs} embedding inputs."
            raise Bad("too_many_tasks", message, "body.input", number)
