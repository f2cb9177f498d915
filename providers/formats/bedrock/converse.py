"""An OpenAI chat body as a Converse request, and as Nova's own format, which is nearly the same.

Shapes: Converse of botocore 1.43.117 (a batch record holds the request's members without `modelId`); Nova User Guide,
"Request and response schema" (v1 and v2, copies of 2026): Nova takes `topK` and `reasoningConfig` as members of its own
body, Converse takes them in `additionalModelRequestFields`. OpenAI's open models take further fields of theirs there
("OpenAI models", Bedrock User Guide). What Claude accepts: `anthropic.requests`.

Jobs of type Converse refuse records with `toolConfig` ("Process multiple prompts with batch inference"); lines with
tools are led to InvokeModel by `bedrock.models.invocation`. Tools are translated here all the same: Nova shares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from proxy_plugin.providers.formats.anthropic.models import MODELS as CLAUDE
from proxy_plugin.providers.formats.anthropic.requests import read_options
from proxy_plugin.providers.formats.anthropic.turns import Turns as ClaudeTurns
from proxy_plugin.providers.formats.bedrock.models import MODELS, Family, ModelFacts, ModelTable
from proxy_plugin.providers.formats.bedrock.tools import TOOLING, cannot_forbid, spec, tool_config
from proxy_plugin.providers.formats.bedrock.turns import Turns, cache_point, read_turns
from proxy_plugin.providers.formats.json_text import Raw, read_exactly, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import (
    SAME,
    check_rest,
    model_name,
    pseudonym,
    read_chat,
    read_format,
    read_level,
    read_limit,
    read_number,
    read_stops,
    read_top_k,
    tell_format,
)
from proxy_plugin.providers.formats.remembered import recall
from proxy_plugin.providers.formats.shapes import Translated

Block = dict[str, Any]

PROVIDER = "Bedrock's Converse"
LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")

TRANSLATED = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "tools",
        "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort",
        "user", "safety_identifier", "cache_control", "stream_options",
    }
)  # fmt: skip
# Without these an answer lacks what the caller will read from it, so no setting lets them be left out.
NEVER = {
    "n": "Bedrock gives one answer to a record; repeat the line under other custom_ids",
    "stream": "answers of a batch are not streamed; remove it",
    "logprobs": "Bedrock returns no log probabilities; remove it",
    "top_logprobs": "Bedrock returns no log probabilities; remove it",
    "audio": "Bedrock returns no audio here; remove it",
    "modalities": "Bedrock returns text only; remove it",
}
_PLAIN = frozenset({"model", "messages"})
_TOOLING = frozenset(TOOLING)
SAMPLING = frozenset({"temperature", "top_p", "top_k", "stop"})
_UNTHINKING = frozenset({Family.NOVA, Family.LLAMA3, Family.LLAMA4, Family.MISTRAL_TEXT, Family.MISTRAL_CHAT})


def to_converse(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: ModelTable = MODELS,
) -> Translated:
    """Translate a chat body; `model` replaces its own. Raises LineRejected, for any JSON object nothing else."""
    return _translate(body, model, models, Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER))


def to_nova(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: ModelTable = MODELS,
) -> Translated:
    """Translate a chat body to Nova's `messages-v1`, the InvokeModel form. Raises LineRejected."""
    losses = Losses(allowed=drop_params, strict=strict_params, provider="Nova")
    return _translate(body, model, models, losses, nova=True)


def _translate(body: bytes, model: str | None, models: ModelTable, losses: Losses, *, nova: bool = False) -> Translated:
    chat = read_chat(body)
    name, facts = models.find(model_name(chat, model))
    check_rest(chat, losses, known=TRANSLATED | facts.extra, same=SAME, never=NEVER, provider=PROVIDER)
    line = _Line(chat, facts, losses, read_turns(chat.get("messages"), facts, losses))
    request: Block = {"schemaVersion": "messages-v1"} if nova else {}
    request["messages"] = line.turns.messages
    if line.turns.system:
        request["system"] = line.turns.system
    if facts.family is Family.ANTHROPIC:
        line.add_claude(request, name)
    elif line.turns.called or not chat.keys() <= _PLAIN:
        line.add_options(request, nova=nova)
    if "cache_control" in chat:
        line.cache(request)
    if nova and "additionalModelRequestFields" in request:
        more = request.pop("additionalModelRequestFields")
        request.setdefault("inferenceConfig", {}).update(more.pop("inferenceConfig", {}))
        request = {key: value for key, value in {**request, **more}.items() if value}
    return Translated(write(request), losses.settled())


@dataclass(slots=True)
class _Line:
    """One chat body on its way: what it says, what its model accepts, its conversation."""

    chat: Block
    facts: ModelFacts
    losses: Losses
    turns: Turns

    def cache(self, request: Block) -> None:
        """Put a cache point that is asked for on the line as a whole behind all of the conversation."""
        point = cache_point(self.chat.get("cache_control"), "", self.facts, self.losses)
        content = request["messages"][-1]["content"]
        if point is not None and "cachePoint" not in content[-1]:
            content.append(point)

    def add_claude(self, request: Block, name: str) -> None:
        """Add what `anthropic.requests` makes of the options, under Converse's names."""
        turns = ClaudeTurns(None, self.turns.messages, self.turns.called, self.turns.ends_with_results)
        given = read_options({**self.chat, "cache_control": None}, CLAUDE.find(name), self.losses, turns)
        if isinstance(turns.system, str):
            self._instruct(request, turns.system)
        places = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP", "stop_sequences": None}
        config = {native: given[key] for key, native in places.items() if native and key in given}
        if "stop_sequences" in given:
            config["stopSequences"] = given["stop_sequences"]
        request["inferenceConfig"] = config
        if "tools" in given:
            request["toolConfig"] = self._claude_tools(given)
        if more := {key: given[key] for key in ("thinking", "top_k") if key in given}:
            request["additionalModelRequestFields"] = more
        output: Block = {}
        if wanted := given.get("output_config", {}).get("format"):
            output["textFormat"] = _text_format(_read(wanted)["schema"])
        if effort := given.get("output_config", {}).get("effort"):
            output["effort"] = effort
        if output:
            request["outputConfig"] = output
        if "metadata" in given:
            request["requestMetadata"] = given["metadata"]

    def _claude_tools(self, given: Block) -> Block:
        choice = given.get("tool_choice", {})
        if choice.get("disable_parallel_tool_use"):
            self.losses.add("parallel_tool_calls", f"{PROVIDER} has no equivalent", "Remove it")
        kind = choice.get("type")
        if kind == "none":
            cannot_forbid(self.losses)
        specs = []
        for tool in _read(given["tools"]):
            specs.append(spec(tool["name"], tool.get("description"), tool["input_schema"], tool.get("strict")))
            if point := cache_point(tool.get("cache_control"), "tools.", self.facts, self.losses):
                specs.append(point)
        config: Block = {"tools": specs}
        if kind in ("auto", "any", "tool"):
            config["toolChoice"] = {kind: {"name": choice["name"]} if kind == "tool" else {}}
        return config

    def add_options(self, request: Block, *, nova: bool) -> None:
        """Add all that is optional for the other families."""
        chat = self.chat
        more: Block = {}
        config = self._inference(more)
        if "reasoning_effort" in chat:
            self._add_effort(config, more)
        if self.facts.extra:
            more.update(extra_fields(chat, self.facts))
        if config:
            request["inferenceConfig"] = config
        if self.turns.called or not chat.keys().isdisjoint(_TOOLING):
            self._add_tools(request)
        if "response_format" in chat:
            self._add_format(request, nova=nova)
        if more:
            request["additionalModelRequestFields"] = more
        if ("user" in chat or "safety_identifier" in chat) and (user := pseudonym(chat, self.losses)):
            if nova:
                self.losses.add("user", "Nova has no equivalent", "Remove it")
            else:
                request["requestMetadata"] = {"user_id": user}

    def _inference(self, more: Block) -> Block:
        chat = self.chat
        config: Block = {}
        if (given := read_limit(chat)) is not None:
            config["maxTokens"] = limit_of(given, self.facts, self.losses)
        if chat.keys().isdisjoint(SAMPLING):
            return config
        if (temperature := read_temperature(chat, self.losses)) is not None:
            config["temperature"] = temperature
        if (top_p := read_number(chat, "top_p", 0, 1)) is not None:
            config["topP"] = top_p
        if stops := stops_of(chat, self.losses):
            config["stopSequences"] = stops
        if (top_k := read_top_k(chat)) is not None:
            if not self.facts.top_k:
                self.losses.add("top_k", "this model has no equivalent", "Remove it")
            else:
                value: object = top_k
                for key in reversed(self.facts.top_k):
                    value = {key: value}
                more.update(value if isinstance(value, dict) else {})
        return config

    def _add_effort(self, config: Block, more: Block) -> None:
        level = read_effort(self.chat, self.facts, self.losses)
        if level is None:
            return
        if self.facts.family is not Family.NOVA:
            more["reasoning_effort"] = level
            return
        if level == "high" and config.keys() & {"maxTokens", "temperature", "topP"}:
            reason = "this model's high level excludes max_tokens, temperature and top_p"
            self.losses.hint("reasoning_effort", reason, "Send medium", instead="medium")
            level = "medium"
        more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}

    def _add_tools(self, request: Block) -> None:
        if config := tool_config(self.chat, self.facts, self.losses, self.turns.called):
            request["toolConfig"] = Raw(config)

    def _add_format(self, request: Block, *, nova: bool) -> None:
        given, enforces = self.chat["response_format"], not nova and self.facts.json_schema
        asked = recall("form of Converse", [given], enforces, self.losses, partial(_asked, given, enforces))
        if asked.written:
            request["outputConfig"] = {"textFormat": Raw(asked.written)}
        if asked.words:
            self._instruct(request, asked.words)

    def _instruct(self, request: Block, text: str) -> None:
        """Add a text of our own behind the system texts, or before what the user says where a model has none."""
        if self.facts.system:
            request["system"] = [*self.turns.system, {"text": text}]
        else:
            request["messages"][0]["content"].insert(0, {"text": text})


def limit_of(given: tuple[str, int], facts: ModelFacts, losses: Losses) -> int:
    """Return the limit of the answer, the model's own at most."""
    (name, limit), most = given, facts.max_tokens
    if most is None or limit <= most:
        return limit
    # No hindrance: the answer is the same, whatever more it was allowed.
    losses.hint(name, f"this model answers with {most} tokens at most", f"Send {most} at most", instead=most)
    return most


def stops_of(chat: Block, losses: Losses) -> list[str]:
    """Return the stop sequences. An empty one stops nothing."""
    given = read_stops(chat)
    stops = [text for text in given if text]
    if len(stops) < len(given):
        losses.hint("stop", "an empty sequence stops nothing", "Remove it", instead="without empty ones")
    return stops


def read_temperature(chat: Block, losses: Losses) -> float | None:
    """Return the temperature on Bedrock's scale."""
    temperature = read_number(chat, "temperature", 0, 2)
    if temperature is not None and temperature > 1:
        losses.add("temperature", "this model takes 0 to 1", "Send 1 at most", instead=1)
        return 1
    return temperature


def read_effort(chat: Block, facts: ModelFacts, losses: Losses) -> str | None:
    """Return the model's word for `reasoning_effort`, None where nothing need be sent."""
    level = read_level(chat, LEVELS)
    if level is None or (level == "none" and facts.family in _UNTHINKING):
        return None
    if not facts.efforts and level == "none" and facts.family is Family.NONE:
        losses.hint("reasoning_effort", "whether this model thinks is not known", "Remove it")
        return None
    if not facts.efforts:
        note = losses.add if level == "none" else losses.hint  # to think less is a level, not to think is a promise
        note("reasoning_effort", "this model's thinking cannot be set", "Remove it")
        return None
    if level in facts.efforts:
        return level
    if level == "none":
        nearest = facts.efforts[0]
        losses.add("reasoning_effort", "this model always thinks", f"Send {nearest}", instead=nearest)
    else:
        nearest = facts.efforts[0] if level == "minimal" else facts.efforts[-1]
        losses.hint("reasoning_effort", "this model has no such level", f"Send {nearest}", instead=nearest)
    return nearest


def extra_fields(chat: Block, facts: ModelFacts) -> Block:
    """Return the parameters that the model takes under OpenAI's names."""
    return {key: _extra(chat, key) for key in sorted(facts.extra & chat.keys()) if chat[key] is not None}


def _extra(chat: Block, key: str) -> object:
    """Check a parameter that is passed on under its own name."""
    if key == "seed":
        if type(chat[key]) is not int:
            raise rejected(key, "must be a whole number")
        return chat[key]
    if key == "logit_bias":
        biases = chat[key].values() if isinstance(chat[key], dict) else [None]
        if not all(isinstance(bias, int | float) and not isinstance(bias, bool) for bias in biases):
            raise rejected(key, "must be an object of numbers")
        return chat[key]
    return read_number(chat, key, -2, 2)


class _Asked(NamedTuple):
    """`textFormat` as JSON, or what asks for it in words."""

    written: bytes = b""
    words: str = ""


def _asked(given: object, enforces: bool, losses: Losses) -> _Asked:
    wanted = read_format({"response_format": given}, losses)
    if wanted is None or wanted.kind == "text":
        return _Asked()
    if wanted.kind == "json_object":
        reason, remedy = "Bedrock has no mode for JSON without a schema", "Send a json_schema"
    elif not enforces:
        reason, remedy = "this model cannot enforce a schema", "Leave strict out"
    else:
        return _Asked(write(_text_format(wanted.schema, wanted.name, wanted.description)))
    return _Asked(words=tell_format(wanted, losses, reason, remedy))


def _read(given: Any) -> Any:
    """Return what Claude's translator has written, or made, with every number as it was spelled."""
    return read_exactly(given.text) if isinstance(given, Raw) else given


def _text_format(schema: Block, name: str = "", description: str = "") -> Block:
    named = {"name": name, "description": description}
    definition = {"schema": write(schema).decode(), **{key: text for key, text in named.items() if text}}
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}
