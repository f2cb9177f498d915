"""A stand-in of LiteLLM's proxy, as far as keys go: who is asked of what, and what it answers then.

Written from litellm 1.110.2: `proxy/management_endpoints/key_management_endpoints.py` (`info_key_fn`),
`team_endpoints.py` (`team_info`), `proxy/auth/user_api_key_auth.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MASTER = "sk-master-of-litellm"
DATABASE = "Database not connected. Connect a database to your proxy"


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@dataclass
class LiteLLM:
    """`keys` are the rows of its database by key, `teams` by id. A key without a row is unknown, but for the master."""

    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    teams: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    has_database: bool = True
    fails: int | None = None  # the status of every answer
    holds: asyncio.Event | None = None  # what questions wait for
    seen: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    most: int = 0  # questions at the same time
    running: int = 0
    port: int = 0

    @property
    def asked(self) -> list[str]:
        """The paths of its own routes that were asked for."""
        return [path for _, path, _ in self.seen if path in ("/key/info", "/team/info", "/v1/models")]

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.path_qs.split("?")[0], dict(request.headers)))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.holds is not None:
                await self.holds.wait()
            return await self._answer(request)
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request) -> web.Response:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        row = self.keys.get(key)
        refused = key != MASTER and (row is None or row.get("blocked"))
        if self.fails is not None:
            return _error(self.fails, "it is ill")
        if refused and not self.has_database:
            return _error(400, "No connected db.")
        if refused:
            return _error(401, "Authentication Error, Invalid proxy server token passed")
        if request.path == "/key/info":
            return self._key_info(key, row)
        if request.path == "/team/info":
            return self._team_info(row or {}, request.query.get("team_id", ""))
        return await self._other(request, row or {})

    async def _other(self, request: web.Request, row: dict[str, Any]) -> web.Response:
        if request.path == "/v2/user/info":
            user = self.users.get(str(row.get("user_id")))
            return _error(404, "User not found") if user is None else web.json_response(user)
        if request.path == "/v1/models":
            return web.json_response({"object": "list", "data": [{"id": "theirs", "object": "model"}]})
        who, size = row.get("key_alias", "admin"), len(await request.read())
        return web.json_response({"path": request.path, "bytes": size, "who": who})

    def _key_info(self, key: str, row: dict[str, Any] | None) -> web.Response:
        if not self.has_database:
            return _error(500, "Internal server error from /key/info. Details are in the proxy server logs.")
        if row is None:
            return _error(404, "Key not found in database")
        told = {"key_name": f"sk-...{key[-4:]}", "spend": 0.0, "models": [], "metadata": {}, "status": "active"}
        return web.json_response({"key": hashed(key), "info": told | row})

    def _team_info(self, row: dict[str, Any], team_id: str) -> web.Response:
        if not self.has_database:
            return _error(500, DATABASE)
        if team_id not in self.teams:
            return _error(404, f"Team not found, passed team id: {team_id}.")
        if row.get("team_id") != team_id:
            return _error(403, "not authorized to access this team")
        told = {"team_id": team_id, "spend": 0.0, "models": [], "metadata": {}, "blocked": False}
        team = told | self.teams[team_id]
        return web.json_response({"team_id": team_id, "team_info": team, "keys": [], "team_memberships": []})


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "auth_error", "param": "None", "code": str(status)}
    return web.json_response({"error": error}, status=status)


@asynccontextmanager
async def litellm(it: LiteLLM, port: int = 0) -> AsyncIterator[LiteLLM]:
    """Serve it on a loopback port."""
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{rest:.*}", it.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    it.port = site.port
    try:
        yield it
    finally:
        if it.holds is not None:
            it.holds.set()
        await runner.cleanup()
