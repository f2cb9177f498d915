"""The catalogue of errors knows every code that the source can give, and none that it cannot."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from proxy_plugin.ground.errors import BadRequest, GatewayError
from tools.error_codes import ANSWERS, FAULTS, ROWS, Code
from tools.tables import ERRORS, README, documents

ROOT = README.parent
SOURCES = [path for folder in ("proxy_plugin", "providers") for path in (ROOT / folder).rglob("*.py")]
CODE_AT = {
    "Said": 0,
    "Fault": 0,
    "EnvelopeFault": 0,
    "Misrouted": 1,
    "rejected": 2,
    "_failed": 1,
}  # calls that take it by place
OF_FILES = {"Fault", "EnvelopeFault"}
ANSWERING = [ROOT / "proxy_plugin" / name for name in ("access", "api", "lines", "routing", "web")]  # callers read them
ANSWERING += [ROOT / "providers" / name for name in ("formats", "lanes")]


class Given(NamedTuple):
    """A code in the source; `by` is the class or function that is called with it, None elsewhere."""

    code: str
    by: str | None
    path: Path


class Finder(ast.NodeVisitor):
    """Finds the codes of one module. `constants` are all texts that the source has names for."""

    def __init__(self, path: Path, constants: dict[str, str]) -> None:
        self.found: list[Given] = []
        self._path, self._constants = path, constants

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        place = CODE_AT.get(called)
        if place is not None and len(node.args) > place:
            given.append(node.args[place])
        self._take(given, called)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        keys = (key.value if isinstance(key, ast.Constant) else None for key in node.keys)
        self._take([value for key, value in zip(keys, node.values, strict=True) if key == "code"], None)
        self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> None:
        named = [*zip(node.kwonlyargs, node.kw_defaults, strict=True), *_defaults(node)]
        self._take([value for argument, value in named if argument.arg == "code" and value is not None], None)
        self.generic_visit(node)

    def _take(self, values: Iterable[ast.expr], by: str | None) -> None:
        self.found += [Given(text, by, self._path) for value in values for text in self._texts(value)]

    def _texts(self, value: ast.expr) -> Iterator[str]:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value
        elif isinstance(value, ast.Name) and value.id.isupper() and value.id in self._constants:
            yield self._constants[value.id]
        elif isinstance(value, ast.BoolOp | ast.IfExp):
            branches = value.values if isinstance(value, ast.BoolOp) else [value.body, value.orelse]
            for branch in branches:
                yield from self._texts(branch)


def _defaults(node: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr]]:
    named = [*node.posonlyargs, *node.args]
    return zip(named[len(named) - len(node.defaults) :], node.defaults, strict=True)


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield names and texts of a module's own constants, also where several are set at once."""
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield name.id, value.value


def _given() -> list[Given]:
    trees = {path: ast.parse(path.read_text()) for path in SOURCES if "sandbox" not in path.parts}
    constants = {name: text for tree in trees.values() for name, text in _constants(tree)}
    found = []
    for path, tree in trees.items():
        finder = Finder(path, constants)
        finder.visit(tree)
        found += finder.found
    return found


def _classes(base: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    for known in base.__subclasses__():
        if known.__module__.startswith("proxy_plugin."):
            yield known
            yield from _classes(known)


importlib.import_module("proxy_plugin.app")  # every class of errors is defined by then
GIVEN = _given()
STATUSES = {code.code: set(code.statuses) for code in ANSWERS}
BY_NAME = {GatewayError.__name__: GatewayError} | {known.__name__: known for known in _classes()}


def names(codes: Iterable[Code]) -> set[str]:
    return {code.code for code in codes if code.code is not None}


def test_the_documents_are_those_of_the_code() -> None:
    stale = [path.name for path, text in documents().items() if path.read_text() != text]
    assert stale == [], "stale: run make docs"


def test_every_class_of_errors_is_in_the_catalogue() -> None:
    missing = [known for known in BY_NAME.values() if known.status not in STATUSES.get(known.default_code, ())]
    assert missing == []
    assert len(BY_NAME) > 20


def test_every_code_of_an_answer_is_in_the_catalogue_with_its_status() -> None:
    answers = [given for given in GIVEN if given.by in BY_NAME]
    assert [each for each in answers if BY_NAME[each.by or ""].status not in STATUSES.get(each.code, ())] == []
    assert len(answers) > 15
    sentences = [given.code for given in GIVEN if given.by == "Said"]
    assert [code for code in sentences if BadRequest.status not in STATUSES.get(code, ())] == []
    assert len(sentences) > 5


def test_every_code_of_a_file_or_a_line_is_in_the_catalogue() -> None:
    others = [given for given in GIVEN if given.by not in BY_NAME.keys() | {"Said"}]
    assert [each for each in others if each.by in OF_FILES and each.code not in names(FAULTS)] == []
    assert [each for each in others if each.by not in OF_FILES and each.code not in names((*FAULTS, *ROWS))] == []
    assert len(others) > 40


def test_the_catalogue_has_no_code_that_nobody_gives() -> None:
    texts = [path.read_text() for path in SOURCES]
    quoted = {code for code in names((*ANSWERS, *FAULTS, *ROWS)) if any(f'"{code}"' in text for text in texts)}
    assert names((*ANSWERS, *FAULTS, *ROWS)) - quoted == {"http_NNN"}
    assert any('f"http_{' in text for text in texts)


def test_every_code_says_what_to_do_and_is_listed_once() -> None:
    for codes in (ANSWERS, FAULTS, ROWS):
        assert all(code.meaning.endswith(".") and code.remedy.endswith(".") for code in codes)
        assert len({code.code for code in codes}) == len(codes)
        assert sorted(names(codes)) == [code.code for code in codes if code.code is not None], "in alphabetical order"
    assert all(code.statuses for code in ANSWERS)
    assert ERRORS.read_text().count("\n| `") == len(names(ANSWERS)) + len(FAULTS) + len(ROWS)


def test_names_and_values_stand_in_single_quotes() -> None:
    """As in OpenAI's sentences; a docstring is no text that a caller reads."""
    found = []
    for path in (each for folder in ANSWERING for each in folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
        quoting = [node for node in texts if isinstance(node.value, str) and " " in node.value and "`" in node.value]
        found += [(path.name, node.value) for node in quoting]
    assert found == []
