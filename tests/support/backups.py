"""A copy of a database, made and brought back by the commands that the guide for replicas has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from proxy_plugin.demo.postgres import binaries
from tests.support import code_blocks
from tests.support.code_blocks import ROOT

GUIDE = ROOT / "docs" / "guides" / "replicas.md"


def commands() -> list[str]:
    """Return what the guide says of a dump and of its way back."""
    blocks = [block for block in code_blocks.of(GUIDE) if "pg_dump" in block.text]
    return [command for block in blocks for command in code_blocks.commands(block.text)]


def restore(database: str, restored: str, folder: Path) -> None:
    """Make an empty database what another one is; the dump is in `folder`."""
    urls = {"DATABASE_URL": database, "NEW_DATABASE_URL": restored}
    environ = os.environ | urls | {"PATH": f"{binaries()}:{os.environ['PATH']}"}
    for command in commands():
        done = subprocess.run(["sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
