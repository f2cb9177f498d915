"""The body of a line as an object, and what of it has no place in a translation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from proxy_plugin.providers.errors import LineRejected
from proxy_plugin.providers.formats.json_text import has_fractions, has_long_numbers, read, read_exactly
from proxy_plugin.providers.formats.losses import Losses
from proxy_plugin.providers.formats.remembered import recall_alone, remembers
from proxy_plugin.providers.formats.weight import require_light

Block = dict[str, Any]
_NOTHING: tuple[object, ...] = (None, "", [], {})


def read_object(body: bytes, exact: Collection[str] = ()) -> Block:
    """Read a body; long numbers in its members `exact` keep every digit (`json_text.Literal`). Raises LineRejected."""
    require_light(body)
    try:
        given = read(body)
        if isinstance(given, dict):
            if given.keys().isdisjoint(exact) or not _may_differ(body, [given.get(key) for key in exact]):
                return given
            found: Block = read_exactly(body)
            return found
    except ValueError:
        pass
    raise LineRejected("body must be a JSON object of moderate nesting", code="invalid_type", param="body")


def _may_differ(body: bytes, members: list[Any]) -> bool:
    """Whether a number in these members may not be what was written; the quicker question is asked first."""
    if remembers("fractions"):
        return recall_alone("fractions", members, lambda: has_fractions(members)) and has_long_numbers(body)
    return has_long_numbers(body) and has_fractions(members)


def leftovers(
    given: Block, losses: Losses, *, same: Mapping[str, Collection[object]], never: Mapping[str, str]
) -> Block:
    """Return the members that ask for something.

    `same`: values that ask for what happens anyway. `never`: parameters without which an answer lacks what the caller
    will read from it, with the reason: no setting lets them be left out. They are refused.
    """
    left = {key: value for key, value in given.items() if value not in same.get(key, ())}
    for key, reason in never.items():
        if left.get(key) not in _NOTHING:
            losses.never(key, reason)
        left.pop(key, None)
    return left
