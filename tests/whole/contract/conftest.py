"""One stand-in and one gateway process for the tests of a module and provider; what they leave behind is looked at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.whole.contract.cases import CASES, Case, Keys
from tests.whole.contract.client import Client
from tests.whole.contract.wire import Wire


class Rig:
    """A stand-in and the gateway in front of it."""

    def __init__(self, case: Case, wire: Wire, keys: Keys, homes: pytest.TempPathFactory) -> None:
        self._case, self._wire, self._keys, self._homes = case, wire, keys, homes
        self._gateway: Client | None = None
        self._looked_at = 0  # bytes of its log

    def ready(self) -> Client:
        """Return a gateway without unfinished work: the one there is, or a new one after a test that broke off."""
        if self._gateway is None or not self._gateway.idle():
            self.close()
            self._gateway, self._looked_at = self._new(), 0
            self._gateway.start()
        self._wire.reset()
        return self._gateway

    def close(self) -> None:
        """End the gateway."""
        if self._gateway is not None:
            self._gateway.close()

    def look_at_leftovers(self, gateway: Client) -> None:
        """Nothing private may have gone where it does not belong, whatever the test was about."""
        assert self._wire.complaints() == []
        log = gateway.log.read_bytes()
        told = log[self._looked_at :].decode() + "".join(gateway.answers)
        self._looked_at = len(log)
        gateway.answers.clear()
        assert not any(secret in told for secret in self._wire.secrets), "a provider's key was told"

    def _new(self) -> Client:
        return Client(
            self._homes.mktemp(self._case.name),
            {slug: self._wire.virtual_key(**options) for slug, options in self._keys.items()},
            env=self._case.environment(),
            endpoint=self._case.endpoint,
        )


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """The provider that the tests run for."""
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def wire(case: Case) -> Iterator[Wire]:
    """The running stand-in."""
    made = case.wire()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def rig(
    case: Case, wire: Wire, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """The module's rig; the module's `keys` say which virtual keys its gateway has."""
    made = Rig(case, wire, request.module.keys(case), tmp_path_factory)
    yield made
    made.close()


@pytest.fixture
def gateway(case: Case, rig: Rig, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A gateway in front of a stand-in that has forgotten everything."""
    reason = case.skips.get(request.function.__name__)
    if reason is not None:
        pytest.skip(reason)
    running = rig.ready()
    yield running
    rig.look_at_leftovers(running)
