"""Strangers who come while somebody looks: the option `strangers_on_list` of both dialects."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox, SandboxError

HEADERS = {
    "openai": {"authorization": "Bearer sk-sandbox"},
    "anthropic": {"x-api-key": "sk-sandbox", "anthropic-version": "2023-06-01"},
}
PATHS = {"openai": "batches", "anthropic": "messages/batches"}
STATUS = {"openai": ("status", "completed"), "anthropic": ("processing_status", "ended")}
PROVIDERS = sorted(PATHS)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(sandbox: Sandbox) -> None:
    sandbox.control.reset()


def listed(sandbox: Sandbox, provider: str) -> list[dict[str, Any]]:
    url = f"{sandbox.url(provider)}/{PATHS[provider]}?limit=50"
    with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS[provider]), timeout=10) as answer:
        return list(json.load(answer)["data"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_strangers_come_before_each_list_is_answered(provider: str, sandbox: Sandbox) -> None:
    assert listed(sandbox, provider) == []
    sandbox.control.options(provider, strangers_on_list={"batches": 2, "lines": 7, "run_seconds": [0, 600]})
    assert len(listed(sandbox, provider)) == 2
    newest = listed(sandbox, provider)
    assert len(newest) == 4
    word, ended = STATUS[provider]
    assert [job[word] == ended for job in newest] == [False, True, False, True]  # newest first
    assert {job["lines_run"] for job in sandbox.control.jobs() if job["status"] == ended} == {7}
    assert all(job["stranger"] for job in sandbox.control.jobs())
    assert sandbox.control.log() == []
    sandbox.control.options(provider, strangers_on_list=None)
    assert len(listed(sandbox, provider)) == 4


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_strangers_batch_runs_as_long_as_is_said(provider: str, sandbox: Sandbox) -> None:
    for seconds in (100, 600):
        sandbox.control.strangers(provider, lines=2, run_seconds=seconds)
    sandbox.control.advance(300)
    until_ended(sandbox, provider, [True, False])
    sandbox.control.advance(301)
    until_ended(sandbox, provider, [True, True])


def until_ended(sandbox: Sandbox, provider: str, wanted: list[bool]) -> None:
    deadline = time.monotonic() + 10
    while [job["status"] == STATUS[provider][1] for job in sandbox.control.jobs()] != wanted:
        assert time.monotonic() < deadline, sandbox.control.jobs()
        time.sleep(0.02)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("seconds", [-1, "soon"])
def test_a_duration_that_is_none_is_refused(provider: str, seconds: object, sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="run_seconds"):
        sandbox.control.strangers(provider, run_seconds=seconds)
    assert sandbox.control.jobs() == []
