"""Bedrock's chat-shaped and prompt-shaped models: the records."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from proxy_plugin.providers.formats.bedrock.invoke import to_completion, to_invoke
from tests.oracles import open_judge
from tests.oracles.judging import Judged
from tests.oracles.lines import spoken
from tests.oracles.litellm_side import Peer, Silent, httpx, litellm, module
from tests.oracles.meaning import Json
from tests.oracles.sdk_types import openai_complaints

_INVOKE = "litellm.llms.bedrock.chat.invoke_transformations."
_OPENAI = module(f"{_INVOKE}amazon_openai_transformation").AmazonBedrockOpenAIConfig
_TEXT = module(f"{_INVOKE}amazon_mistral_transformation").AmazonMistralConfig
_R1 = module(f"{_INVOKE}amazon_deepseek_transformation").AmazonDeepSeekR1Config
_ANSWER = partial(to_completion, model="m")


class R1Peer(Peer):
    """litellm reads R1 as an imported model answers, with a `generation`: it is handed the same words so."""

    def completion(self, native: bytes, model: str) -> Any:
        words: Json = {"generation": json.loads(native)["choices"][0]["text"]}
        found = self.config().transform_response(
            model=self.model(model),
            raw_response=httpx.Response(200, json=words),
            model_response=litellm.ModelResponse(),
            logging_obj=Silent(),
            request_data={"prompt": "<think>"},
            messages=[{"role": "user", "content": "hi"}],
            optional_params={},
            litellm_params={},
            encoding=None,
        )
        message = found.choices[0].message
        message.reasoning_content = (message.provider_specific_fields or {}).get("reasoning_content")
        return found


OPEN = Judged(
    name="gpt-oss, Qwen, DeepSeek on Bedrock",
    models=(
        "openai.gpt-oss-120b-1:0",
        "qwen.qwen3-32b-v1:0",
        "openai.gpt-oss-20b-1:0",
        "deepseek.v3-v1:0",
        "qwen.qwen3-vl-235b-a22b",
        "mistral.mistral-large-3-675b-instruct",
    ),
    translate=to_invoke,
    peer=Peer("bedrock", _OPENAI, model=lambda name: f"openai/{name}"),
    canonical=open_judge.canonical,
    complaints=openai_complaints,
    requests=open_judge.OPEN,
    results=open_judge.chat_results,
    answer=_ANSWER,
    answers=open_judge.CHAT_ANSWERS,
)
MISTRAL_CHAT = Judged(
    name="Mistral's chat on Bedrock",
    models=("mistral.mistral-large-2407-v1:0",),
    translate=to_invoke,
    peer=Peer("mistral", litellm.MistralConfig),
    canonical=open_judge.canonical,
    complaints=lambda _body: [],
    requests=open_judge.MISTRAL_CHAT,
    results=open_judge.mistral_results,
    answer=_ANSWER,
    answers=open_judge.MISTRAL_ANSWERS,
)
MISTRAL_TEXT = Judged(
    name="Mistral's prompt on Bedrock",
    models=("mistral.mistral-7b-instruct-v0:2", "mistral.mixtral-8x7b-instruct-v0:1"),
    translate=to_invoke,
    peer=Peer("bedrock", _TEXT, model=lambda name: f"invoke/{name}"),
    canonical=dict,
    complaints=lambda _body: [],
    requests=open_judge.PROMPT,
    results=open_judge.text_results,
    answer=_ANSWER,
    answers=open_judge.TEXT_ANSWERS,
    lines=spoken,
)
R1 = Judged(
    name="DeepSeek-R1 on Bedrock",
    models=("us.deepseek.r1-v1:0",),
    translate=to_invoke,
    peer=R1Peer("bedrock", _R1, model=lambda name: f"deepseek_r1/{name}"),
    canonical=dict,
    complaints=lambda _body: [],
    requests=open_judge.R1,
    results=open_judge.r1_results,
    answer=_ANSWER,
    answers=open_judge.R1_ANSWERS,
    lines=spoken,
)
