"""Which model a Bedrock id means, and which type of job a line needs."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.bedrock.invoke import to_converse, to_invoke
from proxy_plugin.providers.formats.bedrock.models import (
    CONVERSE,
    INVOKE,
    MODELS,
    UNKNOWN,
    Family,
    ModelFacts,
    invocation,
)
from tests.unit.formats.anthropic_lines import HELLO, PNG, TOOL, call, calling, result
from tests.unit.formats.bedrock_lines import (
    CLAUDE,
    GEMMA,
    GPT_OSS,
    LLAMA_3,
    MISTRAL_LARGE,
    MIXTRAL,
    NOVA,
    QWEN,
    R1,
    body,
)

ACCOUNT = "arn:aws:bedrock:us-east-1:111122223333"
PROFILE = f"{ACCOUNT}:application-inference-profile/abc123def456"
IDS = [
    ("anthropic.claude-3-haiku-20240307-v1:0", Family.ANTHROPIC),
    ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Family.ANTHROPIC),
    ("global.anthropic.claude-opus-4-6-v1", Family.ANTHROPIC),
    ("us-gov.anthropic.claude-3-haiku-20240307-v1:0", Family.ANTHROPIC),
    ("jp.anthropic.claude-sonnet-4-5-20250929-v1:0", Family.ANTHROPIC),
    ("au.anthropic.claude-sonnet-4-5-20250929-v1:0", Family.ANTHROPIC),
    ("apac.amazon.nova-lite-v1:0", Family.NOVA),
    ("amazon.nova-lite-v1:0:300k", Family.NOVA),
    ("amazon.nova-2-lite-v1:0", Family.NOVA),
    ("eu.meta.llama3-2-1b-instruct-v1:0", Family.LLAMA3),
    ("meta.llama3-70b-instruct-v1:0", Family.LLAMA3),
    ("us.meta.llama4-maverick-17b-instruct-v1:0", Family.LLAMA4),
    ("mistral.mistral-large-2402-v1:0", Family.MISTRAL_TEXT),
    ("mistral.mistral-large-2407-v1:0", Family.MISTRAL_CHAT),
    ("mistral.mistral-large-3-675b-instruct", Family.OPENAI),
    ("us.deepseek.r1-v1:0", Family.DEEPSEEK_R1),
    ("deepseek.v3-v1:0", Family.OPENAI),
    ("deepseek.v3.2", Family.OPENAI),
    ("openai.gpt-oss-20b-1:0", Family.OPENAI),
    ("in.moonshotai.kimi-k3", Family.OPENAI),
    ("google.gemma-3-27b-it", Family.NONE),
    ("us.writer.palmyra-x5-v1:0", Family.NONE),
    ("writer.palmyra-x4-v1:0", Family.NONE),
    ("amazon.nova-premier-v1:0", Family.NOVA),
    ("us.amazon.nova-micro-v1:0", Family.NOVA),
    ("amazon.nova-2-pro-v1:0", Family.NOVA),
    ("amazon.nova-2-omni-v1:0", Family.NOVA),
    ("meta.llama3-2-3b-instruct-v1:0", Family.LLAMA3),
    ("us.meta.llama3-2-11b-instruct-v1:0", Family.LLAMA3),
    ("us.meta.llama3-2-90b-instruct-v1:0", Family.LLAMA3),
    ("us.meta.llama3-3-70b-instruct-v1:0", Family.LLAMA3),
    ("meta.llama4-scout-17b-instruct-v1:0", Family.LLAMA4),
    ("mistral.mistral-7b-instruct-v0:2", Family.MISTRAL_TEXT),
    ("mistral.mixtral-8x7b-instruct-v0:1", Family.MISTRAL_TEXT),
    ("mistral.mistral-small-2402-v1:0", Family.MISTRAL_TEXT),
    ("us.mistral.pixtral-large-2502-v1:0", Family.MISTRAL_CHAT),
    ("mistral.ministral-3-8b-instruct", Family.OPENAI),
    ("mistral.magistral-small-2509", Family.OPENAI),
    ("mistral.devstral-2-123b", Family.OPENAI),
    ("qwen.qwen3-coder-30b-a3b-v1:0", Family.OPENAI),
    ("qwen.qwen3-vl-235b-a22b", Family.OPENAI),
    ("moonshot.kimi-k2-thinking", Family.OPENAI),
    ("moonshotai.kimi-k2.5", Family.OPENAI),
    ("minimax.minimax-m2.1", Family.OPENAI),
    ("zai.glm-4.7-flash", Family.OPENAI),
    ("nvidia.nemotron-nano-9b-v2", Family.NONE),
    ("nvidia.nemotron-nano-12b-v2", Family.NONE),
    ("ai21.jamba-1-5-mini-v1:0", Family.NONE),
    ("cohere.command-r-plus-v1:0", Family.NONE),
    ("arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-1-8b-instruct-v1:0", Family.LLAMA3),
    (f"{ACCOUNT}:inference-profile/eu.amazon.nova-pro-v1:0", Family.NOVA),
    (f"{ACCOUNT}:custom-model/amazon.nova-micro-v1:0:128k/abc123def456", Family.NOVA),
    ("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", Family.ANTHROPIC),
]


@pytest.mark.parametrize(("name", "family"), IDS)
def test_models_are_known_in_every_form_of_their_id(name: str, family: Family) -> None:
    found = MODELS.find(name)
    assert found.facts.family is family
    assert any(found.id.startswith(prefix) for prefix in found.facts.prefixes)


@pytest.mark.parametrize(
    "name",
    [
        "gpt-6", "", "claude-haiku-4-5", "anthropic.", "a b.c", ".nova", "https://a.b/c",
        "amazon.titan-embed-text-v2:0", "amazon.titan-image-generator-v2:0", "us.amazon.nova-canvas-v1:0",
        "cohere.embed-v4:0", "stability.sd3-5-large-v1:0", "amazon.nova-2-multimodal-embeddings-v1:0",
        f"{ACCOUNT}:provisioned-model/abc123def456", "arn:aws:s3:::bucket", f"{ACCOUNT}:guardrail/abc",
    ],
)  # fmt: skip
def test_what_no_batch_of_bedrock_runs_is_refused(name: str) -> None:
    for _ in range(2):  # the second answer comes from the cache
        with pytest.raises(LineRejected) as caught:
            MODELS.find(name)
        assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


UNLISTED = [
    "amazon.nova-3-pro-v1:0", "us.amazon.nova-3-pro-v1:0", "meta.llama30-8b", "meta.llama5-8b",
    "us.nowhere.model-v1:0", "us.us.amazon.nova-lite-v1:0", "amazon.nova-litest-v1:0", "writer.palmyra-y1-v1:0",
    "xai.grok-5", "amazon.titan-text-express-v1", "ai21.jamba-2-large-v1:0", "abc123def456", PROFILE,
    f"{ACCOUNT}:imported-model/abc123def456", f"{ACCOUNT}:custom-model/imported/abc123def456",
    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-3-pro-v1:0",
]  # fmt: skip


@pytest.mark.parametrize("name", UNLISTED)
def test_a_model_that_is_not_in_the_table_runs_by_converse(name: str) -> None:
    assert MODELS.find(name).facts is UNKNOWN
    assert invocation(body(), name) == CONVERSE
    image = {"type": "image_url", "image_url": {"url": PNG}}
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": [image, {"type": "text", "text": "q"}]}]
    line = body(asked, max_tokens=7, temperature=0.5, stop=["x"])
    native = json.loads(to_converse(line, model=name, drop_params=False).body)
    assert native["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.5, "stopSequences": ["x"]}
    assert native["system"] == [{"text": "s"}]
    assert [list(block) for block in native["messages"][0]["content"]] == [["image"], ["text"]]
    with pytest.raises(LineRejected, match="model_names"):
        invocation(body(tools=[TOOL]), name)


def test_every_row_of_the_table_matches_some_model() -> None:
    found = [MODELS.find(name) for name, _ in IDS]
    for facts in MODELS.records:
        for prefix in facts.prefixes:
            assert any(each.facts is facts and each.id.startswith(prefix) for each in found), prefix


@pytest.mark.parametrize("model", [LLAMA_3, R1, GPT_OSS, QWEN, "deepseek.v3-v1:0", "minimax.minimax-m2", "zai.glm-4.6"])
@pytest.mark.parametrize(
    "alone",
    [
        [{"role": "system", "content": "Tell a joke."}],
        [{"role": "developer", "content": "Tell a joke."}, {"role": "system", "content": "A short one."}],
        [{"role": "system", "content": [{"type": "text", "text": "Tell a joke."}]}],
    ],
)
def test_open_models_take_system_messages_alone_in_their_own_format(model: str, alone: list[dict[str, object]]) -> None:
    assert invocation(body(alone), model) == INVOKE
    native = to_invoke(body(alone), model=model, drop_params=False)
    assert b"Tell a joke." in native.body
    assert native.dropped == ()
    assert invocation(body([*alone, *HELLO]), model) == CONVERSE
    assert invocation(body(alone), GEMMA) == CONVERSE


def test_an_operator_can_name_the_model_behind_an_arn() -> None:
    table = MODELS.extended(names={PROFILE: "us.anthropic.claude-opus-4-1-20250805-v1:0"})
    assert table.find(PROFILE).id == "anthropic.claude-opus-4-1-20250805-v1:0"
    native = json.loads(to_invoke(body(), model=PROFILE, drop_params=False, models=table).body)
    assert native["max_tokens"] == 8192  # as Opus 4.1, not as a model that is not known
    assert MODELS.find(PROFILE).facts is UNKNOWN
    again = table.extended(names={"arn:aws:bedrock:eu-west-1:1:imported-model/x": "qwen.qwen3-32b-v1:0"})
    assert again.find(PROFILE) == table.find(PROFILE)


def test_the_table_can_be_extended() -> None:
    facts = ModelFacts(("acme.brain",), Family.OPENAI, tools=True)
    table = MODELS.extended(facts, ModelFacts(("amazon.nova-pro",), Family.NOVA, max_tokens=7))
    assert table.find("us.acme.brain-2").facts is facts
    assert table.find(NOVA).facts.max_tokens == 7
    assert MODELS.find(NOVA).facts.max_tokens == 10_000


@pytest.mark.parametrize(
    ("model", "plain", "tools"),
    [
        (CLAUDE, INVOKE, INVOKE),
        (NOVA, INVOKE, INVOKE),
        (GPT_OSS, CONVERSE, INVOKE),
        (QWEN, CONVERSE, INVOKE),
        (MISTRAL_LARGE, CONVERSE, INVOKE),
    ],
)
def test_tools_need_the_models_own_format(model: str, plain: str, tools: str) -> None:
    assert invocation(body(), model) == plain
    assert invocation(body([{"role": "user", "content": 'say "tools" and "function"'}]), model) == plain
    assert invocation(body(tools=[TOOL], tool_choice="none"), model) == plain
    assert invocation(body(tools=[], tool_choice=None), model) == plain
    assert invocation(body(tools=[TOOL]), model) == tools
    assert invocation(body(functions=[TOOL["function"]]), model) == tools
    assert invocation(body([*HELLO, calling(call()), result()]), model) == tools
    assert invocation(body(tools=[TOOL]).replace(b'"tools"', b'"\\u0074ools"'), model) == tools


@pytest.mark.parametrize("model", [LLAMA_3, MIXTRAL, R1, GEMMA])
def test_tools_are_refused_where_no_job_can_take_them(model: str) -> None:
    assert invocation(body(), model) == CONVERSE
    with pytest.raises(LineRejected, match="tools"):
        invocation(body(tools=[TOOL]), model)


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"tools":', b'{"tools": 7, "messages": "tool"}'])
def test_what_is_no_chat_body_is_left_to_the_translator(broken: bytes) -> None:
    assert invocation(broken, CLAUDE) == INVOKE
    if b"7" not in broken:
        assert invocation(broken, QWEN) == CONVERSE
