"""What is wrong with the params of one request shows only in its result, as `errored`, and disturbs no other."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox

Make = Callable[..., Any]
Params = dict[str, Any]

OLD, NEW = "2023-06-01", "2026-10-21"
PNG = base64.b64encode(b"\x89PNG").decode()
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
ASKS = {"role": "user", "content": "hi"}
USES = {"role": "assistant", "content": [{"type": "tool_use", "id": "t_1", "name": "f", "input": {}}]}
GIVES = {"type": "tool_result", "tool_use_id": "t_1", "content": "42"}
SAYS = {"type": "text", "text": "so?"}
MODERN = "claude-opus-4-7"


def user(*blocks: Any) -> Params:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def turns(*messages: Any) -> Params:
    return {"messages": list(messages)}


def image(**source: Any) -> Params:
    return user({"type": "image", "source": source}, SAYS)


BAD: Mapping[str, tuple[Params, str]] = {
    "no max_tokens": ({"max_tokens": ...}, "max_tokens: Field required"),
    "no model": ({"model": ...}, "model: Field required"),
    "no messages": ({"messages": ...}, "messages: Field required"),
    "max_tokens 0": ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    "max_tokens true": ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    "max_tokens text": ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    "too many tokens": ({"max_tokens": 64_001}, "max_tokens: 64001 > 64000, which is the maximum allowed number"),
    "stream": ({"stream": True}, "stream: "),
    "speed": ({"speed": "fast"}, "speed: "),
    "unknown": ({"max_completion_tokens": 9}, "max_completion_tokens: Extra inputs are not permitted"),
    "store": ({"store": True}, "store: Extra inputs are not permitted"),
    "null": ({"tools": None}, "tools: Input should not be null"),
    "temperature": ({"temperature": 1.1}, "temperature: range: 0..1"),
    "temperature text": ({"temperature": "1"}, "temperature: Input should be a valid number"),
    "two samplers": ({"temperature": 0.5, "top_p": 0.5}, "`temperature` and `top_p` cannot both be specified"),
    "modern sampler": ({"model": MODERN, "top_p": 0.5}, "`top_p` is deprecated for this model."),
    "modern budget": (
        {"model": MODERN, "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
        "thinking.type: 'enabled' is not supported for this model",
    ),
    "modern prefill": ({"model": MODERN, **turns(ASKS, {"role": "assistant", "content": "{"})}, "This model does not"),
    "small budget": ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens: Input should"),
    "large budget": ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "`max_tokens` must be greater than"),
    "no budget": ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens: Field required"),
    "a budget too many": ({"thinking": {"type": "adaptive", "budget_tokens": 1024}}, "thinking.budget_tokens: Extra"),
    "thinking and forced tool": (
        {"thinking": {"type": "adaptive"}, "tools": [TOOL], "tool_choice": {"type": "any"}},
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "no message": (turns(), "messages: at least one message is required"),
    "messages text": ({"messages": "hi"}, "messages: Input should be a valid list"),
    "role tool": (turns({"role": "tool", "content": "42"}), "messages.0.role: Input should be 'user' or 'assistant'"),
    "role system": (turns({"role": "system", "content": "be terse"}, ASKS), 'messages: Unexpected role "system".'),
    "assistant first": (turns({"role": "assistant", "content": "hi"}, ASKS), "messages: first message must use"),
    "a name": (turns({**ASKS, "name": "bob"}), "messages.0.name: Extra inputs are not permitted"),
    "no content": (turns({"role": "user"}), "messages.0.content: Field required"),
    "null content": (turns({"role": "user", "content": None}), "messages.0.content: Input should be a valid list"),
    "empty content": (turns({"role": "user", "content": ""}), "messages.0: all messages must have non-empty content"),
    "no blocks": (user(), "messages.0: all messages must have non-empty content"),
    "empty text": (user({"type": "text", "text": ""}, SAYS), "messages: text content blocks must be non-empty"),
    "empty system text": ({"system": [{"type": "text", "text": ""}]}, "messages: text content blocks must be"),
    "system image": ({"system": [{"type": "image", "source": {}}]}, "system.0: `image` blocks are not permitted"),
    "system list of text": ({"system": ["be terse"]}, "system.0: Input should be an object"),
    "foreign block": (user({"type": "image_url", "image_url": {}}), "messages.0.content.0: Input tag 'image_url'"),
    "foreign image": (image(type="base64", media_type="image/bmp", data=PNG), "messages.0.content.0.image.source.base"),
    "broken image": (image(type="base64", media_type="image/png", data="%"), "messages.0.content.0.image.source.base"),
    "local image": (image(type="url", url="file:///etc/passwd"), "messages.0.content.0.image.source.url.url: Only"),
    "data image": (image(type="url", url=f"data:image/png;base64,{PNG}"), "messages.0.content.0.image.source.url.url"),
    "detail of image": (image(type="url", url="https://x.org/a", detail="low"), "messages.0.content.0.image.source.u"),
    "cache": (user({**SAYS, "cache_control": {"type": "ephemeral", "ttl": "2h"}}), "messages.0.content.0.text.cache_"),
    "tool id": (
        turns(ASKS, {"role": "assistant", "content": [{**USES["content"][0], "id": "call.1"}]}),  # type: ignore[dict-item]
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    "tool result id": (user({**GIVES, "tool_use_id": "a b"}), "messages.0.content.0.tool_result.tool_use_id: String"),
    "tool input text": (
        turns(ASKS, {"role": "assistant", "content": [{**USES["content"][0], "input": "{}"}]}),  # type: ignore[dict-item]
        "messages.1.content.0.tool_use.input: Input should be an object",
    ),
    "unasked result": (
        user(GIVES),
        "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t_1",
    ),
    "late result": (
        turns(ASKS, USES, {"role": "user", "content": [SAYS, GIVES]}),
        "messages.2.content.1: `tool_result` blocks must come before all other content",
    ),
    "second result": (turns(ASKS, USES, {"role": "user", "content": [GIVES, GIVES]}), "messages.2.content.1: unexpect"),
    "unanswered": (turns(ASKS, USES, ASKS), "messages.1.content.0: `tool_use` ids were found without `tool_result`"),
    "unanswered at the end": (turns(ASKS, USES), "messages.1.content.0: `tool_use` ids were found without"),
    "same tool id": (turns(ASKS, USES, USES, {"role": "user", "content": [GIVES]}), "messages: `tool_use` ids must be"),
    "user uses tool": (user(USES["content"][0]), "messages.0.content.0: `tool_use` blocks are not permitted in `user`"),
    "openai tool": ({"tools": [{"type": "function", "function": TOOL}]}, "tools.0.name: Field required"),
    "no schema": ({"tools": [{"name": "f"}]}, "tools.0.input_schema: Field required"),
    "untyped schema": ({"tools": [{"name": "f", "input_schema": {}}]}, "tools.0.input_schema.type: Field required"),
    "parameters": ({"tools": [{**TOOL, "parameters": {}}]}, "tools.0.parameters: Extra inputs are not permitted"),
    "same tools": ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    "choice without tools": ({"tool_choice": {"type": "auto"}}, "tool_choice: may only be specified while providing"),
    "openai choice": ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: Input should be an object"),
    "required": ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice.type: Input should be 'auto'"),
    "unknown choice": ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name: must be"),
    "stop": ({"stop_sequences": ["END", " \n"]}, "stop_sequences: each stop sequence must contain non-whitespace"),
    "stop text": ({"stop_sequences": "END"}, "stop_sequences: Input should be a valid list"),
    "metadata": ({"metadata": {"team": "a"}}, "metadata.team: Extra inputs are not permitted"),
    "service tier": ({"service_tier": "flex"}, "service_tier: Input should be 'auto', 'standard_only'"),
    "effort": ({"output_config": {"effort": "minimal"}}, "output_config.effort: Input should be 'low', 'medium'"),
    "json_object": ({"output_config": {"format": {"type": "json_object", "schema": {}}}}, "output_config.format.type"),
    "named schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": {}, "name": "x"}}},
        "output_config.format.name: Extra inputs are not permitted",
    ),
    "marker": (user({"type": "text", "text": "[[sandbox:dance]]"}), "The sandbox knows no marker dance."),
}

GOOD: Mapping[str, Params] = {
    "plain": {},
    "most tokens": {"max_tokens": 64_000},
    "no stream": {"stream": False},
    "system text": {"system": "be terse"},
    "system blocks": {"system": [{**SAYS, "cache_control": {"type": "ephemeral"}}]},
    "sampler": {"temperature": 0, "top_k": 5},
    "old samplers": {"model": "claude-opus-4-20250514", "temperature": 1.0, "top_p": 0.9},
    "consecutive": turns(
        ASKS, ASKS, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, ASKS
    ),
    "prefill": turns(ASKS, {"role": "assistant", "content": "{"}),
    "tool round": turns(ASKS, USES, {"role": "user", "content": [GIVES, SAYS]}),
    "split tool round": turns(ASKS, USES, {"role": "user", "content": [GIVES]}, ASKS),
    "result blocks": turns(ASKS, USES, {"role": "user", "content": [{**GIVES, "content": [SAYS], "is_error": True}]}),
    "images": user(
        {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}},
    ),
    "thoughts": turns(
        ASKS,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "?", "signature": "c2ln"}, SAYS]},
        ASKS,
    ),
    "tools": {"tools": [{**TOOL, "strict": True}], "tool_choice": {"type": "none"}},
    "server tool": {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]},
    "the rest": {
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "service_tier": "standard_only",
        "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    },
    "modern thinking": {"model": MODERN, "thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
}


def request(name: str, number: int, change: Params, ask: Make) -> Params:
    made: Params = ask(f"{name.replace(' ', '-')}_{number}")
    params = made["params"] | change
    made["params"] = {key: value for key, value in params.items() if value is not ...}
    return made


def outcomes(cases: Mapping[str, Params], version: str, ask: Make, answered: Make, **more: Any) -> Mapping[str, Any]:
    """Results by the name of the case, all from one batch."""
    headers = {"anthropic-version": version, **more}
    names = {request(name, number, {}, ask)["custom_id"]: name for number, name in enumerate(cases)}
    requests = [request(name, number, change, ask) for number, (name, change) in enumerate(cases.items())]
    return {names[custom_id]: result for custom_id, result in answered(requests, extra_headers=headers).items()}


def error_of(result: Params) -> tuple[str, str]:
    """Type and message of an errored result, which is nested twice and has empty details."""
    assert result["type"] == "errored", result
    envelope = result["error"]
    assert (envelope["type"], envelope["request_id"], envelope["error"]["details"]) == ("error", None, {})
    return envelope["error"]["type"], envelope["error"]["message"]


def test_bad_params_end_as_errored_rows(ask: Make, answered: Make) -> None:
    found = outcomes({name: change for name, (change, _) in BAD.items()}, OLD, ask, answered)
    errors = {name: error_of(result) for name, result in found.items()}
    assert {kind for kind, _ in errors.values()} == {"invalid_request_error"}
    wrong = {name: errors[name][1] for name, (_, said) in BAD.items() if not errors[name][1].startswith(said)}
    assert wrong == {}


def test_good_params_succeed(ask: Make, answered: Make) -> None:
    found = outcomes(GOOD, OLD, ask, answered)
    assert {name: result for name, result in found.items() if result["type"] != "succeeded"} == {}
    assert found.keys() == GOOD.keys()


def test_bad_requests_run_beside_good_ones_and_are_not_paid(sandbox: Sandbox, ask: Make, answered: Make) -> None:
    found = outcomes({"good": {}, "bad": {"max_tokens": 0}, "fine": {}}, OLD, ask, answered)
    assert {name: result["type"] for name, result in found.items()} == {
        "good": "succeeded",
        "bad": "errored",
        "fine": "succeeded",
    }
    (job,) = sandbox.control.jobs()
    assert (job["lines"], job["lines_run"]) == (3, 2)
    assert job["counts"] == {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0}


@pytest.mark.parametrize("model", ["no-such-model", "gpt-4.1-nano", "claude-retired"])
def test_unknown_models_are_not_found(sandbox: Sandbox, ask: Make, answered: Make, model: str) -> None:
    sandbox.control.options("anthropic", unknown_models=["claude-retired"])
    found = outcomes({"a": {"model": model}, "b": {}}, OLD, ask, answered)
    assert error_of(found["a"]) == ("not_found_error", f"model: {model}")
    assert found["b"]["type"] == "succeeded"


def test_the_newer_version_knows_less_and_more(ask: Make, answered: Make) -> None:
    document = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
    cited = {**SAYS, "citations": [{"type": "char_location"}]}
    cases: Mapping[str, Params] = {
        "temperature": {"temperature": 1},
        "top_p": {"top_p": 1},
        "top_k": {"top_k": 1},
        "document": turns(ASKS, {"role": "assistant", "content": [document]}, ASKS),
        "citations": user(cited),
        "system": turns(ASKS, {"role": "system", "content": "be terse"}, ASKS),
        "user document": user(document),
    }
    old, new = (outcomes(cases, version, ask, answered) for version in (OLD, NEW))
    assert {name for name, result in old.items() if result["type"] == "errored"} == {"system"}
    assert {name for name, result in new.items() if result["type"] == "errored"} == {
        *("temperature", "top_p", "top_k", "document", "citations"),
    }
    assert error_of(new["temperature"]) == ("invalid_request_error", "temperature: Extra inputs are not permitted")


def test_limits_of_output_depend_on_model_and_beta(sandbox: Sandbox, ask: Make, answered: Make) -> None:
    sandbox.control.options("anthropic", model_output_tokens={"claude-small": 100})
    cases: Mapping[str, Params] = {
        "small": {"model": "claude-small", "max_tokens": 101},
        "large": {"max_tokens": 300_000},
        "huge": {"max_tokens": 300_001},
    }
    plain = outcomes(cases, OLD, ask, answered)
    assert {result["type"] for result in plain.values()} == {"errored"}
    beta = {"anthropic-beta": "something-else, output-300k-2026-03-24"}
    long = outcomes(cases, OLD, ask, answered, **beta)
    assert {name: result["type"] for name, result in long.items()} == {
        "small": "succeeded",
        "large": "succeeded",
        "huge": "errored",
    }
