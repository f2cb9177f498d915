"""A refusal names all that a lane refuses of a line, not only what a translation meets first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.providers.base import LineRejected, native_id

CHAT = "/v1/chat/completions"
SONNET = "claude-sonnet-4-5"
LANE = TargetLane(TargetSpec(slug="claude", provider="anthropic"), CHAT)
# Of a line: members that Claude Sonnet 4.5 refuses, each for itself.
REFUSED: dict[str, Any] = {
    "logit_bias": {"5": 1},
    "presence_penalty": 0.5,
    "frequency_penalty": -1,
    "n": 3,
    "logprobs": True,
    "top_logprobs": 2,
    "temperature": 5,
    "stop": 7,
    "max_tokens": -1,
    "parallel_tool_calls": "yes",
}
FINE: dict[str, Any] = {"stream": False, "n": 1, "presence_penalty": 0, "top_k": 3, "stop": ["END"]}


def refusal(body: dict[str, Any], lane: TargetLane = LANE) -> LineRejected:
    text = json.dumps({"model": SONNET, "messages": [{"role": "user", "content": "x"}], **body}).encode()
    with pytest.raises(LineRejected) as refused:
        lane.translate(native_id("abcdefghij", 0), text, SONNET, SONNET)
    return refused.value


def test_the_line_of_many_parameters() -> None:
    """`line-09-many-params.jsonl`: what only hints may be left out without being refused, the others are all named."""
    found = refusal(
        {
            "messages": [{"role": "user", "name": "bob", "content": "x"}],
            "seed": 1,
            "logit_bias": {"5": 1},
            "presence_penalty": 0.5,
            "response_format": {"type": "json_object"},
            "top_p": 0.9,
            "temperature": 0.2,
            "store": True,
            "metadata": {"a": "b"},
            "max_tokens": 5,
        }
    )
    assert {"logit_bias", "presence_penalty", "top_p"} <= set(found.params)
    assert set(found.params) <= {
        *("logit_bias", "presence_penalty", "top_p", "seed", "store", "metadata", "response_format"),
        "messages[0].name",
    }
    assert all(param in found.message for param in found.params)
    assert found.param == found.params[0]


@given(st.sets(st.sampled_from(sorted(REFUSED)), min_size=1), st.sets(st.sampled_from(sorted(FINE))))
def test_every_parameter_is_named_whichever_stand_together(wrong: set[str], fine: set[str]) -> None:
    body = {name: FINE[name] for name in fine} | {name: REFUSED[name] for name in wrong}
    found = refusal(body)
    assert set(found.params) == wrong
    assert all(name in found.message for name in wrong)


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ({"messages": []}, ("messages",)),
        ({"messages": [], "n": 2}, ("n", "messages")),
        ({"messages": "x", "logit_bias": {"1": 1}}, ("logit_bias", "messages")),
        ({"messages": [{"role": "user", "content": 7}], "temperature": 9}, ("messages[0].content",)),
        ({"tools": [{"type": "web"}], "tool_choice": "required"}, ("tools[0]",)),
        ({"tools": "x", "tool_choice": "required", "n": 2}, ("n", "tools")),
        ({"response_format": {"type": "xml"}, "stop": 1}, ("response_format", "stop")),
        ({"user": 5, "temperature": "hot"}, ("temperature", "user")),
    ],
)
def test_what_cannot_be_taken_out_is_the_last_to_be_named(body: dict[str, Any], params: tuple[str, ...]) -> None:
    assert set(refusal(body).params) == set(params)


@pytest.mark.parametrize("odd", ['"\\ud83d"', "12345678901234567890123", "1e400"])
def test_a_body_that_is_hard_to_read_is_refused_all_the_same(odd: str) -> None:
    text = (
        f'{{"model":"{SONNET}","messages":[{{"role":"user","content":"x"}}],"odd":{odd},"n":2,"logit_bias":{{"1":1}}}}'
    )
    with pytest.raises(LineRejected) as refused:
        LANE.translate(native_id("abcdefghij", 0), text.encode(), SONNET, SONNET)
    assert "n" in refused.value.params
