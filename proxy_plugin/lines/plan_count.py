"""What a split of a file would come to, counted while the very code of the split runs (worker process).

Nothing is written: the documents are measured as they grow, and thrown away. What a file may make this remember is
bounded: 1,000 targets, parameters and refused lines each, whatever its length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import structs

from proxy_plugin.answers.values import Answer
from proxy_plugin.costs import prices
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.meter import Meter
from proxy_plugin.lines.choosing.worst_case import Prospects, WorstCase
from proxy_plugin.lines.envelope import EnvelopeFault, decode_envelope
from proxy_plugin.lines.fan_out.requests import fan_of
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import Document, OpenPart
from proxy_plugin.lines.plan_tokens import PRICED, Estimate
from proxy_plugin.lines.plan_warnings import Warned, Warnings
from proxy_plugin.lines.row_store import RowMeta
from proxy_plugin.lines.scan import Fault
from proxy_plugin.lines.split import Cut, SplitJob
from proxy_plugin.lines.ways import NATIVE, half
from proxy_plugin.providers.base import LineRejected, Native, Usage

K = TypeVar("K")
_NUMBER = re.compile(r"\[\d+\]")
MAX_REFUSED = 1_000  # lines told one by one
MAX_NAMED = 1_000  # targets, and parameters, told one by one
_MAX_NAME_CHARACTERS = 512
_OTHERS = ""  # no model has this name


class PlanJob(msgspec.Struct, frozen=True):
    """`split` as a batch of the file would have it; its folder is not used.

    Lines that are no request of this batch are left out: longer than `max_line_bytes` (None where the scan found no
    such line), broken, with a url that is none of `urls`, or among `repeated`, the numbers of lines whose custom_id an
    earlier one has. `attempts`: how often a line that failed is asked again at most.
    """

    split: SplitJob
    urls: frozenset[str]
    max_line_bytes: int | None = None
    repeated: frozenset[int] = frozenset()
    attempts: int = 1


class TargetFigures(msgspec.Struct, frozen=True):
    """What goes to one account, endpoint and model. `model` None: beyond the first 1,000 of them, several models.

    `jobs` counts the native jobs that hold at least one of its lines, so one of several models counts for each; there
    are none where each line is an ordinary call.
    `cost` is in US dollars, None where no price is known.
    """

    slug: str
    provider: str
    model: str | None
    endpoint: str
    lines: int
    requests: int  # that the lines are: some may be several
    jobs: int
    bytes: int
    input_tokens: int
    output_tokens: int
    unlimited: int
    media: int
    cost: float | None
    way: str = NATIVE


class Figures(msgspec.Struct, frozen=True):
    """`placed` and `refused` lines; the others of the file are no requests.

    `refused_lines` are the first 1,000 of the refused. `refusals` counts all by code and parameter, each line at every
    parameter of it that is refused, `dropped` the lines of each parameter; `unnamed` says that either has more names
    than are told. The batch would fail if it is `strict`, if `unroutable`: none of the lines has a target, or for
    `too_many` jobs.
    """

    placed: int
    refused: int
    refused_lines: tuple[Fault, ...]
    refusals: tuple[tuple[str, str | None, int], ...]
    dropped: tuple[tuple[str, int], ...]
    unnamed: bool
    targets: tuple[TargetFigures, ...]
    jobs: int
    strict: bool
    unroutable: bool = False
    warnings: tuple[Warned, ...] = ()
    pictured: int = 0  # lines with pictures that a batch would fetch
    too_many: tuple[Fault, ...] = ()
    cached: int | None = None  # lines that a kept answer would be given to; None: none is looked for
    prospects: Prospects | None = None  # of lines that would fail

    @property
    def fatal(self) -> bool:
        """Whether the batch would fail as a whole."""
        return self.strict or self.unroutable or bool(self.too_many)


def count(job: PlanJob) -> Figures:
    """Return what a batch would come to. Raises what `split` raises, but for a full disk."""
    tally, warnings, meter = _Tally(), Warnings(), Meter(job.split.allowance)
    cut, worst = Cut(job.split, tally, meter), WorstCase(job.split, job.attempts, meter)
    with LineIndex(Path(job.split.index)) as index, meter, cut.kept:
        for ordinal, number, line in _lines(job, index):
            while cut.total < ordinal:  # lines too long to be read
                cut.skip()
            try:
                envelope = decode_envelope(line)
            except EnvelopeFault:
                cut.skip()
                continue
            if envelope.url in job.urls and number not in job.repeated:
                choice = cut.take(ordinal, number, envelope)
                if choice is not None:
                    target, overruled = job.split.targets[choice.target], cut.overruled(choice, envelope)
                    warnings.look(number, target, choice.model, overruled)
                    worst.follow(choice, envelope)
            else:
                cut.skip()
            passing("plan.row")
    manifest = cut.finish()
    jobs = sum(part.way == NATIVE for part in manifest.parts)
    return structs.replace(
        tally.figures(jobs, strict=bool(cut.faults)),
        unroutable=bool(cut.unroutable),
        warnings=warnings.found(),
        pictured=cut.filled,
        too_many=tuple(cut.too_many),
        cached=manifest.cached if job.split.kept is not None else None,
        prospects=worst.figures(),
    )


def _lines(job: PlanJob, index: LineIndex) -> Iterator[tuple[int, int, bytes]]:
    """Yield the lines that are not too long, of which nothing is read."""
    source, start = Path(job.split.source), 0
    if job.max_line_bytes is not None:
        for ordinal, record in enumerate(index.records()):
            if record.length > job.max_line_bytes:
                yield from index.lines(source, start, ordinal)
                start = ordinal + 1
    yield from index.lines(source, start)


_Key = tuple[str, str, str, str | None, str]  # slug, provider, endpoint, model, way


class _TargetSums:
    """One target, so far."""

    def __init__(self, key: _Key) -> None:
        self.slug, self.provider, self.endpoint, self.model, self.way = key
        self.lines = self.jobs = self.bytes = 0
        self.estimate = Estimate()
        self.requests = 0

    def figures(self) -> TargetFigures:
        found = self.estimate
        return TargetFigures(
            slug=self.slug,
            provider=self.provider,
            model=self.model,
            endpoint=self.endpoint,
            lines=self.lines,
            requests=self.requests,
            jobs=self.jobs,
            bytes=self.bytes,
            input_tokens=found.input_tokens,
            output_tokens=found.output,
            unlimited=found.unlimited,
            media=found.media,
            cost=self._cost(),
            way=self.way,
        )

    def _cost(self) -> float | None:
        if self.model is None or self.endpoint not in PRICED:
            return None
        price = prices.price(half(self.provider, self.way).capabilities, self.model)
        used = Usage(input_tokens=self.estimate.input_tokens, output_tokens=self.estimate.output)
        return None if price is None else price.of(used)


class _Measured:
    """A document of which only the length is known. Its framing belongs to the targets whose lines it stands beside."""

    def __init__(self) -> None:
        self._grown = 0
        self._last: _TargetSums | None = None
        self.targets: dict[str, _TargetSums] = {}  # by the models of its lines

    def append(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._grown += len(piece)

    def finish(self) -> str:
        self._drain()
        self.targets = {}  # the part takes no more lines
        return ""

    def grew_for(self, target: _TargetSums) -> None:
        self._last = target
        self._drain()

    def _drain(self) -> None:
        if self._last is not None:
            self._last.bytes += self._grown
            self._grown = 0


class _Tally:
    """A split's lines as figures."""

    def __init__(self) -> None:
        self._documents: dict[int, _Measured] = {}
        self._targets: dict[_Key, _TargetSums] = {}
        self._dropped: Counter[str] = Counter()
        self._refusals: Counter[tuple[str, str | None]] = Counter()
        self._refused_lines: list[Fault] = []
        self._placed = self._refused = 0
        self._unnamed = False

    def document(self, n: int) -> Document:
        found = self._documents[n] = _Measured()
        return found

    def placed(self, part: OpenPart, ordinal: int, model: str, body: bytes, native: Native) -> None:  # noqa: ARG002
        document = self._documents[part.n]
        target = document.targets.get(model)
        if target is None:
            target = self._joined(document, part, model)
        self._placed += 1
        fan = fan_of(native, body)
        target.lines += 1
        target.requests += fan.requests
        target.estimate.add_all(target.endpoint, fan.bodies, fan.times)
        document.grew_for(target)
        for name in dict.fromkeys(native.dropped):
            self._count(self._dropped, name)

    def answered(self, ordinal: int, lane: TargetLane, answer: Answer, dropped: tuple[str, ...]) -> None:  # noqa: ARG002
        for name in dropped:
            self._count(self._dropped, name)

    def rejected(self, ordinal: int, number: int, rejection: LineRejected, meta: RowMeta) -> None:  # noqa: ARG002
        self._refused += 1
        codes = {_NUMBER.sub("[]", each): rejection.codes.get(each, rejection.code) for each in rejection.params}
        for param, code in codes.items() or ((None, rejection.code),):
            self._count(self._refusals, (code, param))
        if len(self._refused_lines) < MAX_REFUSED:
            self._refused_lines.append(Fault(rejection.code, rejection.message, rejection.param, number))

    def finished(self) -> None:
        """Have nothing to lose."""

    def figures(self, jobs: int, *, strict: bool) -> Figures:
        refusals = sorted(self._refusals.items(), key=lambda each: -each[1])
        return Figures(
            placed=self._placed,
            refused=self._refused,
            refused_lines=tuple(self._refused_lines),
            refusals=tuple((code, param, lines) for (code, param), lines in refusals),
            dropped=tuple(sorted(self._dropped.items(), key=lambda each: -each[1])),
            unnamed=self._unnamed,
            targets=tuple(target.figures() for target in self._targets.values()),
            jobs=jobs,
            strict=strict,
        )

    def _joined(self, document: _Measured, part: OpenPart, model: str) -> _TargetSums:
        """Return the target of a part's line, the first with its model there."""
        spec, endpoint = part.lane.spec, part.lane.endpoint
        key: _Key = (spec.slug, spec.provider, endpoint, model, spec.way)
        if key not in self._targets and (len(self._targets) >= MAX_NAMED or len(model) > _MAX_NAME_CHARACTERS):
            key = (spec.slug, spec.provider, endpoint, None, spec.way)
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = _TargetSums(key)
        name = _OTHERS if target.model is None else model
        if name not in document.targets:
            document.targets[name] = target
            target.jobs += spec.way == NATIVE
        return target

    def _count(self, counter: Counter[K], name: K) -> None:
        if name in counter or len(counter) < MAX_NAMED:
            counter[name] += 1
        else:
            self._unnamed = True
