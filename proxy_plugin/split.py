"""Cut one input file into parts, translating each line into its lane's own format on the way (worker process).

A part is cut by what the lane limits: lines, translated bytes, inputs. Its native document is written as it will be
sent. The same job gives the same bytes again: parts, marks and order depend on the input alone.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from pathlib import Path

import msgspec

from providers import catalog
from providers.base import BatchProvider, Framing, LineIn, LineRejected, Native, Target, make_mark, native_id
from proxy_plugin import routing
from proxy_plugin.durable import GrowingFile, GrowingFiles, empty_folder, sync_folder
from proxy_plugin.envelope import Envelope, decode_envelope
from proxy_plugin.failpoints import passing
from proxy_plugin.line_index import LineIndex
from proxy_plugin.manifest import ASSIGNMENT, PARTS, REJECTED, REMARKS, Manifest, PartSpec, entries, write_manifest
from proxy_plugin.routing import TargetSpec
from proxy_plugin.row_store import ERROR, NOTE, RowMeta, RowWriter

_ENTRIES_WAITING = 16_384
_MODELS_NAMED = 10


class SplitJob(msgspec.Struct, frozen=True):
    """`folder` is this attempt's own: what it holds is removed. Paths are absolute."""

    batch_id: str
    source: str
    index: str
    folder: str
    source_sha256: str
    endpoint: str
    targets: tuple[TargetSpec, ...]


def split(job: SplitJob) -> Manifest:
    """Write `parts/`, `assignment`, `rejected/` and last `manifest.json` into the job's folder, all durable.

    Raises OSError (a full disk), ValueError where an adapter broke its contract, and EnvelopeFault or BrokenIndex
    where the source is not the file that was scanned.
    """
    folder = Path(job.folder)
    empty_folder(folder)
    cut = _Cut(job, folder)
    with LineIndex(Path(job.index)) as index:
        for ordinal, _, line in index.lines(Path(job.source)):
            cut.take(ordinal, decode_envelope(line))
            passing("split.row")
    manifest = cut.finish()
    passing("split.written")
    write_manifest(folder, manifest)
    return manifest


class _Lane:
    """One target of the route with its adapter."""

    def __init__(self, spec: TargetSpec, endpoint: str) -> None:
        self.spec = spec
        self.endpoint = endpoint
        self.provider: BatchProvider = catalog.load(spec.provider)
        self.target = Target(spec.model, spec.drop_params)

    def check(self, model: str) -> None:
        """Raise LineRejected for what needs no translation to be refused."""
        if self.endpoint not in self.provider.capabilities.endpoints:
            title = self.provider.capabilities.title
            message = f"{title} has no batch lane for {self.endpoint}."
            raise LineRejected(message, code="unsupported_endpoint", param="url")
        if not self.spec.admits(model):
            allowed = ", ".join((self.spec.models or ())[:_MODELS_NAMED])
            message = f"body.model is not in the allow-list of virtual key {self.spec.slug!r}; it allows: {allowed}."
            raise LineRejected(message, code="model_not_allowed", param="body.model")

    def translate(self, identity: str, envelope: Envelope, model: str) -> Native:
        """Return the native line. Raises LineRejected, and ValueError for an adapter that would break the document."""
        native = self.provider.translate(LineIn(identity, self.endpoint, envelope.body, model), self.target)
        if b"\n" in native.data:
            raise ValueError(f"the {self.spec.provider} adapter returned a line break within a line")
        return native

    def measure(self, native: Native) -> None:
        """Raise LineRejected for a line that no job of this lane could carry."""
        framing = self.provider.capabilities.framing
        size = len(native.data)
        document = len(framing.prefix) + size + len(framing.suffix)
        _compare(size, self.spec.max_line_bytes, "bytes", "a line (max_line_bytes)")
        _compare(document, self.spec.max_bytes, "bytes, framing included", "a job (max_bytes)")
        _compare(native.inputs, self.spec.max_inputs, "inputs", "a job (max_inputs)")

    def shared(self, model: str) -> str | None:
        """Return the model that all lines of a part have in common, None where it does not matter."""
        return model if self.provider.capabilities.one_model_per_job else None


def _compare(size: int, limit: int | None, unit: str, name: str) -> None:
    if limit is not None and size > limit:
        message = f"In this lane's own format the line has {size} {unit}; the limit of {name} is {limit}. Shorten it."
        raise LineRejected(message, code="line_too_large", param="body")


def _same(first: Native, second: Native) -> Native:
    """Return the second translation of a line. Raises ValueError if it would not fit where the first one did."""
    if (len(first.data), first.inputs, first.partition) != (len(second.data), second.inputs, second.partition):
        raise ValueError("an adapter translated one line into different sizes or partitions")
    return second


class _OpenPart:
    """A part that still takes lines."""

    def __init__(
        self, n: int, mark: str, lane: _Lane, *, model: str | None, partition: str, document: GrowingFile
    ) -> None:
        self.n, self.mark = n, mark
        self._lane, self._model, self._partition, self._document = lane, model, partition, document
        self._first = self._last = -1
        self._lines = self._inputs = 0
        self._framing: Framing = lane.provider.capabilities.framing
        self._bytes = len(self._framing.prefix) + len(self._framing.suffix)
        self._hash = hashlib.sha256()
        self._dropped: Counter[str] = Counter()

    def takes(self, native: Native) -> bool:
        """Tell whether the document stays within the lane's limits with this line."""
        spec = self._lane.spec
        size = self._bytes + len(self._framing.separator) + len(native.data)
        return not (
            (spec.max_lines is not None and self._lines >= spec.max_lines)
            or (spec.max_bytes is not None and size > spec.max_bytes)
            or (spec.max_inputs is not None and self._inputs + native.inputs > spec.max_inputs)
        )

    def add(self, ordinal: int, native: Native) -> None:
        """Append the line to the document."""
        if self._lines:
            self._grow(self._framing.separator, native.data)
            self._bytes += len(self._framing.separator)
        else:
            self._grow(self._framing.prefix, native.data)
            self._first = ordinal
        self._bytes += len(native.data)
        self._lines += 1
        self._inputs += native.inputs
        self._last = ordinal
        if native.dropped:
            self._dropped.update(native.dropped)

    def close(self) -> PartSpec:
        """Complete the document durably and return its facts."""
        self._grow(self._framing.suffix)
        self._document.sync()
        return PartSpec(
            n=self.n,
            slug=self._lane.spec.slug,
            provider=self._lane.spec.provider,
            endpoint=self._lane.endpoint,
            model=self._model,
            partition=self._partition,
            lines=self._lines,
            bytes=self._bytes,
            inputs=self._inputs,
            sha256=self._hash.hexdigest(),
            mark=self.mark,
            file=_document_name(self.n),
            first=self._first,
            last=self._last,
            dropped=dict(sorted(self._dropped.items())),
        )

    def _grow(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._hash.update(piece)
        self._document.append(*pieces)


def _document_name(n: int) -> str:
    return f"{PARTS}/{n:05d}.native"


class _Cut:
    """The state of one split: open parts by what their lines have in common, and the files they grow in."""

    def __init__(self, job: SplitJob, folder: Path) -> None:
        self._job, self._folder = job, folder
        (folder / PARTS).mkdir()
        self._lanes = [_Lane(target, job.endpoint) for target in job.targets]
        self._files = GrowingFiles()
        self._assignment = self._files.file(folder / ASSIGNMENT)
        self._remarks = RowWriter(folder / REMARKS)
        self._assigned = array("I")
        self._open: dict[tuple[int, str | None, str], _OpenPart] = {}
        self._latest: dict[tuple[int, str | None], str] = {}  # the partition that the last such line had
        self._closed: list[PartSpec] = []
        self._next = self._total = self._rejected = 0

    def take(self, ordinal: int, envelope: Envelope) -> None:
        """Put one line into its part, or write down why no part can have it. Lines come in order, none left out."""
        if ordinal != self._total:
            raise ValueError(f"line {ordinal} came where {self._total} was due")
        index = routing.choose(self._job.targets, ordinal, envelope.model)
        try:
            part = self._place(ordinal, envelope, index)
        except LineRejected as rejection:
            part = REJECTED
            self._reject(ordinal, rejection, envelope, index)
        self._total += 1
        self._assigned.append(part)
        if len(self._assigned) >= _ENTRIES_WAITING:
            self._write_assigned()

    def finish(self) -> Manifest:
        """Close every part; return the manifest when everything but itself is durable."""
        self._closed += [part.close() for part in self._open.values()]
        self._write_assigned()
        self._assignment.sync()
        self._remarks.close()
        sync_folder(self._folder / PARTS)
        sync_folder(self._folder)
        parts = tuple(sorted(self._closed, key=lambda each: each.n))
        return Manifest(self._job.batch_id, self._total, self._rejected, parts)

    def _place(self, ordinal: int, envelope: Envelope, index: int) -> int:
        """Return the number of the part that the line now is in.

        The native line carries its part's mark, but which part it fits shows only once it is translated. So it is
        translated for the likeliest part, and once more where that guess was wrong: at each cut, and when lines of
        different partitions take turns.
        """
        lane = self._lanes[index]
        lane.check(envelope.model)
        model = lane.spec.model or envelope.model
        shared = lane.shared(model)
        guess = self._open.get((index, shared, self._latest.get((index, shared), "")))
        mark = guess.mark if guess else self._mark(lane, ordinal)
        native = lane.translate(native_id(mark, ordinal), envelope, model)
        lane.measure(native)
        self._latest[index, shared] = native.partition
        part = self._part_for(native, index, shared, ordinal)
        if part.mark != mark:
            native = _same(native, lane.translate(native_id(part.mark, ordinal), envelope, model))
        part.add(ordinal, native)
        if native.dropped:
            self._remarks.add(ordinal, part.n, NOTE, RowMeta(dropped=native.dropped))
        return part.n

    def _part_for(self, native: Native, index: int, shared: str | None, ordinal: int) -> _OpenPart:
        key = (index, shared, native.partition)
        part = self._open.get(key)
        if part is not None and part.takes(native):
            return part
        if part is not None:
            self._closed.append(part.close())
        lane = self._lanes[index]
        document = self._files.file(self._folder / _document_name(self._next))
        mark = self._mark(lane, ordinal)
        part = _OpenPart(self._next, mark, lane, model=shared, partition=native.partition, document=document)
        self._open[key] = part
        self._next += 1
        return part

    def _mark(self, lane: _Lane, first: int) -> str:
        """Return the mark of the part that would be opened next with this line."""
        return make_mark(self._job.batch_id, self._job.source_sha256, str(self._next), lane.spec.slug, str(first))

    def _reject(self, ordinal: int, rejection: LineRejected, envelope: Envelope, index: int) -> None:
        self._rejected += 1
        spec = self._lanes[index].spec
        meta = RowMeta(
            code=rejection.code,
            param=rejection.param,
            model=spec.model or envelope.model,
            provider=spec.provider,
            slug=spec.slug,
        )
        error = msgspec.json.encode({"code": rejection.code, "message": rejection.message})
        self._remarks.add(ordinal, REJECTED, ERROR, meta, error)

    def _write_assigned(self) -> None:
        self._assignment.append(entries(self._assigned))
        self._assigned = array("I")
