"""`config.schema.json`: the configuration for editors with a YAML language server (JSON Schema, draft 7).

It is as strict as the models where a value stands in the file, and takes `os.environ/NAME` for any of them. What
LiteLLM reads of the file is LiteLLM's, and let pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from proxy_plugin.config.read import MANY, SECTIONS
from proxy_plugin.config.sections import Options
from proxy_plugin.providers import catalog
from tools import model_words, settings_page

Schema = dict[str, Any]
_REFERENCE = {"$ref": "#/$defs/reference"}
_NOISE = ("title", "writeOnly", "format")  # formats are ours: `password`, `path`
_CHECKED = ("pattern", "enum", "const", "minLength", "maxLength")  # what a text that is a reference need not be
_SLUG = "^[A-Za-z0-9._-]{1,64}$"


def text() -> str:
    """Return the schema as it is stored."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


@cache
def schema() -> Schema:
    """Return the schema of a whole file."""
    defs: Schema = {"reference": {"type": "string", "pattern": "^os\\.environ/.+"}}
    for model in (*SECTIONS.values(), *MANY.values()):
        _define(model, defs)
    for model in SECTIONS.values():
        defs[model.__name__] |= _or_null(defs[model.__name__])
    defs |= {f"account-{names[0]}": _account(names[0], defs) for names in _alike()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "proxy-plugin, in LiteLLM's configuration file",
        "description": "Made by `make docs`. Every setting is told in docs/settings.md.",
        "type": "object",
        "properties": {"proxy_plugin": _ours()},
        "$defs": defs,
    }


def _ours() -> Schema:
    top = {each.name: each.meaning for each in settings_page.TOP}
    properties: Schema = {name: _section(model) for name, model in SECTIONS.items()}
    properties["auth"] = {"enum": ["keys", "litellm", None], "description": top["auth"]}
    properties["all_batches"] = {"type": ["boolean", "null"], "description": top["all_batches"]}
    properties |= {name: _list_of(model) for name, model in MANY.items()}
    properties["virtual_keys"] = _named(_SLUG, _virtual_key(), "Provider accounts, by slug.")
    properties["configs"] = _named("^pc-", {"type": "object"}, top["configs"])
    return _or_null({"type": "object", "additionalProperties": False, "properties": properties})


def _named(pattern: str, each: Schema, description: str) -> Schema:
    names = {"propertyNames": {"pattern": pattern}}
    return _or_null({"type": "object", **names, "additionalProperties": each, "description": description})


def _list_of(model: type[BaseModel]) -> Schema:
    items = {"$ref": f"#/$defs/{model.__name__}"}
    return _or_null({"type": "array", "items": items, "description": model_words.purpose(model)})


def _section(model: type[BaseModel]) -> Schema:
    return {"allOf": [{"$ref": f"#/$defs/{model.__name__}"}], "description": model_words.purpose(model)}


def _or_null(schema: Schema) -> Schema:
    """Return a schema of a mapping or a list that may be left empty. An alternative would hide what is wrong in it."""
    return schema | {"type": [schema["type"], "null"]}


def _virtual_key() -> Schema:
    known = [each for name in sorted(catalog.BUILT_IN) for each in (name, *catalog.aliases(name))]
    provider = {"anyOf": [{"enum": [*known, *sorted(catalog.litellms())]}, {"type": "string"}]}
    accounts = [{"if": _of(names), "then": {"$ref": f"#/$defs/account-{names[0]}"}} for names in _alike()]
    return {"type": "object", "required": ["provider"], "properties": {"provider": provider}, "allOf": accounts}


def _of(names: list[str]) -> Schema:
    words = [each for name in names for each in (name, *catalog.aliases(name))]
    return {"properties": {"provider": {"enum": words}}, "required": ["provider"]}


def _alike() -> list[list[str]]:
    """Return the providers, those whose accounts have the same settings together."""
    found: dict[type, list[str]] = {}
    for name in sorted(catalog.BUILT_IN):
        found.setdefault(catalog.load(name).credentials, []).append(name)
    return list(found.values())


def _account(name: str, defs: Schema) -> Schema:
    """Return the schema of a virtual key of one lane: what every one may have, and the account's own."""
    credentials = catalog.load(name).credentials
    own: Schema = {}
    found = _define(credentials, own)
    defs |= {key: value for key, value in own.items() if key != credentials.__name__}
    options = {each: {"$ref": f"#/$defs/Options/properties/{each}"} for each in Options.model_fields}
    needed = [each for each in found.get("required", ()) if each not in credentials.gaps]
    return {
        "description": model_words.purpose(credentials),
        "type": "object",
        "additionalProperties": False,
        "required": ["provider", *needed],
        "properties": {"provider": {"type": "string"}, **options, **found["properties"]},
    }


def _define(model: type[BaseModel], defs: Schema) -> Schema:
    """Put a model and those in it among the definitions."""
    made = model.model_json_schema(ref_template="#/$defs/{model}")
    inner = made.pop("$defs", {})
    named = {each.__name__: each for _, parts in settings_page.sections() for each in (part.model for part in parts)}
    for name, found in {**inner, model.__name__: made}.items():
        owner = model if name == model.__name__ else named[name]
        defs[name] = _told(_lenient(found), owner)
    return dict(defs[model.__name__])


def _told(found: Schema, model: type[BaseModel]) -> Schema:
    found["description"] = model_words.purpose(model)
    for each in model_words.settings(model):
        node = found["properties"][each.name]
        node = {"allOf": [{"$ref": node["$ref"]}]} if "$ref" in node else node
        found["properties"][each.name] = {"description": each.meaning, **node, "examples": [each.value]}
    return found


def _lenient(node: Any) -> Any:
    """Return a schema without noise, in which each value may be a reference to the environment."""
    if isinstance(node, list):
        return [_lenient(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    made = {name: _value(name, each) for name, each in node.items() if name not in _NOISE or isinstance(each, Mapping)}
    if "(?i)" in made.get("pattern", ""):
        del made["pattern"]  # which editors' regular expressions do not know
    kept = {name: value for name in ("default",) if (value := made.pop(name, None)) is not None}
    return {**kept, "anyOf": [made, _REFERENCE]} if _refers(made) else {**made, **kept}


def _value(name: str, each: Any) -> Any:
    if name in ("properties", "$defs"):
        return {key: _lenient(value) for key, value in each.items()}
    return each if name in ("default", "enum", "const", "examples", "required") else _lenient(each)


def _refers(node: Schema) -> bool:
    """Tell whether a reference would be no value of a schema, and may stand in its place."""
    scalar = node.get("type") in ("boolean", "integer", "number")
    return scalar or (node.get("type") == "string" and any(each in node for each in _CHECKED)) or "enum" in node


@cache
def _validator() -> Any:
    from jsonschema_rs import Draft7Validator  # noqa: PLC0415

    return Draft7Validator(schema())


def problems(document: object) -> Iterator[str]:
    """Yield what the schema says of a configuration. Of jsonschema-rs, which comes with the tools alone."""
    for error in _validator().iter_errors(document):
        yield f"{'.'.join(map(str, error.instance_path))}: {error.message}"
