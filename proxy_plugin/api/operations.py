"""For operators: is the process up, does it take work, what does it do.

`/metrics` asks for `server.metrics_key` where there is one; without one it tells sums, and names no tenant.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from proxy_plugin import __version__
from proxy_plugin.config import OWN_KEY_PREFIX
from proxy_plugin.config.sections import UNNAMED
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import logs
from proxy_plugin.ground.clock import Clock
from proxy_plugin.ground.errors import NotFound, Unauthenticated
from proxy_plugin.ground.fingerprints import same
from proxy_plugin.ground.observing.figures import Samples, family, histogram
from proxy_plugin.ground.observing.timings import Timings
from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.tables import batches, clearings, kept, parts, rescues, spending, submissions, waits
from proxy_plugin.storage.tables.kept import KeptTotal
from proxy_plugin.storage.tables.spending import Total
from proxy_plugin.storage.tables.waits import Waiting
from proxy_plugin.web.answers import error_answer, json_answer

LOG = logging.getLogger("proxy_plugin")
PAST_WINDOW = 3600.0  # seconds that the end of a window may take: jobs are cancelled and their results fetched
COUNTS_KEPT = 2.0  # seconds; counting reads whole tables, and anybody may ask
ANSWERED_IN = 2.0  # seconds that the database, and the store, have to answer; less than a probe usually waits
LOOK_KEPT = 1.0  # seconds; anybody may ask, and each look is a request to both
OfMany = Callable[[Iterable[float]], float]
_TENANTS = frozenset({"virtual_key", "workspace"})


class Shown(Protocol):
    """What of samples is shown; `of_many` makes one of those that have the same labels."""

    def __call__(self, samples: Samples, of_many: OfMany = sum) -> Samples: ...


@dataclass(frozen=True, slots=True)
class Counts:
    """What the registry holds: by state, by virtual key creates in doubt and what guesses led to; spending; waits;
    by virtual key and state parts whose objects are not cleared; kept answers that were given.
    """

    batches: dict[str, int]
    parts: dict[str, int]
    unresolved: dict[str, int]
    resent: dict[str, int]
    doubled: dict[str, int]
    spent: list[Total]
    waiting: list[Waiting]
    uncleared: list[tuple[str, str, int]]
    kept: list[KeptTotal]
    rescued: dict[str, int]
    past_window: int


@dataclass(slots=True)
class Operations:
    """Whether the gateway has started, what it cannot reach, and its latest counts."""

    started: bool = False
    away: str | None = None  # what does not answer, as it was last seen
    _looked_at: float = float("-inf")
    _looks: asyncio.Lock = field(default_factory=asyncio.Lock)
    _counts: Counts | None = None
    _counted_at: float = 0.0
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self, gateway: Gateway) -> None:
        """See whether the database and the store answer, at most once a second. One gateway of its own has both."""
        async with self._looks:
            now = gateway.clock.monotonic()
            if self.started and now - self._looked_at > LOOK_KEPT:
                asked = {"database": gateway.registry.away, "object store": gateway.blobs.away}
                reasons = await asyncio.gather(*map(_why_away, asked.values()))
                self._note({what: why for what, why in zip(asked, reasons, strict=True) if why is not None})
                self._looked_at = now

    def _note(self, away: dict[str, str]) -> None:
        """Remember what is away, and log why when that changes: reasons name hosts, and anybody may ask."""
        found = "; ".join(f"{what} away" for what in away) or None
        if found != self.away:
            level = logging.WARNING if away else logging.INFO
            logs.event(LOG, "storage_away" if away else "storage_back", level=level, **_words(away))
        self.away = found

    async def counts(self, registry: Registry, clock: Clock) -> Counts:
        """Return counts that are at most two seconds old."""
        async with self._one_at_a_time:
            now = clock.monotonic()
            if self._counts is None or now - self._counted_at > COUNTS_KEPT:
                self._counts, self._counted_at = await registry.scan(_count, clock.now()), now
            return self._counts


OPERATIONS = web.AppKey("proxy_plugin.operations", Operations)
ALONE = web.AppKey("proxy_plugin.operations_alone", bool)  # set where nothing but these routes is served


def _count(conn: Connection, now: float) -> Counts:
    guesses = submissions.guesses(conn)
    return Counts(
        batches=dict.fromkeys(states.BATCH, 0) | batches.by_state(conn),
        parts=dict.fromkeys(states.PART, 0) | parts.by_state(conn),
        unresolved=dict(submissions.unresolved(conn)),
        resent={slug: resent for slug, resent, _ in guesses},
        doubled={slug: doubled for slug, _, doubled in guesses},
        spent=spending.totals(conn),
        waiting=waits.totals(conn),
        uncleared=clearings.totals(conn),
        kept=kept.totals(conn),
        rescued=rescues.totals(conn),
        past_window=batches.past_window(conn, now - PAST_WINDOW),
    )


async def _why_away(ask: Callable[[], Awaitable[str | None]]) -> str | None:
    """Return why something is away, None where it answers in time."""
    try:
        async with asyncio.timeout(ANSWERED_IN):
            return await ask()
    except TimeoutError:
        return f"no answer within {ANSWERED_IN:g} s"
    except (StorageError, OSError) as error:
        return str(error) or type(error).__name__


def _words(away: Mapping[str, str]) -> dict[str, Any]:
    return {what.replace(" ", "_"): why for what, why in away.items()}


async def healthz(request: web.Request) -> web.Response:
    """`GET /healthz`: 200 while the process serves."""
    started = request.app[OPERATIONS].started
    return json_answer({"status": "ok" if started else "starting"}, 200 if started else 503)


async def readyz(request: web.Request) -> web.Response:
    """`GET /readyz`: 200 while new work is taken, else 503 with the reason."""
    operations, gateway = request.app[OPERATIONS], request.app[GATEWAY]
    await operations.look(gateway)
    reason = not_ready(operations, gateway)
    return json_answer({"status": reason or "ready"}, 503 if reason else 200)


def not_ready(operations: Operations, gateway: Gateway) -> str | None:
    """Return why no new work is taken, None while it is."""
    if not operations.started:
        return "starting"
    if gateway.traffic.stopping:
        return "stopping"
    if operations.away is not None:
        return operations.away
    if gateway.registry.full or gateway.room.disk_full:
        return "disk full"
    return "too many uploads" if gateway.traffic.uploads >= gateway.config.limits.max_uploads else None


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: Prometheus' text format 0.0.4."""
    gateway, operations = request.app[GATEWAY], request.app[OPERATIONS]
    server = gateway.config.server
    if server.metrics_port is not None and not request.app.get(ALONE):
        return error_answer(NotFound("The metrics of this gateway have a port of their own."))
    key = server.metrics_key
    if key is not None and not same(request.headers.get("Authorization", ""), f"Bearer {key.get_secret_value()}"):
        return error_answer(Unauthenticated("Send the metrics key of this gateway as 'Authorization: Bearer KEY'."))
    await operations.look(gateway)
    counts = None
    with suppress(StorageError):  # without its database a gateway still tells of itself
        counts = None if operations.away else await operations.counts(gateway.registry, gateway.clock)
    disk = await asyncio.to_thread(gateway.blobs.space.disk)
    text = "".join(_lines(gateway, operations, counts, disk.free, _named if key else _nameless))
    return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _lines(gateway: Gateway, operations: Operations, counts: Counts | None, free: int, shown: Shown) -> Iterator[str]:
    ready = not_ready(operations, gateway) is None
    yield family("info", [({"version": __version__}, 1)])
    yield family("ready", [({}, ready)])
    if counts is not None:
        yield from _counted(gateway, counts, shown)
    yield family("uploads_running", [({}, gateway.traffic.uploads)])
    yield family("disk_free_bytes", [({}, free)])
    yield family("disk_reserve_bytes", [({}, gateway.config.limits.disk_reserve_bytes)])
    yield from _timed(gateway.timings, shown)


def _counted(gateway: Gateway, counts: Counts, shown: Shown) -> Iterator[str]:
    """Yield what the tables say: the same at each of several replicas."""
    yield family("batches", _by("state", counts.batches))
    yield family("parts", _by("state", counts.parts))
    yield family("batches_past_window", [({}, counts.past_window)])
    yield family("unresolved_submissions", shown(_by("virtual_key", counts.unresolved)))
    for column, name in _WAITING:
        yield family(name, shown(_waiting(counts.waiting, column), _of_many(column)))
    none = dict.fromkeys(gateway.config.virtual_keys, 0)
    yield family("resent_on_a_guess_total", shown(_by("virtual_key", none | counts.resent)))
    yield family("doubled_jobs_total", shown(_by("virtual_key", none | counts.doubled)))
    yield family("rescued_lines_total", shown(_by("virtual_key", none | counts.rescued)))
    yield family("uncleared_parts", shown(_uncleared(counts.uncleared)))
    for column, name in _SPENT:
        yield family(name, shown(_spent(counts.spent, column)))
    for column, name in _KEPT:
        yield family(name, shown([({"workspace": n.workspace}, getattr(n, column)) for n in counts.kept]))


def _timed(timings: Timings, shown: Shown) -> Iterator[str]:
    for each in (timings.requests, timings.steps, timings.provider_steps, timings.batches):
        yield histogram(each.figure.name, {piece: shown(samples) for piece, samples in each.pieces().items()})


_SPENT = (  # by workspace and virtual key alone: names of models may be the caller's own, and there is no end of those
    ("cost", "cost_usd_total"),
    ("lines", "answered_lines_total"),
    ("unpriced", "cost_unknown_lines_total"),
    ("input_tokens", "input_tokens_total"),
    ("cached_tokens", "cached_input_tokens_total"),
    ("output_tokens", "output_tokens_total"),
)


_KEPT = (("hits", "cache_hits_total"), ("misses", "cache_misses_total"), ("bytes", "cache_hit_bytes_total"))


_WAITING = (  # not the provider's sentences: they may name an account, and there is no end of them
    ("waiting", "waiting"),
    ("since", "waiting_since_seconds"),
    ("next_at", "waiting_next_try_seconds"),
)


def _waiting(totals: Iterable[Waiting], column: str) -> Samples:
    found: dict[tuple[str, str, str], list[float]] = {}
    for each in totals:
        own = each.slug.startswith(OWN_KEY_PREFIX)
        key = (UNNAMED if own else each.slug, each.reason, "" if own else each.code)
        found.setdefault(key, []).append(getattr(each, column))
    names, of_many = ("virtual_key", "reason", "code"), _of_many(column)
    return [(dict(zip(names, key, strict=True)), of_many(values)) for key, values in found.items()]


def _uncleared(totals: Iterable[tuple[str, str, int]]) -> Samples:
    found: Counter[tuple[str, str]] = Counter()
    for slug, state, count in totals:
        found[UNNAMED if slug.startswith(OWN_KEY_PREFIX) else slug, state] += count
    return [({"virtual_key": slug, "state": state}, count) for (slug, state), count in found.items()]


def _of_many(column: str) -> OfMany:
    return sum if column == "waiting" else min


def _named(samples: Samples, of_many: OfMany = sum) -> Samples:  # noqa: ARG001
    return samples


def _nameless(samples: Samples, of_many: OfMany = sum) -> Samples:
    """Return samples without the names of tenants, and of those that are alike then one."""
    found: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for labels, value in samples:
        found.setdefault(tuple(each for each in labels.items() if each[0] not in _TENANTS), []).append(value)
    return [(dict(labels), of_many(values)) for labels, values in found.items()]


def _spent(totals: Iterable[Total], column: str) -> Samples:
    return [({"workspace": each.workspace, "virtual_key": each.virtual_key}, getattr(each, column)) for each in totals]


def _by(label: str, counts: Mapping[str, int]) -> Samples:
    return [({label: name}, count) for name, count in counts.items()]


ROUTES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
