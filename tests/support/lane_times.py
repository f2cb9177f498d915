"""What each lane costs the suite: seconds of the tests whose id names it, as a table before pytest's last line."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from operator import itemgetter

import pytest

NOBODY = "no lane"
COLUMNS = 4


class LaneTimes:
    """A plugin that adds up what tests took. With workers each of them reports, and the controller alone prints."""

    def __init__(self, lanes: Iterable[str]) -> None:
        names = sorted(map(re.escape, lanes), key=len, reverse=True)  # the longest first: x-ai is no part of xx-ai
        self._named = re.compile(rf"(?<![a-z0-9])({'|'.join(names)})(?![a-z0-9])")
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.tests = Counter[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of a test."""
        lane = self.lane_of(report.nodeid)
        self.seconds[lane] += report.duration
        self.tests[lane] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        if not self.tests:
            return
        terminalreporter.section("seconds by lane (tests)")
        for line in self.table():
            terminalreporter.write_line(line)

    def lane_of(self, node: str) -> str:
        """Return the lane that a test is for: that of its parameters, or that of its module."""
        module, _, test = node.replace("_", "-").partition("::")
        found = self._named.search(test.partition("[")[2]) or self._named.search(module)
        return found[1] if found else NOBODY

    def table(self) -> list[str]:
        """Return the lanes, the dearest first, some in a line."""
        spent = sorted(self.seconds.items(), key=itemgetter(1), reverse=True)
        cells = [f"{name:<23}{seconds:7.1f} ({self.tests[name]})" for name, seconds in spent]
        rows = (cells[n : n + COLUMNS] for n in range(0, len(cells), COLUMNS))
        return ["".join(f"{cell:<40}" for cell in row).rstrip() for row in rows]
