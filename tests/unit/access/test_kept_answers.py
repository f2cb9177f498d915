"""Whose kept answers a batch may be given, and what the headers change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from proxy_plugin.access import headers
from proxy_plugin.access.kept_answers import folder, keeping, looking, shelf, steered
from proxy_plugin.answers.keys import KEYS
from proxy_plugin.answers.lookup import Looking
from proxy_plugin.config import Config, parse
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.routing.route import Cache, Own, Route, StoredTarget

SECRET = b"s" * 32
KEPT = Route((StoredTarget("one", "openai"),), cache=Cache())


def config(*, cache: dict[str, Any] | None = None, **keys: str) -> Config:
    named = {slug: {"provider": "openai", "api_key": key} for slug, key in (keys or {"one": "sk-one"}).items()}
    sections = {"virtual_keys": named, "storage": {"data_dir": "/data"}, "cache": cache or {}}
    return parse({"proxy_plugin": sections}, {})


def found(given: Config, route: Route = KEPT, workspace: str = "default") -> Looking:
    job = looking(given, SECRET, route, workspace, 5.0)
    assert job is not None
    return job


def test_without_a_cache_in_the_route_or_room_for_one_nothing_is_looked_up_or_kept() -> None:
    for given, route in ((config(), Route(KEPT.targets)), (config(cache={"max_bytes": 0}), KEPT)):
        assert looking(given, SECRET, route, "default", 5.0) is None
        assert keeping(given, route, Path("/split/assignment"), 5.0) is None


def test_an_account_is_known_by_what_it_is_not_by_its_name() -> None:
    one = found(config()).accounts["one"]
    renamed = msgspec.structs.replace(KEPT, targets=(StoredTarget("other", "openai"),))
    assert found(config(other="sk-one"), renamed).accounts == {"other": one}
    assert found(config(one="sk-two")).accounts["one"] != one
    assert "sk-one" not in one


def test_a_virtual_key_that_is_gone_has_no_answers_and_a_callers_own_key_has_its_own() -> None:
    assert found(config(other="sk-one")).accounts == {}
    mine = [
        msgspec.structs.replace(KEPT, targets=(StoredTarget("byok-1", "openai", byok=Own({}, ("api_key",), key)),))
        for key in ("hash-1", "hash-2")
    ]
    assert len({found(config(), route).accounts["byok-1"] for route in mine}) == 2


@pytest.mark.parametrize(("asked", "most"), [(None, 100.0), (60.0, 60.0), (1_000.0, 100.0)])
def test_a_route_may_ask_for_younger_answers_never_for_older(asked: float | None, most: float) -> None:
    route = msgspec.structs.replace(KEPT, cache=Cache(max_age=asked))
    assert found(config(cache={"max_age": 100}), route).max_age == most


def test_the_folder_is_in_the_data_unless_another_is_named() -> None:
    assert folder(config()) == Path("/data/cache")
    assert shelf(config(cache={"dir": "/elsewhere"})).folder == "/elsewhere"
    job = keeping(config(), KEPT, Path("/batch/split-1/assignment"), 5.0)
    assert job is not None
    assert job.keys == f"/batch/split-1/{KEYS}"


@pytest.mark.parametrize("wrong", [{"max_bytes": -1}, {"max_age": 0}, {"max_age": float("inf")}, {"size": 1}])
def test_settings_that_cannot_be_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"proxy_plugin.cache.{next(iter(wrong))}"):
        config(cache=wrong)


@pytest.mark.parametrize(
    ("sent", "refresh", "namespace"),
    [
        ({}, False, ""),
        ({headers.CACHE_REFRESH: "true"}, True, ""),
        ({headers.CACHE_REFRESH: "True"}, True, ""),
        ({headers.CACHE_REFRESH: "false"}, False, ""),
        ({headers.CACHE_NAMESPACE: " mine "}, False, "mine"),
        ({headers.CACHE_REFRESH: "true", headers.CACHE_NAMESPACE: "mine"}, True, "mine"),
    ],
)
def test_headers_refresh_and_part_a_cache_that_the_config_asks_for(
    sent: dict[str, str], refresh: bool, namespace: str
) -> None:
    asked = headers.read(CIMultiDict(sent))
    assert steered(KEPT, asked).cache == Cache(namespace=namespace, refresh=refresh)
    without = Route(KEPT.targets)
    assert steered(without, asked) == without
