"""A provider is four things: a lane, an entry of the catalogue, a stand-in or another's, and a case of the contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy_plugin.costs.prices import price
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Revokes
from proxy_plugin.providers.sandbox.host import Host
from proxy_plugin.providers.sandbox.stand_ins import StandIn, every, find, names
from tests.whole.contract.cases import CASES

ROOT = Path(__file__).resolve().parents[2]
LANES = {path.name for path in (ROOT / "providers" / "lanes").iterdir() if (path / "__init__.py").exists()}
PROVIDERS = [case.stand_in for case in CASES if case.name in catalog.BUILT_IN]

JOBS = {"batches.create", "batches.list", "batches.retrieve", "batches.cancel"}


def fits(path: str, route: str) -> bool:
    """Tell whether a path is one of a route, whose names in braces stand for one piece of it."""
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route)), path) is not None


def name_of(stand_in: StandIn) -> str:
    return stand_in.provider


def test_every_folder_of_lanes_is_in_the_catalogue() -> None:
    assert {reference.split(".")[3] for reference in catalog.BUILT_IN.values()} == LANES


def test_every_provider_of_the_catalogue_has_one_case() -> None:
    assert sorted(map(name_of, PROVIDERS)) == sorted(catalog.BUILT_IN)


@pytest.mark.parametrize("stand_in", PROVIDERS, ids=name_of)
def test_a_case_has_a_stand_in_of_its_own_or_shares_one(stand_in: StandIn) -> None:
    assert find(stand_in.like or stand_in.provider).dialect == stand_in.dialect


def test_every_stand_in_is_that_of_a_case() -> None:
    assert set(names()) <= {each.like or each.provider for each in PROVIDERS}


@pytest.mark.parametrize("stand_in", PROVIDERS, ids=name_of)
def test_lane_and_stand_in_agree(stand_in: StandIn) -> None:
    lane = catalog.load(stand_in.provider)
    assert lane.capabilities.accepts_label == stand_in.labelled
    assert isinstance(lane, Revokes) == bool(stand_in.uploads and stand_in.revoked)
    assert stand_in.endpoint in lane.capabilities.endpoints


@pytest.mark.parametrize("stand_in", every(), ids=name_of)
def test_models_of_a_stand_in_have_a_price(stand_in: StandIn) -> None:
    lane = catalog.load(stand_in.provider).capabilities
    assert all(price(lane, model) for model in stand_in.models), "tools/prices.py leaves them out"


@pytest.mark.parametrize("stand_in", every(), ids=name_of)
async def test_a_record_is_true_of_its_dialect(stand_in: StandIn, tmp_path: Path) -> None:
    options = {**stand_in.quick, **stand_in.unlimited, "answers": stand_in.answers}
    host = Host({stand_in.provider: stand_in.provider}, [], {stand_in.provider: options}, tmp_path)
    try:
        dialect = host.dialects[stand_in.provider]
        paths = {route.operation: route.path for route in dialect.routes}
        assert stand_in.calls | JOBS <= paths.keys()
        assert paths["batches.list"] == f"/{stand_in.jobs}"
        assert not stand_in.uploads or any(fits(f"/{stand_in.uploads}", path) for path in paths.values())
        assert dialect.credentials & {header.lower() for header in stand_in.headers("sk-some")}
    finally:
        await host.close()
