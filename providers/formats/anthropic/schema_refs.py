"""Where the references of a JSON schema point, and whether they come back to where they started."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import unquote

Block = dict[str, Any]

_VALUES = ("enum", "const", "default", "examples", "example")  # hold answers, not schemas
_NAMED = ("properties", "patternProperties", "$defs", "definitions")  # hold schemas under names of the caller's


def resolve(root: Block, pointer: str) -> object | None:
    """Return what a reference names, if that is a schema in `root` (RFC 6901); None for any other."""
    if not pointer.startswith("#/"):
        return root if pointer == "#" else None
    found: object = root
    for step in unquote(pointer[2:]).split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return None
    return found if isinstance(found, dict) else None


def circular(root: Block) -> bool:
    """Whether some part of a schema holds itself."""
    edges: dict[str, set[str]] = {}
    left = _references(root)
    while left:
        pointer = left.pop()
        if pointer in edges:
            continue
        edges[pointer] = _references(resolve(root, pointer))
        left |= edges[pointer] - edges.keys()
    try:
        TopologicalSorter(edges).prepare()
    except CycleError:
        return True
    return False


def _references(schema: object) -> set[str]:
    """Return every `$ref` in a schema."""
    found, left = set[str](), [schema]
    for part in left:  # grows on the way: no recursion, whatever the depth
        if isinstance(part, dict):
            for key, value in part.items():
                if key in _NAMED and isinstance(value, dict):
                    left += value.values()
                elif key not in _VALUES:
                    left.append(value)
            if isinstance(target := part.get("$ref"), str):
                found.add(target)
        elif isinstance(part, list):
            left += part
    return found
