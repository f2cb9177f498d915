"""What is told of waits."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.api.batches.waits import x_status
from proxy_plugin.storage.tables.waits import REASONS, WHOLE, WaitRow


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("part", [WHOLE, 3])
def test_every_wait_has_words(reason: str, part: int) -> None:
    row = WaitRow(batch_id="batch_1", part=part, reason=reason, since=10.0, next_at=20.5, slug="spare")
    found: dict[str, Any] = x_status(row)
    assert (found["waiting_for"], found["since"], found["next_try_at"]) == (reason, 10, 20)
    assert found["message"].endswith(".")
    assert "{" not in found["message"]
