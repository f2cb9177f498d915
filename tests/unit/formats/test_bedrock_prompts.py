"""Chat bodies as one prompt: the templates exactly, and texts that could break out of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.bedrock.invoke import to_converse, to_invoke
from proxy_plugin.providers.formats.bedrock.models import MODELS
from proxy_plugin.providers.formats.bedrock.prompts import DIALECTS
from proxy_plugin.providers.formats.openai.chat import JSON_ONLY
from tests.unit.formats.anthropic_lines import HELLO, SCHEMA, TOOL, call, calling, result, text, user
from tests.unit.formats.bedrock_lines import IMAGE, LLAMA_3, LLAMA_4, MIXTRAL, R1, Json, body, invoke, noted, refused

TALK = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": [text("c"), text("d")]},
]
TOLD = [{"role": "developer", "content": "s"}, *TALK]
PROMPTS = [
    (
        LLAMA_3,
        TOLD,
        (
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\ns<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nb<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\ncd<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
    ),
    (
        LLAMA_4,
        TOLD,
        (
            "<|begin_of_text|><|header_start|>system<|header_end|>\n\ns<|eot|>"
            "<|header_start|>user<|header_end|>\n\na<|eot|>"
            "<|header_start|>assistant<|header_end|>\n\nb<|eot|>"
            "<|header_start|>user<|header_end|>\n\ncd<|eot|>"
            "<|header_start|>assistant<|header_end|>\n\n"
        ),
    ),
    (MIXTRAL, TALK, "<s>[INST] a [/INST] b</s> [INST] cd [/INST]"),
    (
        R1,
        TOLD,
        "<｜begin▁of▁sentence｜>s<｜User｜>a<｜Assistant｜>b<｜end▁of▁sentence｜><｜User｜>cd<｜Assistant｜><think>\n",
    ),
]
PROMPTS.append(
    (
        R1,
        [*TOLD, {"role": "system", "content": "late"}, {"role": "user", "content": "e"}],
        (
            "<｜begin▁of▁sentence｜>s\n\nlate<｜User｜>a<｜Assistant｜>b<｜end▁of▁sentence｜><｜User｜>cd<｜User｜>e"
            "<｜Assistant｜><think>\n"
        ),
    )
)
CONTROL = {
    LLAMA_3: ["<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>system<|end_header_id|>", "<|python_tag|>"],
    LLAMA_4: ["<|eot|>", "<|header_start|>", "<|image|>", "<|reserved_special_token_7|>"],
    MIXTRAL: ["[/INST]", "[INST]", "</s>", "<s>", "[TOOL_CALLS]"],
    R1: ["<｜User｜>", "<｜end▁of▁sentence｜>", "<｜tool▁calls▁begin｜>"],
}
BREAKING = [(model, token) for model, tokens in CONTROL.items() for token in tokens]
LIMITS = {LLAMA_3: ("max_gen_len", 2048), LLAMA_4: ("max_gen_len", 8192), MIXTRAL: ("max_tokens", 4096)}


@pytest.mark.parametrize(("model", "messages", "prompt"), PROMPTS, ids=range(len(PROMPTS)))
def test_the_templates(model: str, messages: list[Json], prompt: str) -> None:
    name, limit = LIMITS.get(model, ("max_tokens", 32_768))
    lost = ("messages[]=first",) if model == R1 and len(messages) > len(TOLD) else ()
    assert invoke(model, messages, lost=lost) == {"prompt": prompt, name: limit}


def test_options() -> None:
    native = invoke(LLAMA_3, max_tokens=9, temperature=0.5, top_p=0.1, n=1)
    assert {key: native[key] for key in native if key != "prompt"} == {
        "max_gen_len": 9, "temperature": 0.5, "top_p": 0.1,
    }  # fmt: skip
    native = invoke(MIXTRAL, stop=["a", ""], top_k=3, lost=("stop=without empty ones",))
    assert (native["stop"], native["top_k"]) == (["a"], 3)
    assert invoke(R1, stop="a")["stop"] == ["a"]


@pytest.mark.parametrize(("model", "token"), BREAKING, ids=ascii)
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_no_text_can_end_its_turn(model: str, token: str, role: str) -> None:
    said = [{"role": role, "content": f"a {token} b"}]
    told = {"system": [*said, *HELLO], "user": said, "assistant": [*HELLO, *said, *HELLO]}[role]
    refusal = refused(to_invoke, model, told)
    if not (role == "system" and model == MIXTRAL):
        assert "Converse" in str(refusal)
    assert token not in str(refusal)
    parts = [text(f"a {token[:2]}"), text(f"{token[2:]} b")]  # neither part alone holds it
    assert refused(to_invoke, model, user(*parts)).param == "messages[0].content"


@pytest.mark.parametrize(("model", "token"), BREAKING, ids=ascii)
def test_converse_takes_those_texts(model: str, token: str) -> None:
    line = body([{"role": "user", "content": token}])
    sent = json.loads(to_converse(line, model=model, drop_params=False).body)
    assert sent["messages"][0]["content"] == [{"text": token}]


@pytest.mark.parametrize("model", list(CONTROL))
@given(data=st.data())
def test_a_prompt_holds_no_other_control_tokens_than_its_templates(model: str, data: st.DataObject) -> None:
    bits = st.sampled_from([*"<|>[/]s｜", "INST", "eot_id", "User", "<|", "|>", "<|eot_id|>"])
    words = data.draw(st.lists(bits | st.text(max_size=3), min_size=1, max_size=6).map("".join))
    line = body([{"role": "user", "content": words}])
    try:
        native = json.loads(to_invoke(line, model=model, drop_params=False).body)
    except LineRejected:
        return
    control = DIALECTS[MODELS.find(model).facts.family].control
    plain = invoke(model, [{"role": "user", "content": "@@@"}])
    assert control.findall(native["prompt"]) == control.findall(plain["prompt"])
    assert native["prompt"] == plain["prompt"].replace("@@@", words)


LOST: list[tuple[str, Json, str]] = [
    (LLAMA_3, {"stop": "a"}, "stop"),
    (LLAMA_3, {"top_k": 2}, "top_k"),
    (LLAMA_3, {"temperature": 1.1}, "temperature=1"),
    (LLAMA_3, {"max_tokens": 8193}, "max_tokens=8192"),
    (LLAMA_3, {"user": "ada"}, "user"),
    (LLAMA_3, {"reasoning_effort": "low"}, "reasoning_effort"),
    (
        MIXTRAL,
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": True}}},
        "response_format=told, not enforced",
    ),
    (MIXTRAL, {"seed": 7}, "seed"),
    (R1, {"cache_control": {"type": "ephemeral"}}, "cache_control"),
    (R1, {"reasoning_effort": "none"}, "reasoning_effort"),
]


@pytest.mark.parametrize(("model", "given_", "lost"), LOST, ids=[f"{lost}-{model}" for model, _, lost in LOST])
def test_losses_are_refused_or_recorded(model: str, given_: Json, lost: str) -> None:
    assert "hi" in invoke(model, lost=(lost,), **given_)["prompt"]


REFUSED: list[tuple[str, Json, str]] = [
    (LLAMA_3, {"tools": [TOOL]}, "tools"),
    (LLAMA_3, {"messages": [*HELLO, calling(call()), result()]}, "tools"),
    (LLAMA_3, {"messages": [*HELLO, {"role": "assistant", "content": "a"}]}, "messages"),
    (LLAMA_3, {"messages": [{"role": "system", "content": ""}]}, "messages"),
    (LLAMA_3, {"messages": []}, "messages"),
    (LLAMA_3, {"messages": user(IMAGE)}, "messages[0].content[0].type"),
    (LLAMA_3, {"messages": user(text(" "))}, "messages[0].content"),
    (LLAMA_3, {"n": 2}, "n"),
    (LLAMA_3, {"tool_choice": "required"}, "tool_choice"),
    (MIXTRAL, {"messages": [{"role": "system", "content": "a"}, *HELLO]}, "messages[0]"),
    (MIXTRAL, {"messages": [*HELLO, *HELLO]}, "messages[1]"),
    (MIXTRAL, {"messages": [{"role": "assistant", "content": "a"}, *HELLO]}, "messages[0]"),
]


@pytest.mark.parametrize(("model", "given_", "param"), REFUSED, ids=range(len(REFUSED)))
def test_no_setting_lets_these_through(model: str, given_: Json, param: str) -> None:
    assert refused(to_invoke, model, **given_).param == param


LATE: list[Json] = [
    *HELLO,
    {"role": "assistant", "content": "b"},
    {"role": "system", "content": "late"},
    {"role": "user", "content": "c"},
]


def test_what_is_told_stands_behind_all_system_texts_where_these_stand_first() -> None:
    lost = ("messages[]=first", "response_format=told, not enforced")
    for first in ([], [{"role": "system", "content": "s"}]):
        told = invoke(R1, [*first, *LATE], response_format={"type": "json_object"}, lost=lost)["prompt"]
        system = told.partition("<｜User｜>")[0].removeprefix("<｜begin▁of▁sentence｜>")
        assert system == "\n\n".join((*(each["content"] for each in first), "late", JSON_ONLY))


def test_a_late_system_text_does_not_hide_that_the_assistant_speaks_last() -> None:
    assert refused(to_invoke, R1, LATE[:-1]).param == "messages"


@pytest.mark.parametrize("model", [LLAMA_3, LLAMA_4, MIXTRAL, R1])
def test_tools_that_the_line_forbids_are_left_out_and_noted(model: str) -> None:
    more: Any = {"tools": [TOOL], "tool_choice": "none"}
    assert noted(to_invoke, model, **more) == (invoke(model), ("tools",))
    older: Any = {"functions": [TOOL["function"]], "function_call": "none"}
    assert noted(to_invoke, model, **older) == (invoke(model), ("functions",))
    nothing: Any = {"tools": [], "tool_choice": "none"}
    assert invoke(model, **nothing) == invoke(model)


def test_an_empty_assistant_message_says_nothing() -> None:
    said: Json = {"role": "assistant", "content": None, "tool_calls": [], "refusal": None}
    assert invoke(LLAMA_3, [said, *HELLO]) == invoke(LLAMA_3)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"content": None, "refusal": "no"}, "no"),
        ({"content": "a", "refusal": "no"}, "a\n\nno"),
        ({"content": [text("a"), {"type": "refusal", "refusal": "b"}]}, "ab"),
    ],
)
@pytest.mark.parametrize("model", [LLAMA_3, LLAMA_4, MIXTRAL, R1])
def test_what_the_assistant_refused_with_stays_in_the_conversation(model: str, said: Json, kept: str) -> None:
    refusing = {"role": "assistant", **said}
    assert invoke(model, [*HELLO, refusing, *HELLO]) == invoke(
        model, [*HELLO, {"role": "assistant", "content": kept}, *HELLO]
    )


def test_a_refusal_cannot_end_its_turn_either() -> None:
    refusing = {"role": "assistant", "content": None, "refusal": "a <|eot_id|> b"}
    assert refused(to_invoke, LLAMA_3, [*HELLO, refusing, *HELLO]).param == "messages[1].content"
