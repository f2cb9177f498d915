"""The package of the client alone holds what it imports, but for the standard library and its dependencies."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin import __version__

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "packages" / "client"
TOLD = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
WHOLE = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOLDS = TOLD["tool"]["setuptools"]
ROOMS = set(HOLDS["packages"])
NEEDED = {each.partition(">")[0] for each in TOLD["project"]["dependencies"]}
IF_THERE = {"IPython"}  # of the notebook that runs it


def path_of(module: str) -> Path:
    return PACKAGE / Path(*module.split(".")).with_suffix(".py")


FILES = [path_of(each) for each in HOLDS["py-modules"]]
FILES += [each for room in sorted(ROOMS) for each in sorted((PACKAGE / Path(*room.split("."))).glob("*.py"))]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_module_imports_what_the_package_has(path: Path) -> None:
    found = set(imported(ast.parse(path.read_text())))
    foreign = {name.split(".")[0] for name in found} - sys.stdlib_module_names - {"proxy_plugin"}
    assert foreign <= NEEDED | IF_THERE
    if path.name not in ("cli.py", "__init__.py") or path.parent.name in ("client", "commands"):
        ours = {name for name in found if name.startswith("proxy_plugin.")} - {"proxy_plugin.cli"}
        assert {".".join(name.split(".")[:2]) for name in ours} <= ROOMS


def test_the_rooms_have_no_folders_that_would_be_left_out() -> None:
    inside = [each for room in ROOMS for each in (PACKAGE / Path(*room.split("."))).rglob("*.py")]
    assert {each.parent for each in inside} == {PACKAGE / Path(*room.split(".")) for room in ROOMS}


def test_both_packages_say_the_same() -> None:
    assert WHOLE["project"]["version"] == __version__  # which the other reads from the source
    whole, alone = WHOLE["project"], TOLD["project"]
    assert alone["requires-python"] == whole["requires-python"]
    assert alone["scripts"] == whole["scripts"]
    assert set(alone["dependencies"]) <= set(whole["dependencies"])
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
