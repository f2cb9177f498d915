"""The demo runs with the stand-in of every lane there is: two of them in the suite, all in the campaign.

Its jobs take half a second here; `test_demo` runs the command at its own pace.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy_plugin.demo.job import CLOSING
from proxy_plugin.demo.plan import ERRORS, OUTPUT
from proxy_plugin.providers import catalog

LINES = 60
DEMO = "import sys, proxy_plugin.demo.main as demo; demo.JOB_SECONDS = 0.5; sys.exit(demo.main(sys.argv[1:]))"
SLICE = ("google", "watsonx")  # a lane of its own, and a copy that wants more than a key


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case is a lane."""
    if "lane" in metafunc.fixturenames:
        whole = bool(metafunc.config.getoption("--campaign"))
        metafunc.parametrize("lane", sorted(catalog.BUILT_IN) if whole else SLICE)


def test_the_demo_of_a_lane_counts_every_line(lane: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEMO, "--provider", lane, "--lines", str(LINES)]
    done = subprocess.run([*command, "--output", str(tmp_path)], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert CLOSING in done.stdout
    rows = [len((tmp_path / name).read_bytes().splitlines()) for name in (OUTPUT, ERRORS) if (tmp_path / name).exists()]
    assert sum(rows) == LINES
    assert rows[0] == LINES - 1  # one line asks its stand-in for an error
