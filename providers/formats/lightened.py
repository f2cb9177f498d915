"""Lines with pictures are translated without their data, which is put into the outcome at the end: copied once.

The base64 of a data URI is most of such a line, and every translator hands it on as it is, but for its first bytes,
which may tell another type. So what is behind those is cut out of the body before it is read and stands in the native
line again when that is made. Where anything about a line is unusual it goes the whole way, with the same outcome.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from proxy_plugin.providers.base import LineIn, Native
from proxy_plugin.providers.formats.file_types import type_of
from proxy_plugin.providers.formats.members import may_name

CHAT = "/v1/chat/completions"
LEAST = 4096  # bytes of data that are worth it
KEPT = 192  # of them stay in their place: `file_types` looks at 128, or fewer
_MANY = 256  # semicolons that are looked at one by one: searching for more than a character takes 120 us for 100 KB
_BLOCK = 2**16
_SIGN = b";base64,"
# Where a translator takes data from. What is no picture or PDF by its first bytes it may look into.
_START = re.compile(rb'"(?:url|image_url|file_data)"\s*:\s*"data:(?:image/[\w.+-]+|application/pdf);base64,\Z')
_LONGEST_START = 160
_NEXT = frozenset({b",", b"}", b"]", b" ", b"\t", b"\r", b"\n"})
_SCHEMAS = ("tools", "functions", "response_format")  # of which numbers are read by what the whole body holds
_RAWS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Light(NamedTuple):
    """A body without data: `stand_in` and a number of three digits are in the place of each of `data`."""

    body: bytes
    stand_in: bytes
    data: list[memoryview]


def lightly(line: LineIn, translate: Callable[[LineIn], Native]) -> Native:
    """Return what `translate` makes of a line. Raises what that raises."""
    light = lightened(line.body) if line.endpoint == CHAT else None
    if light is None:
        return translate(line)
    native = translate(replace(line, body=light.body))
    return replace(native, data=_filled(native.data, light))


def lightened(body: bytes) -> Light | None:
    """Return a body without its data; None where nothing can be cut out, or it is not certain that it can."""
    places = _places(body) if len(body) > LEAST else []
    if not places or len(places) > 999 or not _is_sound(body, places):
        return None
    view, pieces, at = memoryview(body), list[bytes | memoryview](), 0
    ends, starts = [0, *(end for _, end in places)], [*(start for start, _ in places), len(body)]
    rest = b"".join(body[end:start] for end, start in zip(ends, starts, strict=True))
    if may_name(rest, *_SCHEMAS):
        return None
    stand_in = next(sign for n in range(len(rest) + 1) if (sign := b"~held-%d-" % n) not in rest)
    for number, (start, end) in enumerate(places):
        pieces += [view[at:start], b"%s%03d~" % (stand_in, number)]
        at = end
    return Light(b"".join([*pieces, view[at:]]), stand_in, [view[start:end] for start, end in places])


def _places(body: bytes) -> list[tuple[int, int]]:
    """Return where data is that can be cut out."""
    found, at, looks = list[tuple[int, int]](), body.find(b";"), 0
    while at >= 0:
        start, looks = at + len(_SIGN), looks + 1
        if body.startswith(_SIGN, at) and _START.search(body, max(0, start - _LONGEST_START), start):
            end = body.find(b'"', start)
            if body[end + 1 : end + 2] in _NEXT and _is_plain(body, start, end):
                found.append((start + KEPT, end))
            at = max(end, at)
        at = body.find(b";" if looks < _MANY else _SIGN, at + 1)
    return found


def _is_plain(body: bytes, start: int, end: int) -> bool:
    """Whether data is long, without escapes, and a file of a kind that is known."""
    is_long = end - start > LEAST and body.find(b"\\", start, end) < 0
    return is_long and type_of(body[start : start + KEPT].decode("latin-1")) is not None


def _is_sound(body: bytes, places: list[tuple[int, int]]) -> bool:
    """Whether a body is a JSON object, and its data ASCII: then a reader refuses neither for what is cut out."""
    try:
        _RAWS(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return body.isascii() or all(
        body[at : min(at + _BLOCK, end)].isascii() for start, end in places for at in range(start, end, _BLOCK)
    )


def _filled(native: bytes, light: Light) -> bytes:
    first, *others = native.split(light.stand_in)
    pieces: list[bytes | memoryview] = [first]
    for each in others:
        pieces += [light.data[int(each[:3])], memoryview(each)[4:]]
    return b"".join(pieces)
