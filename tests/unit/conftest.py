"""Unit tests start no process, so that `make test-fast` is fast; PostgreSQL is started once, before them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import no_process


@pytest.fixture(autouse=True)
def _no_process() -> Iterator[None]:
    with no_process.no_process():
        yield
