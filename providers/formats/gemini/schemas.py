"""JSON schemas as Gemini reads them: the same meaning in words that it knows, and a note of what it passes over.

Source: `responseJsonSchema` of the Gemini API and of Vertex, reference of 2026: of JSON Schema only `$id`, `$defs`,
`$ref`, `$anchor`, `type`, `format`, `title`, `description`, `enum` (texts and numbers), `items`, `prefixItems`,
`minItems`, `maxItems`, `minimum`, `maximum`, `anyOf`, `oneOf` (read as anyOf), `properties`, `additionalProperties`,
`required`, `propertyOrdering`; beside `$ref` nothing but what begins with `$`; cycles are unrolled to some depth.
Formats that have an effect: "Structured outputs", 2026.

What is passed over is sent nevertheless: it does no harm. An open object is never closed.
"""

from __future__ import annotations

from typing import Any

from proxy_plugin.providers.formats.losses import Losses

Block = dict[str, Any]

_SERVED = frozenset(
    {
        "$id", "$defs", "$ref", "$anchor", "type", "title", "description", "items", "prefixItems", "minItems",
        "maxItems", "minimum", "maximum", "anyOf", "properties", "additionalProperties", "required", "propertyOrdering",
    }
)  # fmt: skip
# They ask for nothing: to pass them over changes no answer.
_SILENT = frozenset(
    {"$schema", "$comment", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"}
)
_FORMATS = ("date-time", "date", "time", "int32", "int64", "float", "double")
_PLAIN = _SERVED - {"$ref"} | _SILENT
_NAMED = ("properties", "$defs")  # members whose own members are schemas
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_NESTED = ("items", "additionalProperties", "not", "contains")
_REWRITTEN = frozenset({"const", "allOf", "definitions", "nullable"})
_REASON, _REMEDY = "Gemini passes over it", "Remove it, or ask for it in the description"


def readable(schema: Block, path: str, losses: Losses, *, top: bool = True) -> Block:
    """Return the schema in words that Gemini knows; what it passes over is noted as a hint.

    Paths leave out the names of properties: `response_format.json_schema.schema.properties.pattern`. References start
    at the `top`, so only definitions that stand there have to be renamed where they are referred to.
    """
    made = schema if _REWRITTEN.isdisjoint(schema) else _reworded(schema, top=top)
    made = _with_ref_alone(made) if "$ref" in made and len(made) > 1 else made
    if not made.keys() <= _PLAIN or "enum" in made:
        _note(made, path, losses)
    changes: Block = {}
    for name, value in made.items():
        inner = _inner(name, value, f"{path}.{name}", losses)
        if inner is not value:
            changes[name] = inner
    if "properties" not in made and "additionalProperties" not in made and _is_object(made.get("type")):
        changes["additionalProperties"] = True  # UNVERIFIED what Gemini takes for granted; this says what was meant
    if made.get("additionalProperties") is False and made.get("patternProperties"):
        changes["additionalProperties"] = _of_patterns(made["patternProperties"], path, losses)
    return {**made, **changes} if changes else made


def _of_patterns(given: object, path: str, losses: Losses) -> object:
    """Return what members may hold whose names match a pattern: a closed object without them could only be empty."""
    found = [_each(each, f"{path}.patternProperties", losses) for each in _values(given)]
    return found[0] if len(found) == 1 else {"anyOf": found} if found else True


def _values(given: object) -> list[Any]:
    return list(given.values()) if isinstance(given, dict) else []


def _inner(name: str, value: object, path: str, losses: Losses) -> object:
    if name in _NAMED and isinstance(value, dict):
        found: Any = {key: _each(inner, path, losses) for key, inner in value.items()}
        return found if any(found[key] is not value[key] for key in found) else value
    if name in _LISTED and isinstance(value, list):
        found = [_each(inner, path, losses) for inner in value]
        return found if any(new is not old for new, old in zip(found, value, strict=True)) else value
    return _each(value, path, losses) if name in _NESTED else value


def _each(schema: object, path: str, losses: Losses) -> object:
    return readable(schema, path, losses, top=False) if isinstance(schema, dict) else schema


def _reworded(schema: Block, *, top: bool) -> Block:
    """Say the same in other words: a constant, a sole alternative, an older name, an older form of null."""
    made = dict(schema)
    if isinstance(const := made.get("const"), str | int | float) and not isinstance(const, bool) and "enum" not in made:
        made["enum"] = [made.pop("const")]
    elif "const" in made and const is None and "type" not in made:
        made["type"] = "null"
        del made["const"]
    alone = made.get("allOf")
    if isinstance(alone, list) and len(alone) == 1 and "anyOf" not in made:
        made["anyOf"] = made.pop("allOf")
    if isinstance(made.get("definitions"), dict) and "$defs" not in made:
        if top:
            made = _renamed(made)
        else:
            made["$defs"] = made.pop("definitions")
    if isinstance(nullable := made.get("nullable"), bool) and isinstance(kind := made.get("type"), str):
        del made["nullable"]
        made["type"] = [kind, "null"] if nullable else kind
    return made


def _renamed(schema: Block) -> Block:
    """Return a schema whose `definitions` are `$defs`, wherever they are referred to."""

    def inside(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: f"#/$defs/{inner[14:]}"
                if key == "$ref" and isinstance(inner, str) and inner.startswith("#/definitions/")
                else inside(inner)
                for key, inner in value.items()
            }
        return [inside(each) for each in value] if isinstance(value, list) else value

    made: Block = inside(schema)
    made["$defs"] = made.pop("definitions")
    return made


def _with_ref_alone(schema: Block) -> Block:
    """Put a reference that has a description or the like beside it into an alternative of its own."""
    if "anyOf" in schema or all(name.startswith("$") for name in schema):
        return schema
    rest = {name: value for name, value in schema.items() if name != "$ref"}
    return {**rest, "anyOf": [{"$ref": schema["$ref"]}]}


def _note(schema: Block, path: str, losses: Losses) -> None:
    for name, value in schema.items():
        if name in _PLAIN or name == "$ref" or (name == "uniqueItems" and value is False):
            continue
        if name == "oneOf":
            reason = "Gemini reads it as anyOf"
            losses.hint(f"{path}.oneOf", reason, "Send anyOf", instead="anyOf")
        elif name == "enum":
            if not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in _list(value)):
                losses.hint(f"{path}.enum", "Gemini reads texts and numbers only", _REMEDY)
        elif name != "format" or value not in _FORMATS:
            losses.hint(f"{path}.{name if name in _KEYWORDS else '(other)'}", _REASON, _REMEDY)


def _is_object(kind: object) -> bool:
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []


# Names that may be told: what is not among JSON Schema's own words may be anything.
_KEYWORDS = frozenset(
    {
        "const", "allOf", "not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems",
        "pattern", "patternProperties", "propertyNames", "minLength", "maxLength", "minProperties", "maxProperties",
        "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "dependentRequired", "dependentSchemas", "dependencies",
        "unevaluatedProperties", "unevaluatedItems", "additionalItems", "format", "nullable", "definitions", "id",
        "contentEncoding", "contentMediaType", "contentSchema", "$dynamicRef", "$dynamicAnchor", "$recursiveRef",
        "$vocabulary",
    }
)  # fmt: skip
