"""The Models routes: what each caller can reach, and nothing of what only the operator may know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from proxy_plugin.access.callers import Caller
from proxy_plugin.api import models
from proxy_plugin.config import parse
from tests.support.served import KEY, OTHER_KEY, WHO, Served, running

OTHER = {"Authorization": f"Bearer {OTHER_KEY}"}
HOST = "http://127.0.0.1:9/v1"
LANES = {
    "lane": {"provider": "openai", "api_key": "sk-of-lane", "custom_host": HOST, "models": ["gpt-a", "gpt-*", "org/b"]},
    "open": {"provider": "openai", "api_key": "sk-of-open", "custom_host": HOST},
    "old": {"provider": "openai", "api_key": "sk-of-old", "models": ["gpt-a"], "retired": True},
    "gone": {"provider": "openai", "api_key": "os.environ/NO_SUCH_VARIABLE", "models": ["gpt-a"]},
    "claude": {"provider": "anthropic", "api_key": "sk-of-claude", "models": ["claude-a"]},
}
MODEL_LIST = [
    {"model_name": "fast", "litellm_params": {"model": "openai/gpt-a", "api_key": "sk-of-the-list"}},
    {"model_name": "fast", "litellm_params": {"model": "openai/gpt-b", "api_key": "sk-of-another"}},
    {"model_name": "any/*", "litellm_params": {"model": "openai/*", "api_key": "sk-of-the-list"}},
    {"model_name": "keyless", "litellm_params": {"model": "openai/gpt-a", "api_key": "os.environ/NO_SUCH_VARIABLE"}},
    {"model_name": "elsewhere", "litellm_params": {"model": "no-such-provider/x"}},
    {"litellm_params": {"model": "openai/nameless"}},
    "not even an entry",
]
KEYS = [
    {"name": "first", "key": KEY, "workspace": "one"},
    {"name": "second", "key": OTHER_KEY, "workspace": "two", "virtual_keys": ["lane", "claude"], "models": ["gpt-*"]},
]
SETTINGS: dict[str, Any] = {"virtual_keys": LANES, "api_keys": KEYS}


async def _owners(served: Served, headers: dict[str, str], path: str = "/v1/models") -> dict[str, str]:
    status, found, _ = await served.call("GET", path, headers=headers)
    assert (status, found["object"], set(found)) == (200, "list", {"object", "data"})
    assert len({each["id"] for each in found["data"]}) == len(found["data"])
    return {each["id"]: each["owned_by"] for each in found["data"]}


async def test_each_caller_sees_what_it_can_reach(tmp_path: Path) -> None:
    async with running(tmp_path, model_list=MODEL_LIST, **SETTINGS) as served:
        mine = {"@lane/gpt-a": "openai", "@lane/org/b": "openai", "@claude/claude-a": "anthropic", "fast": "openai"}
        assert await _owners(served, WHO) == mine
        assert await _owners(served, WHO, "/models") == mine
        assert await _owners(served, OTHER) == {"@lane/gpt-a": "openai"}, "two of the virtual keys, and gpt-* of these"


async def test_no_secret_and_no_host_is_shown(tmp_path: Path) -> None:
    async with running(tmp_path, model_list=MODEL_LIST, **SETTINGS) as served:
        _, found, _ = await served.call("GET", "/v1/models", headers=WHO)
        (born,) = {each["created"] for each in found["data"]}
        assert abs(born - served.clock.now()) < 60
        for each in found["data"]:
            fixed = {"object": "model", "created": born}
            assert each == {"id": each["id"], "owned_by": each["owned_by"], **fixed}
        assert "sk-of" not in str(found)
        assert "127.0.0.1" not in str(found)


async def test_an_upstream_serves_what_has_no_batch_lane_but_not_this_list(tmp_path: Path) -> None:
    settings = SETTINGS | {"server": {"upstream": "http://127.0.0.1:9"}}
    async with running(tmp_path, model_list=MODEL_LIST, **settings) as served:
        owners = await _owners(served, WHO)
        assert (owners["elsewhere"], "keyless" in owners) == ("no-such-provider", False)
        status, found, _ = await served.call("DELETE", "/v1/models/ft:gpt-a", headers=WHO)
        assert (status, found["error"]["code"]) == (502, "upstream_failed"), "fine-tuned models are the upstream's"
        assert (await served.call("POST", "/v1/models", headers=WHO))[0] == 405


@pytest.mark.parametrize("spelling", ["@lane/org/b", "%40lane%2Forg%2Fb", "%2540lane%252Forg%252Fb"])
async def test_one_model_in_every_spelling(tmp_path: Path, spelling: str) -> None:
    async with running(tmp_path, **SETTINGS) as served:
        async with served.session.get(f"{served.url}/v1/models/{spelling}", headers=WHO) as reply:
            assert reply.status == 200
            found = await reply.json()
        assert found == {"id": "@lane/org/b", "object": "model", "created": found["created"], "owned_by": "openai"}


@pytest.mark.parametrize("name", ["@lane/gpt-b", "@lane/gpt-*", "@old/gpt-a", "@gone/gpt-a", "gpt-a", "@lane/"])
async def test_a_model_that_is_not_there(tmp_path: Path, name: str) -> None:
    async with running(tmp_path, **SETTINGS) as served:
        status, found, _ = await served.call("GET", f"/v1/models/{name}", headers=WHO)
        assert (status, found["error"]) == (
            404,
            {
                "message": "This gateway has no such model for you; 'GET /v1/models' lists those that can be named.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            },
        )


def test_an_alias_is_listed_unless_it_is_hidden() -> None:
    aliases = {"shown": "fast", "unseen": {"model": "fast", "hidden": True}}
    config = parse({"model_list": MODEL_LIST, "router_settings": {"model_group_alias": aliases}}, {})
    assert set(models.reachable(config, Caller("any", "one"))) == {"fast", "shown"}


async def test_the_model_of_another_caller_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path, **SETTINGS) as served:
        assert (await served.call("GET", "/v1/models/@claude/claude-a", headers=WHO))[0] == 200
        assert (await served.call("GET", "/v1/models/@claude/claude-a", headers=OTHER))[0] == 404
        assert (await served.call("GET", "/v1/models", headers={}))[0] == 401


async def test_the_stock_sdk(tmp_path: Path) -> None:
    async with (
        running(tmp_path, **SETTINGS) as served,
        openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        ids = [model.id async for model in client.models.list()]
        assert ids == ["@lane/gpt-a", "@lane/org/b", "@claude/claude-a"]
        model = await client.models.retrieve("@lane/org/b")
        assert (model.id, model.object, model.owned_by) == ("@lane/org/b", "model", "openai")
