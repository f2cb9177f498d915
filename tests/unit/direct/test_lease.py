"""A worker begins no call behind the end of its lease, whoever has stopped and whoever has not."""

from __future__ import annotations

import time
from pathlib import Path

from proxy_plugin.direct.job import LAPSED, LEASE, STOP, Lease, Stop, stop_in, write


def test_a_lease_that_is_over_is_an_order_to_stop_and_an_order_goes_first(tmp_path: Path) -> None:
    assert stop_in(tmp_path) is None, "alone, nobody bounds it"
    write(tmp_path, LEASE, Lease(time.monotonic() + 1000.0))
    assert stop_in(tmp_path) is None
    write(tmp_path, LEASE, Lease(time.monotonic() - 1.0))
    assert stop_in(tmp_path) == Stop(LAPSED)
    write(tmp_path, STOP, Stop(3.0, for_good=True))
    assert stop_in(tmp_path) == Stop(3.0, for_good=True)
