"""Anthropic's own API: the record of the format."""

from __future__ import annotations

from proxy_plugin.providers.formats.anthropic.answers import to_completion
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from tests.oracles import anthropic_judge as judge
from tests.oracles.judging import Judged
from tests.oracles.litellm_side import Peer, litellm
from tests.oracles.sdk_types import anthropic_complaints

ANTHROPIC = Judged(
    name="Anthropic",
    models=("claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-5"),
    translate=to_messages,
    peer=Peer("anthropic", litellm.AnthropicConfig),
    canonical=judge.canonical,
    complaints=anthropic_complaints,
    requests=judge.REQUESTS,
    results=judge.results,
    answer=to_completion,
    answers=judge.ANSWERS,
)
