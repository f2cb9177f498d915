"""The translation bench: what it feeds is translated without a loss, and what it prints has a row for each case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import translate
from bench.translate import FORMATS, Case, Format

PAIRS = [pytest.param(each, kind, id=f"{each.name} {kind}") for each in FORMATS for kind in each.kinds]


@pytest.mark.parametrize(("form", "kind"), PAIRS)
def test_every_line_of_the_bench_is_translated(form: Format, kind: str) -> None:
    for line in translate.requests(form.model, kind, 20):
        assert json.loads(line)["messages"]
        form.request(line)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_answers_are_of_the_kind_they_are_called(form: Format) -> None:
    for kind, native in form.answers.items():
        answer = form.answer(json.dumps(native).encode())
        message = json.loads(answer.body)["choices"][0]["message"]
        assert ("tool_calls" in message) == (kind == "tools")
        assert answer.usage.output_tokens == 90


def test_the_report_has_a_row_for_each_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    translate.run(tmp_path, 3, peer=tmp_path / "no such environment")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ") and "µs" not in line]
    assert len(rows) == len(PAIRS) + sum(len(form.answers) for form in FORMATS)


def test_cases_have_names_of_their_own() -> None:
    assert translate.key(Case("Gemini", "m", "answers", "plain", [])) == "Gemini/answers/plain"
