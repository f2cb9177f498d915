"""One stand-in process for all tests of the lanes, and one gateway process in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import LANES, QUICK, Elsewhere, Lane, Stand, keys


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The stand-ins of both lanes."""
    with Sandbox(options=QUICK) as running:
        yield running


@pytest.fixture(params=LANES, ids=lambda lane: lane.provider)
def lane(request: pytest.FixtureRequest) -> Lane:
    """The lane that a test runs for."""
    found: Lane = request.param
    return found


@pytest.fixture
def stand(sandbox: Sandbox, lane: Lane) -> Stand:
    """The lane's stand-in, which has forgotten everything."""
    sandbox.control.reset()
    return Stand(sandbox, lane)


class _Keeper:
    def __init__(self, sandbox: Sandbox, homes: pytest.TempPathFactory) -> None:
        self._sandbox, self._homes = sandbox, homes
        self._gateway: Client | None = None

    def ready(self) -> Client:
        """Return a gateway without unfinished work: the one there is, or a new one after a test that broke off."""
        if self._gateway is None or not self._gateway.idle():
            self.close()
            self._gateway = Client(self._homes.mktemp("lanes"), keys(self._sandbox))
            self._gateway.start()
        return self._gateway

    def close(self) -> None:
        """End the gateway."""
        if self._gateway is not None:
            self._gateway.close()


@pytest.fixture(scope="session")
def keeper(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Keeper]:
    """The gateway of all tests that can share one, started when a test wants it."""
    made = _Keeper(sandbox, tmp_path_factory)
    yield made
    made.close()


@pytest.fixture
def gateway(keeper: _Keeper) -> Client:
    """A running gateway with nothing to do."""
    return keeper.ready()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """A host that is not the provider's."""
    with Elsewhere() as host:
        yield host
