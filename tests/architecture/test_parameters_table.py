"""The table of parameters is what the translators do, and says so in the words of its legend."""

from __future__ import annotations

import re

import pytest

from tools import parameters, tables
from tools.parameters import CONTENTS, FORMATS, PARAMETERS, Format, Probe, changes, outcome

BY_TITLE = {each.title: each for each in FORMATS}
BY_NAME = {probe.name: probe for probe in (*PARAMETERS, *CONTENTS)}
CELL = re.compile(
    r"refused|told|hint|dropped with a switch(: \S+)?|no trace|(?:sent|hint): (?:(?:without )?`[^`]+`(?:, |$))+"
)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.title)
def test_every_cell_is_one_of_the_legend(form: Format) -> None:
    for probe in (*PARAMETERS, *CONTENTS):
        assert CELL.fullmatch(outcome(probe, form)), probe.name


@pytest.mark.parametrize(
    ("name", "title", "cell"),
    [
        ("`logit_bias`", "handed on", "sent: `logit_bias`"),
        ("`temperature` 0.2", "Anthropic", "sent: `temperature`"),
        ("`temperature` 1.5", "Anthropic", "dropped with a switch: 1"),
        ("`n` 2", "Anthropic", "refused"),
        ("`n` 2", "Gemini", "sent: `generationConfig.candidateCount`"),
        ("`seed`", "Bedrock: Claude", "hint"),
        ("`tool_choice` none", "Bedrock: Converse", "hint: without `toolConfig`"),
        ("image by URL", "Bedrock: Claude", "refused"),
    ],
)
def test_cells_that_the_providers_pages_confirm(name: str, title: str, cell: str) -> None:
    assert outcome(BY_NAME[name], BY_TITLE[title]) == cell


def test_a_probe_that_changes_nothing_leaves_no_trace() -> None:
    assert outcome(Probe("n", {"n": 1}), BY_TITLE["Anthropic"]) == "no trace"


def test_changes_are_told_at_the_highest_new_member() -> None:
    said = {"role": "user", "content": "hi"}
    before = {"a": 1, "messages": [said]}
    after = {"a": 2, "b": {"c": 1}, "generationConfig": {"topP": 1}, "messages": [said, {"role": "x"}]}
    assert list(changes(before, after)) == ["a", "b", "generationConfig.topP", "messages[] x"]


def test_the_document_has_a_row_for_each_probe() -> None:
    text = parameters.markdown()
    assert all(f"\n| {probe.name} |" in text for probe in (*PARAMETERS, *CONTENTS))


def test_the_document_is_current() -> None:
    assert tables.documents()[tables.PARAMETERS] == tables.PARAMETERS.read_text(), "stale: run make docs"
