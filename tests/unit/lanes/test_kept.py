"""What a folder of results has already is not read again for the same reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy_plugin.providers.kept import bring


async def test_a_file_is_read_once_for_the_same_facts(tmp_path: Path) -> None:
    to, reads = tmp_path / "output.jsonl", list[int]()

    async def get() -> None:
        reads.append(1)
        to.write_text(f"reading {len(reads)}")

    for facts in ({"reading": 0}, {"reading": 0}, {"reading": 1}, {"reading": 1}):
        await bring(to, facts, get)
    assert to.read_text() == "reading 2"


async def test_what_breaks_off_is_read_again(tmp_path: Path) -> None:
    to = tmp_path / "output.jsonl"

    async def breaks() -> None:
        raise OSError

    async def get() -> None:
        to.write_text("whole")

    with pytest.raises(OSError):  # noqa: PT011 - any
        await bring(to, {"reading": 0}, breaks)
    await bring(to, {"reading": 0}, get)
    assert to.read_text() == "whole"
