"""The dashboard: static files for a browser, which then asks the routes that everybody asks, with its caller's key.

At `/batch-ui/` always, and at `/ui/` where there is no upstream: behind us that is LiteLLM's own. Whoever asks for the
files sees no data: they hold none, and no key is needed for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

from aiohttp import hdrs, web

from proxy_plugin.ground.errors import NotFound
from proxy_plugin.web.answers import error_answer
from proxy_plugin.web.served import Handler

ALWAYS, ALONE = "/batch-ui", "/ui"
PAGE = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    hdrs.CACHE_CONTROL: "no-cache",  # asked for again, and 304 while it is the same
}


class Asset(NamedTuple):
    """One file of the dashboard."""

    content: bytes
    kind: str
    tag: str


@lru_cache(1)
def assets() -> dict[str, Asset]:
    """Return the files by name: read once, 20 at most, under 200 KB together."""
    found = {}
    for each in resources.files("proxy_plugin").joinpath("ui").iterdir():
        kind = next((kind for end, kind in TYPES.items() if each.name.endswith(end)), None)
        if kind is not None:
            content = each.read_bytes()
            found[each.name] = Asset(content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


async def file(request: web.Request) -> web.Response:
    """`GET /ui/{name}`: one file; without a name the page."""
    found = assets().get(request.match_info.get("name") or PAGE)
    if found is None:
        return error_answer(NotFound("The dashboard has no such file."))
    headers = _HEADERS | {hdrs.ETAG: found.tag}
    if request.headers.get(hdrs.IF_NONE_MATCH) == found.tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=found.content, headers=headers | {hdrs.CONTENT_TYPE: found.kind})


async def to_page(request: web.Request) -> web.Response:
    """`GET /ui`: lead to `/ui/`, below whatever path a proxy has put in front: the page names its files relatively."""
    name = request.path.rpartition("/")[2]
    return web.Response(status=307, headers=_HEADERS | {hdrs.LOCATION: f"{name}/"})


def routes(*, upstream: bool) -> Iterator[tuple[str, Handler]]:
    """Yield (path, handler) of what is served."""
    for root in (ALWAYS,) if upstream else (ALWAYS, ALONE):
        yield root, to_page
        yield f"{root}/", file
        yield f"{root}/{{name}}", file
