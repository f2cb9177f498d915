"""The comparison of gateways: figures of the others as multiples of ours, and what is counted of a lost reply."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from bench import gateways, peers
from bench.client import Latencies
from bench.gateways import Found
from proxy_plugin.providers.sandbox.process import Sandbox


def found(name: str, times: float, jobs: int) -> Found:
    reads = Latencies(array("d", [0.001 * times] * 10), 0.01 * times)
    return Found(name, 0.4 * times, int(5e7 * times), 1.0 * times, 2.0 * times, int(1e6 * times), reads, jobs)


def test_others_are_told_as_multiples_of_ours() -> None:
    lines = gateways.table([found("ours", 1.0, 1), found("theirs", 20.0, 3)]).splitlines()
    assert lines[0] == "|  | theirs, x | ours | theirs |"
    assert "| start to healthy, s | 20 | 0.40 | 8.00 |" in lines
    assert "| status reads a second | 0.05 | 1,000 | 50 |" in lines
    assert "| jobs after a lost reply | 3 | 1 | 3 |" in lines


def test_ours_is_alone_where_nothing_else_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LITELLM", "PORTKEY"):
        monkeypatch.setattr(gateways, name, tmp_path / "nothing")
    monkeypatch.setattr(gateways, "lane", lambda _: {"provider": "openai", "api_key": "sk-none"})
    assert [each.name for each in gateways.peers(tmp_path, Sandbox())] == ["proxy-plugin"]


def test_a_row_begins_with_its_ratios() -> None:
    ours = peers.Taken("ours", 1.0, 3.0, 5.0, 50_000_000, 100_000_000, 0.02)
    theirs = peers.Taken("theirs", 0.0, 200.0, 150.0, 200_000_000, 2_200_000_000)
    assert peers._row(theirs, ours)[:4] == ("theirs", "50", "30", "40")
    assert peers._row(ours, ours)[:4] == ("ours", "1", "1", "1")
