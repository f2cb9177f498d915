"""Tools and the choice among them: a chat body's `tools`, `functions`, `tool_choice` as Anthropic's.

Shapes: Messages API, types of the official SDK 2.12; forced tool use by model: `anthropic.models`.
"""

from __future__ import annotations

from proxy_plugin.providers.formats.anthropic.models import ModelFacts
from proxy_plugin.providers.formats.anthropic.schemas import enforceable
from proxy_plugin.providers.formats.anthropic.turns import Block, cache_mark, tool_name
from proxy_plugin.providers.formats.losses import Losses
from proxy_plugin.providers.formats.openai.chat import Choice, Function, is_single, read_functions
from proxy_plugin.providers.formats.openai.chat import read_choice as read_openai_choice

_FORCED = ("any", "tool")
_WORDS = {"auto": "auto", "none": "none", "required": "any"}
_MARK = frozenset({"cache_control"})


def read_tools(chat: Block, facts: ModelFacts, losses: Losses) -> list[Block]:
    """Translate `tools` and its older form, `functions`. Raises LineRejected."""
    return [_tool(each, facts, losses) for each in read_functions(chat, losses, name=tool_name, more=_MARK)]


def bare_tools(names: list[str]) -> list[Block]:
    """Return tools of which only the names are known."""
    return [{"name": name, "input_schema": _input_schema(None)} for name in names]


def read_choice(chat: Block, tools: list[Block], facts: ModelFacts, losses: Losses) -> Block | None:
    """Translate `tool_choice` or the older `function_call`, with `parallel_tool_calls`. Raises LineRejected."""
    given = read_openai_choice(chat, [tool["name"] for tool in tools], name=tool_name)
    single = is_single(chat)
    if not tools:
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


def _tool(function: Function, facts: ModelFacts, losses: Losses) -> Block:
    block: Block = {"name": function.name}
    if function.description:
        block["description"] = function.description
    block["input_schema"] = _input_schema(function.parameters)
    if function.strict:
        if facts.json_schema:
            block["input_schema"] = enforceable(block["input_schema"], f"{function.path}.parameters", losses)
            block["strict"] = True
        else:
            losses.add(f"{function.path}.strict", "this model cannot enforce a schema", "Send false")
    if function.given.get("cache_control") is not None:
        block["cache_control"] = cache_mark(function.given["cache_control"], f"{function.path}.")
    if function.tool.get("cache_control") is not None:
        path = function.path.removesuffix("function")
        block["cache_control"] = cache_mark(function.tool["cache_control"], path)
    return block


def _input_schema(schema: Block | None) -> Block:
    """Return the schema of a tool's input; the API wants its type said, OpenAI's takes an object for granted."""
    if schema and "type" in schema:
        return schema
    return {"type": "object", **schema} if schema else {"type": "object", "properties": {}}
