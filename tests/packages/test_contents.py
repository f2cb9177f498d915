"""Wheel and source distribution are complete, and what is built from the one is the other."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

from tests.packages.conftest import BIN, DIST, ROOT, ran


def tracked(*folders: str) -> set[str]:
    return set(ran("git", "-C", ROOT, "ls-files", *folders).split())


SHIPPED = tracked("CHANGELOG.md", "config.yaml", "docs", "examples")
DEPLOYED = {name.removeprefix("deploy/") for name in tracked("deploy")}


def names(path: Path) -> set[str]:
    if path.suffix == ".whl":
        return set(zipfile.ZipFile(path).namelist())
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def metadata(path: Path) -> Message:
    [name] = [each for each in names(path) if each.endswith(".dist-info/METADATA")]
    return message_from_string(zipfile.ZipFile(path).read(name).decode())


@pytest.mark.parametrize("of", ["gateway", "client"])
def test_a_wheel_says_what_it_is(of: str, wheel: Path, client_wheel: Path) -> None:
    told = metadata(wheel if of == "gateway" else client_wheel)
    assert told["License-Expression"] == "MIT"
    assert told["License-File"] == "LICENSE"
    assert told["Description-Content-Type"] == "text/markdown"
    said = set(told.get_all("Classifier") or [])
    assert "Typing :: Typed" in said
    assert len(said) > 8
    assert told.get_all("Project-URL")


def test_the_wheel_brings_documents_configuration_and_service_files(wheel: Path) -> None:
    data = {name.partition(".data/data/share/")[2] for name in names(wheel)}
    assert {f"doc/proxy-plugin/{name}" for name in SHIPPED} <= data
    assert {f"proxy-plugin/{name}" for name in DEPLOYED} <= data


def test_the_source_distribution_has_all_that_is_no_test() -> None:
    [path] = DIST.glob("proxy_plugin-*.tar.gz")
    found = names(path)
    wanted = {*SHIPPED, *(f"deploy/{name}" for name in DEPLOYED), "LICENSE", "Containerfile", "constraints/runtime.txt"}
    assert wanted <= found
    ours = tracked("proxy_plugin", "providers")
    sources = {
        name.replace("providers/", "proxy_plugin/providers/", 1) if name.startswith("providers/") else name
        for name in ours
    }
    lacking = {name for name in sources if name.endswith((".py", ".sql", ".json", ".typed"))} - found
    assert lacking == set()


def test_a_wheel_of_the_source_distribution_is_the_wheel(wheel: Path, tmp_path: Path) -> None:
    [path] = DIST.glob("proxy_plugin-*.tar.gz")
    ran(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, path)
    [made] = tmp_path.glob("*.whl")
    assert names(made) == names(wheel)


def test_uvx_runs_it_from_the_wheel(wheel: Path) -> None:
    said = ran(
        BIN / "uvx", "--constraints", ROOT / "constraints" / "runtime.txt", "--from", wheel, "proxy-plugin", "--version"
    )
    assert said.startswith("proxy-plugin ")


def test_pipx_runs_it_from_the_wheel(client_wheel: Path, wheel: Path, tmp_path: Path) -> None:
    env = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_DEFAULT_PYTHON": sys.executable}
    for each in (wheel, client_wheel):
        said = ran(BIN / "pipx", "run", "--spec", each, "proxy-plugin", "--version", env=env)
        assert said.startswith("proxy-plugin ")


def test_the_client_alone_is_small(client: Path) -> None:
    listed = ran(BIN / "uv", "pip", "list", "--python", client / "python", "--format", "freeze").lower()
    found = {line.partition("==")[0].partition(" ")[0] for line in listed.splitlines()}
    assert found == {"proxy-plugin-client", "rich", "markdown-it-py", "mdurl", "pygments", "shtab"}


def test_the_client_alone_says_what_it_lacks(client: Path) -> None:
    assert "submit" in ran(client / "proxy-plugin", "batch", "--help")
    command = [str(client / "proxy-plugin"), "serve", "--config", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install proxy-plugin." in done.stderr
    assert "Traceback" not in done.stderr


def test_every_module_of_the_client_is_loaded_without_the_gateway(client: Path) -> None:
    program = (
        "import pkgutil, importlib, proxy_plugin.client, proxy_plugin.commands\n"
        "for room in (proxy_plugin.client, proxy_plugin.commands):\n"
        "    for each in pkgutil.iter_modules(room.__path__, room.__name__ + '.'):\n"
        "        importlib.import_module(each.name)\n"
    )
    ran(client / "python", "-c", program)
