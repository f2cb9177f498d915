"""What is built and shipped, in an environment that has the tools for it. `make test-package` makes both.

The packages are in `dist/`; installed they are in environments of their own, by uv, from the locked versions.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
BIN = Path(sys.executable).parent
CONSTRAINTS = ROOT / "constraints" / "runtime.txt"
collect_ignore_glob = [] if find_spec("promql_parser") and find_spec("uv") else ["test_*.py"]


def ran(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command to its end and return what it printed. What is of the tester's own Python stays away from it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PORTKEY", "PROXY_"))}
    done = subprocess.run(
        [str(each) for each in command], env=clean | (env or {}), cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def installed(folder: Path, *packages: str | Path) -> Path:
    """Return the `bin` of a new environment with these packages."""
    ran(BIN / "uv", "venv", "--quiet", "--python", sys.executable, folder)
    ran(BIN / "uv", "pip", "install", "--quiet", "--python", folder / "bin" / "python", "-c", CONSTRAINTS, *packages)
    return folder / "bin"


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel of the gateway."""
    [found] = DIST.glob("proxy_plugin-*.whl")
    return found


@pytest.fixture(scope="session")
def client_wheel() -> Path:
    """The wheel of the client alone."""
    [found] = DIST.glob("proxy_plugin_client-*.whl")
    return found


@pytest.fixture(scope="session")
def gateway(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the gateway's wheel, and what spans and replicas need."""
    return installed(tmp_path_factory.mktemp("gateway") / "venv", f"proxy-plugin[otel,replicas] @ {wheel.as_uri()}")


@pytest.fixture(scope="session")
def client(client_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the client's wheel alone."""
    return installed(tmp_path_factory.mktemp("client") / "venv", client_wheel)
