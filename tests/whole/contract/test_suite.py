"""The suite itself: no provider without a case, no skip without a reason, no adapter that the gateway just has."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy_plugin.providers import catalog
from tests.whole.contract.cases import CASES, Case, environment
from tests.whole.contract.slices import ALWAYS, FACTS, GATEWAY, PATIENT

HERE = Path(__file__).parent
LOADED = """
import json, sys, proxy_plugin.app
print(json.dumps([name for name in sys.modules if name.startswith("proxy_plugin.providers.")]))
"""
REGISTERED = "import json; from proxy_plugin.providers import catalog; print(json.dumps(catalog.names()))"


def _tests() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in HERE.glob("test_*.py")]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


def _python(code: str, env: dict[str, str]) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | env, capture_output=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_every_provider_of_this_tree_has_exactly_one_case() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(catalog.BUILT_IN) <= set(names)


def test_a_provider_that_is_not_of_this_tree_has_a_case_too() -> None:
    assert any(case.name not in catalog.BUILT_IN and case.pythonpath for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_skip_has_a_reason_and_names_a_test(case: Case) -> None:
    assert all(reason.strip() for reason in case.reasons.values())
    assert case.reasons.keys() <= {name for name in _tests() if name.startswith("test_")}


def test_the_slices_name_tests() -> None:
    assert _tests() >= GATEWAY | FACTS | ALWAYS | PATIENT
    assert not GATEWAY & FACTS
    assert {case.stand_in.labelled for case in CASES if case.whole} == {True, False}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_gateway_of_a_case_has_no_other_provider(case: Case) -> None:
    assert _python(REGISTERED, environment(case)) == [case.name]


def test_the_gateway_loads_no_adapter_of_its_own_accord() -> None:
    loaded = set(_python(LOADED, {}))
    assert {"proxy_plugin.providers.base", "proxy_plugin.providers.catalog", "proxy_plugin.providers.http"} <= loaded
    adapters = {reference.partition(":")[0] for reference in catalog.BUILT_IN.values()}
    assert not loaded & {*adapters, "proxy_plugin.providers.formats", "proxy_plugin.providers.sandbox"}
