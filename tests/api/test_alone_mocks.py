"""`mock_response` of an entry of LiteLLM's list: the gateway alone answers with what stands there, as LiteLLM does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, RateLimitError

from proxy_plugin.config import parse, render_check
from tests.support import calls_here
from tests.support.served import KEY, WHO, running

CHAT = "/v1/chat/completions"
HI: list[Any] = [{"role": "user", "content": "hi"}]
SAID, VECTOR = "said by nobody", [0.5, -1.0]


def entry(name: str, model: str, answer: object) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": model, "api_key": "none", "mock_response": answer}}


MODELS = [
    entry("mock", "openai/gpt-4o", SAID),
    entry("claude", "anthropic/claude-haiku-4-5", SAID),
    entry("vectors", "openai/text-embedding-3-small", VECTOR),
    entry("busy", "openai/gpt-4o-mini", "litellm.RateLimitError"),
    entry("whole", "openai/gpt-4.1", {"choices": [{"index": 0, "message": {"role": "assistant", "content": "mine"}}]}),
]


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls_here.use(monkeypatch)


@pytest.mark.parametrize("model", ["mock", "claude"])
async def test_stock_clients_get_it_in_every_shape(tmp_path: Path, model: str) -> None:
    async with (
        running(tmp_path, model_list=MODELS) as served,
        AsyncOpenAI(api_key=KEY, base_url=f"{served.url}/v1", max_retries=0) as client,
    ):
        chat = await client.chat.completions.create(model=model, messages=HI)
        assert (chat.choices[0].message.content, chat.usage and chat.usage.total_tokens) == (SAID, 30)
        assert (await client.responses.create(model=model, input="hi")).output_text == SAID
        assert (await client.completions.create(model=model, prompt="hi")).choices[0].text == SAID
        stream = await client.chat.completions.create(model=model, messages=HI, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(pieces) == SAID
        assert len(pieces) > 3
        events = await client.responses.create(model=model, input="hi", stream=True)
        told = [event.delta async for event in events if event.type == "response.output_text.delta"]
        assert "".join(told) == SAID


async def test_vectors_come_as_numbers_and_as_text(tmp_path: Path) -> None:
    async with (
        running(tmp_path, model_list=MODELS) as served,
        AsyncOpenAI(api_key=KEY, base_url=f"{served.url}/v1", max_retries=0) as client,
    ):
        for form in ("float", "base64"):
            made = await client.embeddings.create(model="vectors", input=["a", "b"], encoding_format=form)
            assert [each.index for each in made.data] == [0, 1]
        assert (await client.embeddings.create(model="vectors", input="a")).data[0].embedding == VECTOR
        with pytest.raises(BadRequestError, match="mock_response"):
            await client.embeddings.create(model="mock", input="a")
        with pytest.raises(BadRequestError, match="mock_response"):
            await client.chat.completions.create(model="vectors", messages=HI)


async def test_an_error_that_is_written_leads_on_like_any_other(tmp_path: Path) -> None:
    targets = [
        {"provider": "@model-busy", "override_params": {"model": "gpt-4o-mini"}},
        {"provider": "@model-mock", "override_params": {"model": "gpt-4o"}},
    ]
    config = {"strategy": {"mode": "fallback"}, "targets": targets}
    async with (
        running(tmp_path, model_list=MODELS) as served,
        AsyncOpenAI(api_key=KEY, base_url=f"{served.url}/v1", max_retries=0) as client,
    ):
        with pytest.raises(RateLimitError):
            await client.chat.completions.create(model="busy", messages=HI)
        sent = WHO | {"x-portkey-config": json.dumps(config)}
        status, answer, headers = await served.call("POST", CHAT, {"messages": HI}, sent)
        assert (status, answer["choices"][0]["message"]["content"]) == (200, SAID)
        assert headers["x-portkey-last-used-option-index"] == "config.targets[1]"


async def test_a_whole_completion_is_given_as_it_was_written(tmp_path: Path) -> None:
    async with running(tmp_path, model_list=MODELS) as served:
        status, answer, _ = await served.call("POST", CHAT, {"model": "whole", "messages": HI}, WHO)
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "mine")
        assert (answer["object"], answer["model"]) == ("chat.completion", "gpt-4.1")


async def test_no_request_can_bring_one(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        body = {"model": "@lane/m", "messages": HI, "mock_response": "mine"}
        status, answer, _ = await served.call("POST", CHAT, body, WHO)
        assert (status, answer["error"]["code"]) == (502, "provider_failed"), "it went to the account, which is nowhere"


def test_check_says_nothing_of_it() -> None:
    assert "mock_response" not in render_check(parse({"model_list": MODELS, "proxy_plugin": {}}, {}))


async def test_a_call_names_a_model_of_the_list_as_with_litellm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account that LiteLLM takes for batches without a place is none for calls, which name a model."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    master = {"Authorization": "Bearer sk-master-of-the-proxy"}
    settings = {"master_key": "sk-master-of-the-proxy"}
    async with running(tmp_path, model_list=MODELS, general_settings=settings, virtual_keys={}) as served:
        assert served.gateway.config.api_keys[-1].default == "env-openai"
        status, answer, _ = await served.call("POST", CHAT, {"model": "mok", "messages": HI}, master)
        assert (status, answer["error"]["code"]) == (400, "model_not_found")
        assert (await served.call("POST", CHAT, {"model": "mock", "messages": HI}, master))[0] == 200
