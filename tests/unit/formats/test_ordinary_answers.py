"""An ordinary answer of Claude's or Gemini's is read the quick way, any other the general one, to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.formats.anthropic import answers as claude
from proxy_plugin.providers.formats.bedrock import answers as bedrock
from proxy_plugin.providers.formats.gemini import answers as gemini
from proxy_plugin.providers.formats.gemini.ordinary import ordinary
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.lanes.anthropic import rows

Json = dict[str, Any]
Values = st.SearchStrategy[Any]
NUMBERS = st.integers(-1, 10**30) | st.floats(allow_nan=False) | st.booleans() | st.none()
HALVES = st.text(st.characters(exclude_categories=()), max_size=6)
WHOLE = st.text(st.characters(codec="utf-8"), max_size=6)
COUNTS = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount")


def some(**members: Values) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=members)


def messages(texts: Values, tokens: Values, kinds: tuple[str, ...], **more: Values) -> st.SearchStrategy[Json]:
    """Return messages; `more` are members that only odd ones have."""
    said = st.fixed_dictionaries({"type": st.just("text")}, optional={"text": texts, "citations": st.none(), **more})
    inputs = st.dictionaries(WHOLE, NUMBERS, max_size=2)
    called = {"type": st.sampled_from(kinds)}, {"id": texts, "name": texts, "input": inputs, **more}
    lifetimes = some(ephemeral_5m_input_tokens=tokens, ephemeral_1h_input_tokens=tokens)
    counts = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    made = some(thinking_tokens=tokens) | st.none()
    usage = some(
        **dict.fromkeys(counts, tokens), cache_creation=lifetimes, output_tokens_details=made, service_tier=texts
    )
    return some(
        content=st.lists(said | st.fixed_dictionaries(called[0], optional=called[1]), max_size=3),
        id=texts,
        model=texts,
        type=st.just("message"),
        stop_reason=st.sampled_from(["end_turn", "tool_use", "max_tokens", "pause_turn", "refusal", "new", None]),
        usage=usage,
        container=st.none(),
        stop_details=st.none() | some(explanation=texts),
        added=st.lists(texts, max_size=1),
        **more,
    )


def responses(texts: Values, tokens: Values, reasons: tuple[str, ...], **more: Values) -> st.SearchStrategy[Json]:
    """Return responses; `more` are members that only odd ones have."""
    call = some(name=texts, id=texts, args=st.dictionaries(WHOLE, NUMBERS, max_size=2) | st.none())
    part = some(text=texts, thoughtSignature=texts, **more) | some(functionCall=call, thoughtSignature=texts, **more)
    content = some(parts=st.lists(part, max_size=3), role=st.just("model"))
    candidate = some(content=content, finishReason=st.sampled_from(reasons), index=tokens, avgLogprobs=NUMBERS, **more)
    return some(
        candidates=st.lists(candidate, max_size=2),
        usageMetadata=some(**dict.fromkeys(COUNTS, tokens), totalTokenCount=NUMBERS),
        modelVersion=texts,
        responseId=texts,
        createTime=st.sampled_from(["2026-11-29T10:00:00Z", "2026-11-29", "soon"]),
        **more,
    )


ODD = HALVES | NUMBERS
MESSAGES = messages(WHOLE, st.integers(0, 9), ("tool_use",)) | messages(
    ODD, NUMBERS, ("tool_use", "thinking", "new"), more=ODD, citations=st.just([{"url": "u"}]), thinking=ODD
)
RESPONSES = responses(WHOLE, st.integers(0, 9), ("STOP", "MAX_TOKENS", "NEW", "SAFETY", "MALFORMED_RESPONSE")) | (
    responses(ODD, NUMBERS, ("STOP", "SAFETY", "MALFORMED_RESPONSE"), thought=st.booleans(), finishMessage=ODD)
)


def claudes(message: bytes) -> object:
    given = read(message)
    return claude.completion_of(given, message, created=7) if isinstance(given, dict) else None


WAYS: dict[str, tuple[st.SearchStrategy[Json], Callable[[bytes], object], Callable[[bytes], object]]] = {
    "Claude": (MESSAGES, lambda text: claude.to_completion(text, created=7), claudes),
    "Claude on Bedrock": (
        MESSAGES,
        lambda text: bedrock.to_completion(text, model="m", created=7),
        lambda text: bedrock._any(text, "m", 7),
    ),
    "Gemini": (
        RESPONSES,
        lambda text: gemini.to_completion(text, created=7, model="m"),
        lambda text: gemini._any(text, 7, "m"),
    ),
}


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=150, deadline=None)
@given(data=st.data(), ascii_only=st.booleans())
def test_both_ways_give_the_same_bytes(name: str, data: st.DataObject, ascii_only: bool) -> None:
    answers, quick, general = WAYS[name]
    text = json.dumps(data.draw(answers), ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        expected = general(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - the contract's word for a corrupt row
            quick(text)
    else:
        assert quick(text) == expected


def test_what_both_services_usually_write_is_ordinary() -> None:
    usage = {"input_tokens": 3, "output_tokens": 2, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    lifetimes = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage | {"cache_creation": lifetimes, "service_tier": "batch"},
    }
    assert claude.plain_completion(json.dumps(message).encode()) is not None
    details = [{"modality": "TEXT", "tokenCount": 3}]
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5, "promptTokensDetails": details}
    content = {"role": "model", "parts": [{"text": "Hi", "thoughtSignature": "c2ln"}]}
    response = {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0, "avgLogprobs": -0.1}],
        "usageMetadata": counts | {"trafficType": "ON_DEMAND", "candidatesTokensDetails": details},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r",
        "createTime": "2026-11-29T10:00:00Z",
    }
    assert ordinary(json.dumps(response).encode()) is not None


@settings(max_examples=300, deadline=None)
@given(
    message=MESSAGES | st.none() | NUMBERS,
    kind=st.sampled_from(["succeeded", "succeeded", "succeeded", "errored", "expired", None]),
    ascii_only=st.booleans(),
    endpoint=st.sampled_from([rows.CHAT, rows.CHAT, rows.MESSAGES, "/v1/responses"]),
)
def test_a_row_of_claude_is_that_of_the_careful_way(
    message: object, kind: str | None, ascii_only: bool, endpoint: str
) -> None:
    named = {"custom_id": "abcdefghij00000001", "result": {"type": kind, "message": message}}
    line = json.dumps(named, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    def outcome(read_row: Callable[[bytes, str, str], object]) -> object:
        try:
            return read_row(line, "results-7.jsonl", endpoint)
        except ValueError:
            return "corrupt"

    assert outcome(rows.result_row) == outcome(rows.careful_row)
