"""Who may import whom. A room stands on a floor and looks down only: never up, never into a room beside it."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GATEWAY, PROVIDERS, TESTS = ROOT / "proxy_plugin", ROOT / "providers", ROOT / "tests"
FLOORS: tuple[set[str], ...] = (
    {"ground", "inside"},
    {"answers", "costs", "media", "routing"},
    {"config", "direct", "lines", "storage"},
    {"access"},
    {"gateway"},
    {"engine", "web", "webhooks"},
    {"alone", "api"},
    {"app", "reload"},
    {"serve"},
    {"cli", "litellm_callback"},
    {"__main__"},
)
FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
ALONE = {"client", "commands", "demo"}  # they know the gateway over HTTP only; the command line starts them
FACE = {"__init__"}  # proxy_plugin/__init__.py: the version, and what a host application needs, on first use
ADAPTERS = {"providers"}  # the wall: the gateway imports the contract, the catalogue and the HTTP client
KNOWN: set[str] = set()  # breaches that are allowed: none
MOST_MODULES, MOST_LINES, MOST_IN_A_FUNCTION = 20, 400, 40


def sources(top: Path) -> list[Path]:
    return sorted(path for path in top.rglob("*.py") if not any(parent.is_symlink() for parent in path.parents))


def named(path: Path) -> str:
    """Return the dotted name of a source file as it is imported."""
    inside = path.relative_to(ROOT).with_suffix("").parts
    parts = ("proxy_plugin", *inside) if inside[0] == "providers" else inside
    return ".".join(parts).removesuffix(".__init__")


MODULES = {named(path) for top in (GATEWAY, PROVIDERS, TESTS) for path in sources(top)}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, those for type checking alone included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def looks() -> Iterator[tuple[str, str]]:
    """Yield the imports that lead from one room of the gateway into another."""
    for path in sources(GATEWAY):
        for other in imports(path):
            if other.split(".")[0] == "proxy_plugin" and room(other) != room(named(path)):
                yield named(path), other


def legal(here: str, there: str) -> bool:
    if here in FACE or there in FACE | ADAPTERS:
        return here in FACE or there in FACE or here not in ALONE or here == "demo"
    if there in ALONE:
        return here == "cli" or (here, there) == ("client", "commands")
    if here in ALONE:
        return False
    return FLOOR[there] < FLOOR[here]


def test_every_room_has_a_floor() -> None:
    rooms = {room(named(path)) for path in sources(GATEWAY)}
    assert rooms - ALONE - FACE == set(FLOOR)


def test_rooms_look_down_only() -> None:
    wrong = {f"{own} -> {other}" for own, other in looks() if not legal(room(own), room(other))}
    assert wrong == KNOWN


@pytest.mark.parametrize(
    ("top", "forbidden"),
    [
        ("formats", {"http", "lanes", "sandbox", "listing", "calls", "keys"}),
        ("sandbox", {"lanes", "formats", "http", "base"}),
    ],
)
def test_parts_of_the_adapters_keep_to_themselves(top: str, forbidden: set[str]) -> None:
    wrong = [
        f"{named(path)} -> {other}"
        for path in sources(PROVIDERS / top)
        for other in imports(path)
        if other.startswith("proxy_plugin.providers.") and other.split(".")[2] in forbidden
    ]
    assert wrong == []


def test_what_runs_inside_litellm_imports_nothing_of_the_gateway() -> None:
    """Its modules are in each process of LiteLLM's: there they may cost nothing."""
    foreign = {"aiohttp", "litellm", "multidict", "starlette", "yarl"}
    for path in (GATEWAY / "litellm_callback.py", *sources(GATEWAY / "inside")):
        roots = {each.split(".")[0] for each in imports(path)} - sys.stdlib_module_names - {"proxy_plugin"}
        assert roots <= foreign, path
        assert all(room(each) == "inside" for each in imports(path) if each.startswith("proxy_plugin")), path


def test_the_adapters_import_nothing_of_the_gateway() -> None:
    wrong = [
        f"{named(path)} -> {other}"
        for path in sources(PROVIDERS)
        for other in imports(path)
        if other.split(".")[0] == "proxy_plugin" and not other.startswith("proxy_plugin.providers")
    ]
    assert wrong == []


def test_a_lane_imports_no_other_lane() -> None:
    for folder in (PROVIDERS / "lanes").iterdir():
        for path in sources(folder):
            others = {each.split(".")[3] for each in imports(path) if each.startswith("proxy_plugin.providers.lanes.")}
            assert others <= {folder.name}, path


@pytest.mark.parametrize(
    ("module", "rooms"),
    [
        ("sqlite3", {"storage"}),
        ("aiohttp.web", {"alone", "web", "api", "app", "serve", "gateway", "demo"}),
    ],
)
def test_a_library_is_the_business_of_its_rooms(module: str, rooms: set[str]) -> None:
    package, _, name = module.partition(".")
    found = set()
    for path in sources(GATEWAY):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import) and any(each.name == module for each in node.names):
                found.add(room(named(path)))
            if isinstance(node, ast.ImportFrom) and node.module == module:
                found.add(room(named(path)))
            if isinstance(node, ast.ImportFrom) and name and node.module == package:
                found |= {room(named(path)) for each in node.names if each.name == name}
    assert found <= rooms


def test_no_folder_is_a_heap_and_no_file_a_tome() -> None:
    files = [path for top in (GATEWAY, PROVIDERS) for path in sources(top)]
    folders = Counter(path.parent for path in files if path.name != "__init__.py")
    assert {str(folder.relative_to(ROOT)): n for folder, n in folders.items() if n > MOST_MODULES} == {}
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in files}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}
    assert len(list(GATEWAY.iterdir())) - (GATEWAY / "__pycache__").exists() <= 30


def test_functions_are_short() -> None:
    long = [
        f"{named(path)}.{node.name}"
        for top in (GATEWAY, PROVIDERS)
        for path in sources(top)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MOST_IN_A_FUNCTION
    ]
    assert long == []


def test_only_the_routes_of_the_files_know_the_whole_gateway() -> None:
    """Below them everything is handed the parts that it needs."""
    whole = {
        named(path)
        for path in sources(GATEWAY / "api" / "files")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.arg) and node.annotation is not None and ast.unparse(node.annotation) == "Gateway")
        or (isinstance(node, ast.Name) and node.id == "GATEWAY")
    }
    assert whole == {"proxy_plugin.api.files.routes"}


def test_a_public_class_name_stands_once() -> None:
    names = Counter(
        node.name
        for path in sources(GATEWAY)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_module_is_called_like_one_of_the_standard_library_that_we_use() -> None:
    used = {name.split(".")[0] for path in sources(GATEWAY) for name in imports(path)} & sys.stdlib_module_names
    assert {path.stem for path in sources(GATEWAY)} & used == set()


def test_no_test_module_imports_a_test_module() -> None:
    wrong = [
        f"{named(path)} -> {other}"
        for path in sources(TESTS)
        for other in imports(path)
        if other.startswith("tests.") and other.split(".")[-1].startswith("test_")
    ]
    assert wrong == []


def test_unit_tests_know_no_process() -> None:
    forbidden = {"subprocess", "multiprocessing", "tests.support.stack"}
    wrong = [
        f"{named(path)} -> {other}"
        for path in sources(TESTS / "unit")
        for other in imports(path)
        if other in forbidden or other.startswith("tests.whole")
    ]
    assert wrong == []
