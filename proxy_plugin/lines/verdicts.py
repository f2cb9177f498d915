"""What is said of each line of an ended batch: its row's own words, or what became of its part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from proxy_plugin.lines.collect import CANCELLED, EXPIRED, MISSING, not_run
from proxy_plugin.lines.manifest import CACHED, REJECTED
from proxy_plugin.lines.row_store import ERROR, OK, RowMeta, StoredRow

SUCCEEDED = "succeeded"  # the outcome of lines in the output file, and of no others
OUTCOMES = (SUCCEEDED, "failed", "rejected", "refused", "cancelled", "expired", "missing")  # of lines
SUPERSEDED = "superseded"  # of an answer that came when there was one already
REJECTED_MARK = "rejected00"
_ENDED_EARLY = {CANCELLED: "cancelled", EXPIRED: "expired"}
_OUTCOMES = _ENDED_EARLY | {MISSING: "missing"}
_LEFT_OUT = {
    CANCELLED: "The batch was cancelled, and {provider} returned nothing for this line; it may have run.",
    EXPIRED: "The completion window expired, and {provider} returned nothing for this line; it may have run.",
}
_LOST = (
    "{provider} reported an answer for this line, and did not give it: of the {told} results that it counts for the job"
    " it gave {held}. This line may have been paid for; it may be sent again."
)
_SOME_LOST = (
    "{provider} ended the job without an answer for this line. It counts {told} results and gave {held}: it"
    " reported an answer for {lost} of the {silent} {what} without one. This line may have been paid for; it may be"
    " sent again."
)
_NULL = b"null"
_SILENT = RowMeta()
_encode = msgspec.json.Encoder().encode


class _Said(msgspec.Struct, frozen=True):
    """Why the split rejected a line, as it is stored."""

    code: str
    message: str


_said = msgspec.json.Decoder(_Said).decode


class Shortfall(msgspec.Struct, frozen=True):
    """Results that a provider `told` of and did not give: it gave `held` lines, `silent` have none.

    `lost` of those it counts as done; all of them, or it is not known which.
    """

    told: int
    held: int
    silent: int
    lost: int
    requests: bool = False  # they are requests, of which some lines are several

    @property
    def certain(self) -> bool:
        """Whether every line without a row was reported to be done."""
        return self.lost >= self.silent


class Fate(msgspec.Struct, frozen=True):
    """What became of one part; it answers for lines that have no row.

    collected: the job ended; `code` is batch_cancelled or batch_expired if it ended early, any other with its `message`
        if its results are lost, None if every line should have a row.
    refused: the provider's `code`, `message`, and `status` and `param` where it gave them.
    dropped: never accepted; `code` is batch_cancelled or batch_expired.
    `attempt` counts submissions from 1; 0 or None where there was none. `short`: of a job whose results were too few.
    `refused_together` is how many lines the part has that the provider refused for what is in one of them at least;
        None where that is not why.
    """

    kind: Literal["collected", "refused", "dropped"]
    mark: str
    provider: str
    slug: str
    model: str | None = None
    code: str | None = None
    message: str | None = None
    status: int | None = None
    param: str | None = None
    job: str | None = None
    attempt: int | None = None
    short: Shortfall | None = None
    refused_together: int | None = None
    way: str = "native"


class SourceLine(NamedTuple):
    """One line of the source: its place, its id as it was written, its own model, its part."""

    ordinal: int
    number: int
    custom_id: bytes
    model: str
    part: int


class Verdict(NamedTuple):
    """The two JSON texts of an output row, and what the ledger says of them."""

    response: bytes
    error: bytes
    outcome: str
    code: str | None


class Decided(NamedTuple):
    """All that is to be written of one line. `ok` rows are for the output file."""

    fate: Fate
    verdict: Verdict
    meta: RowMeta
    ok: bool


class Verdicts:
    """Decides what is said of a line, from its row or from what became of its part."""

    def __init__(self, fates: Mapping[int, Fate]) -> None:
        self._fates = fates
        self._unanswered: dict[int, Verdict] = {}

    def of(self, line: SourceLine, row: StoredRow | None) -> Decided:
        """Return what is to be written of the line."""
        meta = row.meta if row is not None else _SILENT
        fate = self._fate(line.part if row is None else row.part, meta)
        verdict = self._without_row(line) if row is None else _verdict(row)
        return Decided(fate, verdict, meta, row is not None and row.kind == OK)

    def _fate(self, part: int, meta: RowMeta) -> Fate:
        """Return the part's fate; a rejected line was refused before any provider saw it.

        A kept answer is the row that it was, of the part that had it.
        """
        if part < CACHED:
            return self._fates[part]
        kind: Literal["collected", "refused"] = "collected" if part == CACHED else "refused"
        return Fate(kind=kind, mark=meta.mark or REJECTED_MARK, provider=meta.provider or "", slug=meta.slug or "")

    def _without_row(self, line: SourceLine) -> Verdict:
        if line.part == REJECTED:
            raise ValueError(f"line {line.number} was rejected, but the reason is not stored")
        if line.part not in self._unanswered:
            self._unanswered[line.part] = _unanswered(self._fates[line.part])
        return self._unanswered[line.part]


def _verdict(row: StoredRow) -> Verdict:
    code = row.meta.code
    if row.part == REJECTED:
        return _rejected(row)
    if row.kind == OK:
        return Verdict(row.text, _NULL, SUCCEEDED, None)
    outcome = _OUTCOMES.get(code or "", "failed")
    return Verdict(_NULL, row.text, outcome, code) if row.kind == ERROR else Verdict(row.text, _NULL, outcome, code)


def _rejected(row: StoredRow) -> Verdict:
    """Return what OpenAI writes of a request that its checks refuse: programs read `response.body.error` of it."""
    said = _said(row.text)
    if said.code in _ENDED_EARLY:
        return Verdict(_NULL, row.text, _ENDED_EARLY[said.code], said.code)
    return Verdict(_answer(400, said.message, row.meta.param, said.code), _NULL, "rejected", said.code)


def _unanswered(fate: Fate) -> Verdict:
    """Return what every line of a part gets for which no row came."""
    if fate.kind == "refused":
        return _refused(fate)
    if fate.code in _ENDED_EARLY:
        return Verdict(_NULL, _cut(fate, fate.code), _ENDED_EARLY[fate.code], fate.code)
    if fate.kind == "dropped":
        raise ValueError(f"a part was dropped for no known reason: {fate.code}")
    code = fate.code or MISSING
    message = fate.message or _missing(fate)
    return Verdict(_NULL, _encode({"code": code, "message": message}), "missing", code)


def _missing(fate: Fate) -> str:
    short = fate.short
    if short is None:
        return f"{fate.provider} ended the job without an answer for this line; it may be sent again."
    said = _LOST if short.certain else _SOME_LOST
    what = "requests" if short.requests else "lines"
    return said.format(provider=fate.provider, what=what, **msgspec.structs.asdict(short))


def _cut(fate: Fate, code: str) -> bytes:
    """Return the error of a line that was stopped. Of a job that ran, what the lane left out may have run as well."""
    if fate.kind == "dropped":
        return not_run(code)
    return _encode({"code": code, "message": _LEFT_OUT[code].format(provider=fate.provider)})


def _refused(fate: Fate) -> Verdict:
    code, message = fate.code or "refused", fate.message or "The provider refused the job that held this line."
    if fate.status is None or fate.status < 400:  # a job that failed its check was still read with status 200
        return Verdict(_NULL, _encode({"code": code, "message": message}), "refused", code)
    return Verdict(_answer(fate.status, message, fate.param, code), _NULL, "refused", code)


def _answer(status: int, message: str, param: str | None, code: str) -> bytes:
    """Return the `response` of a refusal in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return _encode({"status_code": status, "request_id": "", "body": {"error": error}})
