"""Lines and rows of Mistral's batches. Shapes: the project's reference page, types of the official SDK 3.7."""

import json
from typing import Any

from proxy_plugin.providers.sandbox.kit.lines import JSON, Bad, Form, Outcome, dumps

CHAT, EMBEDDINGS, MODERATIONS = "/v1/chat/completions", "/v1/embeddings", "/v1/moderations"
FIM = "/v1/fim/completions"
SCORED = ("categories", "category_scores")  # all that a result of moderation has
ROLES = frozenset({"system", "user", "assistant", "tool"})
FIELDS = {  # `ChatCompletionRequest` and `EmbeddingRequest` of the SDK
    CHAT: frozenset(
        {
            *("model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "metadata"),
            *("response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "min_tokens", "n"),
            *("repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs", "top_prompt_logprobs"),
            *("prediction", "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "safe_prompt"),
            "prompt_cache_key",
        }
    ),
    FIM: frozenset(
        {
            *("model", "prompt", "suffix", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed"),
            *("metadata", "min_tokens", "prompt_cache_key"),
        }
    ),
    MODERATIONS: frozenset({"model", "input", "metadata"}),
    EMBEDDINGS: frozenset({"model", "input", "metadata", "output_dimension", "output_dtype", "encoding_format"}),
}


class Lines(Form):
    """A line is `{"custom_id", "body"}`; ids may be left out and doubled. An upload has no endpoint yet."""

    def check(self, line: JSON, order: JSON) -> None:
        if extra := set(line) - {"custom_id", "body"}:
            raise Bad(f"{min(extra)}: Extra inputs are not permitted")
        body = line.get("body")
        if not isinstance(body, dict):
            raise Bad("body: Field required")
        endpoint = order.get("endpoint") or _endpoint(body)
        if extra := set(body) - FIELDS.get(endpoint, set(body)):
            raise Bad(f"body.{min(extra)}: Extra inputs are not permitted")
        if endpoint == CHAT:
            _check_chat(body)
        elif (needed := "prompt" if endpoint == FIM else "input") not in body:
            raise Bad(f"body.{needed}: Field required")

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        body = {**line["body"]}
        if order.get("model"):
            body["model"] = order["model"]
        endpoint = order.get("endpoint") or _endpoint(body)
        if endpoint == FIM:  # answered as a chat is
            said = f"{body['prompt']}|{body.get('suffix') or ''}"
            return CHAT, {"model": body["model"], "messages": [{"role": "user", "content": said}]}
        return endpoint, body

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        """What did not run has no row: none is documented."""
        if not outcome.status:
            return b""
        body: Any = _answer(outcome) if outcome.well else json.dumps(_error(outcome))  # a text: the body is JSON in it
        response = {"status_code": outcome.status, "body": body}
        row = {"id": f"batch-{identity}", "custom_id": custom_id or None, "response": response, "error": None}
        return dumps(row)


def _endpoint(body: JSON) -> str:
    """The endpoint of a line whose job has yet to come."""
    return EMBEDDINGS if "input" in body else FIM if "prompt" in body else CHAT


def _check_chat(body: JSON) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Bad("body.messages: Field required")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Bad("body.messages.role: Input should be 'system', 'user', 'assistant' or 'tool'")
    for name, least, most in (("temperature", 0, 1.5), ("max_tokens", 0, None), ("random_seed", 0, None)):
        given = body.get(name)
        if given is not None and (not isinstance(given, int | float) or given < least or given > (most or given)):
            raise Bad(f"body.{name}: Input should be from {least}{f' to {most}' if most else ''}")


def _answer(outcome: Outcome) -> JSON:
    """An answer as Mistral writes it: less than OpenAI's, and tool calls with ids of nine characters."""
    body = {name: value for name, value in outcome.body.items() if name not in {"service_tier", "system_fingerprint"}}
    if outcome.endpoint == MODERATIONS:
        return {**body, "results": [{name: each[name] for name in SCORED} for each in body["results"]]}
    if outcome.endpoint != CHAT:
        return body
    body["id"] = body["id"].removeprefix("chatcmpl-")
    body["choices"] = [_choice(each) for each in body["choices"]]
    used = body["usage"]
    body["usage"] = {name: used[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return body


def _choice(given: JSON) -> JSON:
    message = given["message"]
    calls = [{**call, "id": call["id"][-9:], "index": 0} for call in message.get("tool_calls", [])]
    content = message["content"] or message.get("refusal") or ""
    said = {"role": "assistant", "content": content, "tool_calls": calls or None}
    return {"index": given["index"], "message": said, "finish_reason": given["finish_reason"]}


def _error(outcome: Outcome) -> JSON:
    kind = "invalid_request_file" if outcome.status < 500 else "internal_server_error"
    code = "3310" if outcome.status < 500 else "3000"
    return {"object": "error", "message": outcome.words, "type": kind, "param": None, "code": code}
