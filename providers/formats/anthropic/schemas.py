"""JSON schemas as Anthropic can enforce them, in answers and in the input of strict tools.

Source: "Structured outputs", Claude Platform docs, copies of November 2025 to October 2026: a list of keywords that are
supported, of formats and of what a pattern may hold; every object is closed; references stay inside and never come back
to where they started. Whatever is not on the list is refused by name. Where the route allows it, a schema is rewritten
as the official SDK does (`transform_schema`, 2.12): `oneOf` as `anyOf`, the rest told in the description.

Some schemas cannot be rewritten without allowing less than the caller does: an object that may hold any member would
have to be closed, and its only answer would be `{}`. Those are not enforced at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from proxy_plugin.providers.formats.anthropic.schema_refs import circular, resolve
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import Losses

Block = dict[str, Any]

TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
# What a pattern may not hold: references to groups, looking ahead or behind, bounds of words.
_BEYOND_PATTERNS = re.compile(r"(?:[^\\]|^)(?:\\\\)*(?:\\[1-9bB]|\\k<|\(\?(?:[=!]|<[=!]|P=))")
_NAMED = ("$defs", "definitions")
_MARRIED = ("anyOf", "allOf")
# Values that ask for nothing.
_SAME: dict[str, tuple[object, ...]] = {
    "minLength": (0,),
    "minItems": (0,),
    "minProperties": (0,),
    "uniqueItems": (False,),
    "additionalItems": (True,),
    "patternProperties": ({},),
    "unevaluatedProperties": (False,),
    "nullable": (False,),
    "deprecated": (False,),
    "readOnly": (False,),
    "writeOnly": (False,),
}
# Words about a schema, which allow and forbid nothing (JSON Schema 2020-12, "Meta-Data"; OpenAPI's discriminator).
_ABOUT = frozenset(
    {
        "$schema", "$id", "id", "$comment", "$anchor", "examples", "example", "deprecated", "readOnly", "writeOnly",
        "discriminator",
    }
)  # fmt: skip
_UNTOLD = frozenset({"$schema", "$id", "id", "$anchor"})  # say nothing to a model
_BESIDE_REF = frozenset({"title", "description", "default", *_NAMED, *_ABOUT})
_LATER = frozenset({"$ref", "properties", "items", "required", "additionalProperties", *_NAMED, *_MARRIED})
_FINDINGS = 1_000  # of each kind that are kept of a schema
_CLOSED = "Anthropic enforces closed objects only, and this one may hold anything"


class Finding(NamedTuple):
    """Something that Anthropic does not enforce. `fatal`: no rewriting says the same without allowing less."""

    path: str
    reason: str
    remedy: str
    instead: str | None = None
    fatal: bool = False
    hint: bool = False


class Rewritten(NamedTuple):
    """A schema as it can be enforced, what was found on the way, and whether that is worth having."""

    schema: Block
    findings: tuple[Finding, ...]
    usable: bool  # every answer that the caller allows can still be given, but for bounds that are told

    def note(self, losses: Losses) -> None:
        """Note all that was found."""
        for each in self.findings:
            if each.hint:
                losses.hint(each.path, each.reason, each.remedy, instead=each.instead)
            else:
                losses.add(each.path, each.reason, each.remedy, instead=each.instead)


def enforced(schema: Block, path: str, losses: Losses, *, whole: str, instead: str | None = None) -> Block | None:
    """Return a schema as Anthropic can enforce it; None where it cannot.

    Then `whole` is lost, or said by `instead`; where that is not allowed, what stands against it is refused by name.
    """
    found = rewrite(schema, path)
    if found.usable:
        found.note(losses)
        return found.schema
    if losses.allowed:
        losses.add(whole, "Anthropic cannot enforce its schema", "Change the schema", instead=instead)
    else:
        found.note(losses)
    return None


def rewrite(schema: Block, path: str) -> Rewritten:
    """Return a schema as Anthropic can enforce it; what was given stays as it is."""
    walk = _Walk(schema)
    if circular(schema):
        walk.fatal(f"{path}.$ref", "Anthropic takes no recursive schema", "Write the levels out that are needed")
    made = walk.schema(schema, path)
    if "$ref" in made and "description" in unwrapped(schema):
        walk.found(Finding(f"{path}.description", "a reference stands alone", "Move it there", hint=True))
    return Rewritten(made, tuple(walk.findings), usable=not walk.counts[True])


class _Walk:
    """One schema on its way. `root`: where references point into."""

    __slots__ = ("counts", "findings", "root")

    def __init__(self, root: Block) -> None:
        self.root = root
        self.findings: dict[Finding, None] = {}
        self.counts = {True: 0, False: 0}  # of findings that are fatal, and of others

    def found(self, finding: Finding) -> None:
        """Note something, once: a schema of a million members repeats itself."""
        if finding not in self.findings and self.counts[finding.fatal] < _FINDINGS:
            self.counts[finding.fatal] += 1
            self.findings[finding] = None

    def lose(self, path: str, reason: str, remedy: str, *, instead: str | None = None) -> None:
        """Note what is told, or said in another way."""
        self.found(Finding(path, reason, remedy, instead))

    def fatal(self, path: str, reason: str, remedy: str) -> None:
        """Note what nothing else can say."""
        self.found(Finding(path, reason, remedy, fatal=True))

    def schema(self, given: object, path: str, *, joined: bool = False) -> Block:
        """Rewrite a schema; `joined`: what it describes has other schemas to satisfy too, so it cannot be closed."""
        if not isinstance(given, dict) or not given:
            self.fatal(path, "Anthropic takes no schema that allows anything", "Give it a type")
            return {}
        given = unwrapped(given)
        told: list[str] = []
        if "$ref" in given:
            return self._reference(given, path)
        made = self._kept(given, path, told)
        self._named(made, given, path)
        self._choices(made, given, path, told, joined=joined)
        self._typed(made, given, path)
        if _may_be(made, "object"):
            self._object(made, given, path, told, joined=joined)
        if _may_be(made, "array") and "items" in given:
            made["items"] = self._child(given["items"], f"{path}.items", "items", told)
        return _with_told(made, told)

    def _reference(self, given: Block, path: str) -> Block:
        """A reference stands alone, but for definitions; what is said beside it the parent tells (`_child`)."""
        made: Block = {}
        self._named(made, given, path)
        target = given["$ref"]
        if not isinstance(target, str) or resolve(self.root, target) is None:
            self.fatal(f"{path}.$ref", "Anthropic follows references inside of the schema only", "Name one of $defs")
        for name in given:
            if name not in _BESIDE_REF and name != "$ref":
                self.fatal(f"{path}.{_word(name)}", "Anthropic takes nothing beside a reference", "Move it there")
        return {**made, "$ref": target}

    def _child(self, given: object, path: str, name: str, told: list[str], *, joined: bool = False) -> Block:
        """Rewrite a part of a schema; what stands beside a reference is told by the schema that it is part of."""
        made = self.schema(given, path, joined=joined)
        if "$ref" in made and isinstance(given, dict):
            beside = unwrapped(given)
            said: Block = {key: beside[key] for key in ("description", "default") if key in beside}
            if said:
                told.append(f"{name}: {_spelled(said)}")
        return made

    def _kept(self, given: Block, path: str, told: list[str]) -> Block:
        """Return the plain keywords that are enforced; others are told, and a loss if they forbid something."""
        made: Block = {}
        for name, value in given.items():
            if name in _LATER or value in _SAME.get(name, ()):
                continue
            if (keeps := _KEPT.get(name)) is not None and keeps(value):
                made[name] = value
            elif name == "oneOf":
                self._one_of(made, given, path)
            elif name in _ABOUT:
                self.found(Finding(f"{path}.{name}", "Anthropic knows no such word", "Remove it", hint=True))
                if name not in _UNTOLD:
                    told.append(f"{name}: {write(value).decode()}")
            elif name == "prefixItems" and "items" in given and value != [given["items"]]:
                self.fatal(f"{path}.{name}", "Anthropic knows one kind of items", "Send items for all of them")
            elif name in _OPENING:
                self.fatal(f"{path}.{name}", _CLOSED, "Name the properties")
            else:
                self._told(name, value, path, told)
        return made

    def _told(self, name: str, value: object, path: str, told: list[str]) -> None:
        known = name in _KEPT
        reason = "Anthropic enforces no such value" if known else "Anthropic enforces no such keyword"
        reason = "Anthropic enforces no such bound" if name in _BOUNDS else reason
        self.lose(f"{path}.{_word(name)}", reason, "Remove it, or ask for it in the description")
        told.append(f"{name}: {write(value).decode()}")

    def _one_of(self, made: Block, given: Block, path: str) -> None:
        if "anyOf" in given or not isinstance(given["oneOf"], list):
            self.fatal(f"{path}.oneOf", "Anthropic knows anyOf alone", "Send anyOf")
            return
        self.lose(f"{path}.oneOf", "Anthropic knows anyOf alone", "Send anyOf", instead="anyOf")
        made["anyOf"] = given["oneOf"]

    def _named(self, made: Block, given: Block, path: str) -> None:
        for name in _NAMED:
            if isinstance(given.get(name), dict):
                made[name] = {key: self.schema(each, f"{path}.{name}") for key, each in given[name].items()}

    def _choices(self, made: Block, given: Block, path: str, told: list[str], *, joined: bool) -> None:
        """Rewrite `anyOf` and `allOf`. Closed objects that are joined would exclude each other's members."""
        apart = {**given, **made}
        for name in _MARRIED:
            if (choices := apart.get(name)) is None:
                continue
            if not isinstance(choices, list) or not choices:
                self.fatal(f"{path}.{name}", "must be a list of schemas", "Give it some")
                continue
            at = f"{path}.{name}"
            if name == "allOf" and any(isinstance(each, dict) and "$ref" in each for each in choices):
                self.fatal(at, "Anthropic takes no reference in allOf", "Write out what it refers to")
            beside = joined or name == "allOf" or "properties" in given
            made[name] = [self._child(each, at, name, told, joined=beside) for each in choices]

    def _typed(self, made: Block, given: Block, path: str) -> None:
        """Every schema has to say what it allows. What has properties or items says it so."""
        kind = made.get("type")
        if isinstance(kind, list) and len(kind) == 1:
            made["type"] = kind[0]
        if any(name in made for name in ("type", "enum", "const", *_MARRIED)):
            return
        for name, meant in (("properties", "object"), ("items", "array")):
            if name in given:
                made["type"] = meant
                return
        self.fatal(path, "Anthropic takes no schema without a type", "Give it a type")

    def _object(self, made: Block, given: Block, path: str, told: list[str], *, joined: bool) -> None:
        """Close an object whose members are named. One that may hold others is never closed."""
        properties, required = given.get("properties", {}), given.get("required", [])
        more = given.get("additionalProperties")
        if not isinstance(properties, dict) or not _is_names(required):
            self.fatal(
                f"{path}.properties", "must be an object of schemas, with a list of names as required", "Mend it"
            )
            return
        if more not in (None, False):
            self.fatal(f"{path}.additionalProperties", _CLOSED, "Send false and name the properties")
        elif more is None and (joined or not properties or any(choice in made for choice in _MARRIED)):
            self.fatal(path, _CLOSED, "Name the properties, and send additionalProperties false")
        elif not properties.keys() >= set(required):
            self.fatal(f"{path}.required", "names a member that properties does not describe", "Describe it")
        elif more is None:
            closing = Finding(f"{path}.additionalProperties", "Anthropic closes it", "Send false", "false", hint=True)
            self.found(closing)
        at = f"{path}.properties"
        made["properties"] = {key: self._child(each, at, key, told) for key, each in properties.items()}
        made["additionalProperties"] = False
        if "required" in given:
            made["required"] = required


def unwrapped(given: Block) -> Block:
    """Return a schema without an `allOf` of one, which is no more than another way to write the same."""
    layers, said = list[Block](), set[str]()  # merged at the end: a copy a layer would cost the depth times the width
    while isinstance(only := given.get("allOf"), list) and len(only) == 1 and isinstance(only[0], dict):
        said |= given.keys() - {"allOf"}
        if not said.isdisjoint(only[0].keys() - {"title", "description"}):
            break
        layers.append(given)
        given = only[0]
    if not layers:
        return given
    made = dict(given)
    for layer in reversed(layers):
        made.update((key, value) for key, value in layer.items() if key != "allOf")
    return made


def _with_told(made: Block, told: list[str]) -> Block:
    if not told:
        return made
    said, words = made.get("description"), f"({', '.join(told)})"
    return {**made, "description": f"{said}\n\n{words}" if said else words}


def _spelled(said: Block) -> str:
    words = [str(said["description"])] if "description" in said else []
    return "; ".join([*words, *([f"default {write(said['default']).decode()}"] if "default" in said else [])])


def _word(name: str) -> str:
    return name if re.fullmatch(r"\$?[A-Za-z0-9_-]{1,64}", name) else "(other)"


def _may_be(schema: Block, kind: str) -> bool:
    given = schema.get("type")
    return kind in given if isinstance(given, list) else given == kind


def _is_type(value: object) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return bool(kinds) and all(isinstance(kind, str) and kind in TYPES for kind in kinds)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _is_choice(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_plain, value))


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and _BEYOND_PATTERNS.search(value) is None


# Keywords that are enforced, each with the values that are.
_KEPT: dict[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "enum": _is_choice,
    "const": _is_plain,
    "format": lambda value: isinstance(value, str) and value in FORMATS,
    "pattern": _is_pattern,
    "minItems": lambda value: value in (0, 1),
    "title": lambda value: isinstance(value, str),
    "description": lambda value: isinstance(value, str),
    "default": lambda value: True,  # noqa: ARG005 - "for all supported types"
}
_OPENING = frozenset({"patternProperties", "unevaluatedProperties"})
_BOUNDS = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains",
    }
)  # fmt: skip
