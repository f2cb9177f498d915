"""Patterns that come with a request: when they are compiled, where, how often, and what is said of those at fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.access import patterns as access
from proxy_plugin.access.patterns import MAX_WAITING, Patterns
from proxy_plugin.config import parse
from proxy_plugin.ground.errors import ConfigError, TooManyRequests, Unavailable
from proxy_plugin.ground.workers import Terms, WorkerDied
from proxy_plugin.routing.patterns import Pattern, refusals
from tests.support.rows import put_file
from tests.support.served import KEY, WANTED, WHO, count, running
from tests.support.waiting import eventually

OPENAI = {"provider": "openai", "api_key": "sk-of-the-operator"}
CALLERS = [{"name": "first", "key": KEY, "workspace": "one", "virtual_keys": ["red", "green"]}]


def when(*found: str, slug: str = "red") -> dict[str, Any]:
    """Return a config whose conditions search `params.model` for these patterns."""
    cases = [{"query": {"params.model": {"$regex": each}}, "then": "a"} for each in found]
    targets = [{"name": "a", "virtual_key": slug}, {"name": "b", "virtual_key": "green"}]
    return {"strategy": {"mode": "conditional", "conditions": cases, "default": "b"}, "targets": targets}


class Asked:
    """Stands in for workers: remembers what it is asked, and answers when it is let."""

    def __init__(self, *, dies: bool = False) -> None:
        self.texts: list[list[str]] = []
        self.together, self.most, self._dies = 0, 0, dies
        self.let = asyncio.Event()
        self.let.set()

    async def run(self, _terms: Terms, function: Callable[[list[str]], Any], texts: list[str]) -> Any:
        self.texts.append(texts)
        self.together += 1
        self.most = max(self.most, self.together)
        await self.let.wait()
        self.together -= 1
        if self._dies:
            raise WorkerDied
        return function(texts)


def desk(asked: Asked) -> Patterns:
    return Patterns(asked)  # type: ignore[arg-type]


def found(*texts: str) -> list[Pattern]:
    return [Pattern(f"path.{each}", text) for each, text in enumerate(texts)]


async def test_a_config_is_compiled_once_good_or_bad() -> None:
    asked = Asked()
    patterns = desk(asked)
    for _ in range(3):
        await patterns.check("one", found("a", "b"))
        with pytest.raises(ConfigError, match=r"Invalid config passed: path\.1: is no regular expression"):
            await patterns.check("two", found("a", "("))
    await patterns.check("one", ())
    assert asked.texts == [["a", "b"], ["a", "("]]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_REMEMBERED", 2)
    asked = Asked()
    patterns = desk(asked)
    for text in ("a", "b", "a", "c", "a", "b"):
        await patterns.check("one", found(text))
    assert asked.texts == [["a"], ["b"], ["c"], ["b"]]


async def test_a_workspace_has_one_compilation_and_its_others_wait_or_are_refused() -> None:
    asked = Asked()
    asked.let.clear()
    patterns = desk(asked)
    waiting = [asyncio.create_task(patterns.check("one", found(f"a{each}"))) for each in range(MAX_WAITING)]
    other = asyncio.create_task(patterns.check("two", found("b")))
    await eventually(lambda: len(asked.texts) == 2)
    with pytest.raises(TooManyRequests, match=f"{MAX_WAITING} requests of this workspace"):
        await patterns.check("one", found("c"))
    waiting[-1].cancel()
    asked.let.set()
    await asyncio.gather(other, *waiting[:-1])
    assert len(asked.texts) == MAX_WAITING
    assert asked.most == 2
    await patterns.check("one", found("c"))
    assert not patterns._turns


async def test_a_worker_that_dies_is_no_fault_of_the_gateway() -> None:
    patterns = desk(Asked(dies=True))
    with pytest.raises(Unavailable):
        await patterns.check("one", found("a"))
    assert not patterns._turns


async def test_nothing_is_compiled_for_who_may_not_use_the_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor in the gateway's own process, nor for a saved config, whose patterns were compiled at the start."""
    keys = {"red": OPENAI, "green": OPENAI, "hidden": OPENAI}
    async with running(tmp_path, virtual_keys=keys, api_keys=CALLERS, configs={"pc-when": when("saved")}) as served:
        await put_file(served.gateway.registry)
        asked = Asked()
        monkeypatch.setattr(served.gateway, "patterns", desk(asked))
        for config, status in (
            (when("a", slug="hidden"), 403),
            (when("a", slug="nobody"), 400),
            (when("a") | {"weight": -1}, 400),
            (when("("), 400),
            (when("a"), 200),
        ):
            sent = WHO | {"x-portkey-config": json.dumps(config)}
            assert (await served.call("POST", "/v1/batches", WANTED, sent))[0] == status
        assert (await served.call("POST", "/v1/batches", WANTED, WHO | {"x-portkey-config": "pc-when"}))[0] == 200
        assert asked.texts == [["("], ["a"]]
        assert await count(served) == 2


@pytest.mark.parametrize("text", ["(", "(?=a)", r"(a)\1", r"\pL{1000}"])
def test_a_saved_config_that_re2_refuses_stops_the_start(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"proxy_plugin": {"virtual_keys": {"red": OPENAI, "green": OPENAI}, "configs": {"pc-x": when(text)}}}, {})
    assert "configs.pc-x.strategy.conditions.0.query.params.model.$regex: is no regular expr" in str(refused.value)


def test_refusals_are_what_a_worker_can_send() -> None:
    assert refusals(["a", "("]) == ((1, "is no regular expression that RE2 takes: a ) is missing"),)
