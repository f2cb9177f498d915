"""What is made from the list of figures is up to date, and asks for nothing that is not in it."""

from __future__ import annotations

import json
import re

import pytest

from proxy_plugin.ground.observing.figures import FIGURES, PREFIX
from tools.alerts import ALERTS
from tools.dashboards import dashboard, queries
from tools.tables import ALERTS as RULES
from tools.tables import DASHBOARD, documents
from tools.tables import FIGURES as PAGE

LABELS = {f"{PREFIX}{each.name}": set(each.labels) for each in FIGURES}
PIECES = {f"{name}_{piece}": name for name in LABELS for piece in ("bucket", "sum", "count")}
ASKED = [(alert.name, alert.expression) for alert in ALERTS]
ASKED += [(figure.name, expression) for figure in FIGURES for expression, _ in queries(figure)]


def test_what_is_made_from_the_list_is_not_stale() -> None:
    wanted = {path: text for path, text in documents().items() if path in (PAGE, DASHBOARD, RULES)}
    assert len(wanted) == 3
    assert {path: path.read_text() for path in wanted} == wanted, "stale: run make docs"


@pytest.mark.parametrize(("name", "expression"), ASKED, ids=[name for name, _ in ASKED])
def test_a_query_asks_for_figures_and_labels_that_there_are(name: str, expression: str) -> None:
    asked = {PIECES.get(each, each) for each in re.findall(rf"{PREFIX}\w+", expression)}
    assert asked
    assert asked <= set(LABELS), name
    labels = set(re.findall(r'(\w+)(?:=~?")', expression))
    labels |= {label for inside in re.findall(r"by \(([^)]*)\)", expression) for label in inside.split(", ")}
    assert labels - {"le"} <= set.union(*(LABELS[each] for each in asked)), name


def test_the_dashboard_has_every_figure_once() -> None:
    panels = [each for each in json.loads(dashboard())["panels"] if each["type"] != "row"]
    assert sorted(each["description"] for each in panels) == sorted(LABELS)
    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels]
    assert len(places) == len(set(places))


def test_an_alert_has_a_name_of_its_own() -> None:
    assert len({each.name for each in ALERTS}) == len(ALERTS)
