"""Fixtures of the tests that run the gateway in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.wire import Log, log_kept


@pytest.fixture
def log() -> Iterator[Log]:
    """What the gateway logs during the test."""
    with log_kept() as kept:
        yield kept
