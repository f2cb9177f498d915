"""Portkey's queries: what each operator says of a value, and what is said of a query that cannot be evaluated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.routing import patterns
from proxy_plugin.routing.conditions import Asked, compiled, count, over_metadata, problems, searches
from proxy_plugin.routing.suggestions import Suggestions

BODY = {
    "model": "gpt-4o",
    "temperature": 0.5,
    "n": 3,
    "stream": False,
    "user": "17",
    "stop": None,
    "tools": [{"type": "function"}],
    "metadata": {"tier": "gold"},
}


def holds(query: dict[str, Any], body: bytes | None = None) -> bool:
    assert list(problems(query, "query", Suggestions())) == []
    asked = Asked({"team": "ads", "tier": "7"}, "/v1/chat/completions", body or json.dumps(BODY).encode())
    return compiled(query)(asked)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"params.model": "gpt-4o"}, True),
        ({"params.model": {"$eq": "gpt-4"}}, False),
        ({"params.model": {"$ne": "gpt-4"}}, True),
        ({"params.model": {"$in": ["a", "gpt-4o"]}}, True),
        ({"params.model": {"$nin": ["a", "gpt-4o"]}}, False),
        ({"params.n": {"$in": [1, 3.0]}}, True),
        ({"params.n": {"$in": ["3"]}}, False),
        ({"params.stream": {"$in": [0]}}, False),
        ({"params.stream": {"$in": [False]}}, True),
        ({"params.stop": {"$in": [None]}}, True),
        ({"params.absent": {"$in": [None]}}, False),
        ({"params.tools": {"$in": ["function"]}}, False),
        ({"params.metadata": {"$nin": [1]}}, True),
        ({"params.model": {"$regex": "^gpt-"}}, True),
        ({"params.n": {"$regex": "3"}}, False),
        ({"params.n": {"$gt": 2, "$lt": 4}}, True),
        ({"params.n": {"$gte": 3, "$lte": 2}}, False),
        ({"params.n": 3.0}, True),
        ({"params.n": "3"}, False),
        ({"params.user": {"$gt": 16}}, True),
        ({"params.user": 17}, False),
        ({"params.stream": False}, True),
        ({"params.stream": 0}, False),
        ({"params.stream": {"$lt": 1}}, False),
        ({"params.stop": None}, True),
        ({"params.absent": None}, False),
        ({"params.absent": {"$ne": 1}}, True),
        ({"params.absent": {"$nin": [1]}}, True),
        ({"params.absent": {"$lt": 1}}, False),
        ({"params.tools.0.type": "function"}, True),
        ({"params.tools.1.type": "function"}, False),
        ({"params.tools": {"$ne": 1}}, True),
        ({"params.metadata.tier": "gold"}, True),
        ({"params.model.deeper": "x"}, False),
        ({"metadata.team": "ads"}, True),
        ({"metadata.tier": 7}, False),
        ({"metadata.tier": {"$gte": "7"}}, True),
        ({"url.pathname": {"$regex": "chat"}}, True),
        ({"metadata.team": "ads", "params.n": 4}, False),
        ({"$or": [{"metadata.team": "x"}, {"params.n": 3}]}, True),
        ({"$and": [{"metadata.team": "ads"}, {"$or": [{"params.n": 1}, {"params.n": 2}]}]}, False),
    ],
)
def test_a_query_holds_or_not(query: dict[str, Any], expected: bool) -> None:
    assert holds(query) is expected


@pytest.mark.parametrize(
    "body",
    [b'{"model": "m", "text": "\\ud83d", "n": 5}', b'{"n": 5, "big": ' + b"9" * 5_000 + b"}", b'{"n": 5, "x": 1e400}'],
)
def test_bodies_that_most_parsers_refuse_are_read(body: bytes) -> None:
    assert holds({"params.n": {"$gt": 4}}, body)


@pytest.mark.parametrize(
    ("query", "path", "what"),
    [
        (None, "query", "an object"),
        ({}, "query", "at least one"),
        ([], "query", "an object"),
        ({"model": "x"}, "query.model", "a condition is over"),
        ({"params.": 1}, "query.params.", "a condition is over"),
        ({"$not": []}, "query.$not", "a condition is over"),
        ({"params.x": {"$equals": 1}}, "query.params.x.$equals", "unknown operator"),
        ({"params.x": {"$regx": "a"}}, "query.params.x.$regx", "did you mean $regex?"),
        ({"params.x": {}}, "query.params.x", "names no operator"),
        ({"params.x": [1]}, "query.params.x", "a list goes under $in"),
        ({"params.x": {"$eq": {}}}, "query.params.x.$eq", "must be a text"),
        ({"params.x": {"$in": "abc"}}, "query.params.x.$in", "must be a list"),
        ({"params.x": {"$in": [1, [2]]}}, "query.params.x.$in", "a list of texts"),
        ({"params.x": {"$nin": [{}]}}, "query.params.x.$nin", "a list of texts"),
        ({"params.x": {"$gt": "many"}}, "query.params.x.$gt", "must be a number"),
        ({"params.x": {"$gt": True}}, "query.params.x.$gt", "must be a number"),
        ({"params.x": {"$regex": 5}}, "query.params.x.$regex", "as text"),
        ({"$or": []}, "query.$or", "a list of conditions"),
        ({"$or": {}}, "query.$or", "a list of conditions"),
        ({"$and": [{"params.x": 1}, {"y": 2}]}, "query.$and.1.y", "a condition is over"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(query: Any, path: str, what: str) -> None:
    [(where, text)] = problems(query, "query", Suggestions())
    assert where == path
    assert what in text


def test_nesting_is_bounded() -> None:
    query: dict[str, Any] = {"params.x": 1}
    for _ in range(400):
        query = {"$and": [query]}
    [(_, text)] = problems(query, "query", Suggestions())
    assert "10 deep" in text


def test_a_body_is_decoded_once_and_only_where_a_condition_looks_at_it() -> None:
    broken = Asked({"team": "ads"}, "/v1/embeddings", b"not decoded")
    assert compiled({"metadata.team": "ads", "url.pathname": "/v1/embeddings"})(broken)
    asked = Asked({}, "", b'{"n": 1}')
    assert asked.params is asked.params


def test_metadata_is_noticed_at_any_depth() -> None:
    assert over_metadata({"$or": [{"params.x": 1}, {"$and": [{"metadata.x": 1}]}]})
    assert not over_metadata({"$or": [{"params.metadata": 1}]})


def test_lists_that_an_earlier_version_stored_equal_nothing() -> None:
    asked = Asked({}, "", b'{"x": [1], "y": 2}')
    assert not compiled({"params.x": {"$in": [[1], {}]}})(asked)
    assert compiled({"params.y": {"$in": [[1], 2]}})(asked)


def test_patterns_are_found_at_any_depth_with_their_paths_and_not_compiled() -> None:
    query = {"$and": [{"params.x": {"$regex": "("}}, {"$or": [{"metadata.y": {"$regex": "b", "$ne": "c"}}]}]}
    assert list(problems(query, "q", Suggestions())) == []
    assert list(searches(query, "q")) == [
        ("q.$and.0.params.x.$regex", "("),
        ("q.$and.1.$or.0.metadata.y.$regex", "b"),
    ]
    assert count(query) == 3


def test_equal_patterns_of_a_query_are_one_program() -> None:
    before = patterns.compiled.cache_info().misses
    test = compiled({"$or": [{f"params.x{each}": {"$regex": "^only here once$"}} for each in range(20)]})
    assert not test(Asked({}, "", b"{}"))
    assert patterns.compiled.cache_info().misses - before <= 1
