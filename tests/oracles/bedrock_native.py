"""Bedrock's formats: the records."""

from __future__ import annotations

from functools import partial

from proxy_plugin.providers.formats.bedrock.invoke import to_completion, to_converse, to_invoke
from tests.oracles import anthropic_judge, bedrock_answers, bedrock_judge, converse_claude_judge
from tests.oracles.judging import Judged
from tests.oracles.lines import spoken
from tests.oracles.litellm_side import Peer, module
from tests.oracles.sdk_types import cloud_claude_complaints, converse_complaints, nova_complaints

_INVOKE = "litellm.llms.bedrock.chat.invoke_transformations."
_CLAUDE = module(f"{_INVOKE}anthropic_claude3_transformation").AmazonAnthropicClaudeConfig
_CONVERSE = module("litellm.llms.bedrock.chat.converse_transformation").AmazonConverseConfig


def _invoked(model: str) -> str:
    return f"invoke/{model}"


BEDROCK_CLAUDE = Judged(
    name="Claude on Bedrock",
    models=(
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "us.anthropic.claude-sonnet-4-6",
        "anthropic.claude-3-haiku-20240307-v1:0",
    ),
    translate=to_invoke,
    peer=Peer("bedrock", _CLAUDE, model=_invoked),
    canonical=anthropic_judge.canonical,
    complaints=cloud_claude_complaints,
    requests=bedrock_judge.CLAUDE,
    results=anthropic_judge.results,
    answer=partial(to_completion, model="m"),
    answers=bedrock_judge.CLAUDE_ANSWERS,
)
CONVERSE = Judged(
    name="Converse",
    models=("amazon.nova-pro-v1:0", "meta.llama3-3-70b-instruct-v1:0", "us.meta.llama4-scout-17b-instruct-v1:0"),
    translate=to_converse,
    peer=Peer("bedrock", _CONVERSE, model=lambda name: f"converse/{name}"),
    canonical=bedrock_judge.canonical,
    complaints=converse_complaints,
    requests=bedrock_judge.CONVERSE,
    results=bedrock_answers.results,
    answer=partial(to_completion, model="m"),
    answers=bedrock_answers.ANSWERS,
)
CONVERSE_CLAUDE = Judged(
    name="Claude through Converse",
    models=("anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-sonnet-4-6"),
    translate=to_converse,
    peer=Peer("bedrock", _CONVERSE, model=lambda name: f"converse/{name}"),
    canonical=bedrock_judge.canonical,
    complaints=converse_complaints,
    requests=converse_claude_judge.REQUESTS,
    results=bedrock_answers.results,
    answer=partial(to_completion, model="m"),
    answers=bedrock_answers.ANSWERS,
)
NOVA = Judged(
    name="Nova on Bedrock",
    models=("amazon.nova-pro-v1:0", "us.amazon.nova-lite-v1:0"),
    translate=to_invoke,
    peer=Peer("bedrock", module(f"{_INVOKE}amazon_nova_transformation").AmazonInvokeNovaConfig, model=_invoked),
    canonical=bedrock_judge.canonical,
    complaints=nova_complaints,
    requests=bedrock_judge.NOVA,
    results=bedrock_answers.results,
    answer=partial(to_completion, model="m"),
    answers=bedrock_answers.ANSWERS,
)
LLAMA = Judged(
    name="Llama on Bedrock",
    models=("meta.llama3-3-70b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0"),
    translate=to_invoke,
    peer=Peer("bedrock", module(f"{_INVOKE}amazon_llama_transformation").AmazonLlamaConfig, model=_invoked),
    canonical=dict,
    complaints=lambda _body: [],
    requests=bedrock_judge.LLAMA,
    results=bedrock_answers.llama_results,
    answer=partial(to_completion, model="m"),
    answers=bedrock_answers.LLAMA_ANSWERS,
    lines=spoken,
)
