"""Which row counts of every line of a bucket, where several parts may have had the line.

A line that failed in a part may go on to another, and from there again. Its first answer counts, in the order of its
parts; where none came, what the last of them says. What was found later counts only where there is no answer.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from proxy_plugin.lines.manifest import BLOCK, CACHED, REJECTED, Assignment
from proxy_plugin.lines.row_store import NOTE, OK, RowReader, Span, StoredRow, bucket_path, buckets, places


class Told(NamedTuple):
    """What a part says of a line: its row, if it has one, and what was noted when the line was translated for it.

    `before` says the same of other parts that had the line and do not count, in the order in which they had it.
    """

    part: int
    row: StoredRow | None
    note: StoredRow | None
    before: tuple[Told, ...] = ()


class Onward(NamedTuple):
    """A part to which a line went on, and the store of what was noted of it then."""

    part: int
    remarks: int


def onward_of(rescued: Sequence[Assignment], block: int) -> dict[int, list[Onward]]:
    """Return to which parts lines of a block went on, by their places in it, each line's parts in order."""
    found: dict[int, list[Onward]] = {}
    for remarks, assignment in enumerate(rescued, 1):
        for at, part in enumerate(assignment.block(block)):
            if part != REJECTED:
                found.setdefault(at, []).append(Onward(part, remarks))
    return found


class Stores:
    """All row stores of a batch, in the order in which their rows count, and which of them have rows in a bucket.

    `remarks` are those of the split, first, and of the rescues: they stand for no part. `late` rows were found when
    their parts had ended.
    """

    def __init__(self, remarks: Iterable[str], rows: Mapping[int, str], late: Mapping[int, str]) -> None:
        named = [*((REJECTED, each) for each in remarks), *sorted(rows.items()), *sorted(late.items())]
        self.parts = [part for part, _ in named]
        self.folders = [Path(folder) for _, folder in named]
        self.first_late = len(named) - len(late)
        self.superseded = 0  # rows met so far that do not count
        self.of_bucket: dict[int, list[int]] = defaultdict(list)
        for store, folder in enumerate(self.folders):
            for bucket in buckets(folder):
                self.of_bucket[bucket].append(store)


class _Spans:
    """Where at most one row of each line of a bucket is."""

    def __init__(self, count: int) -> None:
        self.stores = array("i", [-1]) * count
        self.offsets = array("Q", [0]) * count
        self.lengths = array("I", [0]) * count

    def put(self, at: int, store: int, span: Span) -> None:
        self.stores[at], self.offsets[at], self.lengths[at] = store, span.offset, span.length


class _Place(NamedTuple):
    """Where a row is."""

    store: int
    offset: int
    length: int
    ok: bool = False


class ChosenRows:
    """The row that counts of every line from `start` to `stop`: the first ok row, or else the first.

    Of a line that went `onward` it is the first ok row in the order of its parts; where none is ok the last part tells.
    """

    def __init__(self, stores: Stores, start: int, stop: int, onward: Mapping[int, Sequence[Onward]]) -> None:
        bucket = start // BLOCK
        self._parts, self._stores, self._onward = stores.parts, stores, onward
        self._paths = {store: bucket_path(stores.folders[store], bucket) for store in stores.of_bucket[bucket]}
        self._answers, self._notes = _Spans(stop - start), _Spans(stop - start)
        self._kinds = bytearray(stop - start)
        self._places: dict[tuple[int, int, bool], _Place] = {}  # of lines that went on: by place, part, whether late
        self._noted: dict[tuple[int, int], _Place] = {}  # what was noted of them: by place and store
        for store, path in self._paths.items():
            self._read_places(store, path, start)

    def _read_places(self, store: int, path: Path, start: int) -> None:
        """Consider every row of a store: most are answers, the first to their lines."""
        own, kinds, answers, count = self._parts[store], self._kinds, self._answers, len(self._kinds)
        for ordinal, part, kind, offset, length in places(path):
            at = ordinal - start
            if not 0 <= at < count or (part != own and kind != NOTE):
                raise ValueError(f"the rows of part {own} hold a row of another part or batch")
            if kind == OK and not kinds[at] and at not in self._onward:
                kinds[at] = OK
                answers.stores[at], answers.offsets[at], answers.lengths[at] = store, offset, length
            else:
                self._consider(at, store, Span(ordinal, part, kind, offset, length))

    def answer(self, at: int) -> tuple[int, Path, int, int] | None:
        """Return part, file, offset and length of the answer of a line that one part has had, and noted nothing of.

        None for any other line.
        """
        if self._kinds[at] != OK or self._notes.stores[at] >= 0:
            return None
        store, offset, length = self._answers.stores[at], self._answers.offsets[at], self._answers.lengths[at]
        part = self._parts[store]
        return (part, self._paths[store], offset, length) if part < CACHED else None

    def told(self, reader: RowReader, at: int, part: int) -> Told:
        """Return what is told of a line that the split, or a cut, has put into this part."""
        onward = self._onward.get(at)
        if onward is None:
            return Told(part, self._only(reader, self._answers, at), self._only(reader, self._notes, at))
        parts = [Onward(part, 0), *onward]
        tries = [(each, self._places.get((at, each.part, False))) for each in parts]
        late = [(each, self._places.get((at, each.part, True))) for each in parts]
        tries += [(each, place) for each, place in late if place is not None and place.ok]
        counts = next((n for n, (_, place) in enumerate(tries) if place is not None and place.ok), len(parts) - 1)
        self._stores.superseded += sum(place is not None for _, place in tries) - (tries[counts][1] is not None)
        told = [self._told_by(reader, at, *each) for each in tries]
        return told.pop(counts)._replace(before=tuple(told))

    def _told_by(self, reader: RowReader, at: int, had: Onward, place: _Place | None) -> Told:
        return Told(had.part, self._read(reader, place), self._read(reader, self._noted.get((at, had.remarks))))

    def _consider(self, at: int, store: int, span: Span) -> None:
        if at in self._onward:
            self._consider_onward(at, store, span)
            return
        if span.kind == NOTE:
            self._notes.put(at, store, span)
            return
        known = self._kinds[at]
        if known:
            self._stores.superseded += 1
        if not known or (span.kind == OK and known != OK):
            self._kinds[at] = span.kind
            self._answers.put(at, store, span)

    def _consider_onward(self, at: int, store: int, span: Span) -> None:
        place = _Place(store, span.offset, span.length, span.kind == OK)
        if span.kind == NOTE:
            self._noted[at, store] = place
            return
        key = (at, span.part, store >= self._stores.first_late)
        known = self._places.get(key)
        if known is not None:
            self._stores.superseded += 1
        if known is None or (place.ok and not known.ok):
            self._places[key] = place

    def _only(self, reader: RowReader, kept: _Spans, at: int) -> StoredRow | None:
        store = kept.stores[at]
        return None if store < 0 else reader.read(self._paths[store], kept.offsets[at], kept.lengths[at])

    def _read(self, reader: RowReader, place: _Place | None) -> StoredRow | None:
        return None if place is None else reader.read(self._paths[place.store], place.offset, place.length)
