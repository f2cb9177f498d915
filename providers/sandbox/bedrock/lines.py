"""Lines and records of Bedrock's batches. Shapes: the project's reference page of Bedrock, sections 3, 4 and 10."""

import json
from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.sandbox.answers import Style, answer, usage
from proxy_plugin.providers.sandbox.anthropic.messages import message
from proxy_plugin.providers.sandbox.kit.lines import JSON, Bad, Form, Outcome, dumps
from proxy_plugin.providers.sandbox.openai.bodies import DIMENSIONS, vector

CHAT, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/messages", "/v1/embeddings"
FORBIDDEN = frozenset({"model", "modelId", "stream"})


class Records(Form):
    """A line is `{"recordId", "modelInput"}`. Whether a body fits its model shows only when it runs."""

    def check(self, line: JSON, order: JSON) -> None:
        if set(line) != {"recordId", "modelInput"} or not isinstance(line["modelInput"], dict):
            raise Bad("a record has a recordId and a modelInput")
        if not isinstance(line["recordId"], str) or not line["recordId"].isalnum():
            raise Bad("recordId must be an alphanumeric string")
        del order

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        body = {**line["modelInput"], "_type": order.get("modelInvocationType", "InvokeModel")}
        body["_model"] = order.get("modelId", "")
        if "inputText" in body or "texts" in body:
            return EMBEDDINGS, {**body, "input": body.get("inputText") or body["texts"]}
        return MESSAGES if "messages" in body else CHAT, body

    def named(self, line: JSON) -> str:
        return str(line.get("recordId") or "")

    def answer(self, endpoint: str, body: JSON, identity: str, created: int, style: Style) -> JSON:
        """What the model answers in its own format, which is known by the body's."""
        if endpoint == EMBEDDINGS:
            return _embedded(body)
        if "prompt" in body:
            found = answer(CHAT, body, style)
            counted = {"prompt_token_count": found.input_tokens, "generation_token_count": found.output_tokens}
            return {"generation": found.text, "stop_reason": "length" if found.cut else "stop", **counted}
        if body["_type"] == "Converse" or "schemaVersion" in body or "inferenceConfig" in body:
            if body["_type"] == "Converse" and "toolConfig" in body:
                return Refusal("toolConfig is not supported in batch inference")
            return conversed(body, identity, style)
        if "anthropic_version" in body:
            return _claude(body, identity, style)
        return super().answer(CHAT, {**body, "model": body["_model"]}, identity, created, style)

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        """What did not run has no record."""
        del identity
        if not outcome.status:
            return b""
        if outcome.well and not isinstance(outcome.body, Refusal):
            return dumps({"recordId": custom_id, "modelOutput": outcome.body})
        status, words = (400, outcome.body.words) if isinstance(outcome.body, Refusal) else outcome[:2]
        return dumps({"recordId": custom_id, "error": {"errorCode": status, "errorMessage": words}})

    def result_of(self, line: JSON, order: JSON, identity: str, outcome: Outcome) -> bytes:
        """The record with its input, which comes back."""
        head, comma, rest = super().result_of(line, order, identity, outcome).partition(b",")
        return b'%b,"modelInput":%b,%b' % (head, dumps(line["modelInput"]), rest) if comma else head


class OpenLines(Form):
    """A line is OpenAI's own, and so is a row."""

    def check(self, line: JSON, order: JSON) -> None:
        if set(line) != {"custom_id", "method", "url", "body"} or line["url"] != order["endpoint"]:
            raise Bad("a line has custom_id, method, url and body, and the url of its batch")
        if not isinstance(line["body"], dict) or {"tools", "response_format"} & set(line["body"]):
            raise Bad("body: no tools and no response_format in batches")

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        return CHAT, {**line["body"], "model": order["model"]}

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        if not outcome.status:
            return b""
        error = {"error": {"message": outcome.words, "type": "invalid_request_error", "code": None, "param": None}}
        body = outcome.body if outcome.well else error
        response = {"status_code": outcome.status, "request_id": f"req-{identity}", "body": body}
        return dumps({"id": f"batch_req_{identity}", "custom_id": custom_id, "response": response, "error": None})


class Refusal(dict[str, Any]):
    """What the model says instead of an answer."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words


def _embedded(body: JSON) -> dict[str, Any]:
    if "texts" in body:
        vectors = {"float": [vector(text, DIMENSIONS) for text in body["texts"]]}
        return {"embeddings": vectors, "response_type": "embeddings_by_type", "texts": body["texts"]}
    found = vector(body["inputText"], DIMENSIONS)
    return {"embedding": found, "embeddingsByType": {"float": found}, "inputTextTokenCount": 3}


def _claude(body: JSON, identity: str, style: Style) -> dict[str, Any]:
    if extra := FORBIDDEN & set(body):
        return Refusal(f"{min(extra)}: Extra inputs are not permitted")
    return message({**body, "model": str(body["_model"]).split("anthropic.")[-1]}, identity, style)


def conversed(body: JSON, identity: str, style: Style) -> dict[str, Any]:
    """An answer of Converse, which is Nova's too. Raises `UnknownMarker`."""
    found = answer(MESSAGES, {**body, "max_tokens": body.get("inferenceConfig", {}).get("maxTokens")}, style)
    said: Mapping[str, Any] = {"text": found.text or found.refusal or ""}
    if found.tool:
        call = {"toolUseId": f"tooluse_{identity}", "name": found.tool.name, "input": json.loads(found.tool.arguments)}
        said = {"toolUse": call}
    spent = usage(MESSAGES, found)
    counts = {"inputTokens": spent["input_tokens"], "outputTokens": spent["output_tokens"]}
    whole = {"role": "assistant", "content": [said]}
    return {
        "output": {"message": whole},
        "stopReason": "tool_use" if found.tool else "max_tokens" if found.cut else "end_turn",
        "usage": {**counts, "totalTokens": sum(counts.values())},
        "metrics": {"latencyMs": 1 + len(identity)},
    }
