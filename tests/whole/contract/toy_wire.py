"""Toy Looms as a `Wire`: the out-of-tree service with more ways to misbehave, each in front of the service itself."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.stand_ins import StandIn
from tests.toy.toy_service import STRANGER, Loom, ToyService, served
from tests.whole.contract.wire import FOREIGN, Call

KEY = "toy-contract-90ab3cd1e7f25486"
QUICK = 0.05  # seconds that a loom weaves
CREATE, CLOTH, HALT = "POST /looms", "GET /looms/{loom}/cloth", "POST /looms/{loom}/halt"
TOY = StandIn(
    provider="toy",
    dialect="",  # a server of its own
    models=("wool-1",),
    create=CREATE,
    cancel=HALT,
    results=CLOTH,
    free=("PUT /labels/{label}", "GET /looms", "GET /looms/{loom}", CLOTH),
    quick={},
    partial=False,
)
UNSOUND = frozenset({400, 409, 422})  # an adapter that breaks the wire, or a header that has no business here


@dataclass
class _Trouble:
    """What happens to calls of one kind, behind `skip` good ones, `left` times."""

    call: str
    kind: str
    left: int
    skip: int = 0
    value: float = 0.0

    def strikes(self, call: str) -> bool:
        if call != self.call or not self.left:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.left -= 1
        return True


@dataclass
class _Front(ToyService):
    """The service behind a door that can be kicked."""

    strangers: set[str] = field(default_factory=set)  # labels
    troubles: list[_Trouble] = field(default_factory=list)
    seen: list[Call] = field(default_factory=list)
    halts: list[str] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)
    obey_seconds: float = 0.0  # from a halt to its effect
    refuse_every: int = 0  # 0: none
    refuse_behind: int = 0
    bare: int = 0  # cloths without a row
    late: int = 0  # looks at the cloth of each loom
    early: Counter[str] = field(default_factory=Counter)  # looks, by loom
    told: dict[str, int] = field(default_factory=dict)
    given: Counter[str] = field(default_factory=Counter)  # cloths, by loom
    obeys_at: dict[str, float] = field(default_factory=dict)  # by loom

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.strangers & {request.query.get("label"), request.match_info.get("label")}:
            return await super()._guard(request, handler)
        call = Call(time.monotonic(), _name(request))
        self.seen.append(call)
        if call.name == HALT:
            self.halts.append(request.match_info["loom"])
            self.obeys_at.setdefault(self.halts[-1], call.at + self.obey_seconds)
        behind = len(self.seen) - self.refuse_behind
        if self.refuse_every and behind > 0 and behind % self.refuse_every == 0:
            self.troubles.insert(0, _Trouble(call.name, "too_many", 1))
        trouble = next((each for each in self.troubles if each.strikes(call.name)), None)
        response = await self._troubled(request, handler, trouble)
        call.status = 0 if trouble and trouble.kind in {"drop", "drop_after"} else response.status
        if call.status in UNSOUND:
            self.unsound.append(f"{call.name}: {call.status}")
        return response

    async def _troubled(self, request: web.Request, handler: Any, trouble: _Trouble | None) -> web.StreamResponse:
        kind = trouble.kind if trouble else None
        if trouble and kind == "too_many":
            fault = {"kind": "too_many", "text": "Too many calls.", "again_in": trouble.value}
            return web.json_response({"fault": fault}, status=429)
        response: web.StreamResponse = web.Response()
        if kind != "drop":
            response = await super()._guard(request, handler)
        if kind in {"drop", "drop_after"} and request.transport is not None:
            request.transport.abort()
        if trouble and kind == "status_after":
            fault = {"kind": "broken", "text": "Something broke."}
            return web.json_response({"fault": fault}, status=int(trouble.value))
        return response

    async def _status(self, request: web.Request) -> web.Response:
        """A loom that was halted while it wove shows so for a while before it ends."""
        response = await super()._status(request)
        facts = json.loads(response.text or "")
        if facts["phase"] == "halted" and time.monotonic() < self.obeys_at.get(facts["loom"], 0.0):
            return web.json_response(facts | {"phase": "halting", "woven": 0, "torn": 0, "rows": 0})
        return web.json_response(facts | (self.told if facts["phase"] == "woven" else {}))

    async def _cloth(self, request: web.Request) -> web.StreamResponse:
        """The cloth is found a few looks later than its loom says."""
        loom = request.match_info["loom"]
        if self.early[loom] < self.late:
            self.early[loom] += 1
            return web.json_response({"fault": {"kind": "no_cloth", "text": "Not yet."}}, status=404)
        if self.bare:
            self.bare -= 1
            return web.Response()
        self.given[loom] += 1
        return await super()._cloth(request)

    def _rows(self, loom: Loom) -> list[list[Any]]:
        return [[FOREIGN if tag == STRANGER else tag, *rest] for tag, *rest in super()._rows(loom)]


class ToyWire:
    """See `tests.whole.contract.wire.Wire`."""

    secrets: tuple[str, ...] = (KEY,)
    calls: frozenset[str] = TOY.calls
    create_call: str = CREATE

    def __init__(self, *_: object) -> None:
        self._service = _Front(keys=frozenset({KEY}), weaving_seconds=QUICK)
        self._running = ExitStack()
        self._forgotten = 0  # looms

    def start(self) -> None:
        self._running.enter_context(served(self._service))

    def stop(self) -> None:
        self._running.close()

    def reset(self) -> None:
        """Old looms stay where they are: no service gives the same id twice."""
        service = self._service
        service.weaving_seconds, service.obey_seconds, service.faults.cut_cloth = QUICK, 0.0, 0
        self._forgotten = len(service.looms)
        service.refuse_every = service.late = service.bare = 0
        for noted in (service.accepted, service.troubles, service.seen, service.halts, service.unsound):
            noted.clear()
        for kept in (service.early, service.told, service.given):
            kept.clear()

    def virtual_key(self, **options: Any) -> dict[str, Any]:
        return TOY.virtual_key(self._service.url, KEY, **{"settle_seconds": 0.3, **options})

    def lose_reply(self, n: int) -> None:
        self._service.troubles.append(_Trouble(CREATE, "drop_after", n))

    def error_after_accept(self, n: int, status: int) -> None:
        self._service.troubles.append(_Trouble(CREATE, "status_after", n, value=status))

    def never_arrives(self, n: int) -> None:
        self._service.troubles.append(_Trouble(CREATE, "drop", n))

    def too_many(self, n: int, retry_after: float, *, calls: Collection[str] | None = None, skip: int = 0) -> None:
        kinds = self.calls if calls is None else calls
        self._service.troubles += [_Trouble(call, "too_many", n, skip, retry_after) for call in kinds]

    def refuse_every(self, n: int, offset: int = 0) -> None:
        self._service.refuse_every, self._service.refuse_behind = n, len(self._service.seen) + offset

    def results_late(self, n: int) -> None:
        self._service.late = n

    def empty(self, n: int) -> None:
        self._service.bare = n

    def tell(self, completed: int, failed: int) -> None:
        self._service.told |= {"woven": completed, "torn": failed}

    def downloads(self) -> Mapping[str, int]:
        return self._service.given

    def truncate(self, n: int) -> None:
        self._service.faults.cut_cloth = n

    def slow(self, seconds: float, *, obey: float = 0.05) -> None:
        self._service.weaving_seconds, self._service.obey_seconds = seconds, obey

    def stranger(self, n: int) -> None:
        for _ in range(n):
            label = f"x{len(self._service.strangers):09d}"
            self._service.strangers.add(label)
            self._as_stranger("PUT", f"labels/{label}")
            card = {"tag": f"{label}00000000", "engine": "wool-1", "say": [["user", "mine, not yours"]]}
            self._as_stranger("POST", f"looms?label={label}&queue=", {"cards": [card]})

    def accepted(self) -> list[str]:
        return [each.label for each in self._service.accepted if each.label not in self._service.strangers]

    def ran(self) -> dict[str, int]:
        """A loom is all or nothing: what is halted before it is woven costs nothing and gives nothing."""
        lines, now = Counter[str](), time.monotonic()
        for loom in list(self._service.looms.values())[self._forgotten :]:
            if not (loom.halted or loom.spoilt or loom.label in self._service.strangers) and now >= loom.ready_at:
                lines[loom.label] += len(loom.cards)
        return dict(lines)

    def cancelled(self) -> list[str]:
        looms = self._service.looms
        return [looms[loom].label if loom in looms else f"no loom {loom}" for loom in self._service.halts]

    def requests(self) -> list[Call]:
        return list(self._service.seen)

    def complaints(self) -> list[str]:
        return list(self._service.unsound)

    def _as_stranger(self, method: str, path: str, document: object = None) -> None:
        data = None if document is None else json.dumps(document).encode()
        headers = {"x-loom-key": KEY, "content-type": "application/json"}
        request = urllib.request.Request(f"{self._service.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status in {200, 201}


def _name(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else request.path}"
