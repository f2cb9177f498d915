"""A YAML file as a mapping. Errors tell line and column, never what stands there: it could be a secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from proxy_plugin.ground.errors import ConfigError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"  # the key `<<`, which has no value of its own


class _Loader(_Base):  # type: ignore[misc] # its base is chosen above
    """A date is text: no setting is one, and `azure_api_version: 2024-10-21` looks like one."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the document, {} for an empty file. Raises ConfigError for what is no mapping, or not YAML.

    Two equal keys in one mapping are refused; YAML loaders usually keep the last one silently.
    """
    try:
        data = path.read_bytes()
        document = _document(data)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_problem(error, data)}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping of settings")
    return document


def _document(data: bytes) -> object:
    loader = _Loader(data)
    try:
        root = loader.get_single_node()
        if root is None:
            return {}
        _check(loader, root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check(loader: Any, root: yaml.Node) -> None:
    waiting: list[yaml.Node] = [root]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            waiting += [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif node.tag != _MERGE:
            _check_scalar(loader, node)


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (key.tag, key.value) in lines:
            problem = f"duplicate key, first given on line {lines[key.tag, key.value]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        lines[key.tag, key.value] = key.start_mark.line + 1


def _check_scalar(loader: Any, node: yaml.Node) -> None:
    try:
        loader.construct_object(node)
    except ValueError:  # a date like 2026-13-45: Python's own message would quote it
        raise yaml.MarkedYAMLError(problem="unreadable value", problem_mark=node.start_mark) from None


def _problem(error: yaml.YAMLError, data: bytes) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        problem = re.sub(r"\s*['\"][\w!].*", "", getattr(error, "problem", None) or "", flags=re.DOTALL)
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem or 'cannot be read'}"
    position = getattr(error, "position", None) or 0
    line, column = data.count(b"\n", 0, position) + 1, position - data.rfind(b"\n", 0, position)
    return f"line {line}, column {column}: not UTF-8 text, or a control character"
