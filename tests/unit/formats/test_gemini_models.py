"""The table of models: names in all their spellings, and what the newest of each group take."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.formats.gemini.models import MODELS, UNKNOWN, Homes, ModelFacts, Thinking


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini-2.5-flash-001", "gemini-2.5-flash"),
        ("models/gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini-2.5-flash-lite-preview-06-17", "gemini-2.5-flash-lite"),
        ("gemini-2.5-flash-image-preview", "gemini-2.5-flash-image"),
        ("publishers/google/models/gemini-3.1-pro-preview", "gemini-3.1-pro"),
        ("gemini-3.1-pro-preview-customtools", "gemini-3.1-pro"),
        ("google/gemini-3.8-flash-cyber", "gemini-3.8-flash"),
        ("gemini-2.5-pro@default", "gemini-2.5-pro"),
    ],
)
def test_names(name: str, prefix: str) -> None:
    assert prefix in MODELS.find(name).prefixes


@pytest.mark.parametrize(
    "name", ["gemini-2.5-flash-preview-tts", "gemini-3.9-flash", "gemini-3-pro-image", "projects/p/models/7", "", "x"]
)
def test_what_is_not_known_is_not_refused(name: str) -> None:
    assert MODELS.find(name) is UNKNOWN


def test_every_record_can_be_found() -> None:
    for facts in MODELS.records:
        for prefix in facts.prefixes:
            assert MODELS.find(prefix) is facts


def test_records_agree_with_themselves() -> None:
    for facts in (*MODELS.records, UNKNOWN):
        least, most = facts.budgets
        assert (0 < least < most) is (facts.thinking is Thinking.BUDGET)
        assert facts.levels
        # Google's service wants signatures and ids from the same generation on.
        assert facts.signatures is facts.call_ids is (facts.thinking is Thinking.LEVEL)


def test_operators_may_add_records() -> None:
    mine = ModelFacts(("gemini-2.5-flash",), max_tokens=7)
    table = MODELS.extended(mine)
    assert table.find("gemini-2.5-flash") is mine
    assert table.find("gemini-2.5-pro") is MODELS.find("gemini-2.5-pro")


def test_homes() -> None:
    assert [home.has(vertex=True) for home in Homes] == [False, True, True]
    assert [home.has(vertex=False) for home in Homes] == [False, False, True]
