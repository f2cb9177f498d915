"""Ordinary calls of the OpenAI stand-in, driven by OpenAI's official SDK."""

from __future__ import annotations

import openai
import pytest
from openai import OpenAI

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.providers.sandbox.conftest import Row

MODEL = "gpt-4.1-nano"
CALL = "call.chat.completions"


def test_the_sdks_methods_are_answered(client: OpenAI) -> None:
    talk = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert talk.choices[0].message.content
    assert talk.usage is not None
    assert talk.usage.total_tokens == talk.usage.prompt_tokens + talk.usage.completion_tokens
    assert client.responses.create(model=MODEL, input="hi").output_text
    assert client.completions.create(model=MODEL, prompt="hi").choices[0].text
    assert len(client.embeddings.create(model="text-embedding-3-small", input=["a", "b"]).data) == 2
    assert client.moderations.create(input="hi").results
    assert client.images.generate(prompt="a bear").data


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": MODEL}, "messages"),
        ({"model": MODEL, "messages": []}, "messages"),
        ({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_words": 3}, "max_words"),
        ({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": True}, "stream"),
        ({"model": 5, "messages": [{"role": "user", "content": "x"}]}, "model"),
    ],
)
def test_what_a_body_may_not_be_is_named(client: OpenAI, body: Row, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", body=body, cast_to=object)
    assert refused.value.param == param


def test_a_limit_of_requests_a_minute_tells_when_there_is_one_again(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.control.options("openai", requests_per_minute=2)
    ask: Row = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    left = []
    for _ in range(2):
        answer = client.chat.completions.with_raw_response.create(**ask)
        left.append(answer.headers["x-ratelimit-remaining-requests"])
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**ask)
    headers = refused.value.response.headers
    assert left == ["1", "0"]
    assert 55 <= int(headers["retry-after"]) <= 60
    sandbox.control.advance(60)
    assert client.chat.completions.create(**ask).choices


def test_the_log_tells_lines_apart(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.control.faults([{"kind": "status", "on": CALL, "status": 503}])
    ask: Row = {"model": MODEL, "messages": [{"role": "user", "content": "line 7"}]}
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**ask)
    client.chat.completions.create(**ask)
    calls = [(entry["status"], entry["id"]) for entry in sandbox.control.requests() if entry["op"] == CALL]
    assert calls == [(503, None), (200, "line 7")]
