"""The `/_sandbox` routes: steering and observing. README.md lists what they do."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Stores
from proxy_plugin.providers.sandbox.replies import json_reply

if TYPE_CHECKING:
    from proxy_plugin.providers.sandbox.dialect import Dialect
    from proxy_plugin.providers.sandbox.host import Host

Answer = Callable[[web.Request], Awaitable[Any]]


def control_routes(host: "Host") -> Iterable[web.RouteDef]:
    control = _Control(host)
    routes: list[tuple[str, str, Answer]] = [
        ("GET", "faults", control.show_faults),
        ("POST", "faults", control.set_faults),
        ("POST", "options/{provider}", control.set_options),
        ("POST", "keys", control.set_keys),
        ("POST", "strangers/{provider}", control.add_strangers),
        ("GET", "left/{provider}", control.left),
        ("POST", "advance", control.advance),
        ("POST", "reset", control.reset),
        ("GET", "log", control.log),
        ("GET", "jobs", control.jobs),
        ("GET", "requests", control.requests),
        ("GET", "violations", control.violations),
        ("GET", "accounts", control.accounts),
    ]
    return [web.route(method, f"/_sandbox/{path}", _answering(answer)) for method, path, answer in routes]


def _answering(answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            value, status = await answer(request), 200
        except (ValueError, TypeError) as wrong:
            value, status = {"error": str(wrong)}, 400
        body = await asyncio.to_thread(lambda: json_reply(value).body)  # the request log may be long
        return web.Response(status=status, body=body, content_type="application/json")

    return handle


async def _body(request: web.Request, kind: type) -> Any:
    """The request's JSON value. Raises `TypeError` when it is not of `kind`, `ValueError` when it is no JSON."""
    value = json.loads(await request.read() or b"{}")  # orjson makes floats of whole numbers beyond 64 bits
    if not isinstance(value, kind):
        raise TypeError(f"the body must be a JSON {kind.__name__}")
    return value


class _Control:
    def __init__(self, host: "Host") -> None:
        self._host = host

    def _dialect(self, request: web.Request) -> "Dialect":
        name = request.match_info["provider"]
        if name not in self._host.dialects:
            raise ValueError(f"no provider is called {name}")
        return self._host.dialects[name]

    async def show_faults(self, _: web.Request) -> Any:
        return {"faults": self._host.faults.facts()}

    async def set_faults(self, request: web.Request) -> Any:
        operations = [route.operation for dialect in self._host.dialects.values() for route in dialect.routes]
        self._host.faults.replace(await _body(request, list), operations)
        return await self.show_faults(request)

    async def set_options(self, request: web.Request) -> Any:
        return self._dialect(request).options(await _body(request, dict))

    async def set_keys(self, request: web.Request) -> Any:
        self._host.accounts.replace([str(key) for key in await _body(request, list)])
        return await self.accounts(request)

    async def add_strangers(self, request: web.Request) -> Any:
        wish = await _body(request, dict)
        account = self._host.accounts.of(wish.pop("key", None))
        return await self._dialect(request).strangers({**wish, "account": account})

    async def left(self, request: web.Request) -> Any:
        dialect = self._dialect(request)
        return {"left": dialect.left() if isinstance(dialect, Stores) else []}

    async def advance(self, request: web.Request) -> Any:
        seconds = (await _body(request, dict)).get("seconds")
        if not isinstance(seconds, int | float) or seconds < 0:
            raise ValueError("seconds must be a number, not below 0")
        self._host.clock.advance(seconds)
        return {"now": self._host.clock.now()}

    async def reset(self, _: web.Request) -> Any:
        await self._host.reset()
        return {}

    async def log(self, _: web.Request) -> Any:
        entries = [entry for creates in self._host.accepted.values() for entry in creates.entries]
        return {"log": sorted(entries, key=lambda entry: float(entry["at"]))}

    async def jobs(self, _: web.Request) -> Any:
        dialects = self._host.dialects.items()
        return {"jobs": [{"provider": name, **job} for name, dialect in dialects for job in dialect.jobs()]}

    async def requests(self, _: web.Request) -> Any:
        return {"requests": list(self._host.requests.entries)}

    async def violations(self, _: web.Request) -> Any:
        return {"violations": list(self._host.violations)}

    async def accounts(self, _: web.Request) -> Any:
        return {"accounts": self._host.accounts.names()}
