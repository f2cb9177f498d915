"""Bodies that stock clients sent and that went wrong, each with what is wanted of it on the lane of Claude."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.losses import TOLD
from proxy_plugin.providers.formats.openai.responses_chat import to_chat
from proxy_plugin.providers.lanes.anthropic.lane import ANTHROPIC
from tests.unit.formats.anthropic_lines import HELLO, Json, body, noting
from tests.unit.formats.schema_lines import PATH, closed, enforced, refused, sent

SONNET = "claude-sonnet-4-5"
TEXT = {"type": "string"}
N = {"type": "object", "properties": {"v": TEXT}, "required": ["v"], "additionalProperties": False}

# Schemas that the provider refuses hours later: under the switch they are rewritten, or asked for in words.
HOURS_LATER: dict[str, tuple[Json, bool]] = {
    "recursive": ({"$ref": "#/$defs/N", "$defs": {"N": closed(v=TEXT, k={"$ref": "#/$defs/N"})}}, False),
    "recursive at the root": (closed(v=TEXT, kids={"type": "array", "items": {"$ref": "#"}}), False),
    "unique": (closed(t={"type": "array", "items": TEXT, "uniqueItems": True}), True),
    "enum of objects": (closed(t={"enum": [{"a": 1}]}), False),
    "lookahead": (closed(t={"type": "string", "pattern": r"^(?=.*\d)[a-z0-9]+$"}), True),
    "pattern properties": (
        {"type": "object", "patternProperties": {"^k": TEXT}, "additionalProperties": False},
        False,
    ),
    "reference to the outside": (closed(t={"$ref": "https://example.org/s.json"}), False),
    "30 optional": ({**closed(**{f"f{number}": TEXT for number in range(30)}), "required": []}, False),
    "oneOf": (closed(t={"oneOf": [TEXT, {"type": "integer"}]}), True),
    "open object": (closed(id=TEXT, extra={"type": "object"}), False),
    "dictionary": (closed(counts={"type": "object", "additionalProperties": {"type": "integer"}}), False),
}


@pytest.mark.parametrize("name", HOURS_LATER)
def test_schemas_that_were_refused_hours_later(name: str) -> None:
    schema, rewritten = HOURS_LATER[name]
    assert str(refused(schema, model=SONNET).param).startswith(PATH)
    params, names = sent(schema, drop=True, model=SONNET)
    assert ("output_config" in params) == rewritten
    assert names
    assert (f"response_format={TOLD}" in names) != rewritten


def test_a_reference_in_an_all_of_of_one() -> None:
    schema = {**closed(x={"allOf": [{"$ref": "#/$defs/C"}], "description": "d"}), "$defs": {"C": {"enum": ["r", "g"]}}}
    found, noted = enforced(schema)
    assert (found["properties"]["x"], noted) == ({"$ref": "#/$defs/C"}, ())


def test_a_tool_that_chooses_at_the_top() -> None:
    schema = {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": TEXT}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    with pytest.raises(LineRejected) as caught:
        to_messages(body(SONNET, tools=tools), model=None, drop_params=False)
    assert caught.value.param == "tools[0].function.parameters.anyOf"


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"max_tokens": 4000, "output_config": {"effort": "low"}},
        {"max_tokens": 4000, "web_search_options": {"search_context_size": "low"}},
    ],
)
def test_the_providers_own_fields(options: Json) -> None:
    params, _ = noting(SONNET, **options)
    assert params["max_tokens"] == 4000
    assert params.keys() & {"thinking", "output_config", "tools"}


def test_a_later_system_message() -> None:
    messages: list[Json] = [
        {"role": "system", "content": "Be terse."},
        *({"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}, {"role": "user", "content": "q2"}),
        {"role": "system", "content": "From now on answer in French."},
    ]
    params, noted = noting("claude-opus-4-8", messages)
    assert (params["system"], params["messages"], noted) == ("Be terse.", messages[1:], ())
    assert noting(SONNET, messages)[1] == ("messages[]=first",)


def test_an_answer_comes_back_with_its_reasoning() -> None:
    answer = {"role": "assistant", "content": "a", "refusal": None, "reasoning_content": "thoughts"}
    params, noted = noting(SONNET, [*HELLO, answer, *HELLO])
    assert params["messages"][1] == {"role": "assistant", "content": "a"}
    assert noted == ("messages[].reasoning_content",)


def test_what_agent_kits_include() -> None:
    line = json.dumps({"model": SONNET, "input": "hi", "include": ["reasoning.encrypted_content"]}).encode()
    chat = to_chat(line, drop_params=False)
    assert chat.dropped == ("include[]",)
    assert json.loads(to_messages(chat.body, model=None, drop_params=False).body)["messages"] == HELLO


def test_half_an_emoji_at_the_end_of_a_line() -> None:
    messages = [{"role": "user", "content": "great \ud83d"}]
    params, noted = noting("claude-haiku-4-5", messages, max_tokens=5)
    assert params["messages"][0]["content"] == "great \ufffd"
    assert noted == ("messages[].content=U+FFFD",)


def test_a_paid_answer_whose_id_is_half_a_character() -> None:
    message = {"id": "\ud83d", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "paid"}]}
    line = json.dumps({"custom_id": "c", "result": {"type": "succeeded", "message": message}}).encode()
    row = ANTHROPIC.row(line, "results.jsonl", "/v1/chat/completions")
    assert row is not None
    assert row.ok
    assert b'"content":"paid"' in (row.response or b"")
