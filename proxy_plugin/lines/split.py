"""Cut one input file into parts, translating each line into its lane's own format on the way (worker process).

Each line goes to the target that the route chooses for it, so one file may spread over many accounts; a part holds
lines of one account, endpoint and partition, and of one model where the lane wants that. It is cut by what the lane
limits: lines, translated bytes, inputs. Its native document is written as it will be sent. The same job gives the same
bytes again: parts, marks and order depend on the input alone.

What a file may cause is bounded: one that would need more parts than a batch may have is refused as a whole, with how
many it would need. Closing the part that was used longest ago would make room as well, but a file whose models take
turns would then become a job for every line of it, each with its own calls, polls and share of the account's limits.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import structs

from proxy_plugin.answers.keys import KEYS
from proxy_plugin.answers.lookup import Looking, Lookup
from proxy_plugin.ground.durable import empty_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.meter import Allowance, Meter
from proxy_plugin.lines.body_changes import Grown, Growth
from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.choosing.choice import Choice, Misrouted, Pick, Unplaced
from proxy_plugin.lines.choosing.dependence import by_model
from proxy_plugin.lines.collect import WHY_NOT_RUN
from proxy_plugin.lines.envelope import Envelope, decode_scanned
from proxy_plugin.lines.fan_out.requests import fan_of
from proxy_plugin.lines.lane import Group, Lanes, TargetLane, same_place
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import (
    Manifest,
    OpenPart,
    PartSpec,
    write_manifest,
)
from proxy_plugin.lines.row_store import RowMeta
from proxy_plugin.lines.scan import MAX_FAULTS, Fault
from proxy_plugin.lines.sinks.files import Files, Sink
from proxy_plugin.media.store import Album, Media
from proxy_plugin.providers.base import LineRejected, Native, Target, make_mark, native_id
from proxy_plugin.routing.route import EVERYTHING, Rescue, Rules

_LONGEST_MODEL = 512  # characters of one whose way is remembered
MAX_PARTS = 5_000  # that are told apart, whatever a batch may have: 7 MB


class SplitJob(msgspec.Struct, frozen=True):
    """`folder` is this attempt's own: what it holds is removed. Paths are absolute.

    `endpoint` is what the batch was created for: one endpoint, several joined by commas, or `auto`.
    """

    batch_id: str
    source: str
    index: str
    folder: str
    source_sha256: str
    endpoint: str
    targets: tuple[TargetSpec, ...]
    rules: Rules = EVERYTHING
    media: Media | None = None  # the pictures that were fetched; None for a plan and where no target wants any
    max_jobs: int = MAX_PARTS  # that the batch may have
    growth: Growth | None = None  # how large the route may make the lines
    allowance: Allowance = Allowance()  # what the translation of a line may take
    unsent: str | None = None  # why nothing is sent any more: batch_cancelled or batch_expired
    kept: Looking | None = None  # answers that lines may be given at once
    rescue: Rescue | None = None  # what is done for lines that fail; `attempts` is known


def split(job: SplitJob) -> Manifest:
    """Write `parts/`, `assignment`, `rejected/` and last `manifest.json` into the job's folder, all durable.

    Where a strict target cannot have some of its lines, no line has a target at all, or too many jobs would be needed,
    the manifest has `faults` and is not written: nothing may be sent. Raises OSError (a full disk), ValueError where an
    adapter broke its contract, and EnvelopeFault or BrokenIndex where the source is not the file that was scanned.
    """
    folder = Path(job.folder)
    empty_folder(folder)
    files, meter = Files(folder, job.max_jobs), Meter(job.allowance)
    if job.unsent is not None:
        return _unsent(job, files, job.unsent)
    cut = Cut(job, files, meter)
    with LineIndex(Path(job.index)) as index, meter, cut.kept:
        for ordinal, number, line in index.lines(Path(job.source)):
            cut.take(ordinal, number, decode_scanned(line))
            passing("split.row")
            if len(cut.faults) >= MAX_FAULTS:
                break
    if faults := cut.faults or cut.unroutable or cut.too_many:
        return Manifest(job.batch_id, cut.total, cut.rejected, (), tuple(faults))
    manifest = cut.finish()
    passing("split.written")
    write_manifest(folder, manifest)
    return manifest


def _unsent(job: SplitJob, files: Files, why: str) -> Manifest:
    """Write a manifest without parts: nothing is translated, and each line is told why it was not sent."""
    rejection, meta = LineRejected(WHY_NOT_RUN[why], code=why), RowMeta(code=why)
    with LineIndex(Path(job.index)) as index:
        for ordinal, record in enumerate(index.records()):
            files.rejected(ordinal, record.number, rejection, meta)
        total = len(index)
    files.finished()
    manifest = Manifest(job.batch_id, total, total, ())
    write_manifest(Path(job.folder), manifest)
    return manifest


class _Way(NamedTuple):
    """Where the last line of a url and model went, where all of them are told the same target."""

    choice: Choice
    lane: TargetLane
    target: Target
    group: Group
    part: OpenPart


class Cut:
    """The state of one split: open parts by what their lines have in common. `faults`: the first 100 strict ones."""

    def __init__(self, job: SplitJob, sink: Sink, meter: Meter, before: int = 0) -> None:
        self._job, self._sink = job, sink
        self._lanes = Lanes(job.endpoint, job.targets, job.rules, job.rescue, meter, before)
        self._chooser = self._lanes.chooser
        self._album = Album(job.media)
        self._grown = Grown(job.growth)
        self.kept = Lookup(job.kept, Path(job.folder, KEYS) if job.folder else None)
        self._open: dict[tuple[Group, str], OpenPart] = {}
        self._latest: dict[Group, str] = {}  # the partition that the last such line had
        self._closed: list[PartSpec] = []
        self._next = self.rejected = 0
        self.total = before  # lines that have come, those before the first one of this cut included
        self._quick = by_model(job.rules) and job.kept is None
        self._ways: dict[tuple[str, str], _Way] = {}
        self._latest_place: tuple[TargetLane, Group, OpenPart] | None = None
        self._routed = False
        self._beyond: int | None = None  # number of the line that needs the first job too many
        self._unrouted: list[Fault] = []
        self.faults: list[Fault] = []

    def take(self, ordinal: int, number: int, envelope: Envelope) -> Choice | None:
        """Put one line into its part, or write down why no part can have it. Lines come in order, none left out.

        Returns the choice where it was put. A line that its target cannot have goes on at once, as nothing has been
        sent; where nobody can have it, the first one's words are told.
        """
        if ordinal != self.total:
            raise ValueError(f"line {ordinal} came where {self.total} was due")
        self.total += 1
        way = self._ways.get((envelope.url, envelope.model))
        found = None if way is None else self._follow(way, ordinal, number, envelope)
        found = found or self._try_all(self._chooser.choose, ordinal, number, envelope)
        if isinstance(found, Unplaced):
            self._reject(ordinal, number, found.rejection, envelope, found.choice)
            return None
        return found

    def _try_all(self, pick: Pick, ordinal: int, number: int, envelope: Envelope) -> Choice | Unplaced:
        """Put a line into a part of the first target that can have it; return the first refusal where none can."""
        found = self._try(pick, ordinal, number, envelope)
        if not isinstance(found, Unplaced):
            if self._quick and pick is self._chooser.choose:
                self._remember(envelope, found)
            return found
        return self._try_others(found, ordinal, number, envelope)

    def _try_others(self, found: Choice | Unplaced, ordinal: int, number: int, envelope: Envelope) -> Choice | Unplaced:
        """Put a line that one target cannot have into a part of the first other one that can."""
        first, tried = found, set[int]()
        while isinstance(found, Unplaced) and (further := self._further(found, tried)):
            found = self._try(further, ordinal, number, envelope)
        return first if isinstance(found, Unplaced) else found

    def _remember(self, envelope: Envelope, choice: Choice) -> None:
        """Note the way of a line that further ones of its url and model can go without being asked."""
        assert self._latest_place is not None
        lane, group, part = self._latest_place
        if lane.plain and len(envelope.model) <= _LONGEST_MODEL:
            if len(self._ways) >= MAX_PARTS:
                self._ways.clear()
            target = lane.target(choice.model, envelope.model)
            self._ways[envelope.url, envelope.model] = _Way(choice, lane, target, group, part)

    def _follow(self, way: _Way, ordinal: int, number: int, envelope: Envelope) -> Choice | Unplaced | None:
        """Put a line where the last one of its url and model is, in one go.

        None: something is not as it was with that one, and is left to the careful way, which does it all again.
        """
        part, body = way.part, envelope.body
        if part.closed:
            return None
        try:
            native = way.lane.quickly(native_id(part.mark, ordinal), body, way.choice.model, way.target)
        except LineRejected as costly:
            return self._try_others(Unplaced(costly, way.choice), ordinal, number, envelope)
        if native is None or native.partition != part.partition:
            self._latest[way.group] = part.partition if native is None else native.partition
            return None
        if not part.takes(native):
            return None
        self._grown.bytes += len(body)
        part.add(ordinal, native)
        self._sink.placed(part, ordinal, way.choice.model, body, native)
        return way.choice

    def _further(self, refused: Unplaced, tried: set[int]) -> Pick | None:
        """Return what chooses for a line that was refused before anything was sent, see `Chooser.further`."""
        return self._chooser.further(refused, tried)

    def _try(self, pick: Pick, ordinal: int, number: int, envelope: Envelope) -> Choice | Unplaced:
        choice = None
        try:
            choice = pick(envelope)
            lane = self._lanes.lane(choice, envelope.url)
            self._routed = True
            self._place(ordinal, number, envelope, choice, lane)
        except LineRejected as rejection:
            return Unplaced(rejection, choice)
        return choice

    def skip(self) -> None:
        """Leave out the line that is due: it is no request. A batch never has one, a plan of a faulty file may."""
        self.total += 1

    @property
    def unroutable(self) -> list[Fault]:
        """Return why no line of the file has a target, the first 100 of them; nothing where one has.

        Such a batch fails, as it does at OpenAI where a file asks for a model that the account has not.
        """
        return [] if self._routed else self._unrouted

    @property
    def too_many(self) -> list[Fault]:
        """Return why a batch may not have all the jobs that the file would need; nothing where it may."""
        most, needs = self._job.max_jobs, f"{self._next}{' or more' if self._next >= MAX_PARTS else ''}"
        if self._beyond is None:
            return []
        message = (
            f"The file would need {needs} jobs, and a batch may have {most} (limits.max_jobs_per_batch); this line"
            " needs the first one too many. A job has lines of one account and endpoint, and on most lanes of one"
            f" model: name fewer of them, or make at least {-(-self._next // most)} files of this one."
        )
        return [Fault("too_many_jobs", message, "body.model", self._beyond)]

    def overruled(self, choice: Choice, envelope: Envelope) -> str | None:
        """Return the slug that a line names in vain."""
        return self._chooser.overruled(choice, envelope)

    @property
    def filled(self) -> int:
        """Return how many lines had pictures put into them."""
        return self._album.filled

    def finish(self) -> Manifest:
        """Close every part; return the manifest when everything but itself is durable."""
        self._closed += [part.close() for part in self._open.values()]
        self.kept.finish()
        self._sink.finished()
        parts = tuple(sorted(self._closed, key=lambda each: each.n))
        kept = self.kept.counts
        return Manifest(self._job.batch_id, self.total, self.rejected, parts, (), kept.hits, kept.bytes, kept.missed)

    def _place(self, ordinal: int, number: int, envelope: Envelope, choice: Choice, lane: TargetLane) -> None:
        """Put the line into the part that it fits.

        The native line carries its part's mark, but which part it fits shows only once it is translated. So it is
        translated for the likeliest part, and once more where that guess was wrong: at each cut, and when lines of
        different partitions take turns.
        """
        model, own = choice.model, envelope.model
        body, removed = lane.edited(envelope.body)
        self._grown.check(len(envelope.body), len(body))
        if lane.spec.fetch_media:
            body = self._album.fill(body)
        group = lane.group(choice)
        guess = self._open.get((group, self._latest.get(group, "")))
        mark = guess.mark if guess else self._mark(lane, ordinal)
        identity = native_id(mark, ordinal)
        native = lane.translate(identity, body, model, own)
        lane.measure(native)
        if lane.spec.fan_out:
            self._grown.fan_out(len(body), fan_of(native, body).bytes)
        key = self.kept.key if self.kept else None
        asked = key(ordinal, lane.spec.slug, lane.endpoint, model, identity, [native.data]) if key else None
        if asked and (answer := self.kept.find(ordinal, asked)) is not None:
            self._sink.answered(ordinal, lane, answer, tuple(dict.fromkeys((*removed, *native.dropped))))
            return
        part = self._part_for(native, lane, group, ordinal, number)
        self._latest[group] = native.partition
        if part.mark != mark:
            native = same_place(native, lane.translate(native_id(part.mark, ordinal), body, model, own, metered=False))
        if removed:
            native = structs.replace(native, dropped=tuple(dict.fromkeys((*removed, *native.dropped))))
        part.add(ordinal, native)
        self._latest_place = (lane, group, part)
        if asked:
            self.kept.sent(ordinal, asked)
        self._sink.placed(part, ordinal, model, body, native)

    def _part_for(self, native: Native, lane: TargetLane, group: Group, ordinal: int, number: int) -> OpenPart:
        key = (group, native.partition)
        part = self._open.get(key)
        if part is not None and part.takes(native):
            return part
        self._check_room(number)
        if part is not None:
            self._closed.append(part.close())
        document = self._sink.document(self._next)
        mark = self._mark(lane, ordinal)
        part = OpenPart(
            self._next,
            mark,
            lane,
            model=group[2],
            partition=native.partition,
            document=document,
            goes_on=group[3],
        )
        self._open[key] = part
        self._next += 1
        return part

    def _check_room(self, number: int) -> None:
        """Go on counting where the batch may have no further job, so that its caller is told how many it would need."""
        if self._next >= self._job.max_jobs and self._beyond is None:
            self._beyond = number
        if self._next >= MAX_PARTS:
            raise LineRejected("The line needs one job too many.", code="too_many_jobs", param="body.model")

    def _mark(self, lane: TargetLane, first: int) -> str:
        """Return the mark of the part that would be opened next with this line."""
        return make_mark(self._job.batch_id, self._job.source_sha256, str(self._next), lane.spec.slug, str(first))

    def _reject(
        self, ordinal: int, number: int, rejection: LineRejected, envelope: Envelope, choice: Choice | None
    ) -> None:
        self.rejected += 1
        spec = None if choice is None else self._chooser.spec(choice)
        strict = spec.strict if spec else isinstance(rejection, Misrouted) and rejection.strict
        fault = Fault(rejection.code, rejection.message, rejection.param, number)
        if strict and len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)
        if not self._routed and len(self._unrouted) < MAX_FAULTS:
            self._unrouted.append(fault)
        meta = RowMeta(
            code=rejection.code,
            param=rejection.param,
            model=envelope.model if choice is None else choice.model,
            provider=spec.provider if spec else getattr(rejection, "provider", None),
            slug=spec.slug if spec else None,
        )
        self._sink.rejected(ordinal, number, rejection, meta)
