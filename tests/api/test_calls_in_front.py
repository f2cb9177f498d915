"""In front of LiteLLM a call whose headers name a virtual key of ours is answered here; all others are LiteLLM's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import calls_here
from tests.support.litellm_keys import MASTER, LiteLLM, litellm
from tests.support.served import WHO, Served, running
from tests.support.talker import KEY, Talker, talking

CHAT, RED = "/v1/chat/completions", "sk-of-team-red"
HI = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CONFIG = {"targets": [{"provider": "@a"}]}
NAMED = {"x-portkey-virtual-key": "a"}


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls_here.use(monkeypatch)


@asynccontextmanager
async def scene(folder: Path, **sections: Any) -> AsyncIterator[tuple[Served, Talker]]:
    a = Talker("a")
    async with talking(a), litellm(LiteLLM(keys={RED: {"key_alias": "red"}})) as it:
        server = {"upstream": f"http://127.0.0.1:{it.port}", "custom_hosts": ["127.0.0.1"]}
        keys = {"a": {"provider": "openai", "api_key": KEY, "custom_host": a.url}}
        common: dict[str, Any] = {"virtual_keys": keys, "server": server, "configs": {"pc-saved": CONFIG}}
        async with running(folder, **(common | sections)) as served:
            yield served, a


async def answered_here(served: Served, headers: Mapping[str, str]) -> bool:
    _, answer, _ = await served.call("POST", CHAT, HI, headers)
    return "choices" in answer


@pytest.mark.parametrize(
    ("headers", "here"),
    [
        (NAMED, True),
        ({"x-portkey-provider": "@a"}, True),
        ({"x-portkey-config": "pc-saved"}, True),
        ({"x-portkey-config": json.dumps(CONFIG)}, True),
        ({}, False),
        ({"x-portkey-virtual-key": "theirs"}, False),
        ({"x-portkey-provider": "openai"}, False),
        ({"x-portkey-config": "pc-theirs"}, False),
        ({"x-portkey-config": json.dumps({"targets": [{"provider": "@theirs"}]})}, False),
    ],
)
async def test_headers_that_name_an_account_of_ours(tmp_path: Path, headers: dict[str, str], here: bool) -> None:
    async with scene(tmp_path) as (served, a):
        assert await answered_here(served, WHO | headers) is here
        assert len(a.seen) == here


async def test_keys_that_litellm_alone_knows_spend_there(tmp_path: Path) -> None:
    """Its budgets do not count what is called past it; the master key has none."""
    masters = {"general_settings": {"master_key": MASTER}, "auth": "litellm"}
    async with scene(tmp_path, **masters) as (served, a):
        assert not await answered_here(served, NAMED | {"Authorization": f"Bearer {RED}"})
        assert not await answered_here(served, NAMED | {"Authorization": "Bearer sk-of-nobody"})
        assert a.seen == []
        assert await answered_here(served, NAMED | {"Authorization": f"Bearer {MASTER}"})
        assert await answered_here(served, NAMED | WHO)


async def test_it_can_be_left_to_the_upstream(tmp_path: Path) -> None:
    async with scene(tmp_path, alone={"enabled": False}) as (served, a):
        assert not await answered_here(served, WHO | NAMED)
        assert a.seen == []
