"""What a translation costs grows with the bytes of its line, whatever a stranger wrote.

Each shape once took the square of its size, or would if somebody looked things up in a list. A line that takes more
than its allowance is ended by the meter; with the square none of these would come to an end within it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from proxy_plugin.ground.meter import Allowance, Meter
from proxy_plugin.providers.errors import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.bedrock.invoke import to_invoke
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.openai.responses_chat import to_chat

Json = dict[str, Any]
ALLOWED = Allowance(seconds=4.0, seconds_per_mb=4.0)  # of CPU: the slowest of these takes a tenth on an idle machine
MANY = 20_000
TEXT = {"type": "string"}
ASKED = {"role": "user", "content": "hi"}


def chat(**more: Any) -> Json:
    return {"messages": [ASKED], **more}


def answering(schema: Json) -> Json:
    form = {"name": "n", "schema": schema, "strict": True}
    return chat(response_format={"type": "json_schema", "json_schema": form})


def closed(properties: Json, **more: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
        **more,
    }


def spelled(n: int) -> str:
    """Return a reference to `#/$defs/dddddddddddddddd`, each number in a spelling of its own."""
    return "#/$defs/" + "".join("%64" if n >> bit & 1 else "d" for bit in range(16))


def spellings(n: int) -> Json:
    held = closed({f"q{i}": TEXT for i in range(n)})
    return closed({f"p{i}": {"$ref": spelled(i)} for i in range(n)}, **{"$defs": {"d" * 16: held}})


def chain(n: int) -> Json:
    steps: Json = {f"D{i}": {"$ref": f"#/$defs/D{i + 1}"} for i in range(n)}
    return closed({"a": {"$ref": "#/$defs/D0"}}, **{"$defs": {**steps, f"D{n}": TEXT}})


def fan(n: int) -> Json:
    steps = {f"D{i}": closed({name: {"$ref": f"#/$defs/D{i + 1}"} for name in "ab"}) for i in range(n)}
    return closed({"a": {"$ref": "#/$defs/D0"}}, **{"$defs": {**steps, f"D{n}": TEXT}})


def nested(n: int, name: str, levels: int = 150) -> Json:
    inner = closed({f"p{i}": TEXT for i in range(n)})
    for _ in range(levels):
        inner = {name: [inner]} if name == "allOf" else {"type": "object", name: {"x": inner}}
    return inner


def called(n: int) -> list[Json]:
    calls = [{"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in range(n)]
    results = [{"role": "tool", "tool_call_id": f"c{i}", "content": "x"} for i in reversed(range(n))]
    return [ASKED, {"role": "assistant", "content": None, "tool_calls": calls}, *results]


def files(n: int) -> list[Json]:
    file = {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}}
    return [{"role": "user", "content": [{"type": "text", "text": "x"}, *[file] * n]}]


def tools(schema: Json) -> Json:
    return chat(tools=[{"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}])


SHAPES: dict[str, Callable[[], Json]] = {
    "members that have no place": lambda: chat(**{f"x{i}": 1 for i in range(MANY)}),
    "members of a message that have no place": lambda: {"messages": [ASKED | {f"x{i}": 1 for i in range(MANY)}]},
    "spellings of one reference": lambda: answering(spellings(MANY // 2)),
    "spellings of one reference in a tool": lambda: tools(spellings(MANY // 2)),
    "a chain of references": lambda: answering(chain(MANY)),
    "a chain of references at the top of a tool": lambda: tools({**chain(MANY), "$ref": "#/$defs/D0"}),
    "references that fan out": lambda: answering(fan(MANY // 4)),
    "words that are no keywords": lambda: answering(closed({"a": {**TEXT, **{f"k{i}": i for i in range(MANY)}}})),
    "definitions in definitions": lambda: answering(nested(MANY // 4, "definitions")),
    "allOf in allOf": lambda: answering({**{f"k{i}": i for i in range(MANY)}, **nested(1, "allOf")}),
    "an index with too many digits": lambda: answering(closed({"a": {"$ref": "#/required/" + "9" * MANY}})),
    "halves under a long name": lambda: chat(metadata={"k" * 400_000: {f"a{i}": "\ud83d" for i in range(MANY)}}),
    "halves in a deep list": lambda: chat(x=json.loads("[" * 150 + '["\\ud83d"]' + ',["\\ud83d"]' * MANY + "]" * 150)),
    "system texts": lambda: {"messages": [{"role": "system", "content": f"s{i}"} for i in range(MANY)] + [ASKED]},
    "documents of one name": lambda: {"messages": files(MANY // 2)},
    "calls answered backwards": lambda: {"messages": called(MANY // 2)},
}
FORMATS: dict[str, tuple[Callable[..., object], str]] = {
    "anthropic": (to_messages, "claude-haiku-4-5"),
    "gemini": (to_generate_content, "gemini-2.5-flash"),
    "converse": (to_invoke, "amazon.nova-pro-v1:0"),
    "prompt": (to_invoke, "us.deepseek.r1-v1:0"),
}


def refused(work: Callable[[], object]) -> LineRejected:
    """Return the refusal; one without words where there is none."""
    try:
        work()
    except LineRejected as refusal:
        return refusal
    return LineRejected("", code="")


def within(translate: Callable[..., object], body: bytes) -> None:
    """Translate with losses and without; a refusal is an end, too."""
    for drop in (True, False):
        with Meter(ALLOWED) as meter, meter.line(len(body)):
            refusal = refused(partial(translate, body, drop_params=drop))
        assert len(refusal.params) <= 1_000
        assert len(refusal.message) < 20_000


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_line_takes_what_its_bytes_allow(name: str, shape: str) -> None:
    translate, model = FORMATS[name]
    within(partial(translate, model=model), json.dumps({"model": model, **SHAPES[shape]()}).encode())


@pytest.mark.parametrize(
    "more",
    [
        {f"x{i}": 1 for i in range(MANY)},
        {"input": [{"type": "reasoning", "id": f"r{i}", "summary": []} for i in range(MANY)] + [ASKED]},
        {"tools": [{"type": "function", "name": f"f{i}", "parameters": {}} for i in range(MANY)]},
        {"include": [f"i{i}" for i in range(MANY)]},
    ],
    ids=["members", "reasoning", "tools", "included"],
)
def test_a_responses_line_takes_what_its_bytes_allow(more: Json) -> None:
    within(to_chat, json.dumps({"model": "m", "input": "x", **more}).encode())


def test_what_is_left_out_is_named_up_to_a_bound() -> None:
    body = json.dumps({"model": "claude-haiku-4-5", **SHAPES["members that have no place"]()}).encode()
    found = to_messages(body, model=None, drop_params=True)
    assert found.dropped[:2] == ("x0", "x1")
    assert (len(found.dropped), found.dropped[-1]) == (1_001, "(others)")


def test_a_refusal_says_that_there_is_more() -> None:
    body = json.dumps({"model": "claude-haiku-4-5", **SHAPES["members that have no place"]()}).encode()
    with pytest.raises(LineRejected, match="And at least 980 more"):
        to_messages(body, model=None, drop_params=False)
