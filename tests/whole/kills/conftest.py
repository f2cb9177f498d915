"""One process of stand-ins for all tests that kill; each starts from one that has forgotten everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The stand-ins of all providers."""
    with Sandbox() as running:
        yield running
