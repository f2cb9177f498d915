"""An OpenAI chat body as the params of an Anthropic message, for every lane that carries Claude.

Shapes: Messages API under `anthropic-version: 2023-06-01`, types of the official SDK 2.12, and "Extended thinking",
"Adaptive thinking", "Effort", "Structured outputs" of the Claude Platform docs (copies of October and November 2026).
What single models accept is data: `anthropic.models`.

What Anthropic cannot honour is refused by name, or left out and recorded where the route allows it (`losses`). A value
that says what the API does anyway (`frequency_penalty: 0`, `n: 1`) is neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from proxy_plugin.providers.formats.anthropic.models import (
    LOW_TO_HIGH,
    MODELS,
    ModelFacts,
    Off,
    Sampling,
    Thinking,
)
from proxy_plugin.providers.formats.anthropic.schemas import enforceable
from proxy_plugin.providers.formats.anthropic.tools import bare_tools, is_forced, read_choice, read_tools
from proxy_plugin.providers.formats.anthropic.turns import Block, Turns, cache_mark, read_turns
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.model_table import ModelTable
from proxy_plugin.providers.formats.openai.chat import (
    JSON_ONLY,
    SAME,
    check_rest,
    model_name,
    pseudonym,
    read_chat,
    read_count,
    read_format,
    read_level,
    read_limit,
    read_number,
    read_stops,
)
from proxy_plugin.providers.formats.shapes import Translated

PROVIDER = "Anthropic's Messages API"
LEAST_BUDGET = 1024  # of thinking.budget_tokens, "Extended thinking"
# OpenAI names no numbers behind its words. Above 32,000 "diminishing returns", says "Extended thinking".
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_000, "max": 32_000}
LEAST_TOP_P = 0.95  # with thinking, "Extended thinking"

_TRANSLATED = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "tools",
        "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort",
        "user", "safety_identifier", "cache_control", "stream_options",
    }
)  # fmt: skip
_PLAIN = frozenset({"model", "messages", "max_tokens", "max_completion_tokens"})
_TOOLING = frozenset({"tools", "functions", "tool_choice", "function_call", "parallel_tool_calls"})
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
# Without these an answer lacks what the caller will read from it, so no setting lets them be left out.
_NEVER = {
    "n": "Anthropic gives one answer to a request; repeat the line under other custom_ids",
    "stream": "answers of a batch are not streamed; remove it",
    "logprobs": "Anthropic returns no log probabilities; remove it",
    "top_logprobs": "Anthropic returns no log probabilities; remove it",
    "audio": "Anthropic returns no audio; remove it",
    "modalities": "Anthropic returns text only; remove it",
}


class Form(Enum):
    """Whose wire carries a body. The value is its `anthropic_version`: in a cloud the job names model and version.

    Sources: Bedrock User Guide, "Anthropic Claude Messages API"; Vertex AI, "Batch predictions with Claude" (2026).
    """

    API = ""
    BEDROCK = "bedrock-2023-05-31"
    VERTEX = "vertex-2023-10-16"


def to_messages(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: ModelTable[ModelFacts] = MODELS,
    form: Form = Form.API,
) -> Translated:
    """Translate a chat body; `model` replaces its own. Raises LineRejected, for any JSON object nothing else.

    The clouds take "base64 image sources only" ("Vision", Claude Platform docs, November 2026).
    """
    chat = read_chat(body)
    losses = Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER)
    if not chat.keys() <= _TRANSLATED:
        check_rest(chat, losses, known=_TRANSLATED, same=SAME, never=_NEVER, provider=PROVIDER)
    name = model_name(chat, model)
    turns = read_turns(chat.get("messages"), losses, fetches=form is Form.API)
    params: dict[str, Any] = {"model": name} if form is Form.API else {"anthropic_version": form.value}
    options = read_options(chat, models.find(name), losses, turns)
    if form is not Form.API and "cache_control" in options:
        turns.mark_end(options.pop("cache_control"))  # what the API does with it; the clouds know marks on blocks
    params["max_tokens"] = options.pop("max_tokens")
    if turns.system is not None:
        params["system"] = turns.system
    params["messages"] = turns.messages
    params.update(options)
    return Translated(write(params), losses.settled())


def read_options(chat: Block, facts: ModelFacts, losses: Losses, turns: Turns) -> Block:
    """Return `max_tokens` and all that is optional, for any wire that carries Claude. Raises LineRejected."""
    line = _Line(chat, facts, losses, turns)
    if turns.ends_with_assistant and not facts.prefill:
        raise rejected("messages", "this model cannot continue an assistant's message; end with one of the user's")
    params: Block = {"max_tokens": line.max_tokens()}
    if turns.called or not chat.keys() <= _PLAIN:
        line.add_options(params)
    return params


@dataclass(slots=True)
class _Line:
    """One chat body on its way: what it says, what its model accepts, its conversation."""

    chat: Block
    facts: ModelFacts
    losses: Losses
    turns: Turns

    def max_tokens(self) -> int:
        """Return the limit of the answer, the model's own at most."""
        given = read_limit(self.chat)
        if given is None:
            return self.facts.default_max_tokens
        (name, limit), most = given, self.facts.max_tokens
        if most is None or limit <= most:
            return limit
        self.losses.add(name, f"this model answers with {most} tokens at most", f"Send {most} at most", instead=most)
        return most

    def add_options(self, params: Block) -> None:
        """Add all that is optional, in the order in which one depends on the other."""
        chat = self.chat
        choice = None
        if self.turns.called or not chat.keys().isdisjoint(_TOOLING):
            choice = self._add_tools(params)
        thinks = "reasoning_effort" in chat and self._add_thinking(params, forced=is_forced(choice))
        if not chat.keys().isdisjoint(_SAMPLING):
            self._add_sampling(params, thinks=thinks)
        if chat.get("response_format") is not None:
            self._add_format(params)
        if "stop" in chat and (stops := self._stops()):
            params["stop_sequences"] = stops
        if ("user" in chat or "safety_identifier" in chat) and (user := pseudonym(chat)):
            params["metadata"] = {"user_id": user}
        if chat.get("cache_control") is not None:
            params["cache_control"] = cache_mark(chat["cache_control"], "")

    def _add_tools(self, params: Block) -> Block | None:
        """Add the tools and the choice among them; return the choice."""
        tools = read_tools(self.chat, self.facts, self.losses)
        choice = read_choice(self.chat, tools, self.facts, self.losses)
        if not tools and self.turns.called:
            # The API refuses tool calls in a conversation without tools. The model can call none of these.
            tools, choice = bare_tools(self.turns.called), {"type": "none"}
        if tools:
            params["tools"] = tools
        if choice is not None:
            params["tool_choice"] = choice
        return choice

    def _add_thinking(self, params: Block, *, forced: bool) -> bool:
        """Translate `reasoning_effort`; return whether the model is told to think."""
        level = read_level(self.chat, BUDGETS)
        if level is None:
            return False
        if level == "none":
            self._add_off(params)
            return False
        if conflict := self._conflict(params, forced=forced):
            self.losses.add("reasoning_effort", conflict, "Send none")
            return False
        if self.facts.thinking is Thinking.BUDGET:
            # Half of the limit at most: the rest is for the answer.
            budget = min(BUDGETS[level], max(LEAST_BUDGET, params["max_tokens"] // 2))
            params["thinking"] = {"type": "enabled", "budget_tokens": budget}
        else:
            params["thinking"] = {"type": "adaptive"}
            params["output_config"] = {"effort": self._effort(level)}
        return True

    def _add_off(self, params: Block) -> None:
        if self.facts.off is Off.NEVER:
            self.losses.add("reasoning_effort", "this model always thinks", "Send low")
        elif self.facts.off is not Off.UNSENT:
            params["thinking"] = {"type": self.facts.off.value}

    def _conflict(self, params: Block, *, forced: bool) -> str | None:
        """Return why this line cannot have thinking."""
        if self.facts.thinking is Thinking.NONE:
            return "this model has no thinking"
        if forced:
            return "thinking excludes a tool_choice that forces a tool"
        if self.turns.ends_with_assistant:
            return "thinking excludes a last message of the assistant's"
        if self.facts.thinking is Thinking.BUDGET and params["max_tokens"] <= LEAST_BUDGET:
            return f"thinking of this model needs max_completion_tokens above {LEAST_BUDGET}"
        if self.facts.thinking is Thinking.BUDGET and self.turns.ends_with_results:
            return "this model wants its signed thinking back with tool results, and a chat body has no place for it"
        return None

    def _effort(self, level: str) -> str:
        """Return the model's word for a level; the next lower one if the loss is allowed."""
        wanted = "low" if level == "minimal" else level
        if wanted in self.facts.efforts:
            return wanted
        known = ", ".join(self.facts.efforts)
        highest = LOW_TO_HIGH[-1]
        self.losses.add("reasoning_effort", "this model has no such level", f"Send one of {known}", instead=highest)
        return highest

    def _add_sampling(self, params: Block, *, thinks: bool) -> None:
        temperature = read_number(self.chat, "temperature", 0, 2)
        top_p = read_number(self.chat, "top_p", 0, 1)
        top_k = read_count(self.chat, "top_k", 0)
        if thinks or self.facts.sampling is Sampling.DEFAULTS:
            temperature, top_p, top_k = self._defaults_only(temperature, top_p, top_k, thinks=thinks)
        if temperature is not None and temperature > 1:
            self.losses.add("temperature", "Anthropic takes 0 to 1", "Send 1 at most", instead=1)
            temperature = 1
        if self.facts.sampling is Sampling.ONE and temperature is not None and top_p is not None:
            temperature, top_p = self._one_of(temperature, top_p)
        if temperature is not None:
            params["temperature"] = temperature
        if top_p is not None:
            params["top_p"] = top_p
        if top_k is not None:
            params["top_k"] = top_k

    def _defaults_only(
        self, temperature: float | None, top_p: float | None, top_k: int | None, *, thinks: bool
    ) -> tuple[None, float | None, None]:
        """Leave out what a thinking model, or any new one, refuses; 1 is the default of both scales."""
        free = self.facts.sampling is not Sampling.DEFAULTS
        reason = "thinking excludes it" if free else "this model takes no sampling parameters"
        remedy = "Send reasoning_effort none, or remove it" if free else "Remove it"
        if temperature not in (None, 1):
            self.losses.add("temperature", reason, remedy)
        if top_k is not None:
            self.losses.add("top_k", reason, remedy)
        if free and thinks and top_p is not None and top_p >= LEAST_TOP_P:
            return None, top_p, None
        if top_p not in (None, 1):
            self.losses.add("top_p", reason, remedy)
        return None, None, None

    def _one_of(self, temperature: float, top_p: float) -> tuple[float | None, float | None]:
        if top_p == 1:
            return temperature, None
        if temperature == 1:
            return None, top_p
        self.losses.add("top_p", "this model takes temperature or top_p, not both", "Send one of them")
        return temperature, None

    def _add_format(self, params: Block) -> None:
        wanted = read_format(self.chat, self.losses)
        if wanted is None or wanted.kind == "text":
            return
        if wanted.kind == "json_object":
            self.losses.tell("response_format", "Anthropic has no mode for JSON without a schema", "Send a json_schema")
            self.turns.instruct(JSON_ONLY)
        elif not self.facts.json_schema:
            self.losses.add(
                "response_format", "this model cannot enforce a schema", "Send the line to Claude 4.5 or later"
            )
        elif self.turns.ends_with_assistant:
            self.losses.add("response_format", "a last message of the assistant's excludes a schema", "Remove one")
        else:
            # The schema's name has no place and no effect; `strict` is always so.
            schema = enforceable(wanted.schema, "response_format.json_schema.schema", self.losses)
            if wanted.description and "description" not in schema:
                schema = {"description": wanted.description, **schema}
            params.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}

    def _stops(self) -> list[str]:
        stops = read_stops(self.chat)
        useful = [text for text in stops if text and not text.isspace()]
        if len(useful) < len(stops):
            self.losses.add("stop", "Anthropic takes no sequence of white space alone", "Send visible characters")
        return useful
