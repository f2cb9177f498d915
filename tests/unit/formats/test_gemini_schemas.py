"""JSON schemas for Gemini: the same meaning in its words, and a note of every word that it passes over."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.formats.gemini.schemas import readable
from proxy_plugin.providers.formats.losses import Losses
from tests.unit.formats.gemini_lines import SCHEMA, config, noting

Json = dict[str, Any]


def read(schema: Json) -> tuple[Json, list[str]]:
    """Return what becomes of a schema, and the notes. The caller's own is not changed."""
    losses, before = Losses(allowed=False, provider="Gemini"), copy.deepcopy(schema)
    made = readable(schema, "s", losses)
    assert schema == before
    return made, list(losses.settled())


def obj(**properties: object) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


SAME: list[Json] = [
    SCHEMA,
    obj(a={"type": ["string", "null"], "enum": ["x", "y"], "title": "t", "description": "d", "default": "x"}),
    obj(a={"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 3}, "minItems": 1, "maxItems": 2}),
    obj(a={"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]}) | {"$defs": {"b": {"type": "string"}}},
    obj(a={"type": "string", "format": "date-time"}, b={"type": "object", "additionalProperties": {"type": "integer"}}),
    obj(pattern={"type": "string"}, oneOf={"type": "string"}, const={"type": "number"}),
    {"$schema": "x", "type": "array", "prefixItems": [{"type": "string"}], "uniqueItems": False},
]


@pytest.mark.parametrize("schema", SAME)
def test_what_gemini_knows_is_sent_as_it_is(schema: Json) -> None:
    made, notes = read(schema)
    assert made is schema
    assert notes == []


PASSED_OVER = [
    ("pattern", "^a$"), ("minLength", 1), ("maxLength", 9), ("exclusiveMinimum", 0), ("exclusiveMaximum", 9),
    ("multipleOf", 2), ("uniqueItems", True), ("contains", {"type": "string"}), ("minProperties", 1),
    ("maxProperties", 2), ("patternProperties", {"^a": {}}), ("propertyNames", {"pattern": "a"}),
    ("not", {"type": "null"}),
    ("if", {}), ("then", {}), ("else", {}), ("dependentRequired", {"a": ["b"]}), ("unevaluatedProperties", False),
    ("allOf", [{"type": "string"}, {"description": "d"}]), ("const", True), ("enum", [True, None]), ("format", "email"),
    ("format", "uuid"), ("enum", [{"a": 1}]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), PASSED_OVER)
def test_what_gemini_passes_over_is_noted_and_sent(name: str, value: object) -> None:
    made, notes = read(obj(a={"type": "array", "items": {"description": "d", name: value}}))
    assert made["properties"]["a"]["items"][name] == value
    assert notes[0] == f"s.properties.items.{name}"
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "string", name: value}}}
    for vertex in (False, True):
        request, dropped = noting(response_format=wanted, vertex=vertex)
        assert dropped[0] == f"response_format.json_schema.schema.{name}"
        assert request["generationConfig"]["responseJsonSchema"][name] == value


REWORDED: list[tuple[Json, Json]] = [
    ({"const": "a"}, {"enum": ["a"]}),
    ({"const": 7, "description": "d"}, {"enum": [7], "description": "d"}),
    ({"const": None}, {"type": "null"}),
    ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
    ({"type": "string", "nullable": False}, {"type": "string"}),
    ({"$ref": "#/$defs/a", "description": "d"}, {"anyOf": [{"$ref": "#/$defs/a"}], "description": "d"}),
    ({"$ref": "#/$defs/a", "$comment": "d"}, {"$ref": "#/$defs/a", "$comment": "d"}),
    ({"allOf": [{"$ref": "#/$defs/a"}], "title": "t"}, {"anyOf": [{"$ref": "#/$defs/a"}], "title": "t"}),
    (
        {
            "properties": {"a": {"$ref": "#/definitions/b"}},
            "definitions": {"b": {"items": {"$ref": "#/definitions/b"}}},
        },
        {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"items": {"$ref": "#/$defs/b"}}}},
    ),
    ({"type": "object"}, {"type": "object", "additionalProperties": True}),
    ({"type": ["object", "null"]}, {"type": ["object", "null"], "additionalProperties": True}),
]


@pytest.mark.parametrize(("schema", "wanted"), REWORDED)
def test_the_same_in_words_that_gemini_knows(schema: Json, wanted: Json) -> None:
    assert read(schema) == (wanted, [])
    deep, notes = read(obj(a={"type": "array", "items": schema}))
    if "definitions" not in schema:
        assert (deep["properties"]["a"]["items"], notes) == (wanted, [])


def test_alternatives_that_exclude_each_other_are_noted() -> None:
    made, notes = read(obj(a={"oneOf": [{"type": "string"}, {"type": "null"}]}))
    assert made["properties"]["a"] == {"oneOf": [{"type": "string"}, {"type": "null"}]}
    assert notes == ["s.properties.oneOf=anyOf"]


def test_words_that_are_no_keywords_are_not_told() -> None:
    assert read({"type": "string", "x-secret": 1})[1] == ["s.(other)"]


OPEN = [{"type": "object"}, {"type": "object", "additionalProperties": True}, {"type": "object", "description": "d"}]


@pytest.mark.parametrize("schema", OPEN)
def test_an_open_object_is_never_closed(schema: Json) -> None:
    made, _ = read(obj(a=schema))
    assert made["properties"]["a"]["additionalProperties"] is True
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": obj(counts=counts)}}
    assert config(response_format=wanted)["responseJsonSchema"]["properties"]["counts"] == counts


PATTERNS: list[tuple[Json, object]] = [
    ({"^a": {"type": "string"}}, {"type": "string"}),
    ({"^a": {"type": "object"}}, {"type": "object", "additionalProperties": True}),
    (
        {"^a": {"type": "string"}, "^b": {"type": "integer"}},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    ),
    ({"^a": {}}, {}),
    ({"^a": True}, True),
]


@pytest.mark.parametrize(("patterns", "more"), PATTERNS)
@pytest.mark.parametrize("properties", [{}, {"properties": {"b": {"type": "string"}}}])
def test_members_that_a_pattern_names_are_not_shut_out(patterns: Json, more: object, properties: Json) -> None:
    schema = {"type": "object", "patternProperties": patterns, "additionalProperties": False, **properties}
    for outer, place in ((schema, "s"), (obj(a={"type": "array", "items": schema}), "s.properties.items")):
        made, notes = read(outer)
        inner = made if outer is schema else made["properties"]["a"]["items"]
        assert inner == {**schema, "additionalProperties": more}
        assert f"{place}.patternProperties" in notes


KEYS = ["type", "const", "enum", "allOf", "anyOf", "oneOf", "$ref", "items", "properties", "$defs", "definitions",
        "nullable", "format", "pattern", "additionalProperties", "patternProperties", "not", "zz"]  # fmt: skip
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.sampled_from(["object", "string"]))
ANY = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
)


@given(st.dictionaries(st.sampled_from(KEYS), ANY, max_size=5))
def test_any_object_is_read(schema: Json) -> None:
    made, notes = read(schema)
    assert isinstance(made, dict)
    assert len(notes) == len(set(notes))
    if schema.get("additionalProperties") not in (None, True):
        assert made["additionalProperties"] is not True
