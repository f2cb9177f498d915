"""Chat bodies for models that take chat bodies, and Claude's in its Bedrock and Vertex forms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from proxy_plugin.providers.formats.bedrock.invoke import to_invoke
from tests.unit.formats.anthropic_lines import (
    FABLE,
    HELLO,
    OPUS_4_6,
    PDF,
    PNG,
    SCHEMA,
    TOOL,
    call,
    calling,
    result,
    text,
    tool_use,
    user,
)
from tests.unit.formats.bedrock_lines import (
    CLAUDE,
    GEMMA,
    GPT_OSS,
    IMAGE,
    MISTRAL_LARGE,
    QWEN,
    QWEN_VL,
    Json,
    body,
    invoke,
    refused,
)

NAMED: Json = {"type": "function", "function": {"name": "f"}}


def test_the_plainest_line() -> None:
    for model in (GPT_OSS, QWEN, MISTRAL_LARGE):
        assert invoke(model) == {"messages": HELLO}


def test_messages() -> None:
    told = [
        {"role": "developer", "content": [text("s")]},
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": None},
        *HELLO,
        calling(call('{"a":1.10}', "a"), content="look"),
        result("a", [text("r")], name="f"),
    ]
    assert invoke(QWEN, told)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": "no"},
        *HELLO,
        {"role": "assistant", "content": "look", "tool_calls": [call('{"a":1.10}', "a")]},
        {"role": "tool", "tool_call_id": "a", "content": "r"},
    ]


def test_a_refusal_stays_beside_what_was_said() -> None:
    refusing = {"role": "assistant", "content": "a", "refusal": "no"}
    assert invoke(QWEN, [*HELLO, refusing, *HELLO])["messages"][1] == {
        "role": "assistant",
        "content": [text("a"), text("no")],
    }


def test_empty_messages_say_nothing() -> None:
    silent = [{"role": role, "content": content} for role in ("system", "assistant") for content in ("", [text("")])]
    assert invoke(QWEN, [*silent, *HELLO])["messages"] == HELLO
    for content in ("", [text("")]):
        assert refused(to_invoke, QWEN, [{"role": "user", "content": content}]).param == "messages[0].content"


def test_images_where_the_model_sees() -> None:
    assert invoke(QWEN_VL, user(IMAGE))["messages"] == user(IMAGE)
    assert refused(to_invoke, QWEN, user(IMAGE)).param == "messages[0].content[0]"
    detailed = {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}
    kept = invoke(QWEN_VL, user(detailed), lost=("messages[].content[].image_url.detail",))
    assert kept["messages"] == user(IMAGE)
    remote = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    assert refused(to_invoke, QWEN_VL, user(remote)).param == "messages[0].content[0].image_url.url"


def test_options() -> None:
    given: Any = {"temperature": 2, "top_p": 0.5, "stop": ["a"]}
    kept = {"messages": HELLO, "temperature": 2, "top_p": 0.5, "stop": ["a"]}
    assert invoke(QWEN, max_completion_tokens=9, **given) == {**kept, "max_tokens": 9}
    more: Any = {"seed": 7, "frequency_penalty": -1, "reasoning_effort": "minimal"}
    own = {"max_completion_tokens": 9, "seed": 7, "frequency_penalty": -1, "reasoning_effort": "low"}
    assert invoke(GPT_OSS, max_tokens=9, **given, **more, lost=("reasoning_effort=low",)) == {**kept, **own}
    assert invoke(QWEN, stop=["a", ""], lost=("stop=without empty ones",))["stop"] == ["a"]


def test_tools() -> None:
    native = invoke(QWEN, functions=[TOOL["function"]], function_call={"name": "f"})
    assert native == {"messages": HELLO, "tools": [TOOL], "tool_choice": NAMED}
    bare = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    assert invoke(QWEN, tools=[NAMED])["tools"] == [{"type": "function", "function": bare}]
    strict = {"type": "function", "function": {**bare, "strict": True}}
    assert invoke(GPT_OSS, tools=[strict], tool_choice="required") == {
        "messages": HELLO, "tools": [strict], "tool_choice": "required",
    }  # fmt: skip


def test_mistrals_words_for_the_choice() -> None:
    for choice, native in {"auto": "auto", "required": "any", "none": "none"}.items():
        assert invoke(MISTRAL_LARGE, tools=[TOOL], tool_choice=choice)["tool_choice"] == native
    assert invoke(MISTRAL_LARGE, tools=[TOOL], tool_choice=NAMED, lost=("tool_choice=any",))["tool_choice"] == "any"


def test_schemas_of_answers() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    assert invoke(QWEN, response_format=wanted)["response_format"] == wanted


STRICT: Json = {"type": "function", "function": {"name": "f", "strict": True}}
LOST: list[tuple[str, Json, str]] = [
    (QWEN, {"top_k": 4}, "top_k"),
    (QWEN, {"seed": 4}, "seed"),
    (QWEN, {"user": "ada"}, "user"),
    (QWEN, {"reasoning_effort": "low"}, "reasoning_effort"),
    (QWEN, {"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
    (QWEN, {"cache_control": {"type": "ephemeral"}}, "cache_control"),
    (MISTRAL_LARGE, {"stop": "a"}, "stop"),
    (MISTRAL_LARGE, {"tools": [STRICT]}, "tools[].function.strict"),
    (MISTRAL_LARGE, {"temperature": 2}, "temperature=1"),
    (MISTRAL_LARGE, {"max_tokens": 8193}, "max_tokens=8192"),
]


@pytest.mark.parametrize(("model", "given", "lost"), LOST, ids=[f"{lost}-{model}" for model, _, lost in LOST])
def test_losses_are_refused_or_recorded(model: str, given: Json, lost: str) -> None:
    assert invoke(model, lost=(lost,), **given)["messages"] == HELLO


AT = "messages[0].content[0]"
REFUSED: list[tuple[str, Json, str]] = [
    (QWEN, {"n": 2}, "n"),
    (QWEN, {"stream": True}, "stream"),
    (QWEN, {"logprobs": True}, "logprobs"),
    (QWEN, {"messages": [*HELLO, {"role": "assistant", "content": "a"}]}, "messages"),
    (QWEN, {"messages": [{"role": "system", "content": ""}]}, "messages"),
    (MISTRAL_LARGE, {"messages": [{"role": "system", "content": "a"}]}, "messages"),
    (QWEN, {"messages": [*HELLO, calling(call()), *HELLO]}, "messages[1].tool_calls[0]"),
    (QWEN, {"messages": [*HELLO, calling(call("{")), result()]}, "messages[1].tool_calls[0].function.arguments"),
    (QWEN, {"messages": user()}, "messages[0].content"),
    (QWEN, {"messages": [*HELLO, {"role": "assistant", "audio": {"id": "x"}}]}, "messages[1].audio"),
    (QWEN_VL, {"messages": user({"type": "image_url", "image_url": {"url": PDF}})}, f"{AT}.image_url.url"),
    (QWEN, {"tools": [{"type": "custom"}]}, "tools[0]"),
    (GEMMA, {}, "model"),
]


@pytest.mark.parametrize(("model", "given", "param"), REFUSED, ids=range(len(REFUSED)))
def test_no_setting_lets_these_through(model: str, given: Json, param: str) -> None:
    assert refused(to_invoke, model, **given).param == param


def test_claude_is_told_its_version_and_no_model() -> None:
    assert invoke(CLAUDE, temperature=0.5) == {
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 64_000, "messages": HELLO, "temperature": 0.5,
    }  # fmt: skip
    tools = invoke(CLAUDE, [*HELLO, calling(call()), result()], tools=[TOOL], user="ada")
    assert tools["messages"][1]["content"] == [tool_use()]
    assert tools.keys() == {"anthropic_version", "max_tokens", "messages", "tools", "metadata"}


@pytest.mark.parametrize("form", [Form.BEDROCK, Form.VERTEX])
def test_the_clouds_forms_of_an_anthropic_body(form: Form) -> None:
    line = body(model=OPUS_4_6, reasoning_effort="max", max_tokens=9000)
    native = json.loads(to_messages(line, model=None, drop_params=False, form=form).body)
    own = json.loads(to_messages(line, model=None, drop_params=False).body)
    assert native == {"anthropic_version": form.value, **{key: own[key] for key in own if key != "model"}}
    assert native["anthropic_version"] in ("bedrock-2023-05-31", "vertex-2023-10-16")
    remote = body(user({"type": "image_url", "image_url": {"url": "https://x/y.png"}}), model=FABLE)
    assert b"https://x/y.png" in to_messages(remote, model=None, drop_params=False).body
    with pytest.raises(LineRejected, match="image_url"):
        to_messages(remote, model=None, drop_params=True, form=form)


def test_the_clouds_cache_marks_stand_on_blocks() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    line = body([*HELLO, calling(call()), result(content="r")], tools=[TOOL], cache_control=mark)
    native = json.loads(to_invoke(line, model=CLAUDE, drop_params=False).body)
    assert native["messages"][2]["content"][-1]["cache_control"] == mark
    assert "cache_control" not in native
    plain = json.loads(to_invoke(body(cache_control=mark), model=CLAUDE, drop_params=False).body)
    assert plain["messages"] == user({**text("hi"), "cache_control": mark})
