"""The demo with replicas ends as the plain demo does, although one of them was killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from proxy_plugin.demo.job import CLOSING
from proxy_plugin.demo.main import main

LINES = 200


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that everybody may enter, as PostgreSQL runs as no root; pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix="demo-of-replicas-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_ends_well_although_a_replica_is_killed(home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proxy_plugin", "demo", "--replicas", "3", "--lines", str(LINES)]
    before = {each.pid for each in psutil.process_iter()}
    done = subprocess.run(
        [*command, "--output", str(tmp_path)],
        env={**os.environ, "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Killed replica 1 of 3 (kill -9)" in done.stdout
    assert CLOSING in done.stdout
    assert re.search(r"native jobs[^\d\n]* 4 ", done.stdout), done.stdout
    left = [each for each in psutil.process_iter(["cmdline"]) if each.pid not in before]
    assert [each.info["cmdline"] for each in left if str(home) in " ".join(each.info["cmdline"] or ())] == []
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("count", ["0", "1", "21", "three"])
def test_replicas_are_several(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--replicas", count])
    assert "from 2 to 20" in capsys.readouterr().err
