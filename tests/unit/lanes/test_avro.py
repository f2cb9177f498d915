"""Avro files as JSON texts: record by record, and what a hostile file comes to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers import avro
from proxy_plugin.providers.apart import Cut, TooMuch
from tests.support.avro_files import SCHEMA, by_hand, deflated, number, written

pytest.importorskip("fastavro", reason="a dependency that is not installed here: pip install fastavro")
COUNT = 2000


def rows(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, avro.rows(path, {"model": "m"}))


@pytest.fixture(params=["null", "deflate", "bzip2", "xz"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    records = [{"custom_id": f"{n:018}", "body": "\u2028 \U0001f642\n" * (n % 7)} for n in range(COUNT)]
    return written(tmp_path / "part.avro", records, request.param)


def test_every_record_becomes_a_line(file: Path) -> None:
    found = list(rows(file))
    assert [row["custom_id"] for row in found] == [f"{n:018}" for n in range(COUNT)]
    assert {row["model"] for row in found} == {"m"}
    assert found[3]["body"] == "\u2028 \U0001f642\n" * 3


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
def test_a_file_that_breaks_off_gives_what_is_whole(file: Path, share: float) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    found = list[dict[str, Any]]()
    with pytest.raises(Cut):
        found.extend(rows(file))
    assert len(found) < COUNT


@pytest.mark.parametrize("noise", [b"Obj\x01", b"<Error/>", b"Obj\x01" + b"\xff" * 100, bytes(200)])
def test_what_is_no_avro_breaks_off(noise: bytes, tmp_path: Path) -> None:
    (tmp_path / "part.avro").write_bytes(noise)
    with pytest.raises(Cut):
        list(rows(tmp_path / "part.avro"))


def test_bytes_are_read_as_text(tmp_path: Path) -> None:
    avro_file = written(tmp_path / "part.avro", [{"custom_id": "a", "body": b"{}"}], "null")
    assert list(rows(avro_file)) == [{"custom_id": "a", "body": "{}", "model": "m"}]


@pytest.mark.parametrize("codec", ["deflate", "null"])
def test_a_block_that_is_larger_than_any_is_not_unpacked(tmp_path: Path, codec: str) -> None:
    good = b"".join(number(len(text)) + text + number(0) for text in (b"a", b"b"))
    large = bytes(avro.MOST + 1)
    blocks = [(2, deflated(good)), (1, deflated(large))] if codec == "deflate" else [(2, good), (1, large)]
    found = list[str]()
    with pytest.raises(TooMuch):
        found.extend(row["custom_id"] for row in rows(by_hand(tmp_path / "bomb", SCHEMA, codec, *blocks)))
    assert found == ["a", "b"]


def test_records_of_no_bytes_have_an_end(tmp_path: Path) -> None:
    empty = by_hand(tmp_path / "bomb", {"type": "record", "name": "row", "fields": []}, "null", (2**40, b""))
    with pytest.raises(Cut):
        list(islice(rows(empty), 3))


@pytest.mark.parametrize("codec", ["snappy", "", "\n"])
def test_a_codec_that_nobody_reads_breaks_off(tmp_path: Path, codec: str) -> None:
    with pytest.raises(Cut):
        list(rows(by_hand(tmp_path / "odd", SCHEMA, codec, (1, b"x"))))
