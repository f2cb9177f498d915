"""Completions as Responses: valid by the SDK's strict types, complete, the same on every run; and the whole chain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from proxy_plugin.providers.base import LineRejected, Usage
from proxy_plugin.providers.formats.anthropic.answers import to_completion
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.openai.responses_answers import to_response
from proxy_plugin.providers.formats.openai.responses_chat import to_chat
from proxy_plugin.providers.formats.openai.responses_words import own_refusal

Json = dict[str, Any]
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


def completion(message: Json, finish: object = "stop", **more: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 3, "model": "m", "usage": USAGE}
    return json.dumps({**head, "choices": [choice], **more}).encode()


def response(native: bytes, request: bytes | None = None) -> Json:
    answer = to_response(native, request=request)
    assert b"\n" not in answer.body
    assert to_response(native, request=request) == answer
    found: Json = json.loads(answer.body)
    Response.model_validate(found, strict=True)
    return found


def test_a_text() -> None:
    found = response(completion({"content": "hello"}))
    answer = to_response(completion({"content": "hello"}))
    assert (answer.model, answer.usage) == ("m", Usage(10, 7, 4, 5, 3))
    assert found["id"].startswith("resp_")
    assert found["output"][0]["content"][0] == {
        "type": "output_text",
        "text": "hello",
        "annotations": [],
        "logprobs": [],
    }
    assert (found["status"], found["error"], found["incomplete_details"], found["created_at"]) == (
        "completed",
        None,
        None,
        3,
    )
    assert found["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 17,
    }
    assert Response.model_validate(found).output_text == "hello"


def test_thoughts_words_and_calls_stand_in_order_with_ids_of_their_own() -> None:
    arguments = '{"n":1234567890123456789012345, "f":1.10}'
    calls = [{"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": arguments}} for n in (1, 2)]
    found = response(completion({"content": "a", "tool_calls": calls, "reasoning_content": "t"}, "tool_calls"))
    output = found["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "t"}]
    assert [(item["call_id"], item["arguments"]) for item in output[2:]] == [
        ("call_1", arguments),
        ("call_2", arguments),
    ]
    assert len({found["id"], *(item["id"] for item in output)}) == 5
    other = response(completion({"content": "a"}, id="chatcmpl-2"))
    assert other["id"] != found["id"]


@pytest.mark.parametrize(
    ("message", "finish", "status", "reason", "kinds"),
    [
        ({"content": "a"}, "length", "incomplete", "max_output_tokens", [["output_text"]]),
        ({"content": None, "refusal": "no"}, "content_filter", "incomplete", "content_filter", [["refusal"]]),
        ({"content": None, "refusal": "no"}, "stop", "completed", None, [["refusal"]]),
        ({"content": "", "refusal": None}, "stop", "completed", None, [["output_text"]]),
        ({"content": "", "refusal": "no"}, "stop", "completed", None, [["refusal"]]),
        ({"content": None}, "length", "incomplete", "max_output_tokens", []),
        ({"content": [{"type": "text", "text": "a"}]}, "stop", "completed", None, [["output_text"]]),
        ({"content": 7, "tool_calls": 8, "annotations": 9}, ["odd"], "completed", None, []),
    ],
)
def test_how_it_ended(message: Json, finish: object, status: str, reason: str | None, kinds: list[list[str]]) -> None:
    found = response(completion(message, finish))
    assert found["status"] == status
    assert found["incomplete_details"] == (reason and {"reason": reason})
    assert [[part["type"] for part in item["content"]] for item in found["output"]] == kinds
    assert all(item["status"] == status for item in found["output"])


def test_what_a_limit_cut_off_is_the_last_item() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
    found = response(completion({"content": "a", "tool_calls": [call]}, "length"))
    assert [item["status"] for item in found["output"]] == ["completed", "incomplete"]


def test_citations() -> None:
    place = {"start_index": 0, "end_index": 1, "url": "https://example.com", "title": "t"}
    annotations = [{"type": "url_citation", "url_citation": place}]
    found = response(completion({"content": "a", "annotations": annotations, "citations": [{"type": "page"}]}))
    part = found["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **place}]
    assert part["citations"] == [{"type": "page"}]


def test_the_request_is_repeated() -> None:
    schema = '{"type":"object","properties":{"a":{"maximum":1234567890123456789012345}}}'
    tool = f'{{"type":"function","name":"f","parameters":{schema}}}'
    request = (
        '{"model":"m","input":"hi","instructions":"i","metadata":{"a":"b"},"temperature":0.69999998807907104492,'
        f'"max_output_tokens":9,"reasoning":{{"effort":"low"}},"text":{{"verbosity":"low"}},"tools":[{tool}],'
        '"tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false,"user":null}'
    ).encode()
    found = response(completion({"content": "a"}), request)
    assert found["instructions"] == "i"
    assert found["metadata"] == {"a": "b"}
    assert found["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert found["tool_choice"] == {"type": "function", "name": "f"}
    assert (found["parallel_tool_calls"], found["max_output_tokens"]) == (False, 9)
    assert found["tools"][0]["strict"] is False
    assert "user" not in found
    written = to_response(completion({"content": "a"}), request=request).body
    assert schema.encode() in written
    assert b"0.69999998807907104492" in written


def test_corrupt_and_odd_completions() -> None:
    for corrupt in (b"", b"{", b"[]", b"7"):
        with pytest.raises(ValueError, match=r"Expecting|not a completion"):
            to_response(corrupt)
    found = response(b'{"choices":[],"usage":{"prompt_tokens":-1}}')
    assert (found["output"], found["usage"]["total_tokens"]) == ([], 0)
    assert response(b"{}")["id"] != response(b'{"a":1}')["id"]


@given(st.text(), st.text(), st.text(min_size=1))
@settings(max_examples=100, deadline=None)
def test_texts_survive(text: str, thought: str, arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    found = response(completion({"content": "x" + text, "reasoning_content": "y" + thought, "tool_calls": [call]}))
    assert found["output"][0]["summary"][0]["text"] == "y" + thought
    assert found["output"][1]["content"][0]["text"] == "x" + text
    assert found["output"][2]["arguments"] == arguments


def test_the_whole_chain_and_its_next_turn() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
    asked: Json = {"model": "claude-haiku-4-5", "input": [{"role": "user", "content": "hi"}], "tools": [tool]}
    request = json.dumps(asked).encode()
    chat = to_chat(request, drop_params=False)
    params = json.loads(to_messages(chat.body, model=None, drop_params=False).body)
    assert params["tools"][0]["name"] == "f"
    message = (
        b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","stop_reason":"tool_use",'
        b'"content":[{"type":"text","text":"half \\ud83d"},'
        b'{"type":"tool_use","id":"toolu_1","name":"f","input":{"n":1234567890123456789012345}}],'
        b'"usage":{"input_tokens":3,"output_tokens":2,"cache_read_input_tokens":4}}'
    )
    answer = to_response(to_completion(message).body, request=request)
    assert answer.usage == Usage(input_tokens=7, output_tokens=2, cached_tokens=4)
    found = json.loads(answer.body)
    Response.model_validate(found)
    result = {"type": "function_call_output", "call_id": found["output"][1]["call_id"], "output": "r"}
    following = json.dumps({**asked, "input": [*asked["input"], *found["output"], result]}).encode()
    again = to_messages(to_chat(following, drop_params=False).body, model=None, drop_params=False).body
    assert b'"input":{"n":1234567890123456789012345}' in again
    turns = json.loads(again)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"][0]["text"] == "half \ufffd"
    assert turns[1]["content"][1]["id"] == turns[2]["content"][0]["tool_use_id"] == "toolu_1"


TEXTS = st.text(min_size=1, max_size=6)
ITEMS = st.one_of(
    TEXTS.map(lambda text: {"role": "user", "content": text}),
    TEXTS.map(lambda text: {"role": "user", "content": [{"type": "input_text", "text": text}] * 2}),
    TEXTS.map(
        lambda text: {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    ),
    st.sampled_from("ab").map(lambda c: {"type": "function_call", "call_id": c, "name": "f", "arguments": "{}"}),
    st.sampled_from("ab").map(lambda c: {"type": "function_call_output", "call_id": c, "output": "r"}),
)


@given(st.lists(ITEMS, min_size=1, max_size=6), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_conversation_is_translated_or_refused_on_the_whole_way(items: list[Json], tools: bool) -> None:
    asked: Json = {"model": "claude-haiku-4-5", "input": items}
    if tools:
        asked["tools"] = [{"type": "function", "name": "f", "parameters": None, "strict": None}]
    request = json.dumps(asked).encode()
    assert response(completion({"content": "a"}), request)["tools"] == [
        {"parameters": None, "strict": False, "type": "function", "name": "f"} for _ in range(tools)
    ]
    try:
        params = json.loads(to_messages(to_chat(request, drop_params=False).body, model=None, drop_params=False).body)
    except LineRejected as error:
        params = {"messages": own_refusal(error, request).param}
    assert params["messages"]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SIGNED = {"google": {"thought_signature": "c2ln"}}
TOKEN = {"token": "a", "logprob": -0.5, "bytes": None}


def test_an_image_alone_is_what_was_answered() -> None:
    found = response(completion({"content": "", "images": [IMAGE]}))
    (item,) = found["output"]
    assert (item["type"], item["status"], item["output_format"]) == ("image_generation_call", "completed", "png")
    assert item["result"] == "iVBORw0KGgo="


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_images_beside_words_and_calls(finish: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    link = {"type": "image_url", "image_url": {"url": "https://a/b.png"}}
    found = response(completion({"content": "see", "tool_calls": [call], "images": [IMAGE, link]}, finish))
    kinds = [item["type"] for item in found["output"]]
    assert kinds == ["message", "function_call", "image_generation_call", "image_generation_call"]
    assert (found["output"][3]["result"], found["output"][3]["url"]) == (None, "https://a/b.png")
    assert len({item["id"] for item in found["output"]}) == 4


def test_speech_and_thought_signatures_stand_beside() -> None:
    audio = {"id": "a", "data": "YQ==", "expires_at": 0, "transcript": "", "mime_type": "audio/L16"}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": SIGNED}
    found = response(completion({"content": "", "audio": audio, "extra_content": SIGNED, "tool_calls": [call]}))
    assert [item["extra_content"] for item in found["output"]] == [SIGNED, SIGNED]
    assert found["output"][0]["audio"] == audio
    assert response(completion({"content": "", "audio": audio}))["output"][0]["audio"] == audio


@pytest.mark.parametrize("tops", [None, [], [TOKEN], [TOKEN, {**TOKEN, "bytes": [97]}]])
def test_log_probabilities_stay(tops: list[Json] | None) -> None:
    told = {"content": [{**TOKEN, "top_logprobs": tops}], "refusal": None}
    choice = {"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop", "logprobs": told}
    part = response(json.dumps({"choices": [choice]}).encode())["output"][0]["content"][0]
    assert [(each["token"], each["logprob"], each["bytes"]) for each in part["logprobs"]] == [("a", -0.5, [])]
    assert [each["bytes"] for each in part["logprobs"][0]["top_logprobs"]] == [[], [97]][: len(tops or [])]


def test_odd_members_are_passed_over() -> None:
    odd = {"content": "a", "images": [7, {}, {"image_url": 7}], "audio": "x", "extra_content": [1]}
    choice = {"message": odd, "finish_reason": "stop", "logprobs": {"content": [7, {"top_logprobs": 7}]}}
    assert (
        json.loads(to_response(json.dumps({"choices": [choice], "error": "x"}).encode()).body)["status"] == "completed"
    )
