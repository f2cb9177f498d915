"""The corpus of bodies that people send: most run on every lane without a switch, and no member goes without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.providers.formats.shapes import Translated
from tests.oracles.corpus.kept import MAPPED, SAME, silent
from tests.oracles.corpus.lanes import LANES, Lane
from tests.oracles.corpus.lines import CHAT, Line, lines
from tests.oracles.corpus.shares import share

LEAST = 0.9  # of the corpus, without a switch
CORPUS = list(lines())
BY_TITLE = pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.title)


def test_the_corpus_is_large_and_every_run_has_the_same() -> None:
    assert len(CORPUS) >= 400
    assert len({line.shape for line in CORPUS}) >= 20
    assert list(lines()) == CORPUS
    assert len({json.dumps(line, sort_keys=True) for line in CORPUS}) == len(CORPUS)


@BY_TITLE
def test_most_bodies_run_without_a_switch(lane: Lane) -> None:
    found = share(lane, CORPUS)
    assert found.part > LEAST, found.refused.most_common(9)
    assert found.dropping > found.taken > found.strict


@BY_TITLE
def test_no_member_goes_without_a_word(lane: Lane) -> None:
    assert {path: line.shape for line in CORPUS for path in silent(lane, line)} == {}


def test_a_member_is_in_one_list() -> None:
    assert MAPPED.isdisjoint(SAME)


def forgetful(*keys: str) -> Lane:
    """Return a lane that leaves members out and does not say so."""
    real = LANES[0]

    def translate(body: bytes, **switches: Any) -> Translated:
        given = json.loads(body)
        kept = {key: value for key, value in given.items() if key not in keys}
        return real.translate(json.dumps(kept).encode(), **switches)

    return Lane("forgetful", real.model, translate)


HELLO = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PARTS: list[dict[str, Any]] = [
    {"temperature": 0.25},
    {"stop": ["END"]},
    {"user": "jane"},
    {"seed": 7},
    {"tools": [TOOL], "tool_choice": "required"},
    {"response_format": {"type": "json_object"}},
    {"reasoning_effort": "high", "max_tokens": 9000},
    {"metadata": {"a": "b"}},
    {"max_tokens": 321},
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: list(part)[-1])
def test_the_check_finds_what_goes_without_a_word(part: dict[str, Any]) -> None:
    line = Line("one", CHAT, {"messages": [HELLO], **part})
    assert silent(LANES[0], line) == []
    key = next(iter(part)) if "tools" not in part else "tool_choice"
    assert any(path.startswith(key) for path in silent(forgetful(key), line)), key
