"""Toy Looms, a batch service of our own invention over loopback HTTP, strict about its wire and able to misbehave.

    PUT  /labels/{label}                           reserve a label: 10 characters [a-z0-9]; free of charge
    DELETE /labels/{label}                         give it back; 404 for one that is not reserved
    POST /looms?label=L&queue=Q                    {"cards": [...]}, 1 to 7 cards -> 201 {"loom"}; the label is reserved
    GET  /looms[?label=L][&newer_than=LOOM]        {"looms": [{"loom", "label"}], "reserved"}, newest first
    GET  /looms/{loom}                             {"loom", "label", "phase", "woven", "torn", "rows"[, "spoilt"]}
    GET  /looms/{loom}/cloth                       one JSON array a line, in an order of the service's choice
    POST /looms/{loom}/halt                        202, also when it has ended

Every call carries `x-loom-key`; every key is an account of its own. Faults answer {"fault": {"kind", "text"}}.

Markers in a card's text choose an odd row: [[sandbox:error=422]], [[sandbox:missing]], [[sandbox:duplicate]],
[[sandbox:foreign]], [[sandbox:expire]], [[sandbox:timeout]]. The engine `no-such-engine` spoils its whole loom.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TAG, LABEL = re.compile("[a-z0-9]{18}(?:[a-z0-9]{4})?"), re.compile("[a-z0-9]{10}")
MARKER = re.compile(r"\[\[sandbox:([a-z]+)(?:=(\d+))?\]\]")
UNKNOWN_ENGINE = "no-such-engine"
STRANGER = "0000000000zzzzzzzz"
_SAY, _EMBED = {"tag", "engine", "say"}, {"tag", "engine", "embed"}


@dataclass
class Faults:
    """Each number says how often it still happens. What comes after the create was accepted says so in its name."""

    drop_after: int = 0  # the connection ends without an answer
    status_after: int = 0  # HTTP 500
    too_many: int = 0  # HTTP 429 before anything is accepted, with `again_in`
    again_in: float = 0.05
    no_quota: int = 0  # the next looms are spoilt, nothing ran, try again
    busy: int = 0  # HTTP 503 to any GET
    cut_cloth: int = 0  # the download ends early
    odd_phase: int = 0  # a status word that nobody knows
    keeps_labels: int = 0  # HTTP 503 to a label that is given back

    def strikes(self, name: str) -> bool:
        """Tell whether this fault happens now, and count it."""
        left = int(getattr(self, name))
        setattr(self, name, max(0, left - 1))
        return left > 0


@dataclass(frozen=True)
class Accepted:
    """One accepted create, as a test asserts on it."""

    loom: str
    label: str
    key: str
    queue: str
    cards: int
    sha256: str


@dataclass
class Loom:
    """One native job."""

    name: str
    label: str
    key: str
    cards: list[dict[str, Any]]
    ready_at: float
    halted: bool = False
    spoilt: dict[str, Any] | None = None


def answer_text(engine: str, said: str) -> str:
    """Return what an engine answers to the last thing said: its own line, backwards, so that a mix-up shows."""
    return f"{engine}: {said[::-1]}"


def weave(card: dict[str, Any]) -> list[list[Any]]:
    """Return the rows of one card: one, or what its marker asks for."""
    tag, engine = card["tag"], card["engine"]
    said = card["say"][-1][1] if "say" in card else " ".join(card["embed"])
    found = MARKER.search(said)
    marker, number = found.groups() if found else (None, None)
    read = len(json.dumps(card.get("say", card.get("embed"))))
    if "embed" in card:
        woven = {"vectors": [[len(text), 0.5] for text in card["embed"]], "wrote": 0}
    else:
        woven = {"text": answer_text(engine, said), "wrote": len(said)}
    row = [tag, "woven", woven | {"engine": engine, "read": read}]
    odd: dict[str | None, list[list[Any]]] = {
        "error": [[tag, "torn", {"status": int(number or 400), "why": "the thread tore"}]],
        "missing": [],
        "duplicate": [row, row],
        "foreign": [row, [STRANGER, *row[1:]]],
        "expire": [[tag, "late", None]],
        "timeout": [[tag, "stuck", None]],
    }
    return odd.get(marker, [row])


class Fault(Exception):
    """A call that is answered with a fault."""

    def __init__(self, status: int, kind: str, text: str, **more: Any) -> None:
        super().__init__(kind)
        self.status, self.body = status, {"fault": {"kind": kind, "text": text, **more}}


@dataclass
class ToyService:
    """One running service. `weaving_seconds` is how long a loom takes; `keys` are the accounts there are."""

    keys: frozenset[str] = frozenset({"toy-key"})
    weaving_seconds: float = 0.0
    faults: Faults = field(default_factory=Faults)
    accepted: list[Accepted] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    looms: dict[str, Loom] = field(default_factory=dict)
    labels: set[tuple[str, str]] = field(default_factory=set)
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ToyService]:
        """Serve on a free port of 127.0.0.1; `url` is the custom_host."""
        app = web.Application(middlewares=[self._guard], client_max_size=65_536)
        app.router.add_put("/labels/{label}", self._reserve)
        app.router.add_delete("/labels/{label}", self._release)
        app.router.add_post("/looms", self._create)
        app.router.add_get("/looms", self._list)
        app.router.add_get("/looms/{loom}", self._status)
        app.router.add_get("/looms/{loom}/cloth", self._cloth)
        app.router.add_post("/looms/{loom}/halt", self._halt)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        try:
            self._check(request)
            response: web.StreamResponse = await handler(request)
        except Fault as fault:
            return web.json_response(fault.body, status=fault.status)
        return response

    def _check(self, request: web.Request) -> None:
        if request.headers.get("x-loom-key") not in self.keys:
            raise Fault(401, "wrong_key", "Nobody has this key.")
        strangers = [name for name in request.headers if name.lower().startswith(("x-portkey", "authorization"))]
        if strangers:
            raise Fault(400, "stray_header", f"{strangers[0]} has no business here.")
        if request.method == "GET" and self.faults.strikes("busy"):
            raise Fault(503, "busy", "Come back later.")

    async def _reserve(self, request: web.Request) -> web.Response:
        label = request.match_info["label"]
        if not LABEL.fullmatch(label):
            raise Fault(422, "bad_label", "A label is 10 characters [a-z0-9].")
        self.labels.add((_key(request), label))
        return web.json_response({"label": label})

    async def _release(self, request: web.Request) -> web.Response:
        named = (_key(request), request.match_info["label"])
        if self.faults.strikes("keeps_labels"):
            raise Fault(503, "busy", "Come back later.")
        if named not in self.labels:
            raise Fault(404, "no_label", "This label is not reserved.")
        self.labels.remove(named)
        return web.json_response({"label": named[1]})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        if self.faults.strikes("too_many"):
            raise Fault(429, "too_many", "Too many looms.", again_in=self.faults.again_in)
        document = await request.read()
        label, queue = request.query.get("label", ""), request.query.get("queue", "")
        if (_key(request), label) not in self.labels:
            raise Fault(409, "unknown_label", "Reserve the label first.")
        cards = _cards(request, document, queue)
        loom = Loom(f"loom-{len(self.looms) + 1:06d}", label, _key(request), cards, _now() + self.weaving_seconds)
        digest = hashlib.sha256(document).hexdigest()
        self.accepted.append(Accepted(loom.name, label, loom.key, queue, len(cards), digest))
        self.looms[loom.name] = loom
        if self.faults.strikes("no_quota"):
            loom.spoilt = {"kind": "no_quota", "text": "No yarn left today.", "again": True}
        elif any(card["engine"] == UNKNOWN_ENGINE for card in cards):
            loom.spoilt = {"kind": "unknown_engine", "text": "There is no such engine."}
        if self.faults.strikes("drop_after"):
            assert request.transport is not None
            request.transport.abort()
        if self.faults.strikes("status_after"):
            raise Fault(500, "broken", "Something broke.")
        return web.json_response({"loom": loom.name}, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        key, label = _key(request), request.query.get("label")
        newer_than = request.query.get("newer_than", "")
        own = [loom for loom in self.looms.values() if loom.key == key and loom.name > newer_than]
        chosen = [{"loom": each.name, "label": each.label} for each in own if label in {None, each.label}]
        return web.json_response({"looms": chosen[::-1], "reserved": (key, label) in self.labels})

    async def _status(self, request: web.Request) -> web.Response:
        loom = self._loom(request)
        kinds = [row[1] for row in self._rows(loom)]
        facts = {
            "loom": loom.name,
            "label": loom.label,
            "phase": "unravelling" if self.faults.strikes("odd_phase") else _phase(loom),
            "woven": kinds.count("woven"),
            "torn": len(kinds) - kinds.count("woven"),
            "rows": len(kinds),
        }
        return web.json_response(facts | ({"spoilt": loom.spoilt} if loom.spoilt else {}))

    async def _cloth(self, request: web.Request) -> web.StreamResponse:
        loom = self._loom(request)
        if _phase(loom) not in {"woven", "halted"}:
            raise Fault(409, "not_woven", "The cloth is not ready.")
        cloth = b"".join(json.dumps(row).encode() + b"\n" for row in self._rows(loom))
        if not self.faults.strikes("cut_cloth"):
            return web.Response(body=cloth)
        response = web.StreamResponse(headers={"content-length": str(len(cloth))})
        await response.prepare(request)
        await response.write(cloth[: len(cloth) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _halt(self, request: web.Request) -> web.Response:
        loom = self._loom(request)
        loom.halted = loom.halted or _phase(loom) == "weaving"
        return web.json_response({"phase": _phase(loom)}, status=202)

    def _loom(self, request: web.Request) -> Loom:
        loom = self.looms.get(request.match_info["loom"])
        if loom is None or loom.key != _key(request):
            raise Fault(404, "no_loom", "There is no such loom.")
        return loom

    def _rows(self, loom: Loom) -> list[list[Any]]:
        """Rows in an order of their own: shuffled, but the same at every call."""
        if loom.spoilt or _phase(loom) == "weaving":
            return []
        rows = [row for card in loom.cards for row in weave(card)]
        if loom.halted:
            rows = [[row[0], "halted", None] for row in rows]
        random.Random(loom.name).shuffle(rows)
        return rows


@contextmanager
def served(service: ToyService) -> Iterator[ToyService]:
    """Serve from a thread of its own, for tests that block while they wait for a gateway process."""
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with service.running():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(10), "the service does not start"
        yield service
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def _phase(loom: Loom) -> str:
    if loom.spoilt:
        return "spoilt"
    if loom.halted:
        return "halted"
    return "woven" if _now() >= loom.ready_at else "weaving"


def _now() -> float:
    return time.monotonic()


def _key(request: web.Request) -> str:
    return request.headers["x-loom-key"]


def _cards(request: web.Request, document: bytes, queue: str) -> list[dict[str, Any]]:
    if request.content_type != "application/json" or request.content_length != len(document):
        raise Fault(400, "bad_document", "Send application/json with its length.")
    try:
        parsed = json.loads(document)
        cards = parsed["cards"] if parsed.keys() == {"cards"} else None
    except (ValueError, AttributeError):
        raise Fault(400, "bad_document", "The document is not what a loom takes.") from None
    if not isinstance(cards, list) or not 1 <= len(cards) <= 7:
        raise Fault(400, "bad_document", "A loom takes 1 to 7 cards.")
    if len({json.dumps(card.get("tag")) for card in cards}) < len(cards):
        raise Fault(400, "double_tag", "Two cards have one tag.")
    for card in cards:
        _check_card(card, queue)
    return cards


def _check_card(card: dict[str, Any], queue: str) -> None:
    known = card.keys() - {"most"}
    if known not in (_SAY, _EMBED) or not TAG.fullmatch(str(card["tag"])) or not isinstance(card["engine"], str):
        raise Fault(400, "bad_card", "A card has tag, engine, and either say or embed.")
    texts = [text for _, text in card["say"]] if "say" in card else card["embed"]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Fault(400, "bad_card", "A card says or embeds texts.")
    if queue != ("long" if card.get("most", 0) > 1000 else ""):
        raise Fault(400, "wrong_queue", "Long answers have a queue of their own.")
