"""The lanes that the corpus is tried on, by the translators that they use."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.bedrock.invoke import INVOKE, invocation, to_converse, to_invoke
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.shapes import Translated
from tests.oracles.corpus.lines import Line


class Lane(NamedTuple):
    """A format and the model whose facts are asked."""

    title: str
    model: str
    translate: Callable[..., Translated]


def bedrock(body: bytes, *, model: str | None, **switches: Any) -> Translated:
    """Translate as Bedrock's lane would: by Converse, in the model's own format where the line needs that."""
    assert model is not None
    form = to_invoke if invocation(body, model) == INVOKE else to_converse
    return form(body, model=model, **switches)


def nova(body: bytes, *, model: str | None, **switches: Any) -> Translated:
    """Translate to Converse, and a line with tools to Nova's own format, which alone takes them in a batch."""
    form = to_invoke if b'"tools"' in body or b'"functions"' in body else to_converse
    return form(body, model=model, **switches)


LANES = (
    Lane("Claude Sonnet 4.6 on Anthropic", "claude-sonnet-4-6", to_messages),
    Lane("Gemini 3.8 Flash", "gemini-3.8-flash", to_generate_content),
    Lane("Claude Opus 5 on Bedrock", "anthropic.claude-opus-5-v1:0", bedrock),
    Lane("Nova Pro, Converse", "amazon.nova-pro-v1:0", nova),
)


def translated(lane: Lane, line: Line, *, drop_params: bool = False, strict_params: bool = False) -> Translated:
    """Translate a line. Raises LineRejected."""

    def native(chat: bytes) -> Translated:
        return lane.translate(chat, model=lane.model, drop_params=drop_params, strict_params=strict_params)

    body = json.dumps({"model": lane.model, **line.body}).encode()
    return through_chat.translate(line.endpoint, body, native, drop_params=drop_params, strict_params=strict_params)
