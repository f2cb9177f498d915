"""Avro files as JSON lines: whole, or not at all; and what they may be cut to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.avro import convert
from proxy_plugin.providers.errors import Short

fastavro = pytest.importorskip("fastavro", reason="a dependency that is not installed here: pip install fastavro")
FIELDS = [{"name": "custom_id", "type": "string"}, {"name": "body", "type": ["null", "string", "bytes"]}]
SCHEMA = {"type": "record", "name": "row", "fields": FIELDS}
COUNT = 2000


class Room:
    """An intake that takes so many bytes of one answer."""

    cuts = False

    def __init__(self, most: int) -> None:
        self.most_bytes, self.taken = most, 0

    async def take(self, count: int) -> None:
        self.taken += count


def written(path: Path, records: list[dict[str, Any]], codec: str) -> Path:
    with path.open("wb") as target:
        fastavro.writer(target, SCHEMA, records, codec=codec)
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture(params=["null", "deflate"])
def avro(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    records = [{"custom_id": f"{n:018}", "body": "\u2028 \U0001f642\n" * (n % 7)} for n in range(COUNT)]
    return written(tmp_path / "part.avro", records, request.param)


async def test_every_record_becomes_a_line(avro: Path, tmp_path: Path) -> None:
    room = Room(10**9)
    await convert(avro, tmp_path / "rows", room, {"model": "m"}, last=False)
    found = rows(tmp_path / "rows")
    assert [row["custom_id"] for row in found] == [f"{n:018}" for n in range(COUNT)]
    assert {row["model"] for row in found} == {"m"}
    assert room.taken == (tmp_path / "rows").stat().st_size


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
async def test_a_file_that_breaks_off_leaves_nothing(avro: Path, tmp_path: Path, share: float) -> None:
    avro.write_bytes(avro.read_bytes()[: int(avro.stat().st_size * share)])
    with pytest.raises(Short):
        await convert(avro, tmp_path / "rows", None, {}, last=False)
    assert not list(tmp_path.glob("rows*"))
    await convert(avro, tmp_path / "rows", None, {}, last=True)
    assert len(rows(tmp_path / "rows")) < COUNT


async def test_no_more_is_written_than_is_taken(avro: Path, tmp_path: Path) -> None:
    with pytest.raises(Short):
        await convert(avro, tmp_path / "rows", Room(1000), {}, last=False)
    await convert(avro, tmp_path / "rows", Room(1000), {}, last=True)
    assert 0 < (tmp_path / "rows").stat().st_size <= 1000


@pytest.mark.parametrize("noise", [b"Obj\x01", b"<Error/>", b"Obj\x01" + b"\xff" * 100, bytes(200)])
async def test_what_is_no_avro_is_short(noise: bytes, tmp_path: Path) -> None:
    (tmp_path / "part.avro").write_bytes(noise)
    with pytest.raises(Short):
        await convert(tmp_path / "part.avro", tmp_path / "rows", None, {}, last=False)


async def test_bytes_are_read_as_text(tmp_path: Path) -> None:
    avro = written(tmp_path / "part.avro", [{"custom_id": "a", "body": b"{}"}], "null")
    await convert(avro, tmp_path / "rows", None, {}, last=False)
    assert rows(tmp_path / "rows") == [{"custom_id": "a", "body": "{}"}]
