"""Fixtures that several test modules share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The same examples on every machine, however busy it is.
_PATIENT = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("patient", _PATIENT)
hypothesis.settings.register_profile("seeded", _PATIENT, derandomize=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--campaign` runs the long forms of seeded tests in full."""
    parser.addoption("--campaign", action="store_true", help="run whole campaigns, not the seeded slice")
    parser.addoption(
        "--before", type=Path, help="a checkout of an earlier version, whose killed gateways this one takes over"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Property tests are repeatable, but for campaigns."""
    hypothesis.settings.load_profile("patient" if config.getoption("--campaign") else "seeded")


@pytest.fixture(scope="session")
def campaign(pytestconfig: pytest.Config) -> bool:
    """Whether whole campaigns are asked for."""
    return bool(pytestconfig.getoption("--campaign"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 48 MB that fills up like any other."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
