"""What is made of tools and schemas is made once for each of their texts, and nobody can tell, but by the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.lane import Lanes
from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats import remembered
from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from proxy_plugin.providers.formats.bedrock.invoke import to_converse, to_invoke
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.losses import Losses
from proxy_plugin.providers.formats.remembered import ENTRIES, TRUST, Key, Memory, recall
from proxy_plugin.providers.formats.shapes import Translated
from proxy_plugin.routing.route import Rules
from tests.unit.formats.schema_lines import SCHEMAS

Json = dict[str, Any]
Translate = Callable[..., Translated]
SONNET, HAIKU_3 = "anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-3-haiku-20240307"
FORMATS: dict[str, Translate] = {
    "Claude": partial(to_messages, model="claude-haiku-4-5"),
    "Claude 3": partial(to_messages, model=HAIKU_3),
    "Claude on Vertex": partial(to_messages, model="claude-sonnet-4-5", form=Form.VERTEX),
    "Claude on Bedrock": partial(to_invoke, model=SONNET),
    "Claude by Converse": partial(to_converse, model=SONNET),
    "Nova": partial(to_invoke, model="amazon.nova-pro-v1:0"),
    "Nova by Converse": partial(to_converse, model="amazon.nova-pro-v1:0"),
    "DeepSeek by Converse": partial(to_converse, model="deepseek.v3-v1:0"),
    "gpt-oss": partial(to_invoke, model="openai.gpt-oss-120b-1:0"),
    "Mistral": partial(to_invoke, model="mistral.mistral-large-2407-v1:0"),
    "Gemini": partial(to_generate_content, model="gemini-2.5-flash"),
    "Gemini on Vertex": partial(to_generate_content, model="gemini-2.0-flash", vertex=True),
}
HELLO = [{"role": "user", "content": "hi"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "1"}]
MARK = {"type": "ephemeral"}
# As they are written: what a decoder may change, what one refuses.
ODD = (
    '{"maximum":1.50}',
    '{"maximum":12345678901234567890123}',
    '{"title":"\\ud83d"}',
    '{"minimum":1e400}',
    '{"a":[0.1]}',
)


def made_odd(schema: Json, odd: str) -> Json:
    return {**schema, "x-odd": odd}


def written(body: Json) -> bytes:
    """Return a body in which what `made_odd` has put there stands as it is written."""
    text = json.dumps(body)
    for quoted in ODD:
        text = text.replace(json.dumps(quoted), quoted)
    return text.encode()


OBJECTS = SCHEMAS | st.builds(made_odd, SCHEMAS, st.sampled_from(ODD))
FUNCTIONS = st.fixed_dictionaries(
    {"name": st.sampled_from(["f", "g", "bad name"])},
    optional={
        "description": st.sampled_from(["d", "ü", 1]),
        "parameters": OBJECTS | st.builds(lambda inner: {"type": "object", "properties": {"a": inner}}, OBJECTS),
        "strict": st.booleans(),
        "cache_control": st.sampled_from([MARK, {"type": "new"}]),
        "other": st.just(1),
    },
)
TOOLS = st.lists(
    FUNCTIONS.map(lambda function: {"type": "function", "function": function})
    | st.sampled_from([{"google_search": {}}, {"type": "web_search_20250305", "name": "f"}, {"type": "new"}, 1]),
    max_size=3,
)
CHOICES = st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}, 1])
ANSWERS = st.sampled_from([{"type": "text"}, {"type": "json_object"}, {"type": "new"}]) | st.builds(
    lambda schema, strict: {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": strict}},
    OBJECTS,
    st.booleans(),
)
BODIES = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.sampled_from([HELLO, CALLED])},
    optional={
        "tools": TOOLS,
        "functions": st.lists(FUNCTIONS, max_size=1),
        "tool_choice": CHOICES,
        "parallel_tool_calls": st.booleans(),
        "response_format": ANSWERS,
        "web_search_options": st.sampled_from([{}, {"search_context_size": "low"}, {"new": 1}]),
        "seed": st.just(1),
    },
)


def outcome(translate: Translate, body: bytes, switches: dict[str, bool]) -> object:
    try:
        return translate(body, **switches)
    except LineRejected as refused:
        return refused.message, refused.code, refused.params


def unremembered(translate: Translate, body: bytes, switches: dict[str, bool]) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memory, "trusts", lambda *_: False)
        return outcome(translate, body, switches)


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(BODIES, min_size=1, max_size=3),
    name=st.sampled_from(list(FORMATS)),
    drop=st.booleans(),
    strict=st.booleans(),
)
def test_lines_become_the_same_bytes_whatever_was_translated_before(
    lines: Sequence[Json], name: str, drop: bool, strict: bool
) -> None:
    switches, translate = {"drop_params": drop, "strict_params": strict}, FORMATS[name]
    for body in map(written, [*lines, *lines]):
        assert outcome(translate, body, switches) == unremembered(translate, body, switches)


@pytest.mark.parametrize("name", FORMATS)
def test_tools_and_schemas_are_made_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}}}
    tool = {"type": "function", "function": {"name": "f"}}
    body = written({"model": "m", "messages": HELLO, "tools": [tool], "response_format": form})
    remembered.forget()
    first, found, find = outcome(FORMATS[name], body, {"drop_params": True}), list[bool](), Memory.find

    def watched(memory: Memory, key: Key) -> Any:
        again = find(memory, key)
        found.append(again is not None)
        return again

    monkeypatch.setattr(Memory, "find", watched)
    assert outcome(FORMATS[name], body, {"drop_params": True}) == first
    assert len(found) >= 2
    assert all(found)


def test_a_file_begins_with_nothing_of_the_one_before() -> None:
    losses, made = Losses(allowed=True, provider="p"), list[str]()

    def make(_losses: Losses) -> str:
        made.append("made")
        return "x"

    recall("words", ["of a workspace"], None, losses, make)
    recall("words", ["of a workspace"], None, losses, make)
    assert made == ["made"]
    Lanes("/v1/chat/completions", [TargetSpec("slug", "openai")], Rules())
    recall("words", ["of a workspace"], None, losses, make)
    assert made == ["made"] * 2


@pytest.mark.parametrize("size", [10, 20_000])
def test_what_is_kept_is_bounded(size: int) -> None:
    memory = Memory()
    for n in range(ENTRIES * 3):
        key = memory.key("words", [f"{n:0{size}}"], None)
        assert key is not None
        memory.keep(key, (b"x" * size, ("name",)))
        assert 0 < memory.entries <= ENTRIES
        assert 0 < memory.size <= remembered.BYTES
        assert memory.find(key) is not None


def test_what_is_too_large_is_not_kept() -> None:
    memory = Memory()
    key = memory.key("words", ["x" * remembered.LARGEST], None)
    assert key is not None
    memory.keep(key, b"")
    assert memory.find(key) is None


def test_what_is_never_found_again_is_not_kept_for_long() -> None:
    memory = Memory()
    tried = 0
    while (key := memory.key("words", [tried], None)) is not None:
        assert memory.find(key) is None
        tried += 1
    assert tried == TRUST
    assert memory.trusts("others")
