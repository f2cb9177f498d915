"""An ordinary Converse answer is read the quick way, any other the general one, and both give the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.formats.bedrock import answers as bedrock_answers
from proxy_plugin.providers.formats.bedrock.answers import to_completion

NUMBERS = st.integers(-1, 10**30) | st.floats(allow_nan=False) | st.booleans() | st.none()
TEXTS = st.text(st.characters(exclude_categories=()), max_size=6)
USES = st.fixed_dictionaries(
    {}, optional={"toolUseId": TEXTS, "name": TEXTS | NUMBERS, "input": st.dictionaries(TEXTS, NUMBERS, max_size=2)}
)
BLOCKS = st.fixed_dictionaries({}, optional={"text": TEXTS | NUMBERS, "toolUse": USES | st.none(), "more": TEXTS})
COUNTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens"), NUMBERS)
)
ANSWERS = st.fixed_dictionaries(
    {"output": st.fixed_dictionaries({"message": st.fixed_dictionaries({"content": st.lists(BLOCKS, max_size=3)})})},
    optional={
        "stopReason": st.sampled_from(["end_turn", "tool_use", "guardrail_intervened", "new", None]),
        "usage": COUNTS,
        "metrics": st.dictionaries(TEXTS, NUMBERS, max_size=2),
        "trace": TEXTS,
    },
)
PLAIN: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
    "metrics": {"latencyMs": 9},
}


def general(output: bytes) -> object:
    return bedrock_answers._any(output, "m", 7)


@given(answer=ANSWERS, ascii_only=st.booleans())
def test_both_ways_give_the_same_bytes(answer: dict[str, Any], ascii_only: bool) -> None:
    output = json.dumps(answer, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        expected = general(output)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - the contract's word for a corrupt row
            to_completion(output, model="m", created=7)
    else:
        assert to_completion(output, model="m", created=7) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "cacheReadInputTokens": 40}},
        {"output": {"message": {"content": [{"text": "a"}, {"reasoningContent": {"reasoningText": {"text": "b"}}}]}}},
        {"output": {"message": {"content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {"n": 10**25}}}]}}},
        {"metrics": {"latencyMs": 1.5}},
        {"metrics": {"latencyMs": 10**30}},
        {"model": "named", "id": "x"},
    ],
)
def test_what_is_not_ordinary_loses_nothing(changes: dict[str, Any]) -> None:
    output = json.dumps(PLAIN | changes).encode()
    assert to_completion(output, model="m", created=7) == general(output)
