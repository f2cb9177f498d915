"""What the models of the configuration say of their settings: meaning and example, type and default, in words.

A setting's text stands below it in its class, as pydantic reads attribute docstrings; nothing reads it at run time.
What follows `Example:` is a value as YAML has it. Without one the default, or what a switch does not have, is it.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel

MARK = "Example:"
_SCALARS = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text"}
_FORMATS = {"password": "secret text", "path": "path", "file-path": "path"}
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "bytes"))
_BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))


class Words(NamedTuple):
    """One setting: `kind` and `default` in words, `example` as YAML text, empty where nobody gave one."""

    name: str
    kind: str
    default: str
    meaning: str
    example: str

    @property
    def value(self) -> Any:
        """The example as the file would have it."""
        return yaml.safe_load(self.example)


def settings(model: type[BaseModel]) -> Iterator[Words]:
    """Yield what each setting of a model says, in the order of the model."""
    schema = model.model_json_schema()
    for name, node in schema["properties"].items():
        meaning, _, example = text_of(model, name).partition(MARK)
        yield Words(
            name,
            kind(node, schema.get("$defs", {})),
            _default(name, node, required=name in schema.get("required", ())),
            meaning.strip(),
            example.strip() or _derived(node),
        )


def text_of(model: type[BaseModel], name: str) -> str:
    """Return what stands below a setting, in the nearest class that says something; its `description` is as good."""
    for each in model.__mro__:
        if found := _texts(sys.modules[each.__module__].__file__ or "").get((each.__name__, name)):
            return found
    return model.model_fields[name].description or ""


def purpose(model: type[BaseModel]) -> str:
    """Return the first paragraph of a model's docstring in one line."""
    return " ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split())


def kind(node: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Return the type of a setting in words."""
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(kind(each, defs) for each in node["anyOf"] if each.get("type") != "null"))
    if "enum" in node:
        return ", ".join(f"`{each}`" for each in node["enum"])
    if node.get("type") == "array":
        return f"list of {kind(node['items'], defs)}"
    named = [words for name, words in _FORMATS.items() if node.get("format") == name]
    if "$ref" in node or node.get("type") == "object":
        named = ["mapping"]
    bounds = ", ".join(f"{words} {node[name]:,}" for name, words in _BOUNDS if name in node)
    return ", ".join(filter(None, (*(named or [_SCALARS.get(node.get("type", ""), "any")]), bounds)))


def default(value: object, name: str = "") -> str:
    """Return a default in words; sizes also in the unit that people use."""
    if value is None:
        return "none"
    if value in ([], {}):
        return "empty"
    text = f"`{as_yaml(value)}`"
    return f"{text} ({size(value)})" if isinstance(value, int) and "bytes" in name and value >= 1024 else text


def as_yaml(value: object) -> str:
    """Return a value as one line of YAML: a text that could be read as a day or a number has its quotes."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).split("\n")[0]


def size(count: int) -> str:
    """Return a number of bytes in the largest unit that divides it."""
    return next(f"{count // unit} {name}" for unit, name in _UNITS if count % unit == 0)


def _default(name: str, node: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    return "see below" if "$ref" in node else default(node.get("default"), name)


def _derived(node: Mapping[str, Any]) -> str:
    """Return an example where none is written: what a switch does not have, or the default."""
    value, choices = node.get("default"), node.get("enum")
    if node.get("type") == "boolean":
        return "false" if value is True else "true"
    for each in node.get("anyOf", ()):
        choices = choices or each.get("enum")
    if choices:
        return as_yaml(next(each for each in reversed(choices) if each != value))
    return "" if value is None or isinstance(value, list | dict) else as_yaml(value)


@cache
def _texts(path: str) -> dict[tuple[str, str], str]:
    """Return {(class, setting): text} of a module's own classes."""
    if not path.endswith(".py"):
        return {}
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a module's own path is a text
        tree = ast.parse(file.read())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {key: text for each in classes for key, text in _of_class(each)}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[tuple[str, str], str]]:
    for field, below in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            yield (node.name, field.target.id), " ".join(below.value.value.split())
