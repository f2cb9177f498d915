"""A chat body in the format of its Bedrock model (InvokeModel), whatever family that is of.

    Anthropic                 anthropic.requests, in its Bedrock form
    Nova                      converse.to_nova
    Llama, older Mistral, R1  prompts
    gpt-oss, Qwen, DeepSeek   openai_models

Answers: `answers`, for both forms. Which form a line needs: `models.invocation`.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from proxy_plugin.providers.formats.bedrock.answers import error_row, to_completion
from proxy_plugin.providers.formats.bedrock.converse import to_converse, to_nova
from proxy_plugin.providers.formats.bedrock.models import (
    CONVERSE,
    INVOKE,
    MODELS,
    Family,
    Invocation,
    ModelTable,
    invocation,
)
from proxy_plugin.providers.formats.bedrock.openai_models import to_chat
from proxy_plugin.providers.formats.bedrock.prompts import to_prompt
from proxy_plugin.providers.formats.openai.chat import model_name, read_chat
from proxy_plugin.providers.formats.shapes import Translated

__all__ = [
    "CONVERSE",
    "INVOKE",
    "MODELS",
    "Invocation",
    "error_row",
    "invocation",
    "to_completion",
    "to_converse",
    "to_invoke",
]


def to_invoke(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: ModelTable = MODELS,
) -> Translated:
    """Translate a chat body; `model` replaces its own. Raises LineRejected, for any JSON object nothing else."""
    name = model_name(read_chat(body), None) if model is None else model
    return _TRANSLATORS[models.find(name).facts.family](
        body, model=name, drop_params=drop_params, strict_params=strict_params, models=models
    )


def _claude(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: ModelTable = MODELS,
) -> Translated:
    """Translate for Claude, whose own table knows it by the name behind the geography or ARN."""
    name = models.find(str(model)).id
    return to_messages(body, model=name, drop_params=drop_params, strict_params=strict_params, form=Form.BEDROCK)


def _none(_body: bytes, **_more: object) -> Translated:
    message = "model: no InvokeModel format of this model is published. Send the line without tools, by Converse."
    raise LineRejected(message, code="unsupported_model", param="model")


_TRANSLATORS: dict[Family, Callable[..., Translated]] = {
    Family.ANTHROPIC: _claude,
    Family.NOVA: to_nova,
    Family.LLAMA3: to_prompt,
    Family.LLAMA4: to_prompt,
    Family.MISTRAL_TEXT: to_prompt,
    Family.MISTRAL_CHAT: to_chat,
    Family.DEEPSEEK_R1: to_prompt,
    Family.OPENAI: to_chat,
    Family.NONE: _none,
}
