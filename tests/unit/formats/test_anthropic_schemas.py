"""Schemas that Anthropic enforces: a list of keywords; others are refused by name, rewritten, or asked for in words."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from anthropic import transform_schema
from hypothesis import given

from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.anthropic.schemas import FORMATS, rewrite
from proxy_plugin.providers.formats.losses import TOLD
from tests.unit.formats.anthropic_lines import HAIKU, HELLO, Json, body
from tests.unit.formats.schema_lines import PATH, SCHEMAS, TEXT, closed, enforced, line, refused, sent

BOUNDED: Json = {
    "type": "object",
    "properties": {
        "minimum": {"type": "string"},  # a name, no bound
        "age": {"type": "integer", "minimum": 0, "maximum": 150, "description": "In years."},
        "tags": {"type": "array", "minItems": 1, "items": {"type": "string", "maxLength": 9}},
        "home": {"$ref": "#/$defs/home"},
        "either": {"anyOf": [{"type": "number", "multipleOf": 5}, {"type": "null"}]},
    },
    "required": ["age"],
    "additionalProperties": False,
    "$defs": {
        "home": {
            "type": "object",
            "properties": {"street": {"type": "string", "pattern": "^[a-z]+$"}},
            "additionalProperties": False,
        }
    },
}


def test_bounds_go_into_the_description_where_the_route_allows_it() -> None:
    before = copy.deepcopy(BOUNDED)
    found = rewrite(BOUNDED, PATH).schema
    assert before == BOUNDED, "what was given stays as it is"
    properties = found["properties"]
    assert properties["minimum"] == {"type": "string"}
    assert properties["age"] == {"type": "integer", "description": "In years.\n\n(minimum: 0, maximum: 150)"}
    assert properties["tags"]["items"] == {"type": "string", "description": "(maxLength: 9)"}
    assert properties["either"]["anyOf"] == [{"type": "number", "description": "(multipleOf: 5)"}, {"type": "null"}]
    assert enforced(BOUNDED, drop=True)[1] == (
        *("properties.minimum", "properties.maximum", "properties.items.maxLength", "properties.anyOf.multipleOf"),
    )


def test_what_is_left_is_what_the_official_sdk_sends() -> None:
    def bare(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {key: bare(each) for key, each in schema.items() if key not in ("description", "pattern")}
        return [bare(each) for each in schema] if isinstance(schema, list) else schema

    for schema in (BOUNDED, closed(x={"oneOf": [closed(k={"const": "a"}), closed(k={"const": "b"})]})):
        assert bare(rewrite(schema, PATH).schema) == bare(transform_schema(copy.deepcopy(schema)))


# Keywords that are not on the list: the schema of a member, the keyword that is named, what the member becomes.
TELLABLE: list[tuple[Json, str, Json]] = [
    ({"type": "integer", "minimum": 1}, "minimum", {"type": "integer", "description": "(minimum: 1)"}),
    ({**TEXT, "minLength": 1}, "minLength", {**TEXT, "description": "(minLength: 1)"}),
    ({"type": "array", "items": TEXT, "minItems": 2}, "minItems", {"description": "(minItems: 2)"}),
    ({"type": "array", "items": TEXT, "uniqueItems": True}, "uniqueItems", {"description": "(uniqueItems: true)"}),
    (
        {"type": "array", "items": TEXT, "contains": {"const": "a"}},
        "contains",
        {"description": '(contains: {"const":"a"})'},
    ),
    ({**TEXT, "format": "phone"}, "format", {**TEXT, "description": '(format: "phone")'}),
    ({**TEXT, "format": "regex"}, "format", {**TEXT, "description": '(format: "regex")'}),
    ({**TEXT, "pattern": "^(?=a).*$"}, "pattern", {**TEXT, "description": '(pattern: "^(?=a).*$")'}),
    ({**TEXT, "pattern": "(?<!a)b"}, "pattern", {**TEXT}),
    ({**TEXT, "pattern": r"(a)\1"}, "pattern", {**TEXT}),
    ({**TEXT, "pattern": r"\bword\b"}, "pattern", {**TEXT}),
    ({**TEXT, "not": {"const": ""}}, "not", {**TEXT, "description": '(not: {"const":""})'}),
    ({**TEXT, "if": {"const": ""}, "then": False}, "if", {**TEXT}),
    ({**TEXT, "contentEncoding": "base64"}, "contentEncoding", {**TEXT}),
    ({"type": "number", "enum": [1, {"a": 1}]}, "enum", {"type": "number", "description": '(enum: [1,{"a":1}])'}),
    ({**TEXT, "const": ["a"]}, "const", {**TEXT}),
    ({**TEXT, "nullable": True}, "nullable", {**TEXT, "description": "(nullable: true)"}),
    ({**TEXT, "x-ours": 1}, "x-ours", {**TEXT, "description": "(x-ours: 1)"}),
    ({"type": "array", "items": TEXT, "prefixItems": [TEXT]}, "prefixItems", {"items": TEXT}),
    ({**closed(a=TEXT), "dependentRequired": {"a": ["b"]}}, "dependentRequired", {}),
    ({**closed(a=TEXT), "minProperties": 1}, "minProperties", {}),
    ({**closed(a=TEXT), "propertyNames": {"pattern": "a"}}, "propertyNames", {}),
]


@pytest.mark.parametrize(("member", "keyword", "becomes"), TELLABLE)
def test_what_is_not_enforced_is_refused_by_name_or_told_in_the_description(
    member: Json, keyword: str, becomes: Json
) -> None:
    error = refused(closed(a=member))
    assert error.param == f"{PATH}.properties.{keyword}"
    assert error.message.startswith(f"{error.param}: Anthropic enforces no such")
    found, names = enforced(closed(a=member), drop=True)
    assert names[0] == f"properties.{keyword}"
    inner = found["properties"]["a"]
    assert keyword not in inner
    assert f"{keyword}: " in inner["description"]
    assert becomes.items() <= inner.items()


# Schemas that nothing else can say: what stands against them.
OPEN = "Anthropic enforces closed objects only"
IMPOSSIBLE: list[tuple[Json, str, str]] = [
    ({"type": "object"}, PATH, OPEN),
    ({"type": "object", "properties": {}}, PATH, OPEN),
    ({"type": "object", "additionalProperties": True}, f"{PATH}.additionalProperties", OPEN),
    ({"type": "object", "additionalProperties": TEXT}, f"{PATH}.additionalProperties", OPEN),
    ({**closed(a=TEXT), "additionalProperties": {}}, f"{PATH}.additionalProperties", OPEN),
    (closed(extra={"type": "object"}), f"{PATH}.properties", OPEN),
    (closed(a={"type": "object", "additionalProperties": TEXT}), f"{PATH}.properties.additionalProperties", OPEN),
    (closed(a={"type": "array", "items": {"type": "object"}}), f"{PATH}.properties.items", OPEN),
    (closed(a={"anyOf": [{"type": "object"}, TEXT]}), f"{PATH}.properties.anyOf", OPEN),
    (closed(a={"type": ["object", "null"]}), f"{PATH}.properties", OPEN),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}, f"{PATH}.$defs", OPEN),
    (
        {"type": "object", "patternProperties": {"^k": TEXT}, "additionalProperties": False},
        f"{PATH}.patternProperties",
        OPEN,
    ),
    ({"type": "object", "properties": {"a": TEXT}, "required": ["b"]}, f"{PATH}.required", "names a member"),
    (
        {"allOf": [{"type": "object", "properties": {"a": TEXT}}, {"type": "object", "properties": {"b": TEXT}}]},
        f"{PATH}.allOf",
        OPEN,
    ),
    ({"type": "object", "properties": {"a": TEXT}, "anyOf": [closed(b=TEXT)]}, PATH, OPEN),
    (closed(a={}), f"{PATH}.properties", "Anthropic takes no schema that allows anything"),
    (closed(a={"title": "Anything"}), f"{PATH}.properties", "Anthropic takes no schema without a type"),
    (closed(a={"enum": [{"a": 1}]}), f"{PATH}.properties.enum", "Anthropic enforces no such value"),
    (closed(a=TEXT, b={"$ref": "#"}), f"{PATH}.$ref", "Anthropic takes no recursive schema"),
    (
        {"$ref": "#/$defs/N", "$defs": {"N": closed(kids={"type": "array", "items": {"$ref": "#/$defs/N"}})}},
        f"{PATH}.$ref",
        "Anthropic takes no recursive schema",
    ),
    (
        {"$ref": "#/$defs/A", "$defs": {"A": closed(b={"$ref": "#/$defs/B"}), "B": closed(a={"$ref": "#/$defs/A"})}},
        f"{PATH}.$ref",
        "Anthropic takes no recursive schema",
    ),
    (closed(a={"$ref": "https://example.org/s"}), f"{PATH}.properties.$ref", "Anthropic follows references inside"),
    (closed(a={"$ref": "#/$defs/none"}), f"{PATH}.properties.$ref", "Anthropic follows references inside"),
    (
        {**closed(a={"allOf": [{"$ref": "#/$defs/C"}, {"type": "string"}]}), "$defs": {"C": TEXT}},
        f"{PATH}.properties.allOf",
        "Anthropic takes no reference in allOf",
    ),
    ({"anyOf": [TEXT], "oneOf": [TEXT]}, f"{PATH}.oneOf", "Anthropic knows anyOf alone"),
    (
        closed(a={"type": "array", "prefixItems": [{"type": "integer"}], "items": TEXT}),
        f"{PATH}.properties.prefixItems",
        "Anthropic knows one kind of items",
    ),
]


@pytest.mark.parametrize(("schema", "param", "reason"), IMPOSSIBLE)
def test_what_no_rewriting_can_say_is_refused_or_asked_for_in_words(schema: Json, param: str, reason: str) -> None:
    error = refused(schema)
    assert param in error.params
    assert f"{param}: {reason}" in error.message
    params, names = sent(schema, drop=True)
    assert names == (f"response_format={TOLD}",)
    assert "output_config" not in params
    assert json.dumps(schema, separators=(",", ":"), ensure_ascii=False) in params["system"]


def test_what_is_asked_for_in_words_joins_what_the_system_says() -> None:
    asked = [{"role": "system", "content": "Be terse."}, *HELLO]
    form = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "description": "What it is."}}
    translated = to_messages(body(HAIKU, asked, response_format=form), model=None, drop_params=True)
    system = json.loads(translated.body)["system"]
    assert system[0] == {"type": "text", "text": "Be terse."}
    assert system[1]["text"].startswith("What it is.\n\nAnswer with valid JSON")
    assert '{"type":"object"}' in system[1]["text"]


# Taken without a switch: what they become, what is noted.
SAME: list[tuple[Json, Json, tuple[str, ...]]] = [
    (closed(a=TEXT), closed(a=TEXT), ()),
    (closed(), closed(), ()),
    (
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        closed(a=TEXT),
        ("additionalProperties=false",),
    ),
    ({"properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}, closed(a=TEXT), ()),
    (closed(a={**TEXT, "minLength": 0}), closed(a=TEXT), ()),
    (
        closed(a={"type": "array", "items": TEXT, "uniqueItems": False, "minItems": 0}),
        closed(a={"type": "array", "items": TEXT}),
        (),
    ),
    (closed(a={"type": ["string"]}), closed(a=TEXT), ()),
    (closed(a={"type": ["string", "null"], "default": None}), {}, ()),
    (closed(a={**TEXT, "pattern": r"^[\d\w\s.]+(a|b){1,3}\\b?$"}), {}, ()),
    (closed(a={"enum": ["a", 1, None, True], "title": "T"}), {}, ()),
    (closed(a={"anyOf": [TEXT, {"type": "null"}]}), {}, ()),
    (closed(a={"allOf": [TEXT], "description": "d"}), closed(a={**TEXT, "description": "d"}), ()),
    (
        closed(a={**TEXT, "examples": ["x"]}),
        closed(a={**TEXT, "description": '(examples: ["x"])'}),
        ("properties.examples",),
    ),
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", **closed(a=TEXT)}, closed(a=TEXT), ("$schema",)),
    (
        {**closed(x={"allOf": [{"$ref": "#/$defs/C"}], "description": "d"}), "$defs": {"C": {"enum": ["r", "g"]}}},
        {**closed(x={"$ref": "#/$defs/C"}), "$defs": {"C": {"enum": ["r", "g"]}}, "description": "(x: d)"},
        (),
    ),
    (
        {**closed(x={"$ref": "#/$defs/C", "default": "r"}), "$defs": {"C": {"enum": ["r", "g"]}}},
        {**closed(x={"$ref": "#/$defs/C"}), "$defs": {"C": {"enum": ["r", "g"]}}, "description": '(x: default "r")'},
        (),
    ),
]


@pytest.mark.parametrize(("schema", "becomes", "noted"), SAME)
def test_what_is_enforced_is_taken(schema: Json, becomes: Json, noted: tuple[str, ...]) -> None:
    found, names = enforced(schema)
    assert (found, names) == (becomes or schema, noted)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_formats_that_are_enforced(name: str) -> None:
    assert enforced(closed(a={**TEXT, "format": name}))[1] == ()


def test_one_of_becomes_any_of_under_the_switch() -> None:
    schema = closed(x={"oneOf": [closed(k={"const": "a"}), closed(k={"const": "b"})]})
    assert refused(schema).param == f"{PATH}.properties.oneOf"
    found, names = enforced(schema, drop=True)
    assert names == ("properties.oneOf=anyOf",)
    assert found["properties"]["x"] == {"anyOf": [closed(k={"const": "a"}), closed(k={"const": "b"})]}


# ---- no answer that a caller allows is shut out ----


def objects_of(schema: Any) -> list[Json]:
    if isinstance(schema, list):
        return [found for each in schema for found in objects_of(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "object" else []
    return own + [found for each in schema.values() for found in objects_of(each)]


@given(SCHEMAS)
def test_every_object_that_is_sent_names_its_members(schema: Json) -> None:
    empty = {"type": "object", "properties": {}, "additionalProperties": False}
    found = rewrite(schema, PATH)
    if not found.usable:
        return
    for each in objects_of(found.schema):
        assert each["additionalProperties"] is False
        assert each["properties"] or empty in objects_of(schema), "only an object that was closed empty may be so"


@given(SCHEMAS)
def test_a_schema_is_enforced_or_told_and_never_neither(schema: Json) -> None:
    params, names = sent(schema, drop=True)
    assert ("output_config" in params) != (f"response_format={TOLD}" in names)
    assert ("system" in params) == (f"response_format={TOLD}" in names)


def test_long_numbers_are_told_as_they_were_written() -> None:
    given_body = line({"type": "integer", "maximum": 1}).replace(
        b'"maximum": 1', b'"maximum": 1234567890123456789012345'
    )
    params = json.loads(to_messages(given_body, model=None, drop_params=True).body)
    schema = params["output_config"]["format"]["schema"]
    assert schema == {"type": "integer", "description": "(maximum: 1234567890123456789012345)"}


def test_chains_of_references_as_long_as_a_body_allows() -> None:
    chain = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(5000)}
    schema = {**closed(a={"$ref": "#/$defs/d0"}), "$defs": {**chain, "d5000": TEXT}}
    assert rewrite(schema, PATH).usable
    assert not rewrite({**schema, "$defs": {**chain, "d5000": {"$ref": "#/$defs/d0"}}}, PATH).usable
