"""The stand-ins that the gateways of these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.whole.lanes.rig import QUICK


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The stand-ins of all lanes."""
    with Sandbox(options=QUICK) as running:
        yield running
