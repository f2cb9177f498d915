"""On every lane equal lines are equal, once their native ids are taken out: else nothing would ever be found again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import LineIn, LineRejected, Native, Target, native_id

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
    EMBEDDINGS: {"input": "hi"},
}
MODELS = [
    *("some-model", "anthropic.claude-3-haiku-20240307-v1:0", "gemini-2.5-flash", "claude-haiku-4-5"),
    *("voyage-3.5", "embed-v4.0", "gemini-embedding-001", "mistral-embed", "amazon.titan-embed-text-v2:0"),
]


def translated(name: str, endpoint: str, identity: str) -> Native | None:
    for model in MODELS:
        body = json.dumps({"model": model, **BODIES[endpoint]}).encode()
        try:
            return catalog.load(name).translate(LineIn(identity, endpoint, body, model), Target())
        except LineRejected:
            continue
    return None


CASES = [
    (name, endpoint)
    for name in catalog.names()
    for endpoint in BODIES
    if endpoint in catalog.load(name).capabilities.endpoints
]


@pytest.mark.parametrize(("name", "endpoint"), CASES)
def test_two_equal_lines_differ_in_their_ids_alone(name: str, endpoint: str) -> None:
    one, other = native_id("m" * 10, 1), native_id("q" * 10, 77)
    first, second = translated(name, endpoint, one), translated(name, endpoint, other)
    assert first is not None
    assert second is not None
    assert first.data.replace(one.encode(), b"") == second.data.replace(other.encode(), b"")
    assert one.encode() in first.data
