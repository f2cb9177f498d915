"""Gemini's generateContent: what differs from litellm's, and native responses to be read."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

from tests.oracles.anthropic_judge import Rewrite, is_blank, refusing
from tests.oracles.lines import PICTURE
from tests.oracles.meaning import REFUSED, Json, Known, Pair
from tests.oracles.real_types import real_types

# What is below these is the caller's own JSON: its names stay.
_THEIRS = frozenset({"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"})
_SIGNED = "skip_thought_signature_validator"


def canonical(body: Json) -> Json:
    """Return a request in Google's REST spelling; neighbours of one role are one content, as the API takes them."""
    made: Json = _camel(body)
    return {**made, "contents": joined(made["contents"])}


def joined(contents: list[Json]) -> list[Json]:
    """Return contents, neighbours of one role joined."""
    found: list[Json] = []
    for content in contents:
        if found and found[-1]["role"] == content["role"]:
            found[-1]["parts"] += content["parts"]
        else:
            found.append({"role": content["role"], "parts": [*content["parts"]]})
    return found


def _camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inner in value.items():
        name = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), key)
        found[name] = inner if name in _THEIRS else _camel(inner)
        if inner == base64.b64encode(_SIGNED.encode()).decode():
            found[name] = _SIGNED
    return found


# ---- requests: what differs ----


def schemas(pair: Pair) -> None:
    """Compare schemas as JSON schemas, less `additionalProperties`, which litellm's OpenAPI form cannot say."""
    for tool in pair.theirs.get("tools", ()):
        for declared in tool["functionDeclarations"]:
            if "parameters" in declared:
                declared["parametersJsonSchema"] = declared.pop("parameters")
    for side in (pair.ours, pair.theirs):
        for tool in side.get("tools", ()):
            tool["functionDeclarations"] = [_opened(each) for each in tool["functionDeclarations"]]


def _opened(declared: Json) -> Json:
    found = dict(declared)
    schema = found.pop("parametersJsonSchema", {"type": "object", "properties": {}})
    bare = without(schema, "additionalProperties")
    says_nothing = bare in ({"type": "object", "properties": {}}, {"type": "object"})
    return found if says_nothing else {**found, "parametersJsonSchema": bare}


def without(value: Any, name: str) -> Any:
    """Return a JSON value without the members of that name, at any depth."""
    if isinstance(value, list):
        return [without(each, name) for each in value]
    if isinstance(value, dict):
        return {key: without(inner, name) for key, inner in value.items() if key != name}
    return value


def outputs(pair: Pair) -> None:
    """Compare results by their texts: ours are under `output`, litellm reads JSON in them and keeps no digits."""
    results = [message["content"] for message in pair.given["messages"] if message["role"] == "tool"]
    for side in (pair.ours, pair.theirs):
        found = [part["functionResponse"] for part in parts(side) if "functionResponse" in part]
        for response, given in zip(found, results, strict=len(found) == len(results)):
            if _is_result(response["response"], given):
                response["response"] = {"output": given}


def _is_result(response: Json, given: Any) -> bool:
    """Whether a response says what the line gives: as `output`, as `content`, or as the object that it spells."""
    texts = [given] if isinstance(given, str) else [part["text"] for part in given]
    if response in ({"output": given}, {"output": texts}, {"content": given}, {"content": "".join(texts)}):
        return True
    return isinstance(given, str) and given.startswith("{") and response == json.loads(given)


def parts(body: Json) -> list[Json]:
    """Return all parts of a request."""
    return [part for content in body.get("contents", ()) for part in content["parts"]]


def drop_parts(body: Json, unwanted: Callable[[Json], bool]) -> None:
    """Take parts out of all contents, and contents without any part."""
    for content in body.get("contents", ()):
        content["parts"] = [part for part in content["parts"] if not unwanted(part)]
    if "contents" in body:
        body["contents"] = joined([content for content in body["contents"] if content["parts"]])


def refusals(pair: Pair) -> None:
    """Take out what the assistant refused with: litellm leaves it out."""
    said = {message["refusal"] for message in pair.given["messages"] if message.get("refusal")}
    if said:
        drop_parts(pair.ours, lambda part: part.get("text") in said)


def warm(pair: Pair) -> None:
    """Take out the temperature that litellm sends to Gemini 3 unasked: it is the default."""
    if "temperature" not in pair.given and pair.model.startswith("gemini-3"):
        config = pair.theirs.get("generationConfig", {})
        if config.get("temperature") == 1:
            del config["temperature"]
        if not config:
            pair.theirs.pop("generationConfig", None)


def tiers(pair: Pair) -> None:
    """Take out the tier: for `auto` litellm asks for priority, which costs more; a batch has its own."""
    if pair.given.get("service_tier") == "auto":
        pair.theirs.pop("serviceTier", None)


def empty(pair: Pair) -> None:
    """Ours refuses a message without any text; litellm sends it."""
    if str(pair.ours.get(REFUSED)).startswith("messages[") and any(map(is_blank, pair.given["messages"])):
        pair.theirs = pair.ours


def config_less(*names: str) -> Rewrite:
    """Return the difference that litellm sends members of generationConfig that ours left out and wrote down."""

    def rewrite(pair: Pair) -> None:
        for name, key in ((name, _CONFIG[name]) for name in names):
            if name in pair.dropped and "generationConfig" in pair.theirs:
                for each in key:
                    pair.theirs["generationConfig"].pop(each, None)
        if not pair.theirs.get("generationConfig", True):
            del pair.theirs["generationConfig"]

    return rewrite


_CONFIG = {
    "response_format": ("responseMimeType", "responseJsonSchema", "responseSchema"),
    "presence_penalty": ("presencePenalty",),
    "frequency_penalty": ("frequencyPenalty",),
}


def thinking(pair: Pair) -> None:
    """Compare only whether there is thinking: OpenAI's levels have no numbers, litellm asks for thoughts, too."""
    if pair.given.get("reasoning_effort") is not None:
        for side in (pair.ours, pair.theirs):
            config = side.get("generationConfig", {})
            if "thinkingConfig" in config:
                config["thinkingConfig"] = {}


def linked(pair: Pair) -> None:
    """Pass over lines with a picture by URL: litellm fetches it and finds nobody, ours hands the URL on."""
    if PICTURE in json.dumps(pair.given) and "fetch" in str(pair.theirs.get(REFUSED)).lower():
        pair.theirs = pair.ours


def system_texts(pair: Pair) -> None:
    """Join the texts of the system: litellm joins those of one message without a space, ours stay apart."""
    for side in (pair.ours, pair.theirs):
        texts = [part["text"] for part in side.get("systemInstruction", {}).get("parts", ())]
        if any(texts):
            side["systemInstruction"] = {"parts": [{"text": "".join(texts)}]}
        elif not any(pair.given["messages"][0]["content"]):
            side.pop("systemInstruction", None)


def neutral(pair: Pair) -> None:
    """Take out what says what is so anyway, and litellm sends."""
    config = pair.theirs.get("generationConfig", {})
    for name, value in (("candidateCount", 1), ("presencePenalty", 0), ("frequencyPenalty", 0)):
        if config.get(name) == value and name not in pair.ours.get("generationConfig", {}):
            del config[name]
    if not config:
        pair.theirs.pop("generationConfig", None)


def gifs(pair: Pair) -> None:
    """Ours refuses GIFs, which the service does; litellm sends them."""
    if str(pair.ours.get(REFUSED)).endswith(".image_url.url") and "data:image/gif" in json.dumps(pair.given):
        pair.theirs = pair.ours


def strictness(pair: Pair) -> None:
    """Take out the mode that holds calls to the schemas of strict tools; litellm has no word for it."""
    strict = any(tool["function"].get("strict") for tool in pair.given.get("tools") or ())
    if strict and pair.ours.get("toolConfig") == {"functionCallingConfig": {"mode": "VALIDATED"}}:
        del pair.ours["toolConfig"]


def top_logprobs(pair: Pair) -> None:
    """Take out how many log probabilities are wanted: litellm asks for them without a number."""
    config, theirs = pair.ours.get("generationConfig", {}), pair.theirs.get("generationConfig", {})
    if pair.given.get("top_logprobs") == config.get("logprobs") and "logprobs" not in theirs:
        config.pop("logprobs", None)


PAGE = "Gemini API reference, GenerateContentRequest"
REQUESTS: tuple[Known, ...] = (
    Known("schemas go as JSON schemas", "litellm writes OpenAPI's, without additionalProperties", PAGE, schemas),
    Known("results stay texts", "litellm reads JSON in them and writes it anew", PAGE, outputs),
    Known("refusals stay in the conversation", "litellm leaves them out", PAGE, refusals),
    Known("no temperature unasked", "litellm sends the default to Gemini 3", PAGE, warm),
    Known("auto asks for no tier", "litellm asks for priority", PAGE, tiers),
    Known("n that the model cannot give", "litellm sends it", PAGE, refusing("n")),
    Known("two limits that differ are refused", "litellm takes one", PAGE, refusing("max_tokens")),
    Known("an empty message is refused", "litellm sends it", PAGE, empty),
    Known("pictures by URL", "litellm fetches them", PAGE, linked),
    Known("texts of the system stay apart", "litellm joins those of one message", PAGE, system_texts),
    Known("defaults are not sent", "litellm sends zeros and ones", PAGE, neutral),
    Known("GIFs are refused", "litellm sends them", PAGE, gifs),
    Known("pictures go as what they are", "recorded; litellm sends the type that is said", PAGE, real_types),
    Known("log probabilities of 2.5", "the Gemini API has none; litellm asks for them", PAGE, refusing("logprobs")),
    Known("strict tools", "mode VALIDATED; litellm leaves strict out", PAGE, strictness),
    Known("how many log probabilities", "litellm leaves top_logprobs out", PAGE, top_logprobs),
    Known("JSON beside tools", "left out and recorded on 2.x", PAGE, config_less("response_format")),
    Known("penalties", "left out and recorded", PAGE, config_less("presence_penalty", "frequency_penalty")),
    Known("how much to think", "OpenAI's levels have no numbers", PAGE, thinking),
)
