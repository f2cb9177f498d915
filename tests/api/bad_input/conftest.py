"""The gateway that each module of mistakes shares, with one account that answers and one whose jobs never end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.api.bad_input.rig import Rig, make_rig
from tests.support.stack import lane
from tests.support.stand_ins import StandIns

FOREVER = {"openai": {"run_seconds": 86_000.0}}


@pytest.fixture(scope="module")
def rig(sandbox: Sandbox, stand_ins: StandIns, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway that runs; whatever was asked of it, it has met no error of its own at the end."""
    slow = stand_ins.get(options=FOREVER)
    keys = {"lane": lane(sandbox), "slow": lane(slow), "old": lane(sandbox, retired=True)}
    made = make_rig(tmp_path_factory.mktemp("rig"), keys)
    made.start()
    try:
        yield made
        assert made.alive()
        assert '"request_failed"' not in made.log.read_text(), made.tail()
    finally:
        made.close()
