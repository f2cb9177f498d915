"""A gateway on two providers' stand-ins, and a browser whose every complaint fails the test that caused it.

The browser is Debian's `chromium`; UI_BROWSER names another. Playwright drives it, axe looks at what it shows.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.stack import KEY, Gateway, lane
from tests.support.stand_ins import QUICK
from tests.ui.person import OTHER_KEY, Person

BROWSER = os.environ.get("UI_BROWSER") or shutil.which("chromium") or shutil.which("chromium-browser")
collect_ignore_glob = [] if find_spec("playwright") and BROWSER else ["test_*.py"]
SHOTS = Path(os.environ["UI_SHOTS"]) if "UI_SHOTS" in os.environ else None
RUN_SECONDS = 1.5  # of a job: long enough to be seen running


@pytest.fixture(scope="session")
def sandbox_of_two() -> Iterator[Sandbox]:
    options = {name: {**QUICK[name], "run_seconds": RUN_SECONDS} for name in ("openai", "anthropic")}
    with Sandbox(options=options) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def gateway(sandbox_of_two: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = {
        "openai-prod": lane(sandbox_of_two),
        "claude-prod": lane(sandbox_of_two, provider="anthropic"),
    }
    halves = {
        "strategy": {"mode": "loadbalance"},
        "targets": [
            {"virtual_key": "openai-prod", "weight": 1},
            {"virtual_key": "claude-prod", "weight": 1, "override_params": {"model": "claude-haiku-4-5"}},
        ],
    }
    made = Gateway(
        tmp_path_factory.mktemp("ui"),
        keys,
        api_keys=[{"name": "other", "key": OTHER_KEY, "workspace": "team-b", "virtual_keys": ["openai-*"]}],
        configs={"pc-split": halves},
        asks={"x-portkey-virtual-key": "openai-prod"},
    )
    document = made.config.read_text()
    made.config.write_text(document.replace("- key: " + KEY, "- operator: true\n    key: " + KEY))
    assert "operator: true" in made.config.read_text()
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def person(
    browser: object, gateway: Gateway, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Person]]:
    """Make a person with a browser of their own, on this gateway; what their page complains of is an error."""
    there: list[Person] = []

    def come(**options: object) -> Person:
        there.append(Person(browser, gateway.url.removesuffix("/v1"), tmp_path, SHOTS, **options))
        return there[-1]

    yield come
    for n, each in enumerate(there):
        each.leave(f"{request.node.name}-{n}")
