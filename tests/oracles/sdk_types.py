"""The official SDKs' own types as judges of native bodies.

anthropic: TypedDicts, by pydantic; what they do not know is found as missing in what they give back.
openai: the same for chat bodies, and its models for the answers that a caller gets.
google-genai: pydantic models that forbid unknown members. botocore: the service model of Converse.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.oracles.meaning import Json, flat

pydantic: Any = importlib.import_module("pydantic")


UNKNOWN = "unknown to the SDK: "


def lost(given: object, taken: object) -> list[str]:
    """Return the paths of what a lenient type has left out."""
    kept = dict(flat(plain(taken)))
    return [f"{UNKNOWN}{path}" for path, _ in flat(given) if path not in kept]


def plain(value: object) -> object:
    """Return JSON values; pydantic gives back iterators where an SDK says Iterable."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple) or hasattr(value, "__next__"):
        return [plain(inner) for inner in value]  # type: ignore[attr-defined]
    return value


def told(error: Any) -> Iterator[str]:
    """Yield what a ValidationError says, without the values."""
    for each in error.errors(include_input=False, include_url=False):
        yield f"{'.'.join(map(str, each['loc']))}: {each['msg']}"


@cache
def _anthropic_params() -> Any:
    module = importlib.import_module("anthropic.types.message_create_params")
    return pydantic.TypeAdapter(module.MessageCreateParamsNonStreaming)


# Gone from the SDK's types since 2.0; version 2023-06-01 of the API, which the lane pins, has them.
SAMPLING = ("temperature", "top_p", "top_k")


def anthropic_complaints(body: Json) -> list[str]:
    """Check the params of a message."""
    given = {key: value for key, value in body.items() if key not in SAMPLING}
    try:
        taken = plain(_anthropic_params().validate_python(given))
    except pydantic.ValidationError as error:
        return list(told(error))
    return lost(given, taken)


@cache
def _chat_params() -> Any:
    module = importlib.import_module("openai.types.chat.completion_create_params")
    return pydantic.TypeAdapter(module.CompletionCreateParamsNonStreaming)


def openai_complaints(body: Json) -> list[str]:
    """Check a chat body; the model may be missing, where the address names it."""
    given = {"model": "m", **body}
    try:
        taken = plain(_chat_params().validate_python(given))
    except pydantic.ValidationError as error:
        return list(told(error))
    return lost(given, taken)


def _read_as(module: str, name: str, body: Json) -> list[str]:
    try:
        getattr(importlib.import_module(module), name).model_validate(body)
    except pydantic.ValidationError as error:
        return list(told(error))
    return []


def completion_complaints(body: Json) -> list[str]:
    """Check an answer to a chat body."""
    return _read_as("openai.types.chat", "ChatCompletion", body)


def response_complaints(body: Json) -> list[str]:
    """Check an answer to a Responses body."""
    return _read_as("openai.types.responses", "Response", body)


def embedding_answer_complaints(body: Json) -> list[str]:
    """Check a list of embeddings; base64 is decoded by the SDK's client before its type is asked."""
    data = [{**each, "embedding": []} if isinstance(each["embedding"], str) else each for each in body["data"]]
    return _read_as("openai.types", "CreateEmbeddingResponse", {**body, "data": data})


def _adapter(many: Any, one: Any) -> Any:
    return pydantic.TypeAdapter(many[one])


@cache
def _gemini_types() -> dict[str, Any]:
    types: Any = importlib.import_module("google.genai.types")
    return {
        "contents": _adapter(list, types.Content),
        "systemInstruction": pydantic.TypeAdapter(types.Content),
        "generationConfig": pydantic.TypeAdapter(types.GenerationConfig),
        "tools": _adapter(list, types.Tool),
        "toolConfig": pydantic.TypeAdapter(types.ToolConfig),
        "safetySettings": _adapter(list, types.SafetySetting),
    }


def gemini_complaints(body: Json) -> list[str]:
    """Check a generateContent request, member by member: the SDK has no type for the whole."""
    known, found = _gemini_types(), []
    for key, value in body.items():
        if key not in known:
            found.append(f"{UNKNOWN}{key}")
            continue
        try:
            known[key].validate_json(json.dumps(value))
        except pydantic.ValidationError as error:
            found += [f"{key}.{each}" for each in told(error)]
    return found


def cloud_claude_complaints(body: Json) -> list[str]:
    """Check a Claude body of a cloud's: params of a message, with a version in place of the model."""
    bare = {key: value for key, value in body.items() if key not in ("anthropic_version", "anthropic_beta")}
    found = anthropic_complaints({**bare, "model": "claude"})
    return found + [f"{key}: not there" for key in ("anthropic_version",) if key not in body]


@cache
def _converse_input() -> Any:
    loaded = importlib.import_module("botocore.loaders").Loader().load_service_model("bedrock-runtime", "service-2")
    model = importlib.import_module("botocore.model").ServiceModel(loaded)
    return model.operation_model("Converse").input_shape


def converse_complaints(body: Json) -> list[str]:
    """Check a Converse body; its model is in the address."""
    report = (
        importlib.import_module("botocore.validate")
        .ParamValidator()
        .validate({**body, "modelId": "m"}, _converse_input())
    )
    return [line for line in report.generate_report().splitlines() if line]


def nova_complaints(body: Json) -> list[str]:
    """Check a Nova body: what Converse takes, but for a version, `topK` and the reasoning beside."""
    bare = {key: value for key, value in body.items() if key not in ("schemaVersion", "reasoningConfig")}
    if "inferenceConfig" in bare:
        bare["inferenceConfig"] = {key: value for key, value in bare["inferenceConfig"].items() if key != "topK"}
    version = [] if body.get("schemaVersion") == "messages-v1" else ["schemaVersion: not messages-v1"]
    return version + converse_complaints(bare)


def gemini_embedding_complaints(body: Json) -> list[str]:
    """Check a request for one embedding: a content, and beside it what the SDK's configuration knows."""
    types: Any = importlib.import_module("google.genai.types")
    options = {key: value for key, value in body.items() if key not in ("content", "embed_content_config")}
    options |= body.get("embed_content_config", {})
    try:
        types.Content.model_validate_json(json.dumps(body["content"]))
        types.EmbedContentConfig.model_validate_json(json.dumps(options))
    except pydantic.ValidationError as error:
        return list(told(error))
    return []
