"""One stand-in process for all tests of the lanes, and one gateway process in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn
from tests.whole.contract.client import Client, Keeper
from tests.whole.lanes.rig import QUICK, STAND_INS, Elsewhere, Stand, keys


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The stand-ins of all lanes."""
    with Sandbox(options=QUICK) as running:
        yield running


@pytest.fixture(params=STAND_INS, ids=lambda each: each.provider)
def stand_in(request: pytest.FixtureRequest) -> StandIn:
    """The stand-in that a test runs for."""
    found: StandIn = request.param
    if reason := found.unlike.get(request.node.originalname):
        pytest.skip(reason)
    return found


@pytest.fixture
def stand(sandbox: Sandbox, stand_in: StandIn) -> Stand:
    """The stand-in, which has forgotten everything."""
    sandbox.control.reset()
    return Stand(sandbox, stand_in)


@pytest.fixture(scope="session")
def keeper(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    """The gateway of all tests that can share one, started when a test wants it."""
    made = Keeper(lambda: Client(tmp_path_factory.mktemp("lanes"), keys(sandbox)))
    yield made
    made.close()


@pytest.fixture
def gateway(keeper: Keeper) -> Client:
    """A running gateway with nothing to do."""
    return keeper.ready()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """A host that is not the provider's."""
    with Elsewhere() as host:
        yield host
