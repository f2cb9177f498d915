"""What a JSON text takes of memory once it is read.

A line of 15 MB of empty lists took 431 MB as objects, and two lines at a time are translated by every gateway: the
machine's memory is not one workspace's. Texts are no heavier than they are long; values around them are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

from proxy_plugin.providers.errors import LineRejected

MOST = 24 * 2**20  # bytes of objects that one line may become, its texts aside
LIGHT = MOST // 110  # no text so short becomes that much
_BYTES = {b"{": 240, b"[": 88, b":": 100, b",": 64}  # object, list, name, value [CPython 3.11 to 3.13]
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # one that is not closed is the rest


def weight(text: bytes) -> int:
    """Return about how many bytes the values of a JSON text take, without its texts."""
    return sum(_weights(text))


def require_light(body: bytes) -> None:
    """Raise LineRejected for a body of too many values. Of texts with commas none is looked at but in long bodies."""
    if len(body) <= LIGHT or _weigh(body, 0, len(body)) <= MOST:
        return
    if any(total > MOST for total in accumulate(_weights(body))):
        message = "body has too many values (objects, lists, names, numbers) to be translated. Give the line fewer."
        raise LineRejected(message, code="line_too_complex", param="body")


def _weights(text: bytes) -> Iterator[int]:
    """Yield what stands before each text, and behind the last: texts cut out at once would take as much memory."""
    at = 0
    for each in _STRING.finditer(text):
        yield _weigh(text, at, each.start())
        at = each.end()
    yield _weigh(text, at, len(text))


def _weigh(text: bytes, start: int, end: int) -> int:
    return sum(text.count(sign, start, end) * size for sign, size in _BYTES.items())
