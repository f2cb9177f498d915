"""Gemini's own fields in a chat body: caches, labels, thoughts."""

from __future__ import annotations

import pytest

from tests.unit.formats.gemini_lines import (
    ARGON,
    FLASH,
    FLASH_2,
    FLASH_3,
    HELLO,
    PRO,
    TOOL,
    Json,
    config,
    noting,
    refusal,
    translate,
)

CACHE = "cachedContents/abc"


def test_labels_are_vertexs() -> None:
    labels = {"team": "a"}
    assert translate(vertex=True, labels=labels)["labels"] == labels
    request, dropped = noting(labels=labels)
    assert "labels" not in request
    assert dropped == ("labels",)


@pytest.mark.parametrize("options", [{"cached_content": CACHE}, {"extra_body": {"google": {"cached_content": CACHE}}}])
def test_a_cached_content(options: Json) -> None:
    request = translate(**options)
    assert request["cachedContent"] == CACHE
    told = [{"role": "system", "content": "s"}, *HELLO]
    assert refusal(messages=told, **options).param == "cached_content"
    assert refusal(tools=[TOOL], **options).param == "cached_content"


SHOWN: list[tuple[str, Json, Json]] = [
    (FLASH_3, {"reasoning_summary": "auto"}, {"includeThoughts": True}),
    (
        FLASH_3,
        {"reasoning_summary": "auto", "reasoning_effort": "low"},
        {"thinkingLevel": "LOW", "includeThoughts": True},
    ),
    (
        FLASH,
        {"reasoning_summary": "auto", "reasoning_effort": "low"},
        {"thinkingBudget": 1024, "includeThoughts": True},
    ),
    (PRO, {"reasoning_summary": "auto"}, {"includeThoughts": True}),
    ("gemini-9", {"reasoning_summary": "auto"}, {"includeThoughts": True}),
    (
        FLASH,
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinkingBudget": 2000, "includeThoughts": True},
    ),
    (ARGON, {"thinking": {"type": "enabled", "budget_tokens": 64}}, {"thinkingBudget": 64, "includeThoughts": True}),
    (ARGON, {"thinking": {"type": "adaptive"}}, {"includeThoughts": True}),
    (FLASH, {"thinking": {"type": "disabled"}}, {"thinkingBudget": 0}),
    (
        FLASH_3,
        {"extra_body": {"google": {"thinking_config": {"thinking_level": "low", "include_thoughts": True}}}},
        {"thinkingLevel": "LOW", "includeThoughts": True},
    ),
    (FLASH, {"extra_body": {"google": {"thinking_config": {"thinking_budget": -1}}}}, {"thinkingBudget": -1}),
]


@pytest.mark.parametrize(("model", "options", "wanted"), SHOWN)
def test_thoughts_are_asked_for(model: str, options: Json, wanted: Json) -> None:
    assert config(model, **options) == {"thinkingConfig": wanted}


NOTED: list[tuple[str, Json, tuple[str, ...]]] = [
    (FLASH_2, {"reasoning_summary": "auto"}, ("reasoning_summary",)),
    (FLASH, {"reasoning_summary": "auto", "reasoning_effort": "none"}, ("reasoning_summary",)),
    (FLASH_3, {"reasoning_summary": "detailed"}, ("reasoning_summary=auto",)),
    (FLASH_3, {"reasoning_summary": "concise", "reasoning_effort": "low"}, ("reasoning_summary=auto",)),
]


@pytest.mark.parametrize(("model", "options", "noted"), NOTED)
def test_thoughts_that_cannot_be_shown_as_asked(model: str, options: Json, noted: tuple[str, ...]) -> None:
    assert noting(model, **options)[1] == noted


def test_safety_settings_in_googles_place() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    assert translate(extra_body={"google": {"safety_settings": settings}})["safetySettings"] == settings
    assert refusal(extra_body={"google": {"safety_settings": settings}}, safety_settings=settings).param
    assert (
        refusal(extra_body={"google": {"thought_tag_marker": "think"}}).param == "extra_body.google.thought_tag_marker"
    )
    assert refusal(extra_body={"other": 1}).param == "extra_body.other"
