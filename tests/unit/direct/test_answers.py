"""Answers that outlive their process, whatever its last write looked like."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.direct import answers as module
from proxy_plugin.direct.answers import NAME, Answers, Busy

ROW = b'"custom_id":"abcdefghij00000001","response":{"status_code":200,"body":{"text":"caf\xc3\xa9"}},"error":null}'

ENDS = [b"", b"\n", b"\0" * 40, b"\0\n", b'{"id":"ok-77","cus', b'{"id":"ok-77","x":1}', b"garbage}\n"]


async def written(folder: Path, records: dict[int, bool]) -> None:
    async with Answers(folder) as answers:
        await asyncio.gather(*(answers.add(n, ROW, ok=ok) for n, ok in records.items()))


async def test_the_next_process_knows_what_has_a_row(tmp_path: Path) -> None:
    await written(tmp_path, {0: True, 9: False, 4096: True})
    async with Answers(tmp_path) as answers:
        assert [n for n in range(5000) if answers.has(n)] == [0, 9, 4096]
        assert (answers.ok, answers.failed) == (2, 1)
        assert answers.bytes == (tmp_path / NAME).stat().st_size


@settings(deadline=None)
@given(
    cut=st.integers(0, 600),
    end=st.sampled_from(
        [b"", b"\n", b"\0" * 40, b"\0\n", b'{"id":"ok-77","cus', b'{"id":"ok-77","x":1}', b"garbage}\n"]
    ),
)
def test_what_was_not_finished_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int, end: bytes) -> None:
    async def check() -> None:
        folder = tmp_path_factory.mktemp("torn")
        await written(folder, {0: True, 1: True, 2: False, 3: True})
        whole = (folder / NAME).read_bytes()
        (folder / NAME).write_bytes(whole[:cut] + end)
        kept = (whole[:cut] + end)[: len(whole)].split(b"\n")
        async with Answers(folder) as answers:
            known = [n for n in range(100) if answers.has(n)]
            assert known == list(range(len(known)))
            assert len(known) <= len(kept)
            assert len(known) >= whole[:cut].count(b"\n")
            await answers.add(50, ROW, ok=True)
        lines = (folder / NAME).read_bytes().splitlines()
        assert len(lines) == len(known) + 1
        assert all(line.startswith(b'{"id":"') and line.endswith(b"}") for line in lines)

    asyncio.run(check())


async def test_two_processes_never_write_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.0)
    async with Answers(tmp_path):
        with pytest.raises(Busy):
            await Answers(tmp_path).__aenter__()


async def test_answers_wait_for_room_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL_PAUSE", 0.001)
    real, failed = os.fsync, list[int]()

    def full(descriptor: int) -> None:
        if len(failed) < 3:
            failed.append(descriptor)
            raise OSError(errno.ENOSPC, "full")
        real(descriptor)

    async with Answers(tmp_path) as answers:
        monkeypatch.setattr(os, "fsync", full)
        await answers.add(7, ROW, ok=True)
        monkeypatch.setattr(os, "fsync", real)
        assert len(failed) == 3
    assert (tmp_path / NAME).read_bytes().count(b"\n") == 1
