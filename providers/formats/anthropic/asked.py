"""The form of the answer that a line asks for, in OpenAI's words or Anthropic's own: enforced, or asked for in words.

Shapes: "Structured outputs" of the Claude Platform docs (copies of October and November 2026).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from proxy_plugin.providers.formats.anthropic.models import ModelFacts
from proxy_plugin.providers.formats.anthropic.schemas import enforced
from proxy_plugin.providers.formats.anthropic.strictness import Strictness
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import TOLD, Losses, rejected
from proxy_plugin.providers.formats.openai.chat import Format, check_depth, read_format, tell_format
from proxy_plugin.providers.formats.remembered import recall

Block = dict[str, Any]


class Asked(NamedTuple):
    """`output_config.format` as JSON, or what asks for the form in words; and how much is enforced with it."""

    written: bytes = b""
    words: str = ""
    strictness: tuple[int, int, int] = Strictness().state


def read_asked(chat: Block, facts: ModelFacts, losses: Losses, *, prefilled: bool) -> Asked:
    """Translate `response_format` or `output_config.format`. Raises LineRejected.

    `prefilled`: the answer goes on with a message of the assistant's.
    """
    given, enforces = {key: chat.get(key) for key in ("response_format", "output_config")}, facts.json_schema

    def make(losses: Losses) -> Asked:
        return _asked(given, losses, enforces=enforces, prefilled=prefilled)

    return recall("form of Claude's answer", [*given.values()], (enforces, prefilled), losses, make)


def _asked(chat: Block, losses: Losses, *, enforces: bool, prefilled: bool) -> Asked:
    wanted = _format(chat, losses)
    if wanted is None or wanted.kind == "text":
        return Asked()
    whole, path = _places(chat)
    if wanted.kind == "json_object":
        reason, remedy = "Anthropic has no mode for JSON without a schema", "Send a json_schema"
    elif not enforces:
        reason, remedy = "this model cannot enforce a schema", "Send the line to Claude 4.5 or later"
    elif prefilled:
        reason, remedy = "a last message of the assistant's excludes a schema", "Remove one"
    else:
        return _enforced(wanted, whole, path, losses)
    return Asked(words=tell_format(wanted, losses, reason, remedy, name=whole))


def _enforced(wanted: Format, whole: str, path: str, losses: Losses) -> Asked:
    """Return a schema; its name has no place and no effect; `strict` is always so."""
    strictness = Strictness()
    schema = enforced(wanted.schema, path, losses, whole=whole, instead=TOLD)
    if schema is not None and (refusal := strictness.refusal(schema, tool=False)):
        at = whole if losses.allowed else path
        losses.add(at, refusal, "Require more of them, or ask in the prompt", instead=TOLD)
        schema = None
    if schema is None:
        return Asked(words=wanted.words)
    if wanted.description and "description" not in schema and "$ref" not in schema:
        schema = {"description": wanted.description, **schema}
    return Asked(write({"type": "json_schema", "schema": schema}), strictness=strictness.state)


def _format(chat: Block, losses: Losses) -> Format | None:
    config = chat.get("output_config")
    own = config.get("format") if isinstance(config, dict) else None
    if own is None:
        return read_format(chat, losses)
    if chat.get("response_format") is not None:
        raise rejected("output_config.format", "stands beside response_format; send one of them")
    schema = own.get("schema") if isinstance(own, dict) and own.get("type") == "json_schema" else None
    if not isinstance(schema, dict):
        raise rejected("output_config.format", "must be of type json_schema, with a schema")
    check_depth(schema, "output_config.format.schema")
    return Format("json_schema", schema, "", "", strict=True)


def _places(chat: Block) -> tuple[str, str]:
    """Return where the form of the answer is asked for, and where its schema stands."""
    if chat.get("response_format") is None:
        return "output_config.format", "output_config.format.schema"
    return "response_format", "response_format.json_schema.schema"
