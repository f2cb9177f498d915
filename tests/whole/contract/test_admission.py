"""What the operator allows a virtual key is never exceeded at the provider."""

from __future__ import annotations

import pytest

from tests.whole.contract.cases import KEYS, Case
from tests.whole.contract.checks import check_lines, check_paid_once, lines_of
from tests.whole.contract.client import Client
from tests.whole.contract.wire import Wire

RUNS = 0.5  # seconds of a job
LINES = KEYS["one-job"]["max_lines_per_job"]


@pytest.mark.parametrize(("slug", "most"), [("one-job", 1), ("two-jobs", 2), ("lines-of-two", 2), ("lines-of-none", 1)])
def test_no_more_runs_at_once_than_is_admitted(case: Case, gateway: Client, wire: Wire, slug: str, most: int) -> None:
    """A part that is larger than `max_lines_queued` could never be admitted by the sum, so it goes alone."""
    wire.slow(RUNS)
    lines = lines_of(case, 4 * LINES)
    batches = [gateway.submit(lines[: 2 * LINES], slug), gateway.submit(lines[2 * LINES :], slug)]
    for batch_id, half in zip(batches, (lines[: 2 * LINES], lines[2 * LINES :]), strict=True):
        check_lines(case, gateway, gateway.until(batch_id), half)
    check_paid_once(wire, len(lines))
    begun = [call.at for call in wire.requests() if call.name == wire.create_call]
    assert len(begun) == 4
    for n in range(4 - most):
        assert begun[n + most] - begun[n] >= RUNS, f"more than {most} ran at once"
