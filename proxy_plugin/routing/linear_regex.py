"""`re.search` as a yes or no, in time that grows with the text and never explodes, whatever the pattern.

Conditions of a route are written by callers and meet texts of callers. Python's own engine tries alternatives one
after the other: `(a+)+$` against 30 characters takes it minutes, in a process that all callers share. Here a pattern
becomes a graph, and all of its states that are possible at a place in the text are followed together. Python parses
the pattern, so the syntax is its own, without what a graph cannot do: back-references, look-around, atomic groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

names: Any = import_module("re._constants")  # Python's own parser, which has no public name
parser: Any = import_module("re._parser")

MAX_PATTERN = 512  # characters
MAX_STATES = 2_000
_STEPS_KEPT = 4_096
_UNBOUNDED = names.MAXREPEAT
_INLINE = re.IGNORECASE | re.MULTILINE | re.DOTALL
_TAKEN = re.UNICODE | _INLINE
_TOO_BIG = "the pattern is too big: its repeated parts are counted as often as they may occur"
_END = ""  # what comes after the last character, and before the first


class Unsupported(ValueError):
    """The pattern is wrong, too big, or needs what takes unbounded time; the text says which."""


class _State:
    """`test` consumes a character, `holds` looks at the place between two; a state with neither only leads on."""

    __slots__ = ("final", "holds", "next", "test")

    def __init__(
        self,
        *leads: _State,
        test: Callable[[str], bool] | None = None,
        holds: Callable[[str, str], bool] | None = None,
        final: bool = False,
    ) -> None:
        self.next = list(leads)
        self.test, self.holds, self.final = test, holds, final


_States = frozenset[_State]


class LinearRegex:
    """A compiled pattern."""

    def __init__(self, pattern: str) -> None:
        """Raises Unsupported."""
        if len(pattern) > MAX_PATTERN:
            raise Unsupported(f"a pattern may have at most {MAX_PATTERN} characters")
        try:
            parsed = parser.parse(pattern)
        except (re.error, OverflowError, RecursionError, ValueError):
            raise Unsupported("it is not a regular expression") from None
        self._begin = _Graph(parsed.state.flags).sequence(parsed, _State(final=True))
        self._steps: dict[tuple[_States, str, str], tuple[_States, bool]] = {}

    def search(self, text: str) -> bool:
        """Tell whether the pattern matches anywhere in the text."""
        states: _States = frozenset()
        before = _END
        for character in text:
            states, found = self._step(states, before, character)
            if found:
                return True
            before = character
        return self._step(states, before, _END)[1]

    def _step(self, states: _States, before: str, character: str) -> tuple[_States, bool]:
        """Return the states behind the next character, and whether the pattern has matched before it."""
        key = (states, before, character)
        known = self._steps.get(key)
        if known is None:
            if len(self._steps) >= _STEPS_KEPT:
                self._steps.clear()
            reached = _reached([self._begin, *states], before, character)
            found = any(state.final for state in reached)
            behind = (state.next[0] for state in reached if state.test and character and state.test(character))
            known = self._steps[key] = frozenset(behind), found
        return known


def _reached(states: Iterable[_State], before: str, character: str) -> set[_State]:
    """Return all states that can be reached without a character, here between these two."""
    waiting, seen = list(states), set[_State]()
    while waiting:
        state = waiting.pop()
        if state in seen or (state.holds and not state.holds(before, character)):
            continue
        seen.add(state)
        if not state.test:
            waiting += state.next
    return seen


class _Graph:
    """Turns what Python's parser returns into states, from the end to the beginning."""

    def __init__(self, flags: int) -> None:
        if flags & ~_TAKEN:
            raise Unsupported("of the flags only i, m and s are served")
        self._flags = flags
        self._count = 0

    def sequence(self, items: Iterable[tuple[Any, Any]], then: _State) -> _State:
        """Return the state at which these items begin; behind them comes `then`."""
        for operation, argument in reversed(list(items)):
            then = self._item(operation, argument, then)
        return then

    def _item(self, operation: Any, argument: Any, then: _State) -> _State:
        self._count += 1
        if self._count > MAX_STATES:
            raise Unsupported(_TOO_BIG)
        if operation is names.AT:
            return _State(then, holds=self._place(argument))
        if operation is names.SUBPATTERN:
            return self._group(argument, then)
        if operation is names.BRANCH:
            return _State(*(self.sequence(branch, then) for branch in argument[1]))
        if operation in (names.MAX_REPEAT, names.MIN_REPEAT):  # a yes or no does not depend on greed
            least, most, inside = argument
            return self._repeat(least, most, inside, then)
        return _State(then, test=self._test(operation, argument))

    def _group(self, argument: Any, then: _State) -> _State:
        _, added, removed, inside = argument
        flags = self._flags
        self._flags = (flags | added) & ~removed
        if self._flags & ~_TAKEN:
            raise Unsupported("of the flags only i, m and s are served")
        begin = self.sequence(inside, then)
        self._flags = flags
        return begin

    def _repeat(self, least: int, most: Any, inside: Any, then: _State) -> _State:
        if least > MAX_STATES or (most is not _UNBOUNDED and most > MAX_STATES):
            raise Unsupported(_TOO_BIG)
        if most is _UNBOUNDED:
            loop = _State(then)
            loop.next.append(self.sequence(inside, loop))
            then = loop
        else:
            end = then
            for _ in range(most - least):
                then = _State(end, self.sequence(inside, then))
        for _ in range(least):
            then = self.sequence(inside, then)
        return then

    def _test(self, operation: Any, argument: Any) -> Callable[[str], bool]:
        """Return what tells whether a character fits, which Python's own engine decides."""
        text = "".join(_spelled(operation, argument))
        matches = re.compile(text, self._flags & _INLINE).fullmatch
        return lambda character: matches(character) is not None

    def _place(self, where: Any) -> Callable[[str, str], bool]:
        if self._flags & re.MULTILINE:
            where = _OF_LINES.get(where, where)
        return _PLACES[where]


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_OF_LINES = {names.AT_BEGINNING: names.AT_BEGINNING_LINE, names.AT_END: names.AT_END_LINE}
_PLACES: dict[Any, Callable[[str, str], bool]] = {
    names.AT_BEGINNING: lambda before, _: before == _END,
    names.AT_BEGINNING_STRING: lambda before, _: before == _END,
    names.AT_BEGINNING_LINE: lambda before, _: before in (_END, "\n"),
    names.AT_END: lambda _, after: after == _END,  # Python's `$` also matches before a last newline, JavaScript's not
    names.AT_END_STRING: lambda _, after: after == _END,
    names.AT_END_LINE: lambda _, after: after in (_END, "\n"),
    names.AT_BOUNDARY: lambda before, after: _in_word(before) != _in_word(after),
    names.AT_NON_BOUNDARY: lambda before, after: _in_word(before) == _in_word(after),
}


def _spelled(operation: Any, argument: Any) -> Iterator[str]:
    """Yield a pattern for one character."""
    if operation is names.LITERAL:
        yield re.escape(chr(argument))
    elif operation is names.NOT_LITERAL:
        yield f"[^{_inside(chr(argument))}]"
    elif operation is names.ANY:
        yield "."
    elif operation is names.IN:
        yield f"[{''.join(_class_member(*member) for member in argument)}]"
    else:
        raise Unsupported("back-references, look-around and atomic groups are not served")


_CATEGORIES = {
    names.CATEGORY_DIGIT: r"\d",
    names.CATEGORY_NOT_DIGIT: r"\D",
    names.CATEGORY_SPACE: r"\s",
    names.CATEGORY_NOT_SPACE: r"\S",
    names.CATEGORY_WORD: r"\w",
    names.CATEGORY_NOT_WORD: r"\W",
}


def _class_member(kind: Any, argument: Any) -> str:
    if kind is names.NEGATE:
        return "^"
    if kind is names.LITERAL:
        return _inside(chr(argument))
    if kind is names.RANGE:
        return f"{_inside(chr(argument[0]))}-{_inside(chr(argument[1]))}"
    return _CATEGORIES[argument]


def _inside(character: str) -> str:
    return f"\\U{ord(character):08x}"
