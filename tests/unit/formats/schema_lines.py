"""Lines whose answer, or whose tools, are held to a schema by Anthropic: short ways to write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from tests.unit.formats.anthropic_lines import HAIKU, HELLO, Json, body

PATH = "response_format.json_schema.schema"
TEXT: Json = {"type": "string"}


def closed(**properties: object) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def line(schema: object, model: str = HAIKU, **more: Any) -> bytes:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return body(model, HELLO, response_format=form, **more)


def refused(schema: object, **more: Any) -> LineRejected:
    with pytest.raises(LineRejected) as caught:
        to_messages(line(schema, **more), model=None, drop_params=False)
    return caught.value


def sent(schema: object, *, drop: bool = False, **more: Any) -> tuple[Json, tuple[str, ...]]:
    """Return the params, and what was noted under the schema's path cut off."""
    translated = to_messages(line(schema, **more), model=None, drop_params=drop)
    names = tuple(name.removeprefix(f"{PATH}.") for name in translated.dropped)
    return json.loads(translated.body), names


def enforced(schema: object, *, drop: bool = False) -> tuple[Json, tuple[str, ...]]:
    params, names = sent(schema, drop=drop)
    found: Json = params["output_config"]["format"]["schema"]
    return found, names


LEAVES = st.sampled_from(
    [
        TEXT,
        {"type": "integer", "minimum": 3},
        {"type": "object"},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "patternProperties": {"^a": TEXT}, "additionalProperties": False},
        {"enum": ["a", None]},
        {},
    ]
)


def _inside(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    members = st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    opened = st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": True}])
    return (
        st.builds(lambda properties, more: {"type": "object", "properties": properties, **more}, members, opened)
        | inner.map(lambda each: {"type": "array", "items": each})
        | st.lists(inner, min_size=1, max_size=2).map(lambda each: {"anyOf": each})
        | st.lists(inner, min_size=1, max_size=2).map(lambda each: {"allOf": each})
    )


SCHEMAS = st.recursive(LEAVES, _inside, max_leaves=6)
