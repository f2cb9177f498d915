"""The meter ends what takes too long, and nothing else."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress

import pytest

from proxy_plugin.ground.meter import Allowance, Meter, TooCostly

LITTLE = Allowance(seconds=0.2, seconds_per_mb=0.0)


def spend(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def stubborn() -> None:
    """Take every error for one of its own."""
    while True:
        with suppress(Exception):
            spend(0.1)


def in_a_pattern() -> None:
    re.fullmatch("(a+)+b", "a" * 60)


@pytest.mark.parametrize("work", [stubborn, in_a_pattern, lambda: sum(iter(lambda: 1, 2))])
def test_a_line_that_never_ends_is_ended(work: object) -> None:
    with Meter(LITTLE) as meter:
        with pytest.raises(TooCostly, match="CPU"), meter.line(1):
            work()  # type: ignore[operator]
        with meter.line(1):
            done = "the next line"
    assert done


def test_a_function_that_never_ends_is_ended() -> None:
    with Meter(LITTLE) as meter:
        with pytest.raises(TooCostly):
            meter.run(1, stubborn)
        assert meter.run(1, str, 7) == "7"


def test_a_large_line_may_take_more() -> None:
    with Meter(Allowance(seconds=0.0, seconds_per_mb=10.0)) as meter:
        with meter.line(2**20):
            spend(0.3)
        with pytest.raises(TooCostly), meter.line(100):
            spend(10.0)


def test_what_is_not_metered_goes_on() -> None:
    with Meter(LITTLE) as meter:
        with meter.line(1):
            pass
        spend(0.5)
    with meter.line(1):
        spend(0.5)


def test_errors_pass() -> None:
    with Meter(LITTLE) as meter, pytest.raises(KeyError), meter.line(1):
        raise KeyError


def test_no_other_thread_is_metered() -> None:
    found = list[str]()

    def work() -> None:
        with Meter(LITTLE) as meter, meter.line(1):
            spend(0.4)
        found.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found == ["done"]
