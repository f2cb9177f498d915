"""What a host application imports from `proxy_plugin`: all of it is there, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import proxy_plugin


def test_the_face_is_what_type_checkers_see() -> None:
    seen = {
        each.name: node.module
        for block in ast.parse(Path(proxy_plugin.__file__).read_text()).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    }
    assert seen == {name: f"proxy_plugin.{home}" for name, home in proxy_plugin._HOMES.items()}
    assert sorted([*seen, "__version__"]) == sorted(proxy_plugin.__all__)


def test_every_name_is_there() -> None:
    everything: dict[str, object] = {}
    exec("from proxy_plugin import *", everything)
    assert everything.keys() - {"__builtins__"} == set(proxy_plugin.__all__)


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="Engine"):
        _ = proxy_plugin.Engine
