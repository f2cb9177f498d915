"""The text of a config as a request brings it: JSON, or the id of a saved one; and the words of its refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.routing.suggestions import SUGGESTED

INVALID_ID = "Invalid config id passed"
MAX_CHARACTERS = 64 * 1024  # of a config; twice as many as a header has, since a body can bring one too
PROBLEMS_SHOWN, _PATH_SHOWN = SUGGESTED, 120
_JSON = ("{", "[", '"')  # what a header begins with that holds a config
_HALF = "holds half of a character, such as \\ud83d without the half that follows it; write both, or leave it out"


class Problem(NamedTuple):
    """One thing that is wrong with a config."""

    path: str
    what: str


class Invalid(Exception):
    """A config that cannot be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        shown = (f"{path[:_PATH_SHOWN] or 'the config'}: {what}" for path, what in problems[:PROBLEMS_SHOWN])
        super().__init__("; ".join(shown))
        self.problems = tuple(problems)


def unusable(invalid: Invalid, header: str) -> ConfigError:
    """Return the answer to a request whose config cannot be used."""
    return ConfigError(f"Invalid config passed: {invalid}.", param=header)


def is_saved(text: str) -> bool:
    """Tell whether what a header holds is the id of a saved config, whose patterns were compiled at the start."""
    return not text.strip().startswith(_JSON)


def object_in(text: str, saved: Mapping[str, Mapping[str, Any]], header: str) -> Mapping[str, Any]:
    """Return the object that a header holds or names. Raises Invalid, ConfigError."""
    if is_saved(text):
        if text not in saved:
            raise ConfigError(f"{INVALID_ID}: {header} takes JSON, or the id of a saved config (pc-...).", param=header)
        return saved[text]
    if len(text) > MAX_CHARACTERS:
        raise Invalid([Problem("", f"may have at most {MAX_CHARACTERS} characters")])
    try:
        found = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # it could be stored nowhere, and shown in no answer
        raise Invalid([Problem("", _HALF)]) from None
    except (ValueError, RecursionError):
        message = f"Invalid config passed. You need to pass a valid json: {header} cannot be read as one."
        raise ConfigError(message, param=header) from None
    if not isinstance(found, dict):
        raise Invalid([Problem("", "must be a JSON object")])
    return found


def _no_number(word: str) -> float:
    raise ValueError(word)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)
