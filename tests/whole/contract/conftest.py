"""One process of stand-ins and one gateway for the tests of all providers; what tests leave behind is looked at.

The gateway has the providers of all cases, each with virtual keys of its own. Tests that kill it have one of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole.contract.cases import CASES, Case, Wires, keeper_of
from tests.whole.contract.client import Client, Keeper
from tests.whole.contract.sandbox_wire import SandboxWire, served
from tests.whole.contract.slices import in_suite
from tests.whole.contract.wire import Wire

PARAMS = [pytest.param(case, id=case.name) for case in CASES]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the suite runs for other cases."""
    if config.getoption("--campaign"):
        return
    here = Path(__file__).parent
    others = [each for each in items if here in each.path.parents and not _runs(each)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [each for each in items if each not in set(others)]


def _runs(item: pytest.Item) -> bool:
    values = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    case = values.get("case")
    if not isinstance(case, Case) or "gateway" not in getattr(item, "fixturenames", ()):
        return True
    return in_suite(case, getattr(item, "originalname", item.name), values)


@pytest.fixture(scope="session")
def wires() -> Iterator[Wires]:
    """The running stand-ins of all cases."""
    with served(case.stand_in for case in CASES if case.wire is SandboxWire) as sandbox:
        made = {case.name: case.wire(case.stand_in, sandbox) for case in CASES}
        for each in made.values():
            each.start()
        yield made
        for each in made.values():
            each.stop()


@pytest.fixture(scope="module", params=PARAMS)
def case(request: pytest.FixtureRequest) -> Case:
    """The provider that the tests run for."""
    found: Case = request.param
    return found


@pytest.fixture
def wire(case: Case, wires: Wires) -> Wire:
    """The provider's stand-in."""
    return wires[case.name]


@pytest.fixture(scope="session")
def shared(wires: Wires, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    """The keeper of the gateway that has all providers."""
    made = keeper_of(CASES, wires, tmp_path_factory)
    yield made
    made.close()


@pytest.fixture
def keeper(shared: Keeper) -> Keeper:
    """The keeper of a test's gateway; a module may have one of its own."""
    return shared


@pytest.fixture
def gateway(case: Case, wire: Wire, keeper: Keeper, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A gateway in front of a stand-in that has forgotten everything."""
    if reason := case.reasons.get(request.function.__name__):
        pytest.skip(reason)
    running = keeper.ready(after_guesses=case.stand_in.labelled)
    running.of(f"{case.name}-", case.stand_in.endpoint)
    wire.reset()
    yield running
    _look_at_leftovers(wire, running)


def _look_at_leftovers(wire: Wire, gateway: Client) -> None:
    """Nothing private may have gone where it does not belong, whatever the test was about."""
    assert wire.complaints() == []
    told = gateway.told()
    assert not any(secret in told for secret in wire.secrets), "a provider's key was told"
