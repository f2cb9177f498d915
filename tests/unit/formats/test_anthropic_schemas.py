"""Schemas that Anthropic enforces: closed, without bounds; a bound is refused by name, or told where that is enough."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from anthropic import transform_schema

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.anthropic.schemas import enforceable
from proxy_plugin.providers.formats.losses import Losses

PATH = "response_format.json_schema.schema"
BOUNDED = {
    "type": "object",
    "properties": {
        "minimum": {"type": "string"},  # a name, no bound
        "age": {"type": "integer", "minimum": 0, "maximum": 150, "description": "In years."},
        "tags": {"type": "array", "minItems": 1, "items": {"type": "string", "maxLength": 9}},
        "home": {"$ref": "#/$defs/home"},
        "either": {"anyOf": [{"type": "number", "multipleOf": 5}, {"type": "null"}]},
    },
    "required": ["age"],
    "$defs": {"home": {"type": "object", "properties": {"street": {"type": "string", "pattern": "^[a-z]+$"}}}},
}


def line(schema: dict[str, Any], **more: Any) -> bytes:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    said = [{"role": "user", "content": "Hello"}]
    return json.dumps({"model": "claude-haiku-4-5", "messages": said, "response_format": form, **more}).encode()


def told(schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    losses = Losses(allowed=True, provider="Anthropic")
    return enforceable(schema, PATH, losses), losses.names


def test_bounds_go_into_the_description_where_the_route_allows_it() -> None:
    before = copy.deepcopy(BOUNDED)
    found, names = told(BOUNDED)
    assert before == BOUNDED, "what was given stays as it is"
    properties = found["properties"]
    assert properties["minimum"] == {"type": "string"}
    assert properties["age"] == {"type": "integer", "description": "In years.\n\n(minimum: 0, maximum: 150)"}
    assert properties["tags"] == {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string", "description": "(maxLength: 9)"},
    }
    assert properties["either"]["anyOf"] == [{"type": "number", "description": "(multipleOf: 5)"}, {"type": "null"}]
    assert found["$defs"]["home"]["additionalProperties"] is found["additionalProperties"] is False
    assert [name.removeprefix(f"{PATH}.") for name in names] == [
        "properties.minimum",
        "properties.maximum",
        "properties.items.maxLength",
        "properties.anyOf.multipleOf",
    ]


def test_what_is_left_is_what_the_official_sdk_sends() -> None:
    ours, theirs = told(BOUNDED)[0], transform_schema(copy.deepcopy(BOUNDED))

    def bare(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {key: bare(each) for key, each in schema.items() if key not in ("description", "pattern")}
        return [bare(each) for each in schema] if isinstance(schema, list) else schema

    assert bare(ours) == bare(theirs)


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"type": "integer", "minimum": 1}, f"{PATH}.minimum"),
        ({"type": "array", "minItems": 2}, f"{PATH}.minItems"),
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}, f"{PATH}.properties.minLength"),
        ({"type": "object", "additionalProperties": True}, f"{PATH}.additionalProperties"),
        ({"type": ["object", "null"], "additionalProperties": {}}, f"{PATH}.additionalProperties"),
    ],
)
def test_elsewhere_a_bound_is_refused_by_name(schema: dict[str, Any], param: str) -> None:
    with pytest.raises(LineRejected) as error:
        to_messages(line(schema), model=None, drop_params=False)
    assert error.value.param == param
    assert error.value.message.startswith(f"{param}: Anthropic enforces")


def test_only_strict_tools_are_held_to_it() -> None:
    tool = {"name": "look", "parameters": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}}
    said = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Hi"}]}
    free = json.dumps(said | {"tools": [{"type": "function", "function": tool}]}).encode()
    params = json.loads(to_messages(free, model=None, drop_params=False).body)
    assert params["tools"][0]["input_schema"] == tool["parameters"]
    strict = json.dumps(said | {"tools": [{"type": "function", "function": tool | {"strict": True}}]}).encode()
    with pytest.raises(LineRejected, match="minimum: Anthropic enforces no such bound"):
        to_messages(strict, model=None, drop_params=False)


def test_long_numbers_are_told_as_they_were_written() -> None:
    body = line({"type": "integer", "maximum": 1}).replace(b'"maximum": 1', b'"maximum": 1234567890123456789012345')
    params = json.loads(to_messages(body, model=None, drop_params=True).body)
    schema = params["output_config"]["format"]["schema"]
    assert schema == {"type": "integer", "description": "(maximum: 1234567890123456789012345)"}
