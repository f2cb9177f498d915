"""What the top of a config says of the whole batch: `rescue`, `cache` (Portkey's) and `fan_out`.

rescue: {attempts: 2, direct_before: "90m", on_status_codes: [429, 500]}
cache: {mode: simple, max_age: 86400}
fan_out: true
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from proxy_plugin.routing.config_tree import WholeBatch
from proxy_plugin.routing.route import Cache, Rescue
from proxy_plugin.routing.suggestions import Suggestions

TOP_KEYS = ("rescue", "cache", "fan_out")
MOST_ATTEMPTS = 64  # as many as a config may have targets
LONGEST = 366 * 86_400.0  # seconds; no window is longer
_RESCUE = ("attempts", "direct_before", "on_status_codes")
_SIMPLE, _SEMANTIC = "simple", "semantic"
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600}
_NOT_SEMANTIC = (
    "semantic is not served: a line would get the answer to another question that is like it. Write simple, which"
    " answers equal requests alone"
)

Say = Callable[[str, str], None]  # (dotted path, what is wrong)


def says_nothing(value: object) -> bool:
    """Tell whether a setting that is there asks for nothing."""
    return value is None or value is False or value in ({}, [], "")


def status_codes(found: object, path: str, say: Say) -> tuple[int, ...]:
    """Return HTTP statuses without repetition; none where nothing is said, or what is said is wrong."""
    if found is None:
        return ()
    if not isinstance(found, list | tuple) or not found:
        say(path, "must be a list of at least one HTTP status")
        return ()
    for index, each in enumerate(found):
        if isinstance(each, bool) or not isinstance(each, int) or not 100 <= each <= 599:
            say(f"{path}.{index}", "must be an HTTP status, a whole number from 100 to 599")
            return ()
    return tuple(dict.fromkeys(found))


class WholeReader:
    """Reads the keys of the top; what is wrong with them is said."""

    def __init__(self, say: Say, names: Suggestions) -> None:
        self._say, self._names = say, names

    def read(self, raw: Mapping[str, Any]) -> WholeBatch:
        """Return what a config says."""
        return WholeBatch(self._rescue(raw.get("rescue")), self._cache(raw.get("cache")), self._fan_out(raw))

    def _rescue(self, raw: object) -> Rescue | None:
        if raw is None or raw is False:
            return None
        if not isinstance(raw, Mapping):
            self._say("rescue", f"must be an object of {', '.join(_RESCUE)}")
            return None
        for name in raw:
            if name not in _RESCUE:
                known = self._names.did_you_mean(name, _RESCUE) or f"; it has {', '.join(_RESCUE)}"
                self._say(f"rescue.{name}", f"unknown key{known}")
        return Rescue(
            self._attempts(raw.get("attempts")),
            self._direct_before(raw.get("direct_before")),
            status_codes(raw.get("on_status_codes"), "rescue.on_status_codes", self._say),
        )

    def _attempts(self, found: object) -> int | None:
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= MOST_ATTEMPTS:
            self._say("rescue.attempts", f"must be a whole number from 1 to {MOST_ATTEMPTS}")
            return None
        return found

    def _direct_before(self, found: object) -> float | None:
        text = _TIME.fullmatch(found) if isinstance(found, str) else None
        value = float(text[1]) * _SECONDS[text[2]] if text else found
        return self._seconds(value, "rescue.direct_before", "must be seconds above 0, or a time such as '90m' or '2h'")

    def _cache(self, found: object) -> Cache | None:
        raw = {"mode": found} if isinstance(found, str) else found
        if says_nothing(raw):
            return None
        if not isinstance(raw, Mapping):
            self._say("cache", "must be an object of mode and max_age")
            return None
        for name in raw:
            if near := self._names.near(name, ("mode", "max_age")) if name not in ("mode", "max_age") else None:
                self._say(f"cache.{name}", f"unknown key; did you mean {near}?")
        if raw.get("mode") != _SIMPLE:
            self._say("cache.mode", _NOT_SEMANTIC if raw.get("mode") == _SEMANTIC else f"must be {_SIMPLE}")
        return Cache(self._seconds(raw.get("max_age"), "cache.max_age", "must be a number of seconds above 0"))

    def _fan_out(self, raw: Mapping[str, Any]) -> bool:
        found = raw.get("fan_out")
        if found is not None and not isinstance(found, bool):
            self._say("fan_out", "must be true or false")
        return found is True

    def _seconds(self, found: object, path: str, what: str) -> float | None:
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= LONGEST:
            self._say(path, what)
            return None
        return float(found)
