"""Names of LiteLLM's file over HTTP: lines by wildcard, alias and weight come to the right accounts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy_plugin import setup
from tests.support.served import FORM, FORM_TYPE, WHO, configuration

STAR = {"model_name": "*", "litellm_params": {"model": "*"}}


def entry(name: str, model: str, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-of-the-list", **params}}


async def planned(tmp_path: Path, said: dict[str, Any], models: list[str]) -> list[tuple[str, str, int]]:
    """Return (virtual key, model, lines) of where lines with these models would run."""
    app = web.Application()
    setup(app, configuration(tmp_path, virtual_keys={}) | said)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{site.port}", headers=WHO) as session:
            body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
            lines = [
                {"custom_id": f"{n}", "method": "POST", "url": "/v1/chat/completions", "body": body | {"model": model}}
                for n, model in enumerate(models)
            ]
            text = "\n".join(map(json.dumps, lines)).encode()
            async with session.post("/v1/files", data=FORM % text, headers=FORM_TYPE) as answer:
                file_id = (await answer.json())["id"]
            wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            async with session.post("/v1/batches/plan", json=wanted) as answer:
                found = await answer.json()
                assert answer.status == 200, found
    finally:
        await runner.cleanup()
    assert found["request_counts"]["rejected"] == 0, found
    return [(each["virtual_key"], each["model"], each["lines"]) for each in found["targets"]]


async def test_a_lone_star_takes_models_by_their_provider_or_their_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "sk-of-the-environment")
    said = {
        "model_list": [STAR, entry("openai/*", "openai/*")],
        "router_settings": {"model_group_alias": {"mine": "openai/gpt-4o"}},
    }
    models = ["openai/gpt-4o", "gpt-4o-mini", "claude-haiku-4-5", "anthropic/claude-haiku-4-5", "mine"]
    found = Counter[tuple[str, str]]()
    for slug, model, lines in await planned(tmp_path, said, [*models, "gemini/gemini-2.5-flash"]):
        found[slug, model] += lines
    assert found == {
        ("model-openai-any", "gpt-4o"): 2,
        ("model-any-openai", "gpt-4o-mini"): 1,
        ("model-any-anthropic", "claude-haiku-4-5"): 2,
        ("model-any-google", "gemini-2.5-flash"): 1,
    }


async def test_lines_of_one_name_are_shared_by_the_weights_of_the_router(tmp_path: Path) -> None:
    made = [entry("fast", f"openai/gpt-{name}") | {"model_info": {"id": name}} for name in ("a", "b", "c")]
    said = {"model_list": made, "router_settings": {"weights": {"fast": {"a": 3, "b": 1}}}}
    found = Counter[str]()
    for _, model, lines in await planned(tmp_path, said, ["fast"] * 40):
        found[model] += lines
    assert set(found) == {"gpt-a", "gpt-b"}
    assert 28 <= found["gpt-a"] <= 32
