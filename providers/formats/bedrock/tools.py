"""Tools and the choice among them: a chat body's `tools`, `functions`, `tool_choice` as Converse's `toolConfig`.

Shapes: Converse of botocore 1.43.117, which Nova's own format shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy_plugin.providers.formats.bedrock.models import Family, ModelFacts
from proxy_plugin.providers.formats.bedrock.turns import cache_point, tool_name
from proxy_plugin.providers.formats.json_text import Raw, write
from proxy_plugin.providers.formats.losses import Losses
from proxy_plugin.providers.formats.openai.chat import Choice, Function, flag, read_choice, read_functions
from proxy_plugin.providers.formats.remembered import recall

Block = dict[str, Any]

TOOLING = ("tools", "functions", "tool_choice", "function_call", "parallel_tool_calls")
_MARK = frozenset({"cache_control"})
_CHOICES = {"auto": "auto", "required": "any"}


def tool_config(chat: Block, facts: ModelFacts, losses: Losses, called: Sequence[str]) -> bytes:
    """Return `toolConfig` as JSON, empty where there is none. Raises LineRejected.

    `called`: functions that the conversation's tool calls name.
    """
    given = {key: chat.get(key) for key in TOOLING}
    terms = (facts.family, facts.json_schema, facts.caching), tuple(called)

    def make(losses: Losses) -> bytes:
        config = _Tools(given, facts, losses, called).config()
        return write(config) if config else b""

    return recall("tools of Converse", [*given.values()], terms, losses, make)


def cannot_forbid(losses: Losses) -> None:
    """Note that tools may be called which the line forbids."""
    reason = "Bedrock cannot forbid tools in a conversation that holds calls"
    losses.add("tool_choice", reason, "Send auto with the tools", instead="auto")


def spec(name: str, description: str | None, schema: Block | Raw | None, strict: bool | None) -> Block:
    """Return a tool. The service wants the type of its input said, OpenAI's takes an object for granted."""
    if schema is None or schema == {}:
        schema = {"type": "object", "properties": {}}
    elif isinstance(schema, dict) and "type" not in schema:
        schema = {"type": "object", **schema}
    made: Block = {"name": name, "inputSchema": {"json": schema}}
    if description:
        made["description"] = description
    if strict:
        made["strict"] = True
    return {"toolSpec": made}


@dataclass(slots=True)
class _Tools:
    """The tools of one line. Of the facts it looks at those alone that `tool_config` names in its terms."""

    chat: Block
    facts: ModelFacts
    losses: Losses
    called: Sequence[str]

    def config(self) -> Block | None:
        functions = read_functions(self.chat, self.losses, name=tool_name, more=_MARK)
        choice = read_choice(self.chat, [each.name for each in functions], name=tool_name)
        single = not flag(self.chat.get("parallel_tool_calls"), "parallel_tool_calls", absent=True)
        if choice is not None and choice.word == "none":
            if not self.called:  # without tools the model calls none
                if functions:
                    self.losses.note(functions[0].key)
                return None
            cannot_forbid(self.losses)
            choice = None
        if single and functions:
            self.losses.add("parallel_tool_calls", "this model has no equivalent", "Remove it")
        return self._config(functions, choice)

    def _config(self, functions: list[Function], choice: Choice | None) -> Block | None:
        specs = [each for function in functions for each in self._specs(function)]
        if self.called and not specs:
            self.losses.add("tools", "Bedrock wants the tools that the conversation's calls name", "Send them")
            specs = [spec(name, None, None, None) for name in self.called]
        if not specs:
            return None
        config: Block = {"tools": specs}
        if choice is not None:
            config["toolChoice"] = self._choice(choice)
        return config

    def _choice(self, choice: Choice) -> Block:
        """Return the choice. One tool by name: "only supported by Anthropic Claude 3 and Amazon Nova models"."""
        if not choice.name:
            return {_CHOICES[choice.word]: {}}
        if self.facts.family is Family.NOVA:
            return {"tool": {"name": choice.name}}
        reason = "this model cannot be told which tool to use"
        self.losses.add(choice.key, reason, "Send auto or required", instead="auto")
        return {"auto": {}}

    def _specs(self, function: Function) -> list[Block]:
        strict = function.strict
        if strict and not self.facts.json_schema:
            self.losses.add(f"{function.path}.strict", "this model cannot enforce a schema", "Send false")
            strict = False
        specs = [spec(function.name, function.description, function.parameters, strict)]
        mark = function.tool.get("cache_control") or function.given.get("cache_control")
        if point := cache_point(mark, f"{function.path}.", self.facts, self.losses):
            specs.append(point)
        return specs
