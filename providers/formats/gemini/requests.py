"""An OpenAI chat body as a generateContent request, for the Gemini API and for Vertex.

Shapes: types of Google's google-genai 3.4, with the ranges of `generationConfig`; `safety_settings`, `cached_content`
and `labels` are LiteLLM's names for what OpenAI has no field for, `extra_body.google` is Google's own ("OpenAI
compatibility", 2026). What single models accept is data: `gemini.models`.

What Gemini cannot honour is refused by name, or left out and recorded where the route allows it (`losses`). A value
that says what the API does anyway (`frequency_penalty: 0`, `n: 1`) is neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from proxy_plugin.providers.formats.bodies import Block
from proxy_plugin.providers.formats.gemini.models import MODELS, ModelFacts
from proxy_plugin.providers.formats.gemini.schemas import readable
from proxy_plugin.providers.formats.gemini.thinking import ASKS, thinking_config
from proxy_plugin.providers.formats.gemini.tools import TOOLING, add_tools
from proxy_plugin.providers.formats.gemini.turns import read_turns
from proxy_plugin.providers.formats.json_text import Raw, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.model_table import ModelTable
from proxy_plugin.providers.formats.openai.chat import (
    NEUTRAL,
    check_rest,
    flag,
    model_name,
    read_chat,
    read_count,
    read_format,
    read_limit,
    read_number,
    read_stops,
    read_top_k,
    tell_format,
)
from proxy_plugin.providers.formats.remembered import recall
from proxy_plugin.providers.formats.shapes import Translated

PROVIDER = "Gemini's generateContent"
MAX_TOP_LOGPROBS = 20
INT32 = 2**31

_TRANSLATED = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "tools",
        "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort", "n",
        "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "modalities", "safety_settings",
        "cached_content", "labels", "stream_options", "web_search_options", *ASKS,
    }
)  # fmt: skip
_GOOGLE = frozenset({"thinking_config", "cached_content", "safety_settings"})  # members of extra_body.google
_BARE = frozenset({"model", "messages"})
_PLAIN = frozenset({"model", "messages", "max_tokens", "max_completion_tokens"})
_TOOLING = frozenset(TOOLING)
_SAMPLING = {"temperature": ("temperature", 2), "top_p": ("topP", 1)}
_RARER = frozenset({"stop", "seed", "n", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"})
_PENALTIES = {"presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty"}
_MODALITIES = {"text": "TEXT", "image": "IMAGE"}
# Values that ask for what happens anyway.
_SAME: dict[str, tuple[object, ...]] = {
    "stream": (False,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
    **NEUTRAL,
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
    if "extra_body" in chat:
        chat = _with_googles_own(chat, losses)
    if not chat.keys() <= _TRANSLATED:
        check_rest(chat, losses, known=_TRANSLATED, same=_SAME, never=_NEVER, provider=PROVIDER)
    facts = models.find(model_name(chat, model))
    turns = read_turns(chat.get("messages"), losses, facts, vertex=vertex)
    request: Block = {} if turns.system is None else {"systemInstruction": turns.system}
    request["contents"] = turns.contents
    if turns.resolution is not None:
        request["generationConfig"] = {"mediaResolution": turns.resolution}
    if not chat.keys() <= _BARE:
        _Line(chat, facts, losses, vertex).add_options(request)
    return Translated(write(request), losses.settled())


def _with_googles_own(chat: Block, losses: Losses) -> Block:
    """Return the body with what stands in `extra_body.google` beside the rest."""
    extra, path = chat["extra_body"], "extra_body.google"
    google = extra.get("google") if isinstance(extra, dict) else None
    if not isinstance(extra, dict) or not isinstance(google, dict | None):
        raise rejected("extra_body", "must be an object that holds an object google", "invalid_type")
    losses.add_unknown(extra, frozenset({"google"}), "extra_body")
    losses.add_unknown(google or {}, _GOOGLE, path)
    own = {key: value for key, value in (google or {}).items() if key in _GOOGLE and value is not None}
    for key in own:
        if chat.get(key) is not None:
            raise rejected(f"{path}.{key}", f"cannot stand beside {key}; send one of them")
    return {**{key: value for key, value in chat.items() if key != "extra_body"}, **own}


@dataclass(slots=True)
class _Line:
    """One chat body on its way: what it says and what its model accepts."""

    chat: Block
    facts: ModelFacts
    losses: Losses
    vertex: bool

    def add_options(self, request: Block) -> None:
        """Add all that is optional."""
        config: Block = request.get("generationConfig", {})
        self._add_limit(config)
        if not self.chat.keys() <= _PLAIN:
            has_tools = not self.chat.keys().isdisjoint(_TOOLING) and add_tools(
                self.chat, request, self.losses, vertex=self.vertex
            )
            if self.chat.get("safety_settings") is not None:
                request["safetySettings"] = self._safety()
            if self.chat.get("cached_content") is not None:
                request["cachedContent"] = self._cached(request)
            if self.chat.get("labels") is not None:
                self._add_labels(request)
            self._add_more(request, config, has_tools=has_tools)
        if config:
            request["generationConfig"] = config

    def _add_more(self, request: Block, config: Block, *, has_tools: bool) -> None:
        chat = self.chat
        if not chat.keys().isdisjoint(("temperature", "top_p", "top_k")):
            self._add_sampling(config)
        if not chat.keys().isdisjoint(_RARER):
            self._add_counts(config)
            self._add_penalties(config)
            self._add_logprobs(config)
        if chat.get("response_format") is not None:
            self._add_format(request, config, has_tools=has_tools)
        if not ASKS.isdisjoint(chat) and (thinking := thinking_config(chat, self.facts, self.losses)):
            config["thinkingConfig"] = thinking
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
            self.losses.hint(name, reason, f"Send {most} at most", instead=most)  # the answer is the same
            limit = most
        config["maxOutputTokens"] = limit

    def _add_sampling(self, config: Block) -> None:
        for key, (name, most) in _SAMPLING.items():
            number = read_number(self.chat, key, 0, most)
            if number is not None and self._has_effect(key, number):
                config[name] = number
        top_k = read_top_k(self.chat)
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
            self.losses.hint("stop", "an empty sequence stops nothing", "Remove it", instead="without empty ones")
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
        if not self.facts.logprobs.has(vertex=self.vertex):
            where = "" if self.vertex else " on the Gemini API"
            self.losses.never("logprobs", f"this model returns no log probabilities{where}; remove it")
            return
        config["responseLogprobs"] = True
        if top:
            config["logprobs"] = top

    def _add_format(self, request: Block, config: Block, *, has_tools: bool) -> None:
        """Add the form of the answer, or ask for it in words."""
        told_only = has_tools and not self.facts.tools_with_json
        given = self.chat["response_format"]
        asked = recall("form of Gemini's answer", [given], told_only, self.losses, partial(_asked, given, told_only))
        if asked.words:
            request.setdefault("systemInstruction", {"parts": []})["parts"].append({"text": asked.words})
        if asked.is_json:
            config["responseMimeType"] = "application/json"
        if asked.schema:
            config["responseJsonSchema"] = Raw(asked.schema)

    def _add_modalities(self, config: Block) -> None:
        given = self.chat["modalities"]
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise rejected("modalities", "must be a list of texts", "invalid_type")
        if any(each not in _MODALITIES for each in given):
            raise rejected("modalities", "only text and image have an equivalent", "unsupported_parameter")
        if given and given != ["text"]:
            config["responseModalities"] = [_MODALITIES[each] for each in given]

    def _cached(self, request: Block) -> str:
        """Return the name of a cached content, which holds system text and tools of its own."""
        given = self.chat["cached_content"]
        if not isinstance(given, str) or not given:
            raise rejected("cached_content", "must be a text", "invalid_type")
        if not request.keys().isdisjoint(("systemInstruction", "tools", "toolConfig")):
            # "CachedContent can not be used with GenerateContent request setting system_instruction, tools or
            # tool_config": 400 of both services.
            raise rejected("cached_content", "cannot stand beside system messages or tools; put them into the cache")
        return given

    def _add_labels(self, request: Block) -> None:
        given = self.chat["labels"]
        if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
            raise rejected("labels", "must be an object of texts", "invalid_type")
        if self.vertex:
            request["labels"] = given
        else:
            self.losses.hint("labels", "only Vertex has labels", "Remove it")

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


class _Asked(NamedTuple):
    """The form of an answer: whether it is JSON, its schema as JSON, or what asks for it in words."""

    is_json: bool = False
    schema: bytes = b""
    words: str = ""


def _asked(given: object, told_only: bool, losses: Losses) -> _Asked:
    """Read `response_format`. A schema's name has no place and no effect; `strict` is always so."""
    wanted = read_format({"response_format": given}, losses)
    if wanted is None or wanted.kind == "text":
        return _Asked()
    if told_only:
        reason, remedy = "this model gives no JSON where it has tools", "Remove one of them"
        return _Asked(words=tell_format(wanted, losses, reason, remedy))
    if wanted.kind != "json_schema":
        return _Asked(is_json=True)
    schema = readable(wanted.schema, "response_format.json_schema.schema", losses)
    if wanted.description and "description" not in schema:
        schema = {"description": wanted.description, **schema}
    return _Asked(is_json=True, schema=write(schema))
