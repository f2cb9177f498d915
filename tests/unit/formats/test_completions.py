"""The older completions through a chat: prompt in, text out, and what a chat cannot do refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion

from proxy_plugin.providers.base import LineRejected, Usage
from proxy_plugin.providers.formats.anthropic.answers import to_completion
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.openai.completions import DEFAULT_MAX_TOKENS, to_chat, to_text_completion

Json = dict[str, Any]


def body(prompt: object = "say", **options: object) -> bytes:
    return json.dumps({"model": "m", "prompt": prompt, **options}).encode()


@pytest.mark.parametrize("prompt", ["say", ["say"]])
def test_a_prompt_is_what_the_user_says(prompt: object) -> None:
    translated = to_chat(
        body(prompt, n=1, best_of=1, echo=False, suffix="", logprobs=None, stream=False), drop_params=False
    )
    assert json.loads(translated.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "say"}],
        "max_tokens": DEFAULT_MAX_TOKENS,
    }
    assert translated.dropped == ()


def test_options_keep_their_names_and_digits() -> None:
    options = {"max_tokens": 9, "top_p": 0.5, "stop": ["a"], "seed": 1, "user": "u", "logit_bias": {"5": -100}}
    found = json.loads(to_chat(body(**options), drop_params=False).body)
    assert {key: found[key] for key in options} == options
    line = body(temperature=7).replace(b": 7", b":0.69999998807907104492")
    assert b'"temperature":0.69999998807907104492' in to_chat(line, drop_params=False).body


REFUSED: list[tuple[Json, str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a", "b"]}, "prompt"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"prompt": [7]}, "prompt"),
    ({"prompt": [[1, 2]]}, "prompt"),
    ({"prompt": {}}, "prompt"),
    ({"n": 2}, "n"),
    ({"best_of": 3}, "best_of"),
    ({"echo": True}, "echo"),
    ({"logprobs": 0}, "logprobs"),
    ({"logprobs": 5}, "logprobs"),
    ({"suffix": "end"}, "suffix"),
    ({"stream": True}, "stream"),
]


@pytest.mark.parametrize(("options", "param"), REFUSED)
def test_refused_by_name_whatever_the_route_allows(options: Json, param: str) -> None:
    with pytest.raises(LineRejected, match=param) as caught:
        to_chat(body(**options), drop_params=True)
    assert caught.value.param == param


def test_what_a_chat_has_no_word_for() -> None:
    with pytest.raises(LineRejected, match="drop_params") as caught:
        to_chat(body(use_beam_search=True), drop_params=False)
    assert caught.value.param == "use_beam_search"
    assert to_chat(body(use_beam_search=True), drop_params=True).dropped == ("use_beam_search",)
    for broken in (b"[]", b"{"):
        with pytest.raises(LineRejected):
            to_chat(broken, drop_params=True)


@pytest.mark.parametrize(
    ("reason", "word"), [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), (["x"], "stop")]
)
def test_the_answer(reason: object, word: str) -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    choice = {"index": 0, "message": {"content": "text \ud83d"}, "finish_reason": reason}
    chat = {"id": "c", "created": 4, "model": "m", "choices": [choice], "usage": usage}
    answer = to_text_completion(json.dumps(chat).encode())
    found = json.loads(answer.body)
    Completion.model_validate(found, strict=True)
    assert found["choices"] == [{"text": "text \ud83d", "index": 0, "logprobs": None, "finish_reason": word}]
    assert (found["id"], found["created"], found["usage"], answer.usage) == ("c", 4, usage, Usage(2, 3))


def test_nothing_said_is_lost() -> None:
    message = {"content": None, "refusal": "no", "reasoning_content": "t"}
    chat = {"choices": [{"message": message, "finish_reason": "stop", "native_finish_reason": "pause_turn"}]}
    found = json.loads(to_text_completion(json.dumps(chat).encode()).body)
    Completion.model_validate(found, strict=True)
    choice = found["choices"][0]
    assert (choice["text"], choice["refusal"], choice["reasoning_content"]) == ("", "no", "t")
    assert choice["native_finish_reason"] == "pause_turn"
    Completion.model_validate_json(to_text_completion(b'{"choices":7,"usage":8}').body)
    for corrupt in (b"", b"[]"):
        with pytest.raises(ValueError, match=r"Expecting value|not a completion"):
            to_text_completion(corrupt)


def test_the_whole_chain() -> None:
    chat = to_chat(body("漢字 👩‍👩‍👧", max_tokens=50), drop_params=False)
    params = json.loads(to_messages(chat.body, model="claude-haiku-4-5", drop_params=False).body)
    assert (params["max_tokens"], params["messages"]) == (50, [{"role": "user", "content": "漢字 👩‍👩‍👧"}])
    message = b'{"id":"msg_1","model":"h","content":[{"type":"text","text":"ok"}],"stop_reason":"max_tokens"}'
    found = json.loads(to_text_completion(to_completion(message).body).body)
    Completion.model_validate(found, strict=True)
    assert (found["choices"][0]["text"], found["choices"][0]["finish_reason"]) == ("ok", "length")


JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers() | st.text(), max_size=2)
NAMES = st.sampled_from(["model", "prompt", "n", "echo", "stop", "max_tokens", "logprobs", "suffix", "x"])


@given(st.dictionaries(NAMES, JSON), st.booleans())
@settings(max_examples=100, deadline=None)
def test_nothing_but_a_refusal_is_raised(options: Json, drop: bool) -> None:
    try:
        found = json.loads(to_chat(body(**options), drop_params=drop).body)
    except LineRejected as error:
        found = {"messages": error.param}
    assert found["messages"]
