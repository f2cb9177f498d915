"""Where the references of a JSON schema point, and whether they come back to where they started."""

from __future__ import annotations

from collections.abc import Iterator
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
        if isinstance(found, list) and name.isdecimal() and len(name) < 10 and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return None
    return found if isinstance(found, dict) else None


def circular(root: Block) -> bool:
    """Whether some part of a schema holds itself.

    Every part is entered once, however many references lead to it and however they spell the way: the cost follows the
    bytes. It walks without recursion, whatever the depth.
    """
    entered, left = {id(root)}, set[int]()
    way: list[tuple[int, Iterator[object]]] = [(id(root), _held(root, root))]
    while way:
        here, parts = way[-1]
        part = next(parts, None)
        if part is None:
            left.add(here)
            way.pop()
        elif id(part) not in entered:
            entered.add(id(part))
            way.append((id(part), _held(root, part)))
        elif id(part) not in left:
            return True
    return False


def _held(root: Block, part: object) -> Iterator[object]:
    """Yield what a part of a schema holds: its own parts, and what it refers to."""
    if isinstance(part, list):
        yield from (each for each in part if isinstance(each, dict | list))
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in _NAMED and isinstance(value, dict):
                yield from (each for each in value.values() if isinstance(each, dict | list))
            elif isinstance(value, dict | list) and key not in _VALUES:
                yield value
        if isinstance(target := part.get("$ref"), str) and (found := resolve(root, target)) is not None:
            yield found
