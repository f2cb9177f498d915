"""What OpenAI's refusals say of lines: in a job that failed its check, at the upload, at the create.

Sources: "Validation errors" of the reference page, live captures of 2026-09-02: the check stops at the first bad line
and names its 1-based number in `errors.data[].line`. Copies of the API count from 0, name lines in the message alone or
give `errors` as a bare list (reference page of compatible services, 2026-11-29); some check every line at the upload
already and answer 422 without naming one (Mistral, Perplexity).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_plugin.providers.errors import BadLine, Refused
from proxy_plugin.providers.line_faults import at_fault, in_words, of_no_line

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

# What is refused of a whole job, whatever line is named with it: all lines of a job have one endpoint, and where they
# must have one model they have it. "model_not_found" names line 1 (live, 2026-09-02).
WHOLE_CODES = frozenset({"empty_file", "invalid_url", "url_mismatch", "input_modified", "input_no_permissions"})
WHOLE_PARAMS = frozenset({"file_id", "input_file_id", "endpoint", "url", "method", "purpose", "completion_window"})
ANOTHER_MODEL = frozenset({"model_mismatch", "mismatched_model"})  # these name the line that differs
OF_THE_DOCUMENT = frozenset({400, 413, 422})
MOST_NAMED = 100  # entries that are read of a job's errors


def of_job(origin: Origin, job: Mapping[str, Any], *, first_line: int | None, one_model: bool) -> Refused:
    """Read the errors of a failed job: the first one is its reason, and every line that is named is said so.

    `first_line` is the number that the service gives to the first line of a file; None where its numbers mean nothing.
    """
    entries = _entries(job)
    first = origin.refusal(msgspec.json.encode(entries[0] if entries else None), code="batch_failed")
    lines = list[BadLine]()
    for entry in entries[:MOST_NAMED]:
        said = origin.refusal(msgspec.json.encode(entry), code="batch_failed")
        record = _record(entry, said.message, first_line)
        if record is not None and record not in {line.record for line in lines}:
            lines.append(BadLine(record, said.message, said.code, said.param))
    lines.sort(key=lambda line: line.record)
    whole = of_no_line(first) or _is_whole(first, one_model=one_model)
    return Refused(first.message, code=first.code, param=first.param, lines=tuple(lines), divisible=not whole)


def of_upload(refused: Refused, *, first_line: int | None) -> Refused:
    """Read a refused upload: of a document that was checked at once, one line may be the reason."""
    if refused.status not in OF_THE_DOCUMENT or of_no_line(refused) or _is_whole(refused, one_model=True):
        return refused
    return at_fault(refused, _named(refused.message, first_line), divisible=True)


def of_create(refused: Refused, *, first_line: int | None) -> Refused:
    """Read a refused create, which has no lines of its own: it is about one only where it names it."""
    named = _named(refused.message, first_line) if refused.status in OF_THE_DOCUMENT else []
    return at_fault(refused, named, divisible=True) if named and not of_no_line(refused) else refused


def told(job: Mapping[str, Any]) -> bool:
    """Tell whether a job says why it failed."""
    return any(_entries(job))


def _entries(job: Mapping[str, Any]) -> list[Any]:
    errors = job.get("errors")
    entries = errors.get("data", errors) if isinstance(errors, dict) else errors
    return entries if isinstance(entries, list) else [] if entries is None else [entries]


def _is_whole(refused: Refused, *, one_model: bool) -> bool:
    of_model = refused.code == "model_not_found" or refused.param in {"model", "body.model"}
    whole = refused.code in WHOLE_CODES or refused.param in WHOLE_PARAMS
    return whole or (one_model and of_model and refused.code not in ANOTHER_MODEL)


def _record(entry: Any, message: str, first_line: int | None) -> int | None:
    """Return which record an entry names, from 1."""
    line = entry.get("line") if isinstance(entry, dict) else None
    number = int(line) if isinstance(line, str) and line.isascii() and line.isdigit() else line
    if isinstance(number, bool) or not isinstance(number, int):
        number = in_words(message)
    if first_line is None or number is None or number < first_line:
        return None
    return number - first_line + 1


def _named(message: str, first_line: int | None) -> list[int]:
    number = in_words(message)
    return [] if number is None or first_line is None or number < first_line else [number - first_line + 1]
