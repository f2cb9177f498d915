"""A document that is cut: the same records, in order, each once, under the mark of the piece that has it."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from proxy_plugin.lines.cut import CutFacts, CutJob, NotCuttable, cut_document, records
from proxy_plugin.lines.manifest import ASSIGNMENT, Assignment, Heir, Manifest, PartSpec, entries
from proxy_plugin.providers.base import Framing, native_id
from tests.toy.toy_batch import TARGET, ToyBatch, chat

pytestmark = pytest.mark.usefixtures("toys")
LINES_FRAMING, ARRAY_FRAMING = Framing(), Framing(b'{"requests":[', b",", b"]}")
TEXTS = st.text(alphabet=st.sampled_from('ab"\\{}[],:\n\té🙂\ud83d'), max_size=30)
VALUES = st.recursive(TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
RECORDS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), min_size=1, max_size=12)


def joined(framing: Framing, written: list[bytes]) -> bytes:
    return framing.prefix + framing.separator.join(written) + framing.suffix


@pytest.mark.parametrize("framing", [LINES_FRAMING, ARRAY_FRAMING], ids=["lines", "array"])
@given(found=RECORDS, size=st.sampled_from([1, 2, 3, 7, 262_144]))
def test_records_are_found_whatever_is_in_them_and_however_they_are_read(
    framing: Framing, found: list[Any], size: int
) -> None:
    written = [json.dumps(each, ensure_ascii=n % 2 == 0).encode("utf-8", "replace") for n, each in enumerate(found)]
    assert list(records(io.BytesIO(joined(framing, written)), framing, size)) == written


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b'{"requests":[',
        b'{"requests":[]}',
        b'{"requests":[{"a":1}',
        b'{"requests":[{"a":1}]',
        b'{"requests":[{"a":"]}',
        b'{"requests":[{"a":1}{"b":2}]}',
        b'{"requests":[{"a":1},]}',
        b'{"requests":[1,2]}',
        b'{"requests":[{"a":1}]} ',
        b'{"others":[{"a":1}]}',
    ],
)
def test_what_is_no_document_is_not_cut(document: bytes) -> None:
    with pytest.raises(NotCuttable):
        list(records(io.BytesIO(document), ARRAY_FRAMING))


# ---- parts ----


def job_of(batch: ToyBatch, part: PartSpec, /, **more: Any) -> CutJob:
    """Return what a worker is told to cut a part; without `out` and `pieces` it only looks."""
    folder = batch.folder / "split"
    common = CutJob(
        provider=part.provider,
        part=part.n,
        mark=part.mark,
        lines=part.lines,
        document=str(folder / part.file),
        assignment=str(folder / ASSIGNMENT),
        index=str(batch.index),
        folder=str(batch.folder / f"cut-{part.n}"),
    )
    return structs.replace(common, **more)


def cards(document: bytes) -> list[dict[str, Any]]:
    return list(json.loads(document)["cards"])


WIDE = structs.replace(TARGET, max_lines=1000, max_bytes=10**6, max_inputs=10**6)
SHAPES = st.lists(st.sampled_from(["short", "long", "unknown"]), min_size=1, max_size=30)


def made(folder: str, shapes: Iterable[str]) -> tuple[ToyBatch, Manifest]:
    """Return a batch whose lines take turns between two parts, or are in none."""
    wish: dict[str, dict[str, Any]] = {"short": {"max_tokens": 5}, "long": {"max_tokens": 5000}, "unknown": {"seed": 1}}
    lines = [chat(f"{n}", f'text {n} ",{{[', **wish[shape]) for n, shape in enumerate(shapes)]
    batch = ToyBatch(Path(folder), lines, (WIDE,))
    return batch, batch.split()


@settings(max_examples=30)
@given(shapes=SHAPES, out=st.sets(st.integers(1, 30), max_size=5), pieces=st.integers(1, 3))
def test_every_record_is_in_one_piece_under_its_mark(shapes: list[str], out: set[int], pieces: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        batch, manifest = made(folder, shapes)
        for part in manifest.parts:
            taken = tuple(sorted(each for each in out if each <= part.lines))
            facts = cut_document(job_of(batch, part, out=taken, pieces=pieces))
            check(batch, part, facts, taken)
            assert facts == cut_document(job_of(batch, part, out=taken, pieces=pieces)), "the same cut gives the same"


def check(batch: ToyBatch, part: PartSpec, facts: CutFacts, taken: tuple[int, ...]) -> None:
    whole = cards(batch.document(part))
    ordinals = [int(card["tag"][10:], 36) for card in whole]
    assert [(line.record, line.ordinal) for line in facts.out] == [(each, ordinals[each - 1]) for each in taken]
    assert [line.number for line in facts.out] == [line.ordinal + line.ordinal // 3 + 1 for line in facts.out]
    left = [(at, card) for n, (at, card) in enumerate(zip(ordinals, whole, strict=True), 1) if n not in taken]
    found = []
    for piece in facts.pieces:
        document = (batch.folder / f"cut-{part.n}" / piece.file).read_bytes()
        assert (piece.bytes, piece.sha256) == (len(document), hashlib.sha256(document).hexdigest())
        inside = cards(document)
        assert piece.lines == len(inside) > 0
        places = [int(card["tag"][10:], 36) for card in inside]
        assert (piece.first, piece.last) == (places[0], places[-1])
        assert [card["tag"] for card in inside] == [native_id(piece.mark, at) for at in places]
        found += [(at, {**card, "tag": native_id(part.mark, at)}) for at, card in zip(places, inside, strict=True)]
    assert found == left
    marks = [part.mark, *(piece.mark for piece in facts.pieces), *(line.mark for line in facts.out)]
    assert len(set(marks)) == len(marks)


@settings(max_examples=30)
@given(shapes=SHAPES, cuts=st.lists(st.tuples(st.integers(0, 9), st.sets(st.integers(1, 9), max_size=2)), max_size=5))
def test_who_has_a_line_is_known_however_often_parts_are_cut(
    shapes: list[str], cuts: list[tuple[int, set[int]]]
) -> None:
    """Cut parts, and parts of parts, at random; the assignment then finds what the documents hold."""
    with tempfile.TemporaryDirectory() as folder:
        batch, manifest = made(folder, shapes)
        own = {part.n: job_of(batch, part) for part in manifest.parts}
        has = {part.n: [int(card["tag"][10:], 36) for card in cards(batch.document(part))] for part in manifest.parts}
        heirs, n = list[Heir](), len(manifest.parts)
        for chosen, out in cuts:
            part = sorted(own)[chosen % len(own)] if own else -1
            taken = tuple(sorted(each for each in out if part >= 0 and each <= len(has[part])))
            if part < 0 or len(has[part]) < 2:
                continue
            where = batch.folder / f"cut-{part}"
            facts = cut_document(
                structs.replace(own.pop(part), out=taken, pieces=2 - bool(taken), heirs=tuple(heirs), folder=str(where))
            )
            was = has.pop(part)
            for line in facts.out:
                has[n], n = [line.ordinal], n + 1
                heirs.append(Heir(n - 1, part, line.ordinal, line.ordinal))
            gone, left = {line.ordinal for line in facts.out}, iter(was)
            rest = [at for at in left if at not in gone]
            for piece in facts.pieces:
                has[n], rest = rest[: piece.lines], rest[piece.lines :]
                job = job_of(batch, manifest.parts[0], part=n, mark=piece.mark, lines=piece.lines)
                own[n] = structs.replace(job, document=str(where / piece.file))
                heirs.append(Heir(n, part, piece.first, piece.last))
                n += 1
            assert rest == []
        with Assignment(batch.folder / "split" / ASSIGNMENT, heirs) as assignment:
            assert {part: list(assignment.ordinals(part)) for part in has} == has


def test_a_document_of_another_part_is_not_cut(tmp_path: Path) -> None:
    batch, manifest = made(str(tmp_path), ["short", "short", "long"])
    first, second = manifest.parts
    for wrong in (
        {"mark": second.mark},
        {"document": job_of(batch, second).document},
        {"lines": 1},
        {"lines": 3},
        {"part": 7},
    ):
        with pytest.raises(ValueError, match=r"part|record|argument"):
            cut_document(job_of(batch, first, pieces=2, **wrong))


def test_a_line_that_is_not_there_is_not_named(tmp_path: Path) -> None:
    batch, manifest = made(str(tmp_path), ["short"])
    with pytest.raises(NotCuttable):
        cut_document(job_of(batch, manifest.parts[0], out=(2,)))


def test_only_looking_writes_nothing(tmp_path: Path) -> None:
    batch, manifest = made(str(tmp_path), ["short", "short"])
    facts = cut_document(job_of(batch, manifest.parts[0], out=(2,)))
    assert ([line.number for line in facts.out], facts.pieces) == ([2], ())
    assert not (tmp_path / "cut-0").exists()


def test_blocks_beyond_the_first_are_inherited_too(tmp_path: Path) -> None:
    (tmp_path / ASSIGNMENT).write_bytes(entries(array("I", [0]) * 65_537 + array("I", [1])))
    heirs = [Heir(2, 0, 65_536, 65_536), Heir(3, 0, 0, 65_536)]
    with Assignment(tmp_path / ASSIGNMENT, heirs) as assignment:
        assert [assignment.part(at) for at in (0, 65_535, 65_536, 65_537)] == [3, 3, 2, 1]
