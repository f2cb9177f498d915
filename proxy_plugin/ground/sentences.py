"""What OpenAI says of a parameter that is missing or wrong, word for word: programs look for these sentences and codes.

They are the ones that its API gives, as public suites quote its answers: llama-stack's batch tests (answers of August
2025), LiteLLM's proxy tests and others (2026). `param` is the path of the parameter, such as `metadata.tags`.
OpenAI repeats the value that it refuses; here one is repeated only if it is a word such as an endpoint: no content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.ground.masking import mask

STRING, INTEGER, OBJECT = "a string", "an integer", "an object"
_WORD = re.compile(r"[A-Za-z0-9_./:+-]{0,64}")
_KEY = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16}")  # letters and digits at such length are a key, not a word
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TYPES = ((bool, "a boolean"), (int, INTEGER), (float, "a decimal number"), (str, STRING), (list, "an array"))


class Said(NamedTuple):
    """One sentence, with its code and the parameter that it is about."""

    code: str
    message: str
    param: str

    def refusal(self, more: str = "") -> BadRequest:
        """Return it as an answer; `more` is a remedy of ours behind it."""
        return BadRequest(f"{self.message} {more}".rstrip(), param=self.param, code=self.code)


def missing(param: str) -> Said:
    """Say that a parameter has to be there."""
    return Said("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def wrong_type(param: str, expected: str, value: object) -> Said:
    """Say that a value is of another type; `expected` has its article."""
    message = f"Invalid type for '{param}': expected {expected}, but got {_type(value)} instead."
    return Said("invalid_type", message, param)


def wrong_value(param: str, value: str | None, supported: Sequence[str]) -> Said:
    """Say that a text is none of those that are taken; None is never repeated."""
    repeated = f": '{value}'" if value is not None and is_word(value) else ""
    return Said("invalid_value", f"Invalid value{repeated}. Supported values are: {_listed(supported)}.", param)


def out_of_range(param: str, value: int, least: int, most: int) -> Said:
    """Say that a whole number is below or above what is taken."""
    below = value < least
    what, bound = ("below minimum", f">= {least}") if below else ("above maximum", f"<= {most}")
    message = f"Invalid '{param}': integer {what} value. Expected a value {bound}, but got {value} instead."
    return Said("integer_below_min_value" if below else "integer_above_max_value", message, param)


def too_long(param: str, most: int, length: int) -> Said:
    """Say that a text has too many characters."""
    expected = f"Expected a string with maximum length {most}, but got a string with length {length} instead."
    return Said("string_above_max_length", f"Invalid '{param}': string too long. {expected}", param)


def long_name(param: str, most: int, length: int) -> Said:
    """Say that the name of a property has too many characters, without repeating it."""
    expected = f"Expected a string with maximum length {most}, but got a string with length {length} instead."
    message = f"Invalid property name in '{param}': a name is too long. {expected}"
    return Said("property_name_above_max_length", message, param)


def too_many(param: str, most: int, count: int) -> Said:
    """Say that an object has too many properties."""
    expected = f"Expected an object with at most {most} properties, but got an object with {count} properties instead."
    return Said("object_above_max_properties", f"Invalid '{param}': too many properties. {expected}", param)


def empty_string(param: str) -> Said:
    """Say that a text may not be empty."""
    expected = "Expected a string with minimum length 1, but got an empty string instead."
    return Said("empty_string", f"Invalid '{param}': empty string. {expected}", param)


def empty_array(param: str) -> Said:
    """Say that a list may not be empty."""
    expected = "Expected an array with minimum length 1, but got an empty array instead."
    return Said("empty_array", f"Invalid '{param}': empty array. {expected}", param)


def below(param: str, name: str) -> str:
    """Return the path of a property whose name the caller chose; one that is no plain name is left out."""
    return f"{param}.{name}" if _NAME.fullmatch(name) and is_word(name) else param


def is_word(value: str) -> bool:
    """Tell whether a value may be repeated: a word such as a url or the name of a model, and no secret."""
    return _WORD.fullmatch(value) is not None and _KEY.search(value) is None and mask(value) == value


def _type(value: object) -> str:
    if value is None:
        return "null"
    return next((name for kind, name in _TYPES if isinstance(value, kind)), OBJECT)


def _listed(words: Sequence[str]) -> str:
    *first, last = (f"'{word}'" for word in words)
    if not first:
        return last
    return f"{', '.join(first)}{',' if len(first) > 1 else ''} and {last}"
