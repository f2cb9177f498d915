"""One gateway for the attacks of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.attacks.rig import Town


@pytest.fixture
def town(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Town]:
    """A running gateway with the stand-ins of OpenAI (`lane`) and Anthropic (`claude`) behind it."""
    home = tmp_path_factory.mktemp("town")
    lane, claude = find("openai"), find("anthropic")
    keys = {
        "lane": lane.virtual_key(sandbox.url(lane.provider)),
        "claude": claude.virtual_key(sandbox.url(claude.provider)),
    }
    made = Town(home, keys)
    made.start()
    yield made
    made.close()
