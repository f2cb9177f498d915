"""Chat bodies as Mistral's, and its answers as OpenAI's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.mistral.chat import to_completion, to_mistral
from proxy_plugin.providers.formats.mistral.fim import has_suffix, to_fim

Json = dict[str, Any]
SAID = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "hi"}]}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "seed", "tools", "tool_choice"),
        *("stream", "logprobs", "user", "store", "logit_bias", "n", "response_format", "stop", "functions"),
    ]
)


def native(drop: bool = False, **more: Any) -> Json:
    found: Json = json.loads(to_mistral(json.dumps(SAID | more).encode(), model=None, drop_params=drop).body)
    return found


@given(st.dictionaries(NAMES | st.text(), VALUES, max_size=6), st.booleans())
def test_any_object_is_translated_or_refused(body: Json, drop: bool) -> None:
    try:
        made = to_mistral(json.dumps(SAID | body).encode(), model=None, drop_params=drop)
    except LineRejected:
        return
    assert isinstance(json.loads(made.body), dict)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_survives_both_ways(text: str) -> None:
    assert native(messages=[{"role": "user", "content": text}])["messages"][0]["content"] == text
    body = {"object": "chat.completion", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    assert json.loads(to_completion(json.dumps(body).encode()).body) == body


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"seed": 5}, {"random_seed": 5}),
        ({"tool_choice": "required"}, {"tool_choice": "any"}),
        ({"temperature": 1.5}, {"temperature": 1.5}),
        ({"user": "u", "store": True, "stream_options": {}, "stream": False}, {}),
        ({"n": 2, "safe_prompt": True}, {"n": 2, "safe_prompt": True}),
    ],
)
def test_parameters_get_mistrals_names(given: Json, made: Json) -> None:
    assert native(**given) == SAID | made


@pytest.mark.parametrize(
    "given", [{"logit_bias": {"1": 2}}, {"temperature": 1.8}, {"stream": True}, {"logprobs": True}, {"functions": [1]}]
)
def test_what_has_no_place_is_refused_by_name(given: Json) -> None:
    with pytest.raises(LineRejected) as refused:
        native(**given)
    assert refused.value.param == next(iter(given))


def test_a_switch_lets_go_of_what_promises_nothing_else() -> None:
    assert native(True, temperature=1.8, logit_bias={"1": 2}) == SAID | {"temperature": 1.5}
    with pytest.raises(LineRejected):
        native(True, logprobs=True)


def test_ids_of_calls_have_nine_signs_and_agree_with_their_results() -> None:
    call = {"id": "call_a_long_one", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        *SAID["messages"],
        {"role": "assistant", "content": None, "tool_calls": [call, call | {"id": "abcDEF123"}]},
        {"role": "tool", "tool_call_id": "call_a_long_one", "content": "r"},
        {"role": "developer", "content": "d"},
    ]
    _, said, told, rule = native(messages=turns)["messages"]
    assert said["tool_calls"][0]["id"] == told["tool_call_id"]
    assert len(told["tool_call_id"]) == 9
    assert said["tool_calls"][1]["id"] == "abcDEF123"
    assert rule["role"] == "system"


def test_a_pdf_is_a_document() -> None:
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}}
    (part,) = native(messages=[{"role": "user", "content": [file]}])["messages"][0]["content"]
    assert part["document_url"] == "data:application/pdf;base64,JVBE"


def test_half_of_a_character_is_replaced_and_told() -> None:
    made = to_mistral(rb'{"model":"m","messages":[{"role":"user","content":"a\ud83d"}]}', model=None, drop_params=False)
    assert json.loads(made.body)["messages"][0]["content"] == "a\ufffd"
    assert made.dropped == ("messages[].content=U+FFFD",)


def answer(**choice: Any) -> bytes:
    body = {"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0, **choice}]}
    return json.dumps(body | {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}).encode()


def test_an_answer_that_is_one_already_keeps_its_bytes() -> None:
    given = answer(message={"role": "assistant", "content": "hi", "tool_calls": None}, finish_reason="stop")
    made = to_completion(given)
    assert made.body == given
    assert (made.usage.input_tokens, made.usage.output_tokens, made.model, made.status) == (3, 4, "m", 200)


def test_thoughts_stand_beside_the_text() -> None:
    chunks = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    made = json.loads(to_completion(answer(message={"content": chunks}, finish_reason="model_length")).body)
    (choice,) = made["choices"]
    assert choice["message"] == {"content": "ab", "reasoning_content": "hm"}
    assert choice["finish_reason"] == "length"


def test_arguments_become_a_text() -> None:
    call = {"id": "abcDEF123", "function": {"name": "f", "arguments": {"a": 1}}}
    made = json.loads(to_completion(answer(message={"tool_calls": [call]}, finish_reason="tool_calls")).body)
    (called,) = made["choices"][0]["message"]["tool_calls"]
    assert called == {"id": "abcDEF123", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def test_an_answer_that_ended_in_an_error_is_one_and_is_counted() -> None:
    made = to_completion(answer(message={"content": "ha"}, finish_reason="error"))
    assert (made.status, made.code, made.usage.output_tokens) == (500, "error", 4)


def test_a_completion_with_a_suffix_is_filled_in() -> None:
    body = {"model": "codestral-latest", "prompt": ["def f("], "suffix": "): pass", "seed": 3, "temperature": 2, "n": 1}
    made = to_fim(json.dumps(body).encode(), model=None, drop_params=True)
    assert json.loads(made.body) == {
        "model": "codestral-latest",
        "prompt": "def f(",
        "suffix": "): pass",
        "max_tokens": 16,
        "temperature": 1.5,
        "random_seed": 3,
    }
    assert made.dropped == ("temperature=1.5",)
    for more in ({"logprobs": 2}, {"logit_bias": {"5": 1}}, {"prompt": 5}):
        with pytest.raises(LineRejected) as caught:
            to_fim(json.dumps({**body, "temperature": 1, **more}).encode(), model=None, drop_params=False)
        assert caught.value.param == next(iter(more))


@pytest.mark.parametrize(
    ("body", "has"),
    [
        (b'{"suffix": "x"}', True),
        (b'{"\\u0073uffix": "x"}', True),
        (b'{"suffix": ""}', False),
        (b'{"suffix": null}', False),
        (b'{"prompt": "suffix"}', False),
    ],
)
def test_a_suffix_is_seen_however_its_name_is_written(body: bytes, *, has: bool) -> None:
    assert has_suffix(body) is has


@given(st.dictionaries(st.sampled_from(["prompt", "suffix", "stop", "seed", "n", "x"]) | st.text(max_size=5), VALUES))
def test_any_completions_body_is_filled_in_or_refused(body: dict[str, Any]) -> None:
    try:
        made = to_fim(json.dumps({"model": "m", **body}).encode(), model=None, drop_params=True)
    except LineRejected:
        return
    assert json.loads(made.body)["prompt"]
