"""One process of stand-ins for these tests, and what each test's replicas share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import copies, every
from tests.support.cloud_stores import AnyStore
from tests.support.postgres import Databases
from tests.support.stack import lane
from tests.whole.replicas.rig import Shared

Keys = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The stand-ins of all lanes."""
    with Sandbox(providers=[each.served for each in (*every(), *copies().values())]) as running:
        yield running


@pytest.fixture
def shared(databases: Databases, object_store: AnyStore) -> Iterator[Shared]:
    """A database and a bucket of this test's own."""
    made = Shared(databases, object_store, object_store.bucket())
    yield made
    databases.drop(made.url)


@pytest.fixture
def one_lane(sandbox: Sandbox) -> Callable[..., Keys]:
    """Return a function that makes the stand-ins forget all, and gives the virtual key `lane` of one of them."""

    def made(provider: str = "openai", *, run_seconds: float = 0.2, **options: Any) -> Keys:
        sandbox.control.reset()
        own = {each.provider: each for each in every()}[provider]
        sandbox.control.options(provider, **{**own.quick, "run_seconds": run_seconds, "answers": own.answers})
        return {"lane": lane(sandbox, provider=provider, **options)}

    return made
