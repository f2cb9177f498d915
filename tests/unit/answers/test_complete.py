"""Only whole answers are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.answers.complete import checker


def told(body: Any, status: int = 200) -> bytes:
    return json.dumps({"status_code": status, "request_id": "r", "body": body}).encode()


def chat(*reasons: str | None) -> dict[str, Any]:
    return {"choices": [{"index": n, "finish_reason": reason, "message": {}} for n, reason in enumerate(reasons)]}


def vectors(*places: int) -> dict[str, Any]:
    return {"object": "list", "data": [{"index": place, "embedding": [0.5]} for place in places]}


WHOLE = [
    ("/v1/chat/completions", chat("stop")),
    ("/v1/chat/completions", chat("tool_calls", "stop")),
    ("/v1/chat/completions", chat("function_call")),
    ("/v1/completions", chat("stop")),
    ("/v1/responses", {"status": "completed"}),
    ("/v1/messages", {"type": "message", "stop_reason": "tool_use"}),
    ("/v1/embeddings", vectors(0, 1, 2)),
    ("/v1/moderations", {"results": [{"flagged": False}]}),
]
PART = [
    ("/v1/chat/completions", chat("length")),
    ("/v1/chat/completions", chat("stop", "length")),
    ("/v1/chat/completions", chat("content_filter")),
    ("/v1/chat/completions", chat(None)),
    ("/v1/chat/completions", chat()),
    ("/v1/chat/completions", {}),
    ("/v1/chat/completions", {"status": "completed"}),
    ("/v1/chat/completions", "text"),
    ("/v1/responses", {"status": "incomplete"}),
    ("/v1/responses", {"status": "failed"}),
    ("/v1/messages", {"type": "message", "stop_reason": "max_tokens"}),
    ("/v1/messages", {"type": "message", "stop_reason": "pause_turn"}),
    ("/v1/embeddings", vectors()),
    ("/v1/embeddings", vectors(0, 2)),
    ("/v1/moderations", {"results": []}),
    ("/v1/images/generations", {"data": [{"url": "https://x"}]}),
]


@pytest.mark.parametrize(("endpoint", "body"), WHOLE)
def test_a_whole_answer(endpoint: str, body: Any) -> None:
    assert checker(endpoint)(told(body))
    assert checker(endpoint)(told(body, 204))
    assert not checker(endpoint)(told(body, 500))


@pytest.mark.parametrize(("endpoint", "body"), PART)
def test_what_is_none(endpoint: str, body: Any) -> None:
    assert not checker(endpoint)(told(body))


NO_ANSWERS = [b"", b"null", b"{", b'{"status_code":200}', b"[" * 100_000, b'{"status_code":"\xff"}']


@pytest.mark.parametrize("text", NO_ANSWERS)
def test_what_is_no_answer_at_all(text: bytes) -> None:
    assert not checker("/v1/chat/completions")(text)
