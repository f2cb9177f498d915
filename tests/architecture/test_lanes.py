"""Every adapter reads like its neighbours, in the order of the contract, and the catalogue knows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from proxy_plugin.providers import catalog

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS = ROOT / "providers"
LANES = PROVIDERS / "lanes"
FOLDERS = sorted(path for path in LANES.iterdir() if path.is_dir() and path.name != "__pycache__")
SERVICES = sorted(path for path in LANES.glob("*/services/*.py") if path.name != "__init__.py")
MODULES = [*sorted(LANES.glob("*/lane.py")), ROOT / "tests" / "toy" / "toy_lane.py"]

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base) for base in node.bases}


def methods(node: ast.ClassDef) -> list[str]:
    return [each.name for each in node.body if isinstance(each, Function) and not each.name.startswith("__")]


def classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]


PROTOCOLS = [node for name in ("base.py", "powers.py") for node in classes(PROVIDERS / name)]
CONTRACT = [name for node in PROTOCOLS if "Protocol" in bases(node) for name in methods(node)]


def adapters(path: Path) -> list[ast.ClassDef]:
    return [node for node in classes(path) if {"translate", "create"} <= set(methods(node))]


def sections(path: Path) -> Iterator[str]:
    """Yield what each statement of a module is, as far as the order of a lane names it."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            if node.name.endswith("Credentials"):
                yield "credentials"
            elif "Capabilities" in bases(node):
                yield "capabilities"
            elif {"translate", "create"} <= set(methods(node)):
                yield "adapter"
            else:
                yield "private"
        elif isinstance(node, Function):
            yield "private"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            called = node.value.func if isinstance(node.value, ast.Call) else None
            name = called.id if isinstance(called, ast.Name) else ""
            if name == "Capabilities":
                yield "capabilities"
            elif name not in {found.name for found in adapters(path)}:
                yield "constants"


ORDER = ("constants", "credentials", "capabilities", "adapter", "private")


def test_the_contract_is_read_from_its_module() -> None:
    assert CONTRACT[:3] == ["account_key", "translate", "row"]
    assert CONTRACT[3:9] == ["stage", "fence", "create", "find", "status", "fetch"]
    assert CONTRACT[9:13] == ["cancel", "revoke", "confirm", "probe"]
    assert CONTRACT[13:] == ["store_file", "read_file", "delete_file", "clear"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.parent.name)
def test_an_adapter_has_the_order_of_the_contract(path: Path) -> None:
    assert adapters(path)
    for adapter in adapters(path):
        found = methods(adapter)
        public = [name for name in found if not name.startswith("_")]
        assert public == [name for name in CONTRACT if name in public]
        assert found[: len(public)] == public, "private methods stand last"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.parent.name)
def test_a_lane_has_the_order_of_its_neighbours(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
    left = iter(ORDER)
    found = [section for section, _ in groupby(sections(path))]
    assert all(section in left for section in found), f"{found} is not in the order of {ORDER}"


def test_every_folder_has_an_entry_in_the_catalogue_and_a_stand_in() -> None:
    assert [path.name for path in FOLDERS if not (path / "lane.py").exists()] == []
    modules = {reference.partition(":")[0] for reference in catalog.BUILT_IN.values()}
    served = {module.split(".lanes.")[1].split(".")[0] for module in modules}
    assert served == {path.name for path in FOLDERS}
    assert [path.name for path in FOLDERS if not (PROVIDERS / "sandbox" / path.name).is_dir()] == []


def test_every_vendor_of_a_copied_api_has_an_entry_in_the_catalogue() -> None:
    entries = {reference.partition(":")[0].rpartition(".")[2] for reference in catalog.BUILT_IN.values()}
    assert SERVICES
    assert [path.stem for path in SERVICES if path.stem not in entries] == []


def test_an_entry_is_called_as_its_adapter_calls_itself() -> None:
    assert {name: catalog.load(name).capabilities.provider for name in catalog.BUILT_IN} == {
        name: name for name in catalog.BUILT_IN
    }


def test_litellms_names_stand_beside_portkeys() -> None:
    assert catalog.aliases("azure-openai") == ("azure",)
    assert catalog.aliases("openai") == ()
    assert all(catalog.canonical(alias) == own for own in catalog.ALIASES.values() for alias in catalog.aliases(own))
    assert not catalog.ALIASES.keys() & catalog.BUILT_IN.keys()
