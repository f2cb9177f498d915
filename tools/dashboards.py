"""Grafana's dashboard, and the page about figures, made from the list that `/metrics` is made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from proxy_plugin.ground.observing.figures import FIGURES, PREFIX, Figure
from tools.alerts import ALERTS

JSON = dict[str, Any]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
FILTERED = ("workspace", "virtual_key")  # choices at the top of the dashboard
WIDTH, HEIGHT, COLUMNS = 8, 8, 3
QUANTILES = ((0.5, "median"), (0.95, "95 %"))
_PAGE_HEAD = """\
# Figures

<!-- made by `make docs` from proxy_plugin/ground/observing/figures.py -->

What `GET /metrics` tells, in Prometheus' text format; [operations](operations.md) says who may read it. Names, kinds
and labels stay as they are. Without `server.metrics_key` the labels `workspace` and `virtual_key` are left out, and
what differs in them alone is added up. `deploy/grafana/dashboard.json` has a panel for each,
`deploy/prometheus/alerts.yaml` the rules below; both are made from these lists.

| figure | kind | labels | what it tells |
|---|---|---|---|
"""
_PAGE_MORE = """
Counters and gauges are counted from the registry: a restart does not begin again at 0, and they are up to two seconds
old. Replicas all tell the same of it: take the `max` over them; `ready`, `info`, `uploads_running` and the disk's are
of each. Histograms are of the process that runs. Their bounds, in seconds:

| histogram | bounds |
|---|---|
"""
_PAGE_ALERTS = """
## Alerts

| alert | holds for | severity | what it means | what to do |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the document about figures and alerts."""
    rows = [
        f"| `{PREFIX}{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.about} |"
        for each in FIGURES
    ]
    bounds = [
        f"| `{PREFIX}{each.name}` | {', '.join(f'{bound:g}' for bound in each.bounds)} |"
        for each in FIGURES
        if each.bounds
    ]
    alerts = [f"| `{a.name}` | {a.lasts} | {a.severity} | {a.summary} | {a.action} |" for a in ALERTS]
    parts = (_PAGE_HEAD, rows, _PAGE_MORE, bounds, _PAGE_ALERTS, alerts)
    return "".join(part if isinstance(part, str) else "".join(f"{row}\n" for row in part) for part in parts)


def dashboard() -> str:
    """Return the dashboard as Grafana imports it."""
    return (
        json.dumps(
            {
                "title": "proxy-plugin",
                "uid": "proxy-plugin",
                "tags": ["proxy-plugin"],
                "schemaVersion": 39,
                "refresh": "30s",
                "time": {"from": "now-24h", "to": "now"},
                "templating": {"list": [_source(), *map(_choice, FILTERED)]},
                "panels": list(_panels()),
            },
            indent=1,
        )
        + "\n"
    )


def _source() -> JSON:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _choice(label: str) -> JSON:
    figure = next(each for each in FIGURES if label in each.labels and each.kind == "counter")
    return {
        "name": label,
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values({PREFIX}{figure.name}, {label})",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",  # also what has no such label
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[JSON]:
    top, number = 0, 0
    for group, figures in groupby(sorted(FIGURES, key=_place), key=lambda each: each.group):
        number += 1
        place = {"x": 0, "y": top, "w": 24, "h": 1}
        yield {"id": number, "type": "row", "title": group, "gridPos": place, "panels": []}
        top += 1
        for n, figure in enumerate(figures):
            number += 1
            place = {"x": n % COLUMNS * WIDTH, "y": top + n // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield _panel(figure, number) | {"gridPos": place}
        top += (n // COLUMNS + 1) * HEIGHT


def _place(figure: Figure) -> int:
    """Return where the group of a figure begins in the list: groups are in the order in which they come first."""
    return next(n for n, each in enumerate(FIGURES) if each.group == figure.group)


def _panel(figure: Figure, number: int) -> JSON:
    moment = figure.unit == "dateTimeFromNow"
    return {
        "id": number,
        "type": "stat" if moment or not figure.labels else "timeseries",
        "title": figure.about.rstrip("."),
        "description": PREFIX + figure.name,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": figure.unit, "min": None if moment else 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for n, (expression, legend) in enumerate(queries(figure))
        ],
    }


def queries(figure: Figure) -> Iterator[tuple[str, str]]:
    """Yield what a panel asks for, and how it names the lines."""
    name = PREFIX + figure.name
    wanted = ", ".join(f'{label}=~"${label}"' for label in figure.labels if label in FILTERED)
    chosen = f"{{{wanted}}}" if wanted else ""
    legend = " ".join(f"{{{{{label}}}}}" for label in figure.labels)
    if figure.kind == "histogram":
        by = ", ".join(("le", *figure.labels[-2:]))
        for quantile, said in QUANTILES:
            inside = f"sum by ({by}) (rate({name}_bucket{chosen}[$__rate_interval]))"
            yield f"histogram_quantile({quantile}, {inside})", f"{said} " + legend
    elif figure.kind == "counter":
        yield f"max by ({', '.join(figure.labels)}) (increase({name}{chosen}[$__rate_interval]))", legend
    elif figure.unit == "dateTimeFromNow":
        yield f"min by ({', '.join(figure.labels)}) ({name}{chosen}) * 1000", legend
    else:
        together = "sum" if figure.name == "info" else "max"  # what tables say is the same at each replica
        by = f" by ({', '.join(figure.labels)}) " if figure.labels else ""
        yield f"{together}{by}({name}{chosen})", legend
