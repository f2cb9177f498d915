"""An OpenAI chat body as the params of an Anthropic message, for every lane that carries Claude.

Shapes: Messages API under `anthropic-version: 2023-06-01`, types of the official SDK 2.12, and "Extended thinking",
"Adaptive thinking", "Effort", "Structured outputs" of the Claude Platform docs (copies of October and November 2026).
What single models accept is data: `anthropic.models`.

What Anthropic cannot honour is refused by name, or left out and recorded where the route allows it (`losses`). A value
that says what the API does anyway (`frequency_penalty: 0`, `n: 1`) is neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic import own_words
from proxy_plugin.providers.formats.anthropic.asked import read_asked
from proxy_plugin.providers.formats.anthropic.models import MODELS, ModelFacts, Sampling
from proxy_plugin.providers.formats.anthropic.own_words import Form
from proxy_plugin.providers.formats.anthropic.strictness import Strictness
from proxy_plugin.providers.formats.anthropic.thinking import ASKING, Thoughts
from proxy_plugin.providers.formats.anthropic.tools import bare_tools, is_forced, read_choice, read_tools
from proxy_plugin.providers.formats.anthropic.turns import Block, Turns, cache_mark, read_turns
from proxy_plugin.providers.formats.json_text import Raw, read, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.members import replace_model
from proxy_plugin.providers.formats.model_table import ModelTable
from proxy_plugin.providers.formats.openai.chat import (
    SAME,
    check_rest,
    model_name,
    pseudonym,
    read_chat,
    read_limit,
    read_number,
    read_top_k,
)
from proxy_plugin.providers.formats.shapes import Translated
from proxy_plugin.providers.formats.surrogates import mended, places

__all__ = ["Form", "own_params", "read_options", "to_messages"]

PROVIDER = "Anthropic's Messages API"
LEAST_TOP_P = 0.95  # with thinking, "Extended thinking"

_TRANSLATED = own_words.TRANSLATED | {
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "tools",
    "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort",
    "reasoning_summary", "user", "safety_identifier", "cache_control", "stream_options",
}  # fmt: skip
_PLAIN = frozenset({"model", "messages", "max_tokens", "max_completion_tokens"})
_TOOLING = frozenset(
    {"tools", "functions", "tool_choice", "function_call", "parallel_tool_calls", "web_search_options"}
)  # fmt: skip
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_STOPS = frozenset({"stop", "stop_sequences"})
_PLACES_TOLD = 100  # of half characters in one line
# Without these an answer lacks what the caller will read from it, so no setting lets them be left out.
_NEVER = {
    "n": "Anthropic gives one answer to a request; repeat the line under other custom_ids",
    "stream": "answers of a batch are not streamed; remove it",
    "logprobs": "Anthropic returns no log probabilities; remove it",
    "top_logprobs": "Anthropic returns no log probabilities; remove it",
    "audio": "Anthropic returns no audio; remove it",
    "modalities": "Anthropic returns text only; remove it",
    **own_words.NEVER,
}


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
    own: Block = {}
    if not chat.keys() <= _TRANSLATED:
        own = own_words.handed_on(chat, form)
        check_rest(chat, losses, known=_TRANSLATED | own.keys(), same=SAME, never=_NEVER, provider=PROVIDER)
    name = model_name(chat, model)
    facts = models.find(name)
    turns = read_turns(chat.get("messages"), losses, fetches=form is Form.API, late_system=facts.late_system)
    if chat.get("system") is not None:
        turns.system = own_words.read_system(chat["system"], turns.system)
    params: dict[str, Any] = {"model": name} if form is Form.API else {"anthropic_version": form.value}
    options = own | read_options(chat, facts, losses, turns, form=form)
    if form is not Form.API and "cache_control" in options:
        turns.mark_end(options.pop("cache_control"))  # what the API does with it; the clouds know marks on blocks
    params["max_tokens"] = options.pop("max_tokens")
    if turns.system is not None:
        params["system"] = turns.system
    params["messages"] = turns.messages
    params.update(options)
    return Translated(_whole(write(params), chat, losses), losses.settled())


def own_params(body: bytes, *, model: str | None, drop_params: bool, strict_params: bool = False) -> Translated:
    """Return params that the caller has written in the API's own words: every byte but a replaced model's as it was.

    Raises LineRejected where what each message needs is missing; whatever else is wrong the API says of its line.
    """
    given = read(body)
    for name in ("messages", "max_tokens"):
        if given.get(name) is None:
            raise LineRejected(f"body has no '{name}'.", code="missing_required_parameter", param=f"body.{name}")
    losses = Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER)
    native = body if model is None else replace_model(body, model)
    return Translated(_whole(native, given, losses), losses.settled())


def _whole(native: bytes, chat: Block, losses: Losses) -> bytes:
    """Return a native body without halves of characters: the API refuses a whole job for one."""
    made = mended(native)
    if made is not native:
        for path in _some(places(chat)) or ("body",):
            losses.hint(path, "holds half of a character", "Cut texts between characters", instead="U+FFFD")
    return made


def _some(found: Iterator[str]) -> dict[str, None]:
    """Return the first of some paths, each once."""
    kept: dict[str, None] = {}
    for path in found:
        kept[path] = None
        if len(kept) >= _PLACES_TOLD:
            break
    return kept


def read_options(chat: Block, facts: ModelFacts, losses: Losses, turns: Turns, *, form: Form = Form.BEDROCK) -> Block:
    """Return `max_tokens` and all that is optional, for any wire that carries Claude. Raises LineRejected.

    What has to be asked for in words joins `turns.system`.
    """
    line = _Line(chat, facts, losses, turns, form)
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
    form: Form
    strictness: Strictness = field(default_factory=Strictness)

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
        choice, thinks = None, False
        if chat.get("response_format") is not None or chat.get("output_config") is not None:
            self._add_format(params)
        if self.turns.called or not chat.keys().isdisjoint(_TOOLING):
            choice = self._add_tools(params)
        if not chat.keys().isdisjoint(ASKING):
            thinks = Thoughts(chat, self.facts, self.losses, self.turns, is_forced(choice)).add(params)
        if not chat.keys().isdisjoint(_SAMPLING):
            self._add_sampling(params, thinks=thinks)
        if not chat.keys().isdisjoint(_STOPS) and (stops := own_words.read_sequences(chat, self.losses)):
            params["stop_sequences"] = stops
        if ("user" in chat or "safety_identifier" in chat) and (user := pseudonym(chat, self.losses)):
            params["metadata"] = {"user_id": user}
        if chat.get("cache_control") is not None:
            params["cache_control"] = cache_mark(chat["cache_control"], "")

    def _add_tools(self, params: Block) -> Block | None:
        """Add the tools and the choice among them; return the choice."""
        tools = read_tools(self.chat, self.form, self.facts, self.losses, self.strictness)
        choice = read_choice(self.chat, tools.names, self.facts, self.losses)
        if tools.names:
            params["tools"] = Raw(tools.written)
        elif self.turns.called:
            # The API refuses tool calls in a conversation without tools. The model can call none of these.
            params["tools"], choice = bare_tools(self.turns.called), {"type": "none"}
        if choice is not None:
            params["tool_choice"] = choice
        return choice

    def _add_sampling(self, params: Block, *, thinks: bool) -> None:
        temperature = read_number(self.chat, "temperature", 0, 2)
        top_p = read_number(self.chat, "top_p", 0, 1)
        top_k = read_top_k(self.chat)
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
        """Add the schema of the answer, or ask for it in words."""
        asked = read_asked(self.chat, self.facts, self.losses, prefilled=self.turns.ends_with_assistant)
        self.strictness = Strictness(*asked.strictness)
        if asked.words:
            self.turns.instruct(asked.words)
        if asked.written:
            params["output_config"] = {"format": Raw(asked.written)}
