"""Which model a name means, what the table can be told, and what a line costs."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.models import MODELS, UNKNOWN, ModelFacts, Off, Sampling, Thinking
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from tests.unit.formats.anthropic_lines import HAIKU, OPUS_4_1, OPUS_4_6, SONNET_4, body

NAMES = [
    ("claude-haiku-4-5-20251001", HAIKU),
    ("us.anthropic.claude-haiku-4-5-20251001-v1:0", HAIKU),
    ("publishers/anthropic/models/claude-haiku-4-5@20251001", HAIKU),
    ("claude-sonnet-4-20250514", SONNET_4),
    ("anthropic.claude-opus-4-6-v1", OPUS_4_6),
    ("claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet"),
    ("claude-opus-4-1-latest", OPUS_4_1),
]


@pytest.mark.parametrize(("decorated", "name"), NAMES)
def test_models_are_known_under_every_clouds_name(decorated: str, name: str) -> None:
    assert MODELS.find(decorated) is MODELS.find(name)
    assert name in MODELS.find(name).prefixes


@pytest.mark.parametrize("name", ["claude-opus-5-6", "claude-opus-50", "claude-sonnet-4-7", "gpt-6", "", "claude-"])
def test_a_later_model_is_not_taken_for_an_earlier_one(name: str) -> None:
    assert MODELS.find(name) is UNKNOWN


def test_the_table_can_be_extended() -> None:
    facts = ModelFacts(("claude-haiku-4-5",), 300_000, 5, Sampling.DEFAULTS, Thinking.NONE, Off.UNSENT)
    table = MODELS.extended(facts)
    line = body(temperature=0.5)
    with pytest.raises(LineRejected, match="temperature"):
        to_messages(line, model=None, drop_params=False, models=table)
    translated = to_messages(line, model=None, drop_params=True, models=table)
    assert json.loads(translated.body)["max_tokens"] == 5
    assert MODELS.find(HAIKU).max_tokens == 64_000
