"""The index gives back the exact bytes of every line, in bulk and one at a time."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.line_index import CHUNK_BYTES, BrokenIndex, IndexWriter, LineIndex, Record

LineText = tuple[bytes, int]  # a line, and how many bytes lie between it and the one before


@contextmanager
def stored(texts: list[LineText]) -> Iterator[tuple[Path, Path]]:
    """Write a source and its index; line numbers are 10, 20, 30 and so on."""
    with tempfile.TemporaryDirectory() as folder:
        source, index = Path(folder, "source"), Path(folder, "index")
        with source.open("wb") as stream, IndexWriter(index) as writer:
            for place, (text, gap) in enumerate(texts, 1):
                stream.write(b"\n" * gap)
                writer.append(stream.tell(), len(text), place * 10)
                stream.write(text)
        yield source, index


line_texts = st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 9)), max_size=30)


@settings(deadline=None)
@given(texts=line_texts, start=st.integers(0, 32), stop=st.none() | st.integers(0, 32))
def test_lines_come_back_exactly(texts: list[LineText], start: int, stop: int | None) -> None:
    expected = [(ordinal, (ordinal + 1) * 10, text) for ordinal, (text, _) in enumerate(texts)]
    with stored(texts) as (source, path), LineIndex(path) as index, source.open("rb") as stream:
        assert len(index) == len(texts)
        assert list(index.lines(source, start, stop)) == expected[start:stop]
        assert [index.read_line(stream.fileno(), each) for each in range(len(texts))] == [text for text, _ in texts]


@pytest.mark.parametrize("spare", range(-2, 3))
def test_lines_around_the_edge_of_a_chunk(spare: int) -> None:
    texts = [(b"a" * (CHUNK_BYTES + spare), 0), (b"b", 1), (b"c" * (3 * CHUNK_BYTES), 1), (b"", 1), (b"d" * 7, 2)]
    with stored(texts) as (source, path), LineIndex(path) as index:
        assert [content for _, _, content in index.lines(source)] == [text for text, _ in texts]


def test_more_records_than_are_read_at_once() -> None:
    texts = [(b"%d" % number, 1) for number in range(10_000)]
    with stored(texts) as (source, path), LineIndex(path) as index:
        assert list(index.lines(source, 4095, 8193)) == [(n, n * 10 + 10, b"%d" % n) for n in range(4095, 8193)]
        assert [content for _, _, content in index.lines(source)] == [text for text, _ in texts]


def test_the_record_is_sixteen_bytes_little_endian(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with IndexWriter(path) as writer:
        writer.append(0x0102030405060708, 0x11121314, 0x21222324)
    assert path.read_bytes() == bytes.fromhex("0807060504030201 14131211 24232221")
    with LineIndex(path) as index:
        assert index.record(0) == Record(offset=0x0102030405060708, length=0x11121314, number=0x21222324)


def test_an_empty_index_has_no_lines(tmp_path: Path) -> None:
    with stored([]) as (source, path), LineIndex(path) as index:
        assert len(index) == 0
        assert list(index.lines(source)) == []


@pytest.mark.parametrize("ordinal", [-1, 2])
def test_an_ordinal_outside_is_refused(ordinal: int) -> None:
    with (
        stored([(b"a", 0), (b"b", 1)]) as (_, path),
        LineIndex(path) as index,
        pytest.raises(IndexError, match="2 lines"),
    ):
        index.record(ordinal)


def test_a_torn_index_is_refused() -> None:
    with stored([(b"a", 0), (b"b", 1)]) as (_, path):
        os.truncate(path, 31)
        with pytest.raises(BrokenIndex, match="within record 1"):
            LineIndex(path)


def test_a_source_that_is_too_short_is_refused() -> None:
    with stored([(b"aaaa", 0), (b"bbbb", 1)]) as (source, path), LineIndex(path) as index:
        os.truncate(source, 8)
        with pytest.raises(BrokenIndex):
            list(index.lines(source))
        with source.open("rb") as stream, pytest.raises(BrokenIndex):
            index.read_line(stream.fileno(), 1)


def test_a_writer_is_closed_however_it_is_left(tmp_path: Path) -> None:
    done, failed = IndexWriter(tmp_path / "done"), IndexWriter(tmp_path / "failed")
    with done:
        done.append(0, 1, 1)
    with suppress(RuntimeError), failed:
        raise RuntimeError
    for writer in (done, failed):
        with pytest.raises(ValueError, match="closed"):
            writer.append(1, 1, 2)


def test_reading_holds_one_chunk_however_large_the_source() -> None:
    texts = [(b"x" * 1000, 1)] * 20_000
    with stored(texts) as (source, path), LineIndex(path) as index:
        tracemalloc.start()
        try:
            assert sum(len(content) for _, _, content in index.lines(source)) == 20_000_000
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 3 * CHUNK_BYTES
