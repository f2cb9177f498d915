"""Files of results that are unpacked in a process of their own: whole, or not at all; and bombs, which cost little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin.providers.apart import unpack
from proxy_plugin.providers.errors import Short, TooLarge
from proxy_plugin.providers.lanes.google import inline
from tests.support.avro_files import SCHEMA, by_hand, deflated, number, written

pytest.importorskip("fastavro", reason="a dependency that is not installed here: pip install fastavro")
AVRO = "proxy_plugin.providers.avro"
GIGABYTE = 1 << 30
BOUND = 100 << 20
COUNT = 2000


class Room:
    """An intake that takes so many bytes of one answer."""

    cuts = False

    def __init__(self, most: int) -> None:
        self.most_bytes, self.taken = most, 0

    async def take(self, count: int) -> None:
        self.taken += count


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return written(
        tmp_path / "part.avro", [{"custom_id": f"{n:018}", "body": "x" * n} for n in range(COUNT)], "deflate"
    )


def ids(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


async def test_every_record_becomes_a_line(whole: Path, tmp_path: Path) -> None:
    room = Room(10**9)
    await unpack(AVRO, whole, tmp_path / "rows", room, {"model": "m"}, last=False)
    assert ids(tmp_path / "rows") == [f"{n:018}" for n in range(COUNT)]
    assert room.taken == (tmp_path / "rows").stat().st_size


async def test_what_breaks_off_leaves_nothing_but_in_the_last_reading(whole: Path, tmp_path: Path) -> None:
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(Short, match="breaks off"):
        await unpack(AVRO, whole, tmp_path / "rows", None, {}, last=False)
    assert not list(tmp_path.glob("rows*"))
    await unpack(AVRO, whole, tmp_path / "rows", None, {}, last=True)
    assert 0 < len(ids(tmp_path / "rows")) < COUNT


async def test_no_more_is_written_than_is_taken(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Short):
        await unpack(AVRO, whole, tmp_path / "rows", Room(1000), {}, last=False)
    await unpack(AVRO, whole, tmp_path / "rows", Room(1000), {}, last=True)
    assert 0 < (tmp_path / "rows").stat().st_size <= 1000


MEASURED = """
import asyncio, re, resource, sys
from pathlib import Path
from proxy_plugin.providers.apart import unpack
from proxy_plugin.providers.errors import TooLarge
try:
    asyncio.run(unpack(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), None, {}, last=sys.argv[4] == "True"))
except TooLarge as large:
    print(large)
own = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]  # ru_maxrss is inherited
print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("last", [False, True])
def test_a_bomb_costs_little_and_is_named(tmp_path: Path, last: bool) -> None:
    """A block of one megabyte that unpacks to a gigabyte of zeros, behind one that is good."""
    pack = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = pack.compress(bytes(1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    bomb = piece * (GIGABYTE >> 20) + pack.flush()
    file = by_hand(tmp_path / "bomb", SCHEMA, "deflate", (1, deflated(number(1) + b"a" + number(0))), (1, bomb))
    call = [sys.executable, "-c", MEASURED, AVRO, str(file), str(tmp_path / "rows"), str(last)]
    said, peaks = subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()
    assert "unpacks to more than is taken" in said
    assert all(int(kilobytes) < BOUND >> 10 for kilobytes in peaks.split()), peaks
    assert ids(tmp_path / "rows") == ["a"], "what stands before it"


def rows(file: Path, more: dict[str, str]) -> Iterator[bytes]:
    yield from (name.encode() for name in os.environ)


async def test_a_tool_gets_nothing_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROVIDERS_API_KEY", "sk-secret")
    await unpack(__name__, tmp_path, tmp_path / "rows", None, {}, last=False)
    seen = (tmp_path / "rows").read_text().split()
    assert "PYTHONPATH" in seen
    assert "SOME_PROVIDERS_API_KEY" not in seen


async def test_a_record_without_end_costs_no_more_than_the_bound(tmp_path: Path) -> None:
    """A list of a trillion nulls has no bytes."""
    schema = {"type": "record", "name": "row", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}
    endless = by_hand(tmp_path / "bomb", schema, "null", (1, number(10**12) + number(0)))
    with pytest.raises(TooLarge, match="unpacks to more than is taken"):
        await unpack(AVRO, endless, tmp_path / "rows", None, {}, last=False)


async def test_a_job_of_gemini_that_is_too_large_is_named(tmp_path: Path) -> None:
    with (tmp_path / "job").open("wb") as job:
        job.truncate(inline.MOST + 1)
    with pytest.raises(TooLarge, match="unpacks to more than is taken"):
        await unpack(inline.__name__, tmp_path / "job", tmp_path / "rows", None, {}, last=False)
