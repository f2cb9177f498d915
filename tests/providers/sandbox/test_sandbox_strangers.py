"""Strangers who come while somebody looks: the option `strangers_on_list` of both dialects."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox, SandboxError
from proxy_plugin.providers.sandbox.stand_ins import every, find, names
from tests.support.waiting import until

ENDED = {each.provider: each.ended for each in every()}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(sandbox: Sandbox) -> None:
    sandbox.control.reset()


def listed(sandbox: Sandbox, provider: str) -> list[str]:
    """The ids of the jobs in a list, which is bare or one member of an object."""
    what = find(provider)
    request = urllib.request.Request(f"{sandbox.url(provider)}/{what.jobs}", headers=dict(what.headers(DEFAULT_KEY)))
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: Any = json.load(answer)
    lists = [found] if isinstance(found, list) else [each for each in found.values() if isinstance(each, list)]
    records = lists[0] if lists else []  # Google leaves out what is empty
    ids = (each.get("batch_id") or each.get("id") for each in records)
    names = (record.get("name") or record.get("jobArn", "") for record in records)
    return [each or name.rpartition("/")[2] for each, name in zip(ids, names, strict=True)]


@pytest.mark.parametrize("provider", names())
def test_strangers_come_before_each_list_is_answered(provider: str, sandbox: Sandbox) -> None:
    assert listed(sandbox, provider) == []
    sandbox.control.options(provider, strangers_on_list={"batches": 2, "lines": 7, "run_seconds": [0, 600]})
    assert len(listed(sandbox, provider)) == 2
    newest = listed(sandbox, provider)
    assert len(newest) == 4
    ended = {job["id"]: job["status"] == ENDED[provider] for job in sandbox.control.jobs()}
    assert [ended[job] for job in newest] == [False, True, False, True]  # newest first
    assert {job["lines_run"] for job in sandbox.control.jobs() if ended[job["id"]]} == {7}
    assert all(job["stranger"] for job in sandbox.control.jobs())
    assert sandbox.control.log() == []
    sandbox.control.options(provider, strangers_on_list=None)
    assert len(listed(sandbox, provider)) == 4


@pytest.mark.parametrize("provider", names())
def test_a_strangers_batch_runs_as_long_as_is_said(provider: str, sandbox: Sandbox) -> None:
    for seconds in (100, 600):
        sandbox.control.strangers(provider, lines=2, run_seconds=seconds)
    sandbox.control.advance(300)
    until_ended(sandbox, provider, [True, False])
    sandbox.control.advance(301)
    until_ended(sandbox, provider, [True, True])


def until_ended(sandbox: Sandbox, provider: str, wanted: list[bool]) -> None:
    until(lambda: [job["status"] == ENDED[provider] for job in sandbox.control.jobs()] == wanted)


@pytest.mark.parametrize("provider", names())
@pytest.mark.parametrize("seconds", [-1, "soon"])
def test_a_duration_that_is_none_is_refused(provider: str, seconds: object, sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="run_seconds"):
        sandbox.control.strangers(provider, run_seconds=seconds)
    assert sandbox.control.jobs() == []
