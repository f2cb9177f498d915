"""Paths that are ours in disguise: what stands behind us may read them as ours, so that they never go there.

A server may unescape twice, join slashes, resolve dots, drop what follows a semicolon or a null byte, or not care for
case. Whatever one of them could take for a path of ours is nobody's.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from aiohttp import hdrs, web

_TIMES = 5  # that a path is unescaped; nobody does it more often
_DROPPED = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ufeff]")
_BEHIND = re.compile(r"[?#]")
_ROOT = "v1"
_OURS = frozenset({"files", "uploads", "batches"})
_MODELS, _OPERATIONS = "models", {("healthz",), ("readyz",), ("metrics",)}  # of these we have GET and HEAD alone
_READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


def is_nobodys(method: str, raw: str) -> bool:
    """Tell whether a request that none of our routes took must not be taken by anybody else; `raw` is its path as sent.

    That is what reads as a path of ours, climbs above the root, or is no path, as in `OPTIONS *` and CONNECT.
    """
    segments = _segments(raw) if raw.startswith("/") else None
    if segments is None:
        return True
    below = segments[1:] if segments[:1] == [_ROOT] else segments
    if below and below[0] in _OURS:
        return True
    return method in _READS and (below[:1] == [_MODELS] or tuple(segments) in _OPERATIONS)


def takes_many_paths(request: web.Request) -> bool:
    """Tell whether the application's own route begins with a variable: it may pass on what it does not know."""
    resource = request.match_info.route.resource
    literal, variable, _ = ("" if resource is None else resource.canonical).partition("{")
    return bool(variable) and literal in ("/", f"/{_ROOT}/")


def _segments(raw: str) -> list[str] | None:
    """Return the segments that a path may come to in the end; None if it climbs above the root."""
    found: list[str] = []
    for each in _BEHIND.split(_DROPPED.sub("", _unescaped(raw)).replace("\\", "/"), maxsplit=1)[0].split("/"):
        name = each.partition(";")[0]
        if name == "..":
            if not found:
                return None
            found.pop()
        elif name.strip("."):
            found.append(name.rstrip(".").casefold())
    return found


def _unescaped(text: str) -> str:
    for _ in range(_TIMES):
        text, before = unquote(text, errors="replace"), text
        if text == before:
            break
    return unicodedata.normalize("NFKC", text)
