"""One HTTP route of ours, in all that is known of it before a request comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Precheck = Callable[[web.Request], Awaitable[None]]


class Served(NamedTuple):
    """A handler and the path that it serves. `path` is aiohttp's template, which the log shows instead of the path.

    `precheck` is called before the body is invited (`Expect: 100-continue`). It raises GatewayError for what the
    headers alone forbid.
    """

    method: str
    path: str
    handler: Handler
    precheck: Precheck | None = None
    new_work: bool = False  # refused while the gateway stops
    shared: bool = False  # the upstream has it, too: for callers that are not ours
