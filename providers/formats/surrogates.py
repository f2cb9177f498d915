"""Halves of characters: escapes such as `\\ud83d` alone, which are JSON and no Unicode.

A text cut in the middle of an emoji holds one. Providers that decode strictly refuse the whole job for it, so on their
lanes it becomes U+FFFD, the sign for a character that is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy_plugin.providers.formats.losses import join

# Escapes one after the other, so that a backslash is never taken for the beginning of the next one. In the group: half
# a character alone; two halves that belong together are passed over.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)")
_HALF = re.compile("[\ud800-\udfff]")
_LONGEST = 200  # characters of a path
_ESCAPED = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)")


def mended(text: bytes) -> bytes:
    """Return a JSON text with U+FFFD for every half of a character; the same object if it holds none."""
    if b"\\ud" not in text and b"\\uD" not in text:
        return text
    made = _ESCAPE.sub(_mend, text)
    return text if made == text else made


def places(value: object, path: str = "") -> Iterator[str]:
    """Yield the path of every text in a decoded value that holds half a character, itself or as a call's JSON.

    A path ends where it gets long: names and depth are the caller's, and each of a million texts has one.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list | str):
                yield from places(inner, join(path, key) if len(path) < _LONGEST else path)
    elif isinstance(value, list):
        at = f"{path}[]" if len(path) < _LONGEST else path
        for inner in value:
            yield from places(inner, at)
    elif isinstance(value, str) and (_HALF.search(value) or (path.endswith("arguments") and _escapes_half(value))):
        yield path


def _escapes_half(text: str) -> bool:
    return any(each[1] for each in _ESCAPED.finditer(text))


def _mend(found: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if found[1] else found[0]
