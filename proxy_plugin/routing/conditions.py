"""Conditions of a route: Portkey's queries over `metadata.*`, `params.*` (the body) and `url.pathname`.

Values are compared as Portkey's gateway does, which is JavaScript: 1 is not "1", what is missing equals nothing, and
only `$gt $gte $lt $lte` read numbers from text. Every operator named for one field has to hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proxy_plugin.routing import patterns
from proxy_plugin.routing.patterns import Pattern
from proxy_plugin.routing.suggestions import Suggestions

MAX_NESTING = 10  # of $and and $or
PATHNAME = "url.pathname"
METADATA, PARAMS = "metadata.", "params."
REGEX = "$regex"

Query = Mapping[str, Any]
_MISSING = object()
_Test = Callable[[object], bool]


class Asked:
    """One line as conditions see it. Its body is decoded only when a condition looks into it, and once."""

    __slots__ = ("_body", "_params", "metadata", "pathname")

    def __init__(self, metadata: Mapping[str, str], pathname: str, body: bytes) -> None:
        self.metadata, self.pathname, self._body = metadata, pathname, body
        self._params: Any = None

    @property
    def params(self) -> Any:
        """Return the decoded body."""
        if self._params is None:
            self._params = _decoded(self._body)
        return self._params


Condition = Callable[[Asked], bool]


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return json.loads(body, parse_int=float)  # half a surrogate pair, or an integer of thousands of digits


def problems(query: object, path: str, names: Suggestions, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield (path, what is wrong) for everything in a query that cannot be evaluated, but for what patterns say."""
    if not isinstance(query, Mapping) or not query:
        yield path, "must be an object with at least one condition"
        return
    if depth > MAX_NESTING:
        yield path, f"$and and $or may be nested {MAX_NESTING} deep"
        return
    for name, value in query.items():
        where = f"{path}.{name}"
        if name in ("$and", "$or"):
            yield from _branch_problems(value, where, names, depth)
        elif name == PATHNAME or any(name.startswith(root) and name != root for root in (METADATA, PARAMS)):
            yield from _field_problems(value, where, names)
        else:
            yield where, f"a condition is over {METADATA}*, {PARAMS}* or {PATHNAME}, or is $and or $or"


def _branch_problems(value: object, path: str, names: Suggestions, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        yield path, "must be a list of conditions"
        return
    for index, query in enumerate(value):
        yield from problems(query, f"{path}.{index}", names, depth + 1)


def _field_problems(value: object, path: str, names: Suggestions) -> Iterator[tuple[str, str]]:
    if not isinstance(value, Mapping):
        if isinstance(value, list | tuple):
            yield path, "must be a value or an object of operators; a list goes under $in"
        return
    if not value:
        yield path, "names no operator"
    for name, operand in value.items():
        if name not in _OPERATORS:
            yield f"{path}.{name}", f"unknown operator{names.did_you_mean(name, _OPERATORS)}"
        elif (wrong := _operand_problem(name, operand)) is not None:
            yield f"{path}.{name}", wrong


def _operand_problem(name: str, operand: object) -> str | None:
    """Return what is wrong with an operand. No pattern is compiled here: that can take too long for the event loop."""
    if name == REGEX:
        return None if isinstance(operand, str) else "must be a regular expression as text"
    try:
        _OPERATORS[name](operand)
    except TypeError as error:
        return str(error)
    if isinstance(operand, list | tuple) and any(map(_is_container, operand)):
        return "must be a list of texts, numbers, true, false or null"
    return None


def searches(query: Query, path: str) -> Iterator[Pattern]:
    """Yield the patterns of a query in which `problems` has found none."""
    for where, operator, operand in _comparisons(query, path):
        if operator == REGEX:
            yield Pattern(where, operand)


def count(query: Query) -> int:
    """Return how many comparisons a query makes at most, for one line."""
    return sum(1 for _ in _comparisons(query, ""))


def _comparisons(query: Query, path: str) -> Iterator[tuple[str, str, Any]]:
    for name, value in query.items():
        where = f"{path}.{name}"
        if name in ("$and", "$or"):
            for index, each in enumerate(value):
                yield from _comparisons(each, f"{where}.{index}")
        elif isinstance(value, Mapping):
            yield from ((f"{where}.{operator}", operator, operand) for operator, operand in value.items())
        else:
            yield where, "$eq", value


def compiled(query: Query) -> Condition:
    """Return the function that evaluates a query in which `problems` has found none. Raises patterns.PatternRefused."""
    tests = [_compiled_item(name, value) for name, value in query.items()]
    return tests[0] if len(tests) == 1 else lambda asked: all(test(asked) for test in tests)


def _compiled_item(name: str, value: Any) -> Condition:
    if name in ("$and", "$or"):
        inner, holds = [compiled(each) for each in value], all if name == "$and" else any
        return lambda asked: holds(test(asked) for test in inner)
    read = _reader(name)
    operators = value if isinstance(value, Mapping) else {"$eq": value}
    tests = [_OPERATORS[operator](operand) for operator, operand in operators.items()]
    return lambda asked: _all_hold(tests, read(asked))


def _all_hold(tests: Sequence[_Test], value: object) -> bool:
    return all(test(value) for test in tests)


def _reader(name: str) -> Callable[[Asked], object]:
    if name == PATHNAME:
        return lambda asked: asked.pathname
    if name.startswith(METADATA):
        key = name.removeprefix(METADATA)
        return lambda asked: asked.metadata.get(key, _MISSING)
    steps = name.removeprefix(PARAMS).split(".")
    return lambda asked: _walk(asked.params, steps)


def _walk(value: Any, steps: Sequence[str]) -> object:
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, _MISSING)
        elif isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 8 and int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value


def over_metadata(query: Query) -> bool:
    """Tell whether a query looks at metadata."""
    return any(
        any(over_metadata(each) for each in value) if name in ("$and", "$or") else name.startswith(METADATA)
        for name, value in query.items()
    )


# ---- the operators: each takes its operand and returns the test of a value ----


def _same(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return not isinstance(one, list | dict) and one == other


def _equal(operand: object) -> _Test:
    _no_container(operand)
    return lambda value: _same(value, operand)


def _unequal(operand: object) -> _Test:
    _no_container(operand)
    return lambda value: not _same(value, operand)


def _no_container(operand: object) -> None:
    if _is_container(operand):
        raise TypeError("must be a text, a number, true, false or null")


def _is_container(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _one_of(operand: object) -> _Test:
    if not isinstance(operand, list | tuple):
        raise TypeError("must be a list of values")
    # A set: a thousand values cost a line no more than one. Containers, which earlier versions stored, equal nothing.
    values = {(isinstance(each, bool), each) for each in operand if not _is_container(each)}
    return lambda value: not _is_container(value) and (isinstance(value, bool), value) in values


def _none_of(operand: object) -> _Test:
    found = _one_of(operand)
    return lambda value: not found(value)


def _ordered(holds: Callable[[float, float], bool]) -> Callable[[object], _Test]:
    def operator(operand: object) -> _Test:
        bound = _number(operand)
        if bound is None:
            raise TypeError("must be a number")
        return lambda value: (number := _number(value)) is not None and holds(number, bound)

    return operator


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _matching(operand: str) -> _Test:
    program = patterns.compiled(operand)
    return lambda value: isinstance(value, str) and program.search(value)


_OPERATORS: dict[str, Callable[[Any], _Test]] = {
    "$eq": _equal,
    "$ne": _unequal,
    "$gt": _ordered(lambda value, bound: value > bound),
    "$gte": _ordered(lambda value, bound: value >= bound),
    "$lt": _ordered(lambda value, bound: value < bound),
    "$lte": _ordered(lambda value, bound: value <= bound),
    "$in": _one_of,
    "$nin": _none_of,
    REGEX: _matching,
}
