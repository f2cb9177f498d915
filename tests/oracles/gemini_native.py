"""The Gemini API: the record of the format."""

from __future__ import annotations

from typing import Any

from proxy_plugin.providers.formats.gemini.answers import to_completion
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from tests.oracles import gemini_answers, gemini_judge
from tests.oracles.judging import Judged
from tests.oracles.litellm_side import Peer, litellm, module
from tests.oracles.meaning import Json
from tests.oracles.sdk_types import gemini_complaints


def _request(_config: Any, model: str, messages: list[Json], params: Json) -> Json:
    made: Json = module("litellm.llms.vertex_ai.gemini.transformation").transform_request_body(
        messages=messages,
        model=model,
        optional_params=params,
        custom_llm_provider="gemini",
        litellm_params={},
        cached_content=None,
    )
    return made


GEMINI = Judged(
    name="Gemini",
    models=("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-pro-preview"),
    translate=to_generate_content,
    peer=Peer("gemini", litellm.GoogleAIStudioGeminiConfig, transform=_request),
    canonical=gemini_judge.canonical,
    complaints=gemini_complaints,
    requests=gemini_judge.REQUESTS,
    results=gemini_answers.results,
    answer=to_completion,
    answers=gemini_answers.ANSWERS,
)
