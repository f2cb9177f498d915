"""JSON schemas as Anthropic can enforce them, in answers and in the input of strict tools.

Source: "Structured outputs", Claude Platform docs, copy of October 2026: no bounds of numbers, texts, lists beyond
`minItems` 1, or objects; every object closed. The official SDK (2.12) puts bounds into the description and closes
objects; so do we, where the route allows that a bound is no longer enforced.
"""

from __future__ import annotations

from typing import Any

from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import Losses

Block = dict[str, Any]

_BOUNDS = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "minItems", "maxItems", "minProperties", "maxProperties",
    }
)  # fmt: skip
_NAMED = ("properties", "$defs", "definitions")  # members whose own members are schemas
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_NESTED = ("items", "not")


def enforceable(schema: Block, path: str, losses: Losses) -> Block:
    """Return a schema without bounds, its objects closed. Raises LineRejected where a loss is not allowed."""
    made = dict(schema)
    for name in _NAMED:
        if isinstance(made.get(name), dict):
            made[name] = {key: _inner(each, f"{path}.{name}", losses) for key, each in made[name].items()}
    for name in _LISTED:
        if isinstance(made.get(name), list):
            made[name] = [_inner(each, f"{path}.{name}", losses) for each in made[name]]
    for name in _NESTED:
        if name in made:
            made[name] = _inner(made[name], f"{path}.{name}", losses)
    _close(made, path, losses)
    return _unbound(made, path, losses)


def _inner(schema: object, path: str, losses: Losses) -> object:
    return enforceable(schema, path, losses) if isinstance(schema, dict) else schema


def _close(schema: Block, path: str, losses: Losses) -> None:
    """Allow no other members in an object: what is left open is closed, what is opened on purpose is a loss."""
    kind = schema.get("type")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind) and "properties" not in schema:
        return
    if schema.get("additionalProperties", False) is not False:
        losses.add(f"{path}.additionalProperties", "Anthropic enforces closed objects only", "Send false")
    schema["additionalProperties"] = False


def _unbound(schema: Block, path: str, losses: Losses) -> Block:
    found = {name: schema[name] for name in schema if name in _BOUNDS and not _is_served(name, schema[name])}
    if not found:
        return schema
    for name in found:
        losses.add(f"{path}.{name}", "Anthropic enforces no such bound", "Remove it, or ask for it in the description")
    told = ", ".join(f"{name}: {write(bound).decode()}" for name, bound in found.items())
    said = schema.get("description")
    made = {name: value for name, value in schema.items() if name not in found}
    return {**made, "description": f"{said}\n\n({told})" if isinstance(said, str) and said else f"({told})"}


def _is_served(name: str, bound: object) -> bool:
    return name == "minItems" and bound in (0, 1)
