"""For operators: is the process up, does it take work, what does it do.

`/metrics` asks for `server.metrics_key` where there is one; without one it tells sums, and names no tenant.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from proxy_plugin import __version__
from proxy_plugin.config import OWN_KEY_PREFIX
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground.clock import Clock
from proxy_plugin.ground.errors import NotFound, Unauthenticated
from proxy_plugin.ground.fingerprints import same
from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.tables import batches, clearings, kept, parts, rescues, spending, submissions, waits
from proxy_plugin.storage.tables.kept import KeptTotal
from proxy_plugin.storage.tables.spending import Total
from proxy_plugin.storage.tables.waits import Waiting
from proxy_plugin.web.answers import error_answer, json_answer

COUNTS_KEPT = 2.0  # seconds; counting reads whole tables, and anybody may ask
Samples = Iterable[tuple[Mapping[str, str], float]]
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


@dataclass(slots=True)
class Operations:
    """Whether the gateway has started, and its latest counts."""

    started: bool = False
    _counts: Counts | None = None
    _counted_at: float = 0.0
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def counts(self, registry: Registry, clock: Clock) -> Counts:
        """Return counts that are at most two seconds old."""
        async with self._one_at_a_time:
            now = clock.monotonic()
            if self._counts is None or now - self._counted_at > COUNTS_KEPT:
                self._counts, self._counted_at = await registry.scan(_count), now
            return self._counts


OPERATIONS = web.AppKey("proxy_plugin.operations", Operations)
ALONE = web.AppKey("proxy_plugin.operations_alone", bool)  # set where nothing but these routes is served


def _count(conn: Connection) -> Counts:
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
    )


async def healthz(request: web.Request) -> web.Response:
    """`GET /healthz`: 200 while the process serves."""
    started = request.app[OPERATIONS].started
    return json_answer({"status": "ok" if started else "starting"}, 200 if started else 503)


async def readyz(request: web.Request) -> web.Response:
    """`GET /readyz`: 200 while new work is taken, else 503 with the reason."""
    reason = _not_ready(request.app[OPERATIONS], request.app[GATEWAY])
    return json_answer({"status": reason or "ready"}, 503 if reason else 200)


def _not_ready(operations: Operations, gateway: Gateway) -> str | None:
    if not operations.started:
        return "starting"
    if gateway.traffic.stopping:
        return "stopping"
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
    counts = await operations.counts(gateway.registry, gateway.clock)
    disk = await asyncio.to_thread(shutil.disk_usage, gateway.data_dir)
    text = "".join(_lines(gateway, operations, counts, disk.free, _named if key else _nameless))
    return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _lines(gateway: Gateway, operations: Operations, counts: Counts, free: int, shown: Shown) -> Iterator[str]:
    ready = _not_ready(operations, gateway) is None
    yield _gauge("info", "The version that runs.", [({"version": __version__}, 1)])
    yield _gauge("ready", "1 while new work is taken.", [({}, ready)])
    yield _gauge("batches", "Batches by state.", _by("state", counts.batches))
    yield _gauge("parts", "Parts, each one native job, by state.", _by("state", counts.parts))
    yield _gauge(
        "unresolved_submissions", "Creates whose outcome is unknown.", shown(_by("virtual_key", counts.unresolved))
    )
    for column, name, about in _WAITING:
        yield _gauge(name, about, shown(_waiting(counts.waiting, column), _of_many(column)))
    none = dict.fromkeys(gateway.config.virtual_keys, 0)
    resent, doubled = none | counts.resent, none | counts.doubled
    resent_by, doubled_by = shown(_by("virtual_key", resent)), shown(_by("virtual_key", doubled))
    yield _counter("resent_on_a_guess_total", "Parts sent again without a proof.", resent_by)
    yield _counter("doubled_jobs_total", "Jobs made twice by such a guess.", doubled_by)
    rescued = shown(_by("virtual_key", none | counts.rescued))
    yield _counter("rescued_lines_total", "Lines that failed elsewhere and went on to this virtual key.", rescued)
    about = "Ended parts whose objects in a bucket are to be deleted (due), or were given up (left)."
    yield _gauge("uncleared_parts", about, shown(_uncleared(counts.uncleared)))
    for column, name, about in _SPENT:
        yield _counter(name, about, shown(_spent(counts.spent, column)))
    for column, name, about in _KEPT:
        yield _counter(name, about, shown([({"workspace": n.workspace}, getattr(n, column)) for n in counts.kept]))
    yield _gauge("uploads_running", "Uploads that are being received.", [({}, gateway.traffic.uploads)])
    yield _gauge("disk_free_bytes", "Free bytes where data_dir is.", [({}, free)])


_SPENT = (  # by workspace and virtual key alone: names of models may be the caller's own, and there is no end of those
    ("cost", "cost_usd_total", "US dollars at batch prices that the answers of ended batches cost."),
    ("lines", "answered_lines_total", "Answered lines of ended batches."),
    ("unpriced", "cost_unknown_lines_total", "Of these, lines whose cost is not known, and not in the dollars."),
    ("input_tokens", "input_tokens_total", "Tokens that the answered lines of ended batches sent."),
    ("cached_tokens", "cached_input_tokens_total", "Of these, tokens that were read from a provider's cache."),
    ("output_tokens", "output_tokens_total", "Tokens that the answers of ended batches consist of."),
)


_KEPT = (
    ("hits", "cache_hits_total", "Lines that were given a kept answer."),
    ("misses", "cache_misses_total", "Lines that were looked up among the kept answers in vain."),
    ("bytes", "cache_hit_bytes_total", "Bytes of the kept answers that were given."),
)


_WAITING = (  # not the provider's sentences: they may name an account, and there is no end of them
    ("waiting", "waiting", "Parts, and batches as a whole, that wait, by reason and the provider's code."),
    ("since", "waiting_since_seconds", "Since when the first of them waits, Unix seconds."),
    ("next_at", "waiting_next_try_seconds", "When the next of them is tried again, Unix seconds."),
)
UNNAMED = "(other)"  # keys that callers brought: there is no end of those, and of the codes of their hosts


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


def _gauge(name: str, about: str, samples: Samples) -> str:
    return _family("gauge", name, about, samples)


def _counter(name: str, about: str, samples: Samples) -> str:
    """Counted from the registry, so a restart does not begin again at 0."""
    return _family("counter", name, about, samples)


def _family(kind: str, name: str, about: str, samples: Samples) -> str:
    lines = [f"# HELP proxy_plugin_{name} {about}", f"# TYPE proxy_plugin_{name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        number = f"{value:d}" if isinstance(value, int) else repr(value)
        lines.append(f"proxy_plugin_{name}{{{inside}}} {number}" if inside else f"proxy_plugin_{name} {number}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


ROUTES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
