r"""Regular expressions of callers. They are RE2's, which reads a text once, whatever the pattern.

Compiling one is not as harmless: 4 KiB of `\PL` take 0.5 s in which the interpreter's lock is held, 30 KiB take 1.7 s.
So no pattern of a caller is compiled in the process of the event loop. Matching takes 4 ns for each byte of the text
and instruction of the program where its states do not fit into memory: 80 ms for 4 KiB and the largest program.

Syntax: github.com/google/re2/wiki/Syntax. As in JavaScript, and unlike Python's, `$` is the end of the text alone, and
`\d`, `\w`, `\s` and `\b` are ASCII's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

MAX_BYTES = 4 * 1024  # of all patterns of a config, as UTF-8
MAX_PROGRAM = 5_000  # instructions, of all patterns of a config, for reading forwards and backwards
TEXT_BYTES = 4 * 1024  # of a text are looked at, as UTF-8
_MEMORY = 256 * 1024  # bytes that one pattern may take: for its program and the states met so far
_KEPT = 64  # compiled patterns; with the states of each 16 MB
_ENGINE = "re2"  # imported where there is a pattern: it takes 3 MB
_TOO_BIG = "pattern too large - compile failed"
_REASONS = {  # what RE2 says before it quotes the pattern
    "bad repetition operator": "a repetition is itself repeated ('**', 'a++')",
    "invalid UTF-8": "it is no Unicode text",
    "invalid character class": "a class in [ ] cannot be read",
    "invalid character class range": r"a class, a range in [ ] or a \p{...} is unknown or the wrong way round",
    "invalid escape sequence": r"an escape is unknown: there are no back-references, a character by its number is "
    r"\x{2014}, the end of the text \z",
    "invalid named capture group": "the name of a group cannot be one: it is (?P<name>...)",
    "invalid perl operator": "look-ahead, look-behind, atomic groups and comments are not served, and no flags but i, "
    "m, s and U",
    "invalid repetition size": "a part is repeated more than 1000 times, nested repetitions counted, or {n,m} has n "
    "above m",
    "missing )": "a ) is missing",
    "missing ]": "a ] is missing",
    "no argument for repetition operator": "a repetition has nothing before it that it could repeat",
    "trailing \\": "it ends with a lone backslash",
    "unexpected )": "a ) has no (",
    _TOO_BIG: "its program is too big: classes such as \\pL and counted repetitions are what makes it grow",
}
_REFUSED = "is no regular expression that RE2 takes"
_OVER = f"the patterns of a config may make programs of at most {MAX_PROGRAM} instructions together"


class PatternRefused(ValueError):
    """RE2 does not take a pattern. The text says why and quotes nothing of it."""


class Pattern(NamedTuple):
    """A pattern and its dotted path in its config."""

    path: str
    text: str


class Program:
    """A compiled pattern. `size` is in instructions."""

    __slots__ = ("_regexp", "size")

    def __init__(self, regexp: Any) -> None:
        self._regexp, self.size = regexp, int(regexp.programsize) + int(regexp.reverseprogramsize)

    def search(self, text: str) -> bool:
        """Tell whether the pattern matches anywhere in the text, of which 4 KiB are looked at."""
        return self._regexp.search(_cut(text)) is not None


def _cut(text: str) -> bytes:
    """Return the beginning of a text in whole characters; half a surrogate pair is one, as for JavaScript."""
    encoded = text[:TEXT_BYTES].encode("utf-8", "surrogatepass")
    end = min(len(encoded), TEXT_BYTES)
    while end < len(encoded) and encoded[end] & 0xC0 == 0x80:
        end -= 1
    return encoded[:end]


@lru_cache(_KEPT)
def compiled(text: str) -> Program:
    """Return a pattern's program. Raises PatternRefused."""
    engine: Any = import_module(_ENGINE)
    options = engine.Options()
    options.max_mem, options.never_capture, options.log_errors = _MEMORY, True, False
    try:
        regexp = engine.compile(text.encode(), options)
    except UnicodeEncodeError:
        raise PatternRefused(_worded("invalid UTF-8")) from None
    except engine.error as error:
        raise PatternRefused(_worded(_said(error))) from None
    finally:
        engine.purge()  # its own cache, which keeps twice as many
    if regexp.reverseprogramsize < 0:  # is made on first use; without it every search would be the slow one
        raise PatternRefused(_worded(_TOO_BIG))
    return Program(regexp)


def _said(error: Exception) -> str:
    """Return the kind of a refusal: what stands before the quotation."""
    found = error.args[0] if error.args else ""
    return (found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)).partition(": ")[0]


def _worded(said: str) -> str:
    return f"{_REFUSED}: {_REASONS[said]}" if said in _REASONS else _REFUSED


def refusals(texts: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Return (place, why) of all patterns of one config that cannot be used. It takes up to 1 s.

    The first that is beyond the budget of all is the last one looked at.
    """
    return tuple(_refusals(texts))


def _refusals(texts: Sequence[str]) -> Iterator[tuple[int, str]]:
    size = 0
    for place, text in enumerate(texts):
        try:
            size += compiled(text).size
        except PatternRefused as refused:
            yield place, str(refused)
        if size > MAX_PROGRAM:
            yield place, _OVER
            return
