"""How much of a line Anthropic enforces: all strict schemas together have bounds.

Source: "Structured outputs", section "Explicit limits", Claude Platform docs, copies of 2026: 20 strict tools, 24
optional members, 16 members of several types (`anyOf` or a list of types), each for the request as a whole.
UNVERIFIED whether a definition that is used twice counts twice: here it counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Block = dict[str, Any]

MOST_TOOLS, MOST_OPTIONAL, MOST_UNIONS = 20, 24, 16
_VALUES = ("enum", "const", "default")  # hold answers, not schemas


@dataclass(slots=True)
class Strictness:
    """What is enforced so far."""

    tools: int = 0
    optional: int = 0
    unions: int = 0

    @property
    def state(self) -> tuple[int, int, int]:
        """What `Strictness(*state)` goes on from."""
        return self.tools, self.optional, self.unions

    def refusal(self, schema: Block, *, tool: bool) -> str | None:
        """Count a schema; return the bound that it would break, in which case it is not counted."""
        optional, unions = weight(schema)
        for bound, most, what in (
            (self.tools + tool, MOST_TOOLS, "strict tools"),
            (self.optional + optional, MOST_OPTIONAL, "members that are not required"),
            (self.unions + unions, MOST_UNIONS, "members of several types"),
        ):
            if bound > most:
                return f"Anthropic enforces at most {most} {what} in one request"
        self.tools, self.optional, self.unions = self.tools + tool, self.optional + optional, self.unions + unions
        return None


def weight(schema: Block) -> tuple[int, int]:
    """Return how many members of objects are not required, and how many are of several types."""
    optional = unions = 0
    left: list[object] = [schema]
    for part in left:  # grows on the way: no recursion, whatever the depth
        if isinstance(part, list):
            left += part
        elif isinstance(part, dict):
            if isinstance(properties := part.get("properties"), dict):
                optional += len(properties.keys() - set(part.get("required", ())))
                unions += sum(map(_is_union, properties.values()))
                left += properties.values()
            left += [value for key, value in part.items() if key != "properties" and key not in _VALUES]
    return optional, unions


def _is_union(schema: object) -> bool:
    return isinstance(schema, dict) and ("anyOf" in schema or isinstance(schema.get("type"), list))
