"""Tools and the choice among them: a chat body's `tools`, `functions`, `tool_choice` as Anthropic's.

Shapes: Messages API, types of the official SDK 2.12; forced tool use by model: `anthropic.models`. What the API refuses
in an input schema, strict or not (`anyOf` and its like at the top, names of members): error texts in public issue
threads, 2024 to 2026.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from proxy_plugin.providers.formats.anthropic.models import ModelFacts
from proxy_plugin.providers.formats.anthropic.own_words import Form, is_server_tool, server_tools
from proxy_plugin.providers.formats.anthropic.schema_refs import resolve
from proxy_plugin.providers.formats.anthropic.schemas import enforced, unwrapped
from proxy_plugin.providers.formats.anthropic.strictness import Strictness
from proxy_plugin.providers.formats.anthropic.turns import Block, cache_mark, tool_name
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import TOLD, Losses, rejected
from proxy_plugin.providers.formats.openai.chat import Choice, Function, is_single, read_functions
from proxy_plugin.providers.formats.openai.chat import read_choice as read_openai_choice
from proxy_plugin.providers.formats.remembered import recall

_FORCED = ("any", "tool")
_WORDS = {"auto": "auto", "none": "none", "required": "any"}
_MARK = frozenset({"cache_control"})
_NOT_AT_TOP = ("anyOf", "oneOf", "allOf")
_STEPS = 32  # references that are followed from the top of a schema
_MEMBER = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


class Tools(NamedTuple):
    """The tools of a line: their names, and all of them as JSON."""

    names: tuple[str, ...]
    written: bytes


def read_tools(chat: Block, form: Form, facts: ModelFacts, losses: Losses, strictness: Strictness) -> Tools:
    """Translate `tools`, their older form, `functions`, and what Anthropic runs itself. Raises LineRejected."""
    given = {key: chat.get(key) for key in ("tools", "functions", "web_search_options")}
    state, enforces = strictness.state, facts.json_schema

    def make(losses: Losses) -> Tools:
        functions = read_functions(given, losses, name=tool_name, more=_MARK, others=is_server_tool)
        counted = Strictness(*state)
        tools = [_tool(each, losses, counted, enforces=enforces) for each in functions]
        if others := server_tools(given, form, losses):
            if {tool["name"] for tool in tools} & {tool["name"] for tool in others}:
                raise rejected("tools", "one has the name of a tool of Anthropic's own; rename it")
            tools += others
        return Tools(tuple(tool["name"] for tool in tools), write(tools))

    return recall("tools of Claude", [*given.values()], (form, enforces, state), losses, make)


def bare_tools(names: list[str]) -> list[Block]:
    """Return tools of which only the names are known."""
    return [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in names]


def read_choice(chat: Block, names: Sequence[str], facts: ModelFacts, losses: Losses) -> Block | None:
    """Translate `tool_choice` or the older `function_call`, with `parallel_tool_calls`. Raises LineRejected."""
    given = read_openai_choice(chat, names, name=tool_name)
    single = is_single(chat)
    if not names:
        return None
    choice = None if given is None else _choice(given, facts, losses)
    if single and (choice is None or choice["type"] != "none"):
        return {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return choice


def is_forced(choice: Block | None) -> bool:
    """Whether the model must call a tool."""
    return choice is not None and choice["type"] in _FORCED


def _choice(given: Choice, facts: ModelFacts, losses: Losses) -> Block:
    if given.forced and not facts.forced_tools:
        remedy = "Send auto and ask for the tool in the prompt"
        losses.add(given.key, "this model cannot be forced to use a tool", remedy, instead="auto")
        return {"type": "auto"}
    if given.name:
        return {"type": "tool", "name": given.name}
    return {"type": _WORDS[given.word]}


def _tool(function: Function, losses: Losses, strictness: Strictness, *, enforces: bool) -> Block:
    block: Block = {"name": function.name}
    path = f"{function.path}.parameters"
    schema, told = _input_schema(function.parameters, path, losses)
    if description := "\n\n".join(filter(None, (function.description, told))):
        block["description"] = description
    block["input_schema"] = schema
    if function.strict and (strict := _strict(function, schema, losses, strictness, enforces=enforces)) is not None:
        block["input_schema"] = strict
        block["strict"] = True
    if function.given.get("cache_control") is not None:
        block["cache_control"] = cache_mark(function.given["cache_control"], f"{function.path}.")
    if function.tool.get("cache_control") is not None:
        block["cache_control"] = cache_mark(function.tool["cache_control"], function.path.removesuffix("function"))
    return block


def _strict(
    function: Function, schema: Block, losses: Losses, strictness: Strictness, *, enforces: bool
) -> Block | None:
    """Return the schema of a strict tool as it is enforced; None where it is not, and the tool is an ordinary one."""
    whole = f"{function.path}.strict"
    if not enforces:
        losses.add(whole, "this model cannot enforce a schema", "Send false")
        return None
    if schema.get("properties") == {} and "additionalProperties" not in schema:
        schema = {**schema, "additionalProperties": False}  # how a function without parameters is written
    found = enforced(schema, f"{function.path}.parameters", losses, whole=whole)
    if found is not None and (refusal := strictness.refusal(found, tool=True)):
        losses.add(whole, refusal, "Send false, or fewer of them")
        return None
    return found


def _input_schema(schema: Block | None, path: str, losses: Losses) -> tuple[Block, str]:
    """Return the schema of a tool's input, and what it says that has to be told.

    The API wants the type said, OpenAI's takes an object for granted.
    """
    if not schema:
        return {"type": "object", "properties": {}}, ""
    schema = _at_top(unwrapped(schema))
    told = {name: schema[name] for name in _NOT_AT_TOP if name in schema}
    for name in told:
        reason = "Anthropic takes it in the members of a tool's input only, not at the top"
        losses.add(f"{path}.{name}", reason, "Ask for it in the description", instead=TOLD)
    properties = schema.get("properties")
    for name in properties if isinstance(properties, dict) else ():
        if not _MEMBER.fullmatch(name):
            raise rejected(f"{path}.properties", "names must be 1 to 64 letters, digits, _, . or -")
    kept = {name: value for name, value in schema.items() if name not in told} if told else schema
    said = f"The input has to satisfy this JSON schema too: {write(told).decode()}" if told else ""
    return kept if kept.get("type") == "object" else {"type": "object", **kept}, said


def _at_top(schema: Block) -> Block:
    """Return a schema whose top is not a reference: the API reads type and properties there."""
    seen = set[str]()
    while isinstance(target := schema.get("$ref"), str) and target not in seen and len(seen) < _STEPS:
        seen.add(target)
        if not isinstance(found := resolve(schema, target), dict):
            return schema
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        schema = unwrapped({**found, **rest})
    return schema
