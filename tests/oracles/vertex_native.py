"""Claude and Gemini on Vertex: the records, and what differs there beside what differs everywhere."""

from __future__ import annotations

from functools import partial
from typing import Any

from proxy_plugin.providers.formats.anthropic.answers import to_completion as claude_completion
from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from proxy_plugin.providers.formats.gemini.answers import to_completion as gemini_completion
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from tests.oracles import anthropic_judge, gemini_answers, gemini_judge, vertex_judge
from tests.oracles.judging import Judged
from tests.oracles.litellm_side import Peer, litellm, module
from tests.oracles.meaning import Json
from tests.oracles.sdk_types import cloud_claude_complaints, gemini_complaints

_CLAUDE = module("litellm.llms.vertex_ai.vertex_ai_partner_models.anthropic.transformation").VertexAIAnthropicConfig


def _request(_config: Any, model: str, messages: list[Json], params: Json) -> Json:
    made: Json = module("litellm.llms.vertex_ai.gemini.transformation").transform_request_body(
        messages=messages,
        model=model,
        optional_params=params,
        custom_llm_provider="vertex_ai",
        litellm_params={},
        cached_content=None,
    )
    return made


def _message(config: Any, model: str, messages: list[Json], params: Json) -> Json:
    """Return the params of a message; the version is put among them before, as litellm's handler does."""
    made: Json = config.transform_request(
        model=model,
        messages=messages,
        optional_params={**params, "anthropic_version": Form.VERTEX.value},
        litellm_params={"drop_params": True},
        headers={},
    )
    return made


VERTEX_CLAUDE = Judged(
    name="Claude on Vertex",
    models=("claude-haiku-4-5@20251001", "claude-sonnet-4-6", "claude-3-haiku@20240307"),
    translate=partial(to_messages, form=Form.VERTEX),
    peer=Peer("vertex_ai", _CLAUDE, transform=_message),
    canonical=anthropic_judge.canonical,
    complaints=cloud_claude_complaints,
    requests=vertex_judge.CLAUDE,
    results=anthropic_judge.results,
    answer=claude_completion,
    answers=vertex_judge.CLAUDE_ANSWERS,
)
VERTEX_GEMINI = Judged(
    name="Gemini on Vertex",
    models=("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-pro-preview"),
    translate=partial(to_generate_content, vertex=True),
    peer=Peer("vertex_ai", litellm.VertexGeminiConfig, transform=_request),
    canonical=gemini_judge.canonical,
    complaints=gemini_complaints,
    requests=vertex_judge.GEMINI,
    results=gemini_answers.results,
    answer=gemini_completion,
    answers=gemini_answers.ANSWERS,
)
