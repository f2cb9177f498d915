"""The figures of the README: from what the benches print, nothing typed by hand, ratios first."""

from __future__ import annotations

import pytest

from bench import report
from bench.floor import Floor
from bench.rig import Cpu, Phase, Seen
from bench.whole import PARALLEL, Taken, growth, stages
from tools import figures


def taken(lines: int) -> Taken:
    quiet = Seen(Phase("idle", 0.0, 3.0, Cpu(0.3, 0.0, 0.0)), 0, 0, gap=0.001, control_gap=0.0, late=0.0, beyond=())
    spans = (Phase(name, 3.0, 7.0, Cpu(8.0, 0.0, 0.0), 10**6) for name in PARALLEL)
    seen = [quiet, *(Seen(each, 70 * 10**6, 0, 0.05, 0.02, 0.0, ()) for each in spans)]
    return Taken("openai", lines, seen, Floor(json=10.0, orjson=2.5, cat=0.5, sha256=1.0), 0.02)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what two commands print, one of whose benches fails."""
    monkeypatch.setattr(report, "LOOK_SECONDS", 0.01)
    way = taken(1_000_000)
    first = [report.machine(["whole", "parts"]), stages(way), growth([way])]
    first.append(report.phases("100 MB in 100 native jobs", way.seen, 2, way.floor))
    second = [report.machine(["start"]), "### Start", report.table(("3 starts", "x an empty server"), [("ms", "2.1")])]
    second += [
        "The empty server does nothing.",
        "### direct FAILED",
        "```\nValueError\n```",
        "### 5 plain lines, openai",
    ]
    return "\n\n".join([*first, *second]) + "\n\n"


def test_runs_become_rows_with_their_ratios_first(printed: str) -> None:
    text = figures.figures(list(figures.read(printed)))
    row = "| 1,000,000 lines, openai | 2.28 (bound 2.5) | 0.50, 0.50, 0.50 | 22.8 | 12.00 | 70.0 | 50.0 | 20.0 |"
    assert row in text
    assert "| 100 MB in 100 native jobs | 70.0 MB | 128 MB | 50.0 ms | 100 ms |" in text
    assert "**What a line costs as files grow, openai**" in text
    assert "**Start**\n\n| 3 starts | x an empty server |" in text
    assert "`python -m bench whole parts`" in text
    assert "`python -m bench start`" in text
    assert " cores (" in text


def test_what_failed_and_what_is_a_profile_is_left_out(printed: str) -> None:
    text = figures.figures(list(figures.read(printed)))
    assert "FAILED" not in text
    assert "ValueError" not in text
    assert "plain lines" not in text
    assert report.reading() not in text


def test_the_place_of_the_figures_is_found_and_stays(printed: str) -> None:
    runs = list(figures.read(printed))
    once = figures.written("before\n<!-- figures: old -->\nold\n<!-- end of figures -->\nafter\n", runs)
    assert once.startswith("before\n<!-- figures")
    assert once.endswith("<!-- end of figures -->\nafter\n")
    assert "old" not in once
    assert figures.written(once, runs) == once
    assert figures.written(figures.README.read_text(), runs) != figures.README.read_text()


def test_what_no_bench_has_printed_is_refused() -> None:
    with pytest.raises(ValueError, match="benchmarks"):
        list(figures.read("| a | b |\n"))
    with pytest.raises(ValueError, match="place"):
        figures.written("no figures", [])
