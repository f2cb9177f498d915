"""Conversations and tools as Anthropic's: every row of the mapping."""

from __future__ import annotations

import json
import string

import pytest

from proxy_plugin.providers.formats.anthropic.requests import to_messages
from tests.unit.formats.anthropic_lines import (
    CHOICES,
    HAIKU,
    HELLO,
    MARK,
    NATIVE_TOOL,
    NO_CHOICE,
    OPUS_4_7,
    PARTS,
    TOOL,
    TOOLS,
    Json,
    body,
    call,
    calling,
    noting,
    result,
    text,
    tool_result,
    tool_use,
    translate,
    user,
)


def test_the_plainest_line() -> None:
    assert translate() == {"model": HAIKU, "max_tokens": 64_000, "messages": HELLO}


def test_the_routes_model_replaces_the_lines_own_and_rules() -> None:
    line = body("gpt-6", temperature=1)
    params = json.loads(to_messages(line, model=OPUS_4_7, drop_params=False).body)
    assert params == {"model": OPUS_4_7, "max_tokens": 128_000, "messages": HELLO}
    del (nameless := json.loads(line))["model"]
    translated = to_messages(json.dumps(nameless).encode(), model=OPUS_4_7, drop_params=False)
    assert json.loads(translated.body) == params


SYSTEM = [
    ([{"role": "system", "content": "a"}], "a"),
    ([{"role": "developer", "content": [text("a")]}], "a"),
    ([{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}], [text("a"), text("b")]),
    ([{"role": "system", "content": [text("a"), text(" "), text("b")]}], [text("a"), text("b")]),
    ([{"role": "system", "content": "a", "cache_control": MARK}], [{**text("a"), "cache_control": MARK}]),
    ([{"role": "system", "content": [{**text("a"), "cache_control": MARK}]}], [{**text("a"), "cache_control": MARK}]),
]


@pytest.mark.parametrize(("messages", "system"), SYSTEM)
@pytest.mark.parametrize("late", [False, True])
def test_system_messages_are_hoisted_in_order(messages: list[Json], system: object, late: bool) -> None:
    params, noted = noting(messages=HELLO + messages if late else messages + HELLO)
    assert params["system"] == system
    assert params["messages"] == HELLO
    assert noted == (("messages[]=first",) if late else ())


def test_a_blank_system_message_is_left_out() -> None:
    assert "system" not in translate(messages=[{"role": "system", "content": ""}, *HELLO])


@pytest.mark.parametrize(("part", "block"), PARTS)
def test_user_parts(part: Json, block: Json) -> None:
    assert translate(messages=user(part))["messages"] == user(block)


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp"])
def test_the_four_kinds_of_image(kind: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,AA"}}
    source = translate(messages=user(part))["messages"][0]["content"][0]["source"]
    assert source == {"type": "base64", "media_type": f"image/{kind}", "data": "AA"}


def test_blank_parts_are_left_out_beside_others() -> None:
    assert translate(messages=user(text(""), text("a"), text("\n ")))["messages"] == user(text("a"))


def test_a_mark_on_a_message_goes_to_its_last_block_without_one() -> None:
    marked = {"role": "user", "content": "a", "cache_control": MARK}
    assert translate(messages=[marked])["messages"] == user({**text("a"), "cache_control": MARK})
    own = {"type": "ephemeral"}
    parts = {"role": "user", "content": [text("a"), {**text("b"), "cache_control": own}], "cache_control": MARK}
    assert translate(messages=[parts])["messages"] == user(text("a"), {**text("b"), "cache_control": own})


def test_marks_on_tools_results_and_the_whole_line_are_kept() -> None:
    params = translate(
        messages=[*HELLO, calling({**call(), "cache_control": MARK}), result(cache_control=MARK)],
        tools=[{**TOOL, "cache_control": MARK}],
        cache_control={"type": "ephemeral"},
    )
    assert params["messages"][1]["content"][0]["cache_control"] == MARK
    assert params["messages"][2]["content"][0]["cache_control"] == MARK
    assert params["tools"] == [{**NATIVE_TOOL, "cache_control": MARK}]
    assert params["cache_control"] == {"type": "ephemeral"}


CONVERSATIONS: list[tuple[list[Json], list[Json]]] = [
    (
        [{"role": "assistant", "content": "a", "refusal": None, "tool_calls": []}],
        [{"role": "assistant", "content": "a"}],
    ),
    ([{"role": "assistant", "refusal": "no"}], [{"role": "assistant", "content": "no"}]),
    (
        [{"role": "assistant", "content": [text("a"), {"type": "refusal", "refusal": "no"}]}],
        [{"role": "assistant", "content": [text("a"), text("no")]}],
    ),
    ([{"role": "assistant", "content": ""}], []),  # says nothing
    (
        [calling(call('{"a": 1}'), content="look"), result()],
        [
            {"role": "assistant", "content": [text("look"), tool_use(arguments={"a": 1})]},
            {"role": "user", "content": [tool_result(content="r")]},
        ],
    ),
    (  # one user message for the results of a turn, what the user says behind them
        [
            calling(call(given="a"), call(given="b")),
            result("b", [text("x")]),
            result("a", ""),
            {"role": "user", "content": "go"},
            {"role": "user", "content": [text("on")]},
        ],
        [
            {"role": "assistant", "content": [tool_use("a"), tool_use("b")]},
            {
                "role": "user",
                "content": [tool_result("b", content=[text("x")]), tool_result("a"), text("go"), text("on")],
            },
        ],
    ),
    (  # a name that repeats the call's says nothing new; so does an index left from a stream
        [calling({**call(), "index": 0}), result(name="f")],
        [
            {"role": "assistant", "content": [tool_use()]},
            {"role": "user", "content": [tool_result(content="r")]},
        ],
    ),
    (
        [calling(call("")), result(content=[{"type": "image_url", "image_url": {"url": "https://x/y.png"}}])],
        [
            {"role": "assistant", "content": [tool_use()]},
            {
                "role": "user",
                "content": [
                    tool_result(content=[{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}])
                ],
            },
        ],
    ),
]


@pytest.mark.parametrize(("messages", "native"), CONVERSATIONS)
def test_conversations(messages: list[Json], native: list[Json]) -> None:
    end = {"role": "user", "content": "end"}
    expected = [*HELLO, *native, end]
    if native and isinstance(native[-1]["content"], list) and native[-1]["role"] == "user":
        expected = [*HELLO, *native[:-1], {"role": "user", "content": [*native[-1]["content"], text("end")]}]
    assert translate(messages=[*HELLO, *messages, end])["messages"] == expected


def test_calls_without_tools_get_tools_that_cannot_be_called() -> None:
    params = translate(messages=[*HELLO, calling(call()), result()], parallel_tool_calls=False, tool_choice="none")
    assert {key: params[key] for key in NO_CHOICE} == NO_CHOICE


def test_legacy_functions_and_their_results() -> None:
    spoken = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}}
    answer = {"role": "function", "name": "f", "content": "r"}
    params = translate(
        messages=[*HELLO, spoken, answer, spoken, answer],
        functions=[TOOL["function"]],
        function_call={"name": "f"},
    )
    assert params["tools"] == [NATIVE_TOOL]
    assert params["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    uses = [block for message in params["messages"][1:] for block in message["content"]]
    assert [block["type"] for block in uses] == ["tool_use", "tool_result"] * 2
    first, second = (block["id"] for block in uses[::2])
    assert [first, second] == [block["tool_use_id"] for block in uses[1::2]]
    assert first != second


AWKWARD_IDS = ["a b", "functions.f:0", "é", "\ud83d", "x" * 300, "call-1_Z"]


@pytest.mark.parametrize("given", AWKWARD_IDS)
def test_ids_are_safe_alike_in_call_and_result_and_the_same_every_time(given: str) -> None:
    messages = [*HELLO, calling(call(given=given), call(given="other")), result(given), result("other")]
    params = translate(messages=messages)
    (use, _), (answer, _) = (message["content"] for message in params["messages"][1:])
    assert use["id"] == answer["tool_use_id"]
    assert set(use["id"]) <= set(string.ascii_letters + string.digits + "_-")
    assert translate(messages=messages) == params
    safe = set(given) <= set(string.ascii_letters + string.digits + "_-")
    assert (use["id"] == given) is safe


def test_an_id_used_again_in_a_later_turn_becomes_another() -> None:
    turn = [calling(call(given="call_0")), result("call_0")]
    params = translate(messages=[*HELLO, *turn, *turn, *turn])
    ids = [message["content"][0]["id"] for message in params["messages"][1::2]]
    answered = [message["content"][0]["tool_use_id"] for message in params["messages"][2::2]]
    assert ids == answered
    assert ids[0] == "call_0"
    assert len(set(ids)) == 3


@pytest.mark.parametrize(("function", "native"), TOOLS)
def test_tools(function: Json, native: Json) -> None:
    assert translate(tools=[{"type": "function", "function": function}])["tools"] == [native]
    assert translate(functions=[function])["tools"] == [native]


@pytest.mark.parametrize(("options", "native"), CHOICES)
def test_tool_choice(options: Json, native: Json | None) -> None:
    assert translate(tools=[TOOL], **options).get("tool_choice") == native


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_a_choice_without_tools_says_nothing(choice: str) -> None:
    assert translate(tool_choice=choice, tools=[], parallel_tool_calls=False) == translate()
