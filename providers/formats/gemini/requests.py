"""An OpenAI chat body as a generateContent request, for the Gemini API and for Vertex.

Shapes: types of Google's google-genai 3.4, with the ranges of `generationConfig`; `safety_settings` is LiteLLM's name
for what OpenAI has no field for. What single models accept is data: `gemini.models`.

What Gemini cannot honour is refused by name, or left out and recorded where the route allows it (`losses`). A value
that says what the API does anyway (`frequency_penalty: 0`, `n: 1`) is neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy_plugin.providers.formats.bodies import Block
from proxy_plugin.providers.formats.gemini.models import MODELS, ModelFacts, Thinking
from proxy_plugin.providers.formats.gemini.tools import add_tools
from proxy_plugin.providers.formats.gemini.turns import read_turns
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.model_table import ModelTable
from proxy_plugin.providers.formats.openai.chat import (
    check_rest,
    flag,
    model_name,
    read_chat,
    read_count,
    read_format,
    read_level,
    read_limit,
    read_number,
    read_stops,
)
from proxy_plugin.providers.formats.shapes import Translated

PROVIDER = "Gemini's generateContent"
MAX_TOP_LOGPROBS = 20
INT32 = 2**31
# "OpenAI compatibility" of the Gemini API for the first four; the others: the most that any model takes.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}

_TRANSLATED = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "tools",
        "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort", "n",
        "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "modalities", "safety_settings",
        "stream_options",
    }
)  # fmt: skip
_PLAIN = frozenset({"model", "messages", "max_tokens", "max_completion_tokens"})
_TOOLING = frozenset({"tools", "functions", "tool_choice", "function_call", "parallel_tool_calls"})
_SAMPLING = {"temperature": ("temperature", 2), "top_p": ("topP", 1)}
_PENALTIES = {"presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty"}
_MODALITIES = {"text": "TEXT", "image": "IMAGE"}
# Values that ask for what happens anyway.
_SAME: dict[str, tuple[object, ...]] = {
    "stream": (False,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
}
# Without these an answer lacks what the caller will read from it, so no setting lets them be left out.
_NEVER = {
    "stream": "answers of a batch are not streamed; remove it",
    "audio": "Gemini's speech is not in a form that OpenAI's answer can hold; remove it",
}
_SETTING = frozenset({"category", "threshold"})


def to_generate_content(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: ModelTable[ModelFacts] = MODELS,
    vertex: bool = False,
) -> Translated:
    """Translate a chat body; `model` replaces its own, which has no place in the request: the address names it.

    `vertex`: for Vertex, else for the Gemini API. Raises LineRejected, for any JSON object nothing else.
    """
    chat = read_chat(body)
    losses = Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER)
    if not chat.keys() <= _TRANSLATED:
        check_rest(chat, losses, known=_TRANSLATED, same=_SAME, never=_NEVER, provider=PROVIDER)
    facts = models.find(model_name(chat, model))
    turns = read_turns(chat.get("messages"), losses, facts, vertex=vertex)
    request: Block = {} if turns.system is None else {"systemInstruction": turns.system}
    request["contents"] = turns.contents
    if len(chat) > 2:
        _Line(chat, facts, losses, vertex).add_options(request)
    return Translated(write(request), losses.settled())


@dataclass(slots=True)
class _Line:
    """One chat body on its way: what it says and what its model accepts."""

    chat: Block
    facts: ModelFacts
    losses: Losses
    vertex: bool

    def add_options(self, request: Block) -> None:
        """Add all that is optional."""
        config: Block = {}
        self._add_limit(config)
        if not self.chat.keys() <= _PLAIN:
            has_tools = not self.chat.keys().isdisjoint(_TOOLING) and add_tools(self.chat, request, self.losses)
            if self.chat.get("safety_settings") is not None:
                request["safetySettings"] = self._safety()
            self._add_more(config, has_tools=has_tools)
        if config:
            request["generationConfig"] = config

    def _add_more(self, config: Block, *, has_tools: bool) -> None:
        chat = self.chat
        if not chat.keys().isdisjoint(("temperature", "top_p", "top_k")):
            self._add_sampling(config)
        self._add_counts(config)
        self._add_penalties(config)
        self._add_logprobs(config)
        if chat.get("response_format") is not None:
            self._add_format(config, has_tools=has_tools)
        if chat.get("reasoning_effort") is not None:
            self._add_thinking(config)
        if chat.get("modalities") is not None:
            self._add_modalities(config)

    def _add_limit(self, config: Block) -> None:
        """Add the limit of the answer, the model's own at most; thoughts count on both sides."""
        given = read_limit(self.chat)
        if given is None:
            return
        (name, limit), most = given, self.facts.max_tokens
        if most is not None and limit > most:
            reason = f"this model answers with {most} tokens at most"
            self.losses.add(name, reason, f"Send {most} at most", instead=most)
            limit = most
        config["maxOutputTokens"] = limit

    def _add_sampling(self, config: Block) -> None:
        for key, (name, most) in _SAMPLING.items():
            number = read_number(self.chat, key, 0, most)
            if number is not None and self._has_effect(key, number):
                config[name] = number
        top_k = read_count(self.chat, "top_k", 1)
        if top_k is not None and self._has_effect("top_k", None):
            config["topK"] = top_k

    def _has_effect(self, key: str, number: float | None) -> bool:
        """Whether the model looks at a sampling parameter. 1 is what OpenAI does without one."""
        if not self.facts.sampling and number != 1:
            self.losses.add(key, "this model chooses without it", "Remove it")
        return self.facts.sampling

    def _add_counts(self, config: Block) -> None:
        """Add seed, n and the stop sequences."""
        stops = read_stops(self.chat)
        if "" in stops:
            self.losses.add("stop", "Gemini takes no empty sequence", "Remove it")
        if any(stops):
            config["stopSequences"] = [text for text in stops if text]
        seed, answers = read_count(self.chat, "seed", -(2**63), 2**64), read_count(self.chat, "n", 1)
        if seed is not None:
            if -INT32 <= seed < INT32:
                config["seed"] = seed
            else:
                self.losses.add("seed", "Gemini takes 32-bit numbers", f"Send {INT32 - 1} at most")
        if answers is not None and answers > self.facts.candidates:
            message = f"this model gives {self.facts.candidates} to a request; repeat the line under other custom_ids"
            raise rejected("n", message, "unsupported_parameter")
        if answers is not None and answers > 1:
            config["candidateCount"] = answers

    def _add_penalties(self, config: Block) -> None:
        for key, name in _PENALTIES.items():
            number = read_number(self.chat, key, -2, 2)
            if not number:
                continue
            if self.facts.penalties.has(vertex=self.vertex):
                config[name] = number
            else:
                self.losses.add(key, "this model has no penalties", "Send 0")

    def _add_logprobs(self, config: Block) -> None:
        wanted = flag(self.chat.get("logprobs"), "logprobs")
        top = read_count(self.chat, "top_logprobs", 0, MAX_TOP_LOGPROBS)
        if top and not wanted:
            raise rejected("top_logprobs", "needs logprobs to be true")
        if not wanted:
            return
        if not self.facts.logprobs:
            raise rejected("logprobs", "this model returns no log probabilities; remove it", "unsupported_parameter")
        config["responseLogprobs"] = True
        if top:
            config["logprobs"] = top

    def _add_format(self, config: Block, *, has_tools: bool) -> None:
        """Add the form of the answer. A schema's name has no place and no effect; `strict` is always so."""
        wanted = read_format(self.chat, self.losses)
        if wanted is None or wanted.kind == "text":
            return
        if has_tools and not self.facts.tools_with_json:
            self.losses.add("response_format", "this model gives no JSON where it has tools", "Remove one of them")
            return
        config["responseMimeType"] = "application/json"
        if wanted.kind == "json_schema":
            schema = wanted.schema
            if wanted.description and "description" not in schema:
                schema = {"description": wanted.description, **schema}
            config["responseJsonSchema"] = schema

    def _add_thinking(self, config: Block) -> None:
        level = read_level(self.chat, BUDGETS)
        if level is None:
            return
        if self.facts.thinking is Thinking.NONE:
            if level != "none":
                self.losses.add("reasoning_effort", "this model has no thinking", "Send none")
        elif self.facts.thinking is Thinking.BUDGET:
            config["thinkingConfig"] = {"thinkingBudget": self._budget(level)}
        else:
            config["thinkingConfig"] = {"thinkingLevel": self._level(level).upper()}

    def _budget(self, level: str) -> int:
        """Return the tokens for thinking, within the model's bounds; the least stands for none where it must think."""
        least, most = self.facts.budgets
        if level != "none":
            return min(max(BUDGETS[level], least), most)
        if self.facts.off:
            return 0
        self.losses.add("reasoning_effort", "this model always thinks", "Send minimal", instead="minimal")
        return least

    def _level(self, level: str) -> str:
        """Return the model's word for a level; the nearest one if the loss is allowed."""
        known = self.facts.levels
        if level in known:
            return level
        if level == "minimal":  # "OpenAI compatibility": low, where a model has no minimal
            return "low"
        nearest = known[0] if level == "none" else known[-1]
        if level == "medium":
            nearest = "high"  # of the two that are left, the model's default
        reason = "this model always thinks" if level == "none" else "this model has no such level"
        self.losses.add("reasoning_effort", reason, f"Send one of {', '.join(known)}", instead=nearest)
        return nearest

    def _add_modalities(self, config: Block) -> None:
        given = self.chat["modalities"]
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise rejected("modalities", "must be a list of texts", "invalid_type")
        if any(each not in _MODALITIES for each in given):
            raise rejected("modalities", "only text and image have an equivalent", "unsupported_parameter")
        if given and given != ["text"]:
            config["responseModalities"] = [_MODALITIES[each] for each in given]

    def _safety(self) -> list[Block]:
        """Return the safety settings: pairs of category and threshold, on Vertex with a method if any."""
        given = self.chat["safety_settings"]
        if not isinstance(given, list):
            raise rejected("safety_settings", "must be a list", "invalid_type")
        known = _SETTING | {"method"} if self.vertex else _SETTING
        settings = []
        for number, setting in enumerate(given):
            path = f"safety_settings[{number}]"
            if not isinstance(setting, dict) or not setting.keys() >= _SETTING:
                raise rejected(path, "must be an object with category and threshold")
            self.losses.add_unknown(setting, known, path)
            kept = {key: value for key, value in setting.items() if key in known}
            if not all(isinstance(value, str) for value in kept.values()):
                raise rejected(path, "must hold texts", "invalid_type")
            settings.append(kept)
        return settings
