"""What litellm would refuse, or ask as something else, is refused before it is sent, or sent in several requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.fan_out.requests import requests_of
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.providers.base import LineRejected, native_id

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
LINE = native_id("0123456789", 7)


def requests(provider: str, endpoint: str, *, fan_out: bool, **asks: Any) -> int:
    lane = TargetLane(TargetSpec("key", provider, way="direct", fan_out=fan_out), endpoint)
    body = json.dumps({"model": "m", **asks}).encode()
    return requests_of(lane.translate(LINE, body, "m", "m"))


@pytest.mark.parametrize("provider", ["ollama", "anthropic", "bedrock", "groq"])
def test_a_provider_without_n_is_asked_for_each_answer(provider: str) -> None:
    assert requests(provider, CHAT, fan_out=True, messages=[], n=3) == 3
    with pytest.raises(LineRejected, match=r"n: .*fan_out") as refused:
        requests(provider, CHAT, fan_out=False, messages=[], n=3)
    assert refused.value.param == "n"


@pytest.mark.parametrize("provider", ["deepseek", "openai"])
def test_a_provider_with_n_gets_the_line_as_it_is(provider: str) -> None:
    assert requests(provider, CHAT, fan_out=True, messages=[], n=3) == 1


@pytest.mark.parametrize("provider", ["deepseek", "google"])
def test_litellm_is_given_one_prompt_at_a_time(provider: str) -> None:
    """It makes one chat of several."""
    assert requests(provider, COMPLETIONS, fan_out=True, prompt=["a", "b"]) == 2
    with pytest.raises(LineRejected, match=r"prompt: .*fan_out"):
        requests(provider, COMPLETIONS, fan_out=False, prompt=["a", "b"])
