"""Every figure of `/metrics`, once: the answer, the page about them and the dashboard are made from this list.

A name, the kind and the labels of a figure stay as they are: dashboards of others stand on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

PREFIX = "proxy_plugin_"
Samples = Iterable[tuple[Mapping[str, str], float]]
REQUESTS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
STEPS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
BATCHES = (10.0, 60.0, 300.0, 900.0, 3600.0, 7200.0, 14400.0, 28800.0, 43200.0, 86400.0, 172800.0, 604800.0)


class Figure(NamedTuple):
    """One figure. `group` and `unit` are the dashboard's; `bounds` are the upper ones of a histogram, in seconds."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    about: str
    group: str
    labels: tuple[str, ...] = ()
    unit: str = "short"
    bounds: tuple[float, ...] = ()


_KEY = ("virtual_key",)
_WAITS = ("virtual_key", "reason", "code")
_SPENT = ("workspace", "virtual_key")
STATE, WORK, DOUBT, WAITING, MONEY, TIME = "State", "Work", "Doubt", "Waiting", "Money", "Time"
FIGURES = (
    Figure("info", "gauge", "The version that runs.", STATE, ("version",)),
    Figure("ready", "gauge", "1 while new work is taken.", STATE),
    Figure("batches", "gauge", "Batches by state.", WORK, ("state",)),
    Figure("parts", "gauge", "Parts, each one native job, by state.", WORK, ("state",)),
    Figure(
        "batches_past_window",
        "gauge",
        "Batches that run although their window ended an hour ago or more.",
        WAITING,
    ),
    Figure("unresolved_submissions", "gauge", "Creates whose outcome is unknown.", DOUBT, _KEY),
    Figure(
        "waiting",
        "gauge",
        "Parts, and batches as a whole, that wait, by reason and the provider's code.",
        WAITING,
        _WAITS,
    ),
    Figure(
        "waiting_since_seconds",
        "gauge",
        "Since when the first of them waits, Unix seconds.",
        WAITING,
        _WAITS,
        "dateTimeFromNow",
    ),
    Figure(
        "waiting_next_try_seconds",
        "gauge",
        "When the next of them is tried again, Unix seconds.",
        WAITING,
        _WAITS,
        "dateTimeFromNow",
    ),
    Figure("resent_on_a_guess_total", "counter", "Parts sent again without a proof.", DOUBT, _KEY),
    Figure("doubled_jobs_total", "counter", "Jobs made twice by such a guess.", DOUBT, _KEY),
    Figure(
        "rescued_lines_total",
        "counter",
        "Lines that failed elsewhere and went on to this virtual key.",
        WORK,
        _KEY,
    ),
    Figure(
        "uncleared_parts",
        "gauge",
        "Ended parts whose objects in a bucket are to be deleted (due), or were given up (left).",
        WAITING,
        ("virtual_key", "state"),
    ),
    Figure(
        "cost_usd_total",
        "counter",
        "US dollars at batch prices that the answers of ended batches cost.",
        MONEY,
        _SPENT,
        "currencyUSD",
    ),
    Figure("answered_lines_total", "counter", "Answered lines of ended batches.", WORK, _SPENT),
    Figure(
        "cost_unknown_lines_total",
        "counter",
        "Of these, lines whose cost is not known, and not in the dollars.",
        MONEY,
        _SPENT,
    ),
    Figure("input_tokens_total", "counter", "Tokens that the answered lines of ended batches sent.", MONEY, _SPENT),
    Figure(
        "cached_input_tokens_total",
        "counter",
        "Of these, tokens that were read from a provider's cache.",
        MONEY,
        _SPENT,
    ),
    Figure("output_tokens_total", "counter", "Tokens that the answers of ended batches consist of.", MONEY, _SPENT),
    Figure("cache_hits_total", "counter", "Lines that were given a kept answer.", MONEY, ("workspace",)),
    Figure(
        "cache_misses_total",
        "counter",
        "Lines that were looked up among the kept answers in vain.",
        MONEY,
        ("workspace",),
    ),
    Figure(
        "cache_hit_bytes_total",
        "counter",
        "Bytes of the kept answers that were given.",
        MONEY,
        ("workspace",),
        "bytes",
    ),
    Figure("uploads_running", "gauge", "Uploads that are being received.", STATE),
    Figure("disk_free_bytes", "gauge", "Free bytes where data_dir is.", STATE, (), "bytes"),
    Figure(
        "disk_reserve_bytes",
        "gauge",
        "Free bytes that nothing new takes, limits.disk_reserve_bytes.",
        STATE,
        (),
        "bytes",
    ),
    Figure(
        "request_duration_seconds",
        "histogram",
        "Requests until their answer is sent, by route and class of status.",
        TIME,
        ("method", "route", "status"),
        "s",
        REQUESTS,
    ),
    Figure(
        "step_duration_seconds",
        "histogram",
        "Steps of the engine, by how they ended: done, later or failed.",
        TIME,
        ("step", "outcome"),
        "s",
        STEPS,
    ),
    Figure(
        "provider_step_duration_seconds",
        "histogram",
        "Of these, steps that call a provider, by virtual key.",
        TIME,
        _KEY,
        "s",
        STEPS,
    ),
    Figure(
        "batch_duration_seconds",
        "histogram",
        "Batches from their create to their end, by status.",
        TIME,
        ("status",),
        "s",
        BATCHES,
    ),
)
BY_NAME = {figure.name: figure for figure in FIGURES}
OF_A_PROCESS = frozenset({"info", "ready", "uploads_running", "disk_free_bytes", "disk_reserve_bytes"}) | {
    figure.name for figure in FIGURES if figure.kind == "histogram"
}
OF_ALL = " Of the database: the same at each replica."  # what is told of the others


def family(name: str, samples: Samples) -> str:
    """Return a figure in Prometheus' text format 0.0.4. `name` is one of FIGURES."""
    return "\n".join([*_head(name), *_lines(name, samples)]) + "\n"


def histogram(name: str, pieces: Mapping[str, Samples]) -> str:
    """Return a histogram of its pieces: `bucket`, cumulative and with `le`, `sum` and `count`."""
    lines = (line for piece, samples in pieces.items() for line in _lines(f"{name}_{piece}", samples))
    return "\n".join([*_head(name), *lines]) + "\n"


def _head(name: str) -> list[str]:
    figure = BY_NAME[name]
    whose = "" if name in OF_A_PROCESS else OF_ALL
    return [f"# HELP {PREFIX}{name} {figure.about}{whose}", f"# TYPE {PREFIX}{name} {figure.kind}"]


def _lines(name: str, samples: Samples) -> Iterable[str]:
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        number = f"{value:d}" if isinstance(value, int) else repr(value)
        yield f"{PREFIX}{name}{{{inside}}} {number}" if inside else f"{PREFIX}{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
