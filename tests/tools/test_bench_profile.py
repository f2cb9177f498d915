"""The profile of the stages: every stage has its functions, and the table its floors."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import profile


@pytest.mark.parametrize("provider", profile.MODELS)
@pytest.mark.parametrize("kind", profile.KINDS)
def test_a_file_is_taken_through_its_stages(provider: str, kind: str, tmp_path: Path) -> None:
    found = profile.profiled(tmp_path / "home", provider, profile.MODELS[provider], kind, 60)
    assert list(found.stages) == ["scan", "split", "collect", "merge"]
    text = profile.summary(found)
    assert "| floor: json read and write | 1.00 |" in text
    assert list(tmp_path.iterdir()) == [], "files were left behind"


def test_the_function_at_work_is_seen_with_those_that_called_it() -> None:
    samples = profile.Samples()
    with samples.taken():
        while samples.own.total() < 2:
            sum(range(1000))
    found = profile.Profile("a file", 10, {"scan": samples})
    assert sum(samples.own.values()) <= samples.whole[samples.own.most_common(1)[0][0]] + samples.own.total()
    assert "test_the_function_at_work_is_seen_with_those_that_called_it" in profile.functions(found, "scan")
