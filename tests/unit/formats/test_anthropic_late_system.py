"""System messages between others: they stay where the model takes them; every move is noted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.formats.anthropic.models import MODELS
from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from tests.unit.formats.anthropic_lines import (
    HAIKU,
    MARK,
    OPUS_4_6,
    OPUS_4_7,
    SONNET_5,
    Json,
    body,
    call,
    calling,
    noting,
    result,
    text,
    tool_result,
)

LATE = [
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-haiku-5-5",
    "claude-sonnet-5-5",
    "claude-fable-5",
    "claude-opus-5-5",
]
EARLY = [HAIKU, OPUS_4_6, OPUS_4_7, SONNET_5, "claude-mythos-preview", "claude-3-opus-latest"]
FIRST, LATER = ("messages[]=first",), ("messages[]=later",)


def said(role: str, content: object, **more: object) -> Json:
    return {"role": role, "content": content, **more}


U, A, S = said("user", "u"), said("assistant", "a"), said("system", "s")
TWO = said("system", [text("s"), text("t")])
CALL = calling(call())
ANSWER = said("user", [tool_result(content="r")])

# What is said, what the model gets, what of it stands first, what is noted.
TALKS: list[tuple[list[Json], list[Json], object, tuple[str, ...]]] = [
    ([U, A, U, S], [U, A, U, S], None, ()),
    ([S, U, A, U, S], [U, A, U, S], "s", ()),
    ([U, S, A, U], [U, S, A, U], None, ()),
    ([U, said("developer", "s"), A, U], [U, S, A, U], None, ()),
    ([U, S, said("system", "t"), A, U], [U, TWO, A, U], None, ()),
    ([U, said("system", [text("s")]), A, U], [U, S, A, U], None, ()),
    ([U, said("system", [text("s"), text("t")])], [U, TWO], None, ()),
    ([U, said("system", " "), A, U], [U, A, U], None, ()),
    (
        [U, said("system", "s", cache_control=MARK)],
        [U, said("system", [{**text("s"), "cache_control": MARK}])],
        None,
        (),
    ),
    ([U, CALL, result(), S], [], None, ()),
    ([U, A, S, U], [U, A, U, S], None, LATER),
    ([U, S, U], [U, U, S], None, LATER),
    ([U, S, U, said("system", "t"), A, U], [U, U, TWO, A, U], None, LATER),
    ([U, CALL, S, result(), A, U], [], None, LATER),
    ([U, A, S, A, U], [U, A, A, U], "s", FIRST),
]


@pytest.mark.parametrize("model", LATE)
@pytest.mark.parametrize(("messages", "native", "system", "noted"), TALKS)
def test_where_the_model_takes_them(
    model: str, messages: list[Json], native: list[Json], system: object, noted: tuple[str, ...]
) -> None:
    params, names = noting(model, messages)
    assert names == noted
    assert params.get("system") == system
    if native:
        assert params["messages"] == native


@pytest.mark.parametrize("model", EARLY)
@pytest.mark.parametrize("messages", [talk for talk, *_ in TALKS if talk[-1]["role"] != "assistant"])
def test_elsewhere_they_stand_first_and_the_move_is_noted(model: str, messages: list[Json]) -> None:
    params, names = noting(model, messages)
    assert all(message["role"] != "system" for message in params["messages"])
    says = [m for m in messages[1:] if m["role"] in ("system", "developer") and str(m["content"]).strip()]
    assert names == (FIRST if says else ())
    assert ("system" in params) == bool(says or messages[0] == S)


@pytest.mark.parametrize("form", [Form.BEDROCK, Form.VERTEX])
def test_clouds_take_them_too(form: Form) -> None:
    translated = to_messages(body("claude-opus-5", [U, S]), model=None, drop_params=False, form=form)
    assert json.loads(translated.body)["messages"] == [U, S]
    assert translated.dropped == ()


def test_strict_params_refuses_a_move() -> None:
    for model in (HAIKU, "claude-opus-5"):
        line = body(model, [U, A, S, U])
        with pytest.raises(Exception, match=r"messages\[2\]"):
            to_messages(line, model=None, drop_params=False, strict_params=True)


@given(st.lists(st.sampled_from("uas"), max_size=9), st.sampled_from(LATE))
def test_the_rules_of_placement_hold_and_no_word_is_lost(roles: list[str], model: str) -> None:
    names = {"u": "user", "a": "assistant", "s": "system"}
    messages = [said(names[role], f"{role}{number}") for number, role in enumerate([*roles, "u"])]
    params, _ = noting(model, messages)
    sent = params["messages"]
    kinds = [message["role"] for message in sent]
    for number, kind in enumerate(kinds):
        if kind == "system":
            assert kinds[number - 1] == "user"
            assert number > 0
            assert kinds[number + 1 : number + 2] in ([], ["assistant"])
    words = json.dumps([params.get("system"), sent])
    assert all(message["content"] in words for message in messages)
    spoken = [message["content"] for message in sent if message["role"] != "system"]
    assert spoken == [message["content"] for message in messages if message["role"] != "system"]


def test_every_model_of_the_table_is_asked() -> None:
    taking = {name for facts in MODELS.records if facts.late_system for name in facts.prefixes}
    assert {"claude-opus-4-8", "claude-opus-5", "claude-fable-5", "claude-mythos-5", "claude-opus-5-5"} <= taking
    assert not taking & {"claude-opus-4-7", "claude-sonnet-5", "claude-sonnet-4-6", "claude-haiku-4-5"}
