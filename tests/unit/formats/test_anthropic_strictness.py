"""What all strict schemas of a line may hold together, and the input schemas of tools, strict or not."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.losses import TOLD
from tests.unit.formats.anthropic_lines import HAIKU, OPUS_4_6, Json, body
from tests.unit.formats.schema_lines import PATH, TEXT, closed, enforced, line, refused, sent


def tool(name: str, schema: Json, **more: object) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": schema, "strict": True, **more}}


def optional(count: int) -> Json:
    return {**closed(**{f"f{number}": TEXT for number in range(count)}), "required": []}


def unions(count: int) -> Json:
    return closed(**{f"f{number}": {"type": ["string", "null"]} for number in range(count)})


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (optional(25), "24 members that are not required"),
        (optional(400), "24 members that are not required"),
        (closed(a=optional(12), b=optional(13)), "24 members that are not required"),
        ({**closed(a={"$ref": "#/$defs/A"}), "$defs": {"A": optional(25)}}, "24 members that are not required"),
        (closed(a={"type": "array", "items": optional(25)}), "24 members that are not required"),
        (unions(17), "16 members of several types"),
        (closed(**{f"f{n}": {"anyOf": [TEXT, {"type": "null"}]} for n in range(17)}), "16 members of several types"),
        (closed(a=unions(8), b=unions(9)), "16 members of several types"),
    ],
)
def test_a_schema_beyond_the_bounds_is_refused_or_told(schema: Json, word: str) -> None:
    error = refused(schema)
    assert (error.param, word in error.message) == (PATH, True)
    params, names = sent(schema, drop=True)
    assert names == (f"response_format={TOLD}",)
    assert "output_config" not in params


@pytest.mark.parametrize("schema", [optional(24), unions(16), closed(a=optional(24), b=unions(15))])
def test_a_schema_within_the_bounds_is_enforced(schema: Json) -> None:
    assert enforced(schema) == (schema, ())


@pytest.mark.parametrize(
    ("schemas", "strict"),
    [
        ([closed(a=TEXT)] * 21, 20),
        ([closed(a=TEXT)] * 40, 20),
        ([optional(20), optional(5)], 1),
        ([optional(12), optional(12), optional(1)], 2),
        ([optional(12), optional(13), optional(1)], 2),
        ([unions(16), unions(1)], 1),
        ([unions(17)], 0),
        ([optional(25), closed(a=TEXT)], 1),
    ],
)
def test_tools_beyond_the_bounds_are_not_strict(schemas: list[Json], strict: int) -> None:
    tools = [tool(f"t{number}", schema) for number, schema in enumerate(schemas)]
    with pytest.raises(LineRejected, match="Anthropic enforces at most") as caught:
        to_messages(body(tools=tools), model=None, drop_params=False)
    assert str(caught.value.param).endswith(".function.strict")
    translated = to_messages(body(tools=tools), model=None, drop_params=True)
    found = json.loads(translated.body)["tools"]
    assert (len(found), sum("strict" in each for each in found)) == (len(tools), strict)
    assert translated.dropped == ("tools[].function.strict",)


def test_the_answer_and_the_tools_share_the_bounds() -> None:
    free = {"type": "function", "function": {"name": "free", "parameters": optional(99)}}
    translated = to_messages(line(optional(20), tools=[tool("a", optional(4)), free]), model=None, drop_params=False)
    assert json.loads(translated.body)["tools"][0]["strict"] is True
    assert refused(optional(20), tools=[tool("a", optional(5))]).param == "tools[0].function.strict"


# ---- tools ----


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": TEXT, "properties": {"a": TEXT}},
        closed(a={"type": "object"}),
        closed(a={"$ref": "#"}),
        closed(a={}),
        closed(a={"$ref": "https://example.org/s"}),
        closed(a={"enum": [[1]]}),
        {"type": "object", "patternProperties": {"a": TEXT}, "additionalProperties": False},
    ],
)
def test_a_tool_that_cannot_be_enforced_is_an_ordinary_one_under_the_switch(schema: Json) -> None:
    with pytest.raises(LineRejected, match=r"tools\[0\].function.parameters"):
        to_messages(body(tools=[tool("a", schema)]), model=None, drop_params=False)
    translated = to_messages(body(tools=[tool("a", schema)]), model=None, drop_params=True)
    assert json.loads(translated.body)["tools"] == [{"name": "a", "input_schema": schema}]
    assert translated.dropped == ("tools[].function.strict",)


@pytest.mark.parametrize("schema", [None, {}, {"type": "object", "properties": {}}])
def test_a_strict_tool_without_parameters_takes_none(schema: object) -> None:
    function = {"name": "a", "parameters": schema, "strict": True}
    translated = to_messages(body(tools=[{"type": "function", "function": function}]), model=None, drop_params=False)
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    assert json.loads(translated.body)["tools"] == [{"name": "a", "strict": True, "input_schema": nothing}]


def test_only_strict_tools_are_held_to_it() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}, "o": {"type": "object"}}}
    free = {"type": "function", "function": {"name": "look", "parameters": schema}}
    params = json.loads(to_messages(body(tools=[free]), model=None, drop_params=False).body)
    assert params["tools"][0]["input_schema"] == schema


AT_TOP: list[Json] = [
    {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": TEXT, "b": TEXT}},
    {"anyOf": [closed(a=TEXT), closed(b=TEXT)]},
    {"oneOf": [closed(a=TEXT), closed(b=TEXT)]},
    {"type": "object", "oneOf": [{"required": ["a"]}]},
    {"allOf": [closed(a=TEXT), closed(b=TEXT)]},
    {"type": "object", "properties": {"a": TEXT}, "allOf": [{"required": ["a"]}, {"minProperties": 1}]},
    {"$ref": "#/$defs/U", "$defs": {"U": {"anyOf": [closed(a=TEXT), closed(b=TEXT)]}}},
    {"allOf": [{"oneOf": [closed(a=TEXT), closed(b=TEXT)]}]},
]


@pytest.mark.parametrize("schema", AT_TOP)
@pytest.mark.parametrize("model", [HAIKU, OPUS_4_6])
def test_no_tool_may_choose_at_the_top(schema: Json, model: str) -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "Does it.", "parameters": schema}}]
    with pytest.raises(LineRejected, match="not at the top") as caught:
        to_messages(body(model, tools=tools), model=None, drop_params=False)
    word = str(caught.value.param).removeprefix("tools[0].function.parameters.")
    assert word in ("anyOf", "oneOf", "allOf")
    translated = to_messages(body(model, tools=tools), model=None, drop_params=True)
    (found,) = json.loads(translated.body)["tools"]
    assert found["input_schema"]["type"] == "object"
    assert not {"anyOf", "oneOf", "allOf", "$ref"} & found["input_schema"].keys()
    assert found["description"].startswith("Does it.\n\nThe input has to satisfy")
    assert translated.dropped == (f"tools[].function.parameters.{word}={TOLD}",)


@pytest.mark.parametrize("name", ["a b", "ä", "", "x" * 65, "a/b", "$a", "a[0]", "a:b"])
def test_names_of_a_tools_members_that_the_api_refuses(name: str) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {name: TEXT}}}}]
    with pytest.raises(LineRejected, match="names must be 1 to 64") as caught:
        to_messages(body(tools=tools), model=None, drop_params=True)
    assert caught.value.param == "tools[0].function.parameters.properties"
