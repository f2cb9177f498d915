"""Which tests of whole lanes the suite runs: each for one of two lanes, few for others; `--campaign` runs all for all.

The two are one lane for each way in which a lost create is found. A test that one of them lacks the other has.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pytest

from proxy_plugin.providers.sandbox.stand_ins import StandIn, names
from tests.support.drawing import drawn
from tests.whole.kills.scenes import CAMPAIGNS

HERE = Path(__file__).parent
SLICED = {HERE / "kills", HERE / "lanes"}
PAIR = ("openai", "anthropic")
ONE_IN = 45  # tests that another lane has; each lane has others, so that together they have nearly all
_NAMED = re.compile(rf"(?<![a-z0-9])({'|'.join(sorted(map(re.escape, names()), key=len, reverse=True))})(?![a-z0-9])")


def in_slice(test: str, parameters: str, both: Collection[tuple[str, str]] = ()) -> bool:
    """Tell whether the suite runs a test with the id of these parameters.

    `both`: tests with `*` for one of the pair in their parameters, which both lanes could run: each of these one does.
    """
    found = _NAMED.search(parameters)
    if found is None:
        return True
    if found[1] not in PAIR:
        return drawn(f"{test}[{parameters}]", ONE_IN)
    common = _without(parameters, found)
    return (test, common) not in both or drawn(f"{test}[{common}]", len(PAIR)) == (found[1] == PAIR[0])


def _without(parameters: str, found: re.Match[str]) -> str:
    return f"{parameters[: found.start()]}*{parameters[found.end() :]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the suite runs for other lanes."""
    if config.getoption("--campaign"):
        return
    sliced = {each: _named(each) for each in items if SLICED & {*each.path.parents}}
    both = _both({each: names for each, names in sliced.items() if not _lacked(each)})
    others = {each for each, (test, parameters) in sliced.items() if not in_slice(test, parameters, both)}
    others |= {each for each in items if each.get_closest_marker("slow")}
    if others:
        config.hook.pytest_deselected(items=list(others))
        items[:] = [each for each in items if each not in others]


def _named(item: pytest.Item) -> tuple[str, str]:
    """Return module and name of a test, and the id of its parameters."""
    parameters = item.callspec.id if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ""
    return f"{item.path.name}::{getattr(item, 'originalname', item.name)}", parameters


def _both(named: dict[pytest.Item, tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the tests that both lanes of the pair run. The kills at steps are chosen for both together already."""
    seen: dict[tuple[str, str], set[str]] = {}
    for test, parameters in named.values():
        found = _NAMED.search(parameters)
        if found and found[1] in PAIR and not test.endswith("::test_kill"):
            seen.setdefault((test, _without(parameters, found)), set()).add(found[1])
    return {common for common, lanes in seen.items() if len(lanes) == len(PAIR)}


def _lacked(item: pytest.Item) -> bool:
    """Tell whether a test would be skipped, because its lane lacks what it is about."""
    values = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    name, stand_in, own = getattr(item, "originalname", item.name), values.get("stand_in"), values.get("own")
    unlike = isinstance(stand_in, StandIn) and name in stand_in.unlike
    return unlike or (isinstance(own, str) and name in CAMPAIGNS[own].without)
