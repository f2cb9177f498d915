"""Which tests of whole lanes the suite runs: all for two lanes, a part for others; `--campaign` runs all for all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy_plugin.providers.sandbox.stand_ins import names
from tests.support.drawing import drawn

HERE = Path(__file__).parent
SLICED = {HERE / "kills", HERE / "lanes"}
WHOLE = frozenset({"openai", "anthropic"})  # one lane for each way in which a lost create is found
ONE_IN = 8  # tests that another lane has; each lane has others, so that together they have all
_NAMED = re.compile("|".join(sorted(map(re.escape, set(names()) - WHOLE), key=len, reverse=True)))


def in_slice(node: str) -> bool:
    """Tell whether the suite runs a test with this id: those of a lane that is not whole are drawn by it."""
    parameters = node.partition("[")[2]
    return _NAMED.search(parameters) is None or drawn(node.rpartition("/")[2], ONE_IN)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the suite runs for other lanes."""
    if config.getoption("--campaign"):
        return
    others = {each for each in items if SLICED & {*each.path.parents} and not in_slice(each.nodeid)}
    if others:
        config.hook.pytest_deselected(items=list(others))
        items[:] = [each for each in items if each not in others]
