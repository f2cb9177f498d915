"""Varied OpenAI chat bodies from one seed: what people write, what they may write, what nobody should.

A body has no model: each format brings its own. The same seed gives the same bodies, so a finding can be seen again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

Json = dict[str, Any]
Dice = random.Random

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjEKJcKlwrHDqwolJUVPRgo="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
# A host that refuses at once: a judge that wants to fetch the picture fails instead of waiting.
PICTURE = "https://127.0.0.1:9/picture.png"

TEXTS = (
    "Summarize the report.",
    "What is 2 + 2?",
    "Grüße aus Köln: 12 €",
    "東京の天気は？ 날씨 天气",
    "مرحبا بالعالم \u200f(RTL)",
    "שלום, עולם",
    "👩\u200d👩\u200d👧\u200d👦🏳\ufe0f\u200d🌈 e\u0301 \u200b\u2028 zero width",
    'tab\tquote" back\\slash \u0000 \u001f control',
    "line one\nline two\r\nline three",
    "<tag attr='1'>&amp;</tag> {{template}} ${x} %s {0}",
    "x" * 2000,
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff \ufffd",
    " leading and trailing ",
)
PICTURES = {"png": PNG, "jpeg": "/9j/4AAQSkZJRgABAQAAAQABAAD/2Q==", "gif": "R0lGODlhAQABAAAAACw=",
            "webp": "UklGRiQAAABXRUJQVlA4IBgAAAA="}  # fmt: skip
MISTAKEN = (("jpeg", "png"), ("png", "jpeg"), ("webp", "png"), ("jpeg", "webp"))  # what a picture is, and says it is
NAMES = ("get_weather", "lookup", "f", "send-mail", "calc_2")
SCHEMAS: tuple[Json, ...] = (
    {"type": "object", "properties": {}},
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_993},
            "unit": {"type": "string", "enum": ["°C", "°F"], "description": "Einheit"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["n"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {
            "place": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}}
        },
    },
)
ARGUMENTS = (
    "{}",
    '{"city": "Köln"}',
    '{"n": 12345678901234567890123, "unit": "°C"}',
    '{"n": 9007199254740993, "tags": ["a", "b"], "deep": {"x": [1.5, null, true]}}',
    '{"text": "line\\nbreak \\"quoted\\" \\u00e9 👍"}',
)
RESULTS = ("22 degrees", "東京: 晴れ", '{"ok": true, "n": 9007199254740993}', "error: not found", "")


def bodies(count: int, seed: int) -> Iterator[Json]:
    """Yield bodies; of each conversation and each option there are several, alone and beside others."""
    dice = random.Random(seed)
    for number in range(count):
        talk = CONVERSATIONS[number % len(CONVERSATIONS)]
        body: Json = {"messages": talk(dice)}
        if body["messages"][-1]["role"] == "tool" or talk in (_called, _called_twice) or dice.random() < 0.2:
            body["tools"] = [_tool(dice, name) for name in NAMES]
        for option in dice.sample(OPTIONS, k=dice.choice((0, 0, 1, 1, 2, 3))):
            body |= option(dice, body)
        yield body


def spoken(count: int, seed: int) -> Iterator[Json]:
    """Yield bodies that mean to hold nothing but what was said, as a bare prompt can."""
    return islice(filter(_is_spoken, bodies(10 * count, seed)), count)


def _is_spoken(body: Json) -> bool:
    parts = [part for message in body["messages"] for part in message["content"] or () if isinstance(part, dict)]
    return not body.get("tools") and all(part["type"] == "text" for part in parts)


def encoded(body: Json, model: str) -> bytes:
    """Return a body as a client would send it; every second one with escapes for all that is not ASCII."""
    return json.dumps({"model": model, **body}, ensure_ascii=len(body["messages"]) % 2 == 0).encode()


# ---- conversations ----


def _text(dice: Dice) -> str:
    return dice.choice(TEXTS)


def _user(dice: Dice) -> Json:
    return {"role": "user", "content": _text(dice)}


def _said(dice: Dice) -> Json:
    return {"role": "assistant", "content": dice.choice(TEXTS[:7])}


def _said_part(dice: Dice) -> Json:
    return {"type": "text", "text": _text(dice)}


def _asked(*parts: Json) -> list[Json]:
    return [{"role": "user", "content": list(parts)}]


def _plain(dice: Dice) -> list[Json]:
    return [_user(dice)]


def _instructed(dice: Dice) -> list[Json]:
    return [{"role": "system", "content": _text(dice)}, _user(dice)]


def _developed(dice: Dice) -> list[Json]:
    return [{"role": "developer", "content": _text(dice)}, _user(dice)]


def _twice_instructed(dice: Dice) -> list[Json]:
    parts = [{"type": "text", "text": _text(dice)}, {"type": "text", "text": _text(dice)}]
    return [{"role": "system", "content": _text(dice)}, {"role": "system", "content": parts}, _user(dice)]


def _instructed_late(dice: Dice) -> list[Json]:
    return [_user(dice), _said(dice), {"role": "system", "content": _text(dice)}, _user(dice)]


def _long(dice: Dice) -> list[Json]:
    turns = [turn for _ in range(dice.randint(1, 4)) for turn in (_user(dice), _said(dice))]
    return [*turns, _user(dice)]


def _same_role(dice: Dice) -> list[Json]:
    return [_user(dice), _user(dice), _said(dice), _said(dice), _user(dice)]


def _prefilled(dice: Dice) -> list[Json]:
    return [_user(dice), {"role": "assistant", "content": "The answer is"}]


def _refused(dice: Dice) -> list[Json]:
    return [_user(dice), {"role": "assistant", "content": None, "refusal": "I cannot do that."}, _user(dice)]


def _parts(dice: Dice) -> list[Json]:
    parts = [{"type": "text", "text": _text(dice)} for _ in range(dice.randint(1, 3))]
    return [{"role": "user", "content": parts}]


def _picture(dice: Dice) -> list[Json]:
    image: Json = {"url": f"data:image/png;base64,{PNG}"}
    if dice.random() < 0.3:
        image["detail"] = dice.choice(("auto", "low", "high"))
    return [
        {"role": "user", "content": [{"type": "text", "text": _text(dice)}, {"type": "image_url", "image_url": image}]}
    ]


def _pictures(dice: Dice) -> list[Json]:
    urls = [f"data:image/{kind};base64,{data}" for kind, data in PICTURES.items()]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*images[: dice.randint(1, 4)], {"type": "text", "text": _text(dice)}]}]


def _mistaken(dice: Dice) -> list[Json]:
    """A picture that says it is of another kind than its first bytes are."""
    messages = _picture(dice)
    text, image = messages[0]["content"]
    real, said = MISTAKEN[len(text["text"]) % len(MISTAKEN)]
    image["image_url"]["url"] = f"data:image/{said};base64,{PICTURES[real]}"
    return messages


def _linked(dice: Dice) -> list[Json]:
    return [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": PICTURE}}, {"type": "text", "text": _text(dice)}],
        }
    ]


def _document(dice: Dice) -> list[Json]:
    file: Json = {"file_data": f"data:application/pdf;base64,{PDF}"}
    if dice.random() < 0.7:
        file["filename"] = "report.pdf"
    return [{"role": "user", "content": [{"type": "file", "file": file}, {"type": "text", "text": _text(dice)}]}]


def _heard(dice: Dice) -> list[Json]:
    audio = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
    return [{"role": "user", "content": [{"type": "text", "text": _text(dice)}, audio]}]


def _blank(dice: Dice) -> list[Json]:
    blank = dice.choice(("", " ", "\n"))
    return dice.choice(
        (
            [{"role": "user", "content": blank}],
            [{"role": "system", "content": blank}, _user(dice)],
            [_user(dice), {"role": "assistant", "content": blank}, _user(dice)],
            [{"role": "user", "content": [{"type": "text", "text": blank}, {"type": "text", "text": _text(dice)}]}],
        )
    )


def _call(dice: Dice, number: int, name: str) -> Json:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": dice.choice(ARGUMENTS)}}


def _round(dice: Dice, first: int, count: int, said: str | None) -> list[Json]:
    calls = [_call(dice, first + at, dice.choice(NAMES)) for at in range(count)]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": dice.choice(RESULTS[:4])} for call in calls]
    return [{"role": "assistant", "content": said, "tool_calls": calls}, *results]


def _called(dice: Dice) -> list[Json]:
    return [_user(dice), *_round(dice, 0, dice.choice((1, 1, 2, 3)), dice.choice((None, "Let me look.")))]


def _called_twice(dice: Dice) -> list[Json]:
    rounds = [*_round(dice, 0, 2, None), *_round(dice, 2, 1, "One more.")]
    return [{"role": "system", "content": _text(dice)}, _user(dice), *rounds, _said(dice), _user(dice)]


def _called_untold(dice: Dice) -> list[Json]:
    """Tool calls; whether the body has tools is chance."""
    return [_user(dice), *_round(dice, 0, 1, None), _user(dice)]


def _empty_result(dice: Dice) -> list[Json]:
    turns = _round(dice, 0, 1, None)
    turns[-1]["content"] = dice.choice(("", [{"type": "text", "text": "in parts"}, {"type": "text", "text": "two"}]))
    return [_user(dice), *turns]


CONVERSATIONS: tuple[Callable[[Dice], list[Json]], ...] = (
    _plain, _instructed, _developed, _twice_instructed, _instructed_late, _long, _same_role, _prefilled, _refused,
    _parts, _picture, _pictures, _linked, _document, _heard, _blank, _called, _called_twice, _called_untold,
    _empty_result, _plain, _instructed, _long, _called, _mistaken,
)  # fmt: skip


# ---- options ----


def _tool(dice: Dice, name: str) -> Json:
    function: Json = {"name": name, "parameters": dice.choice(SCHEMAS)}
    if dice.random() < 0.8:
        function["description"] = dice.choice(TEXTS[:4])
    if dice.random() < 0.1:
        del function["parameters"]
    return {"type": "function", "function": function}


def _tools(dice: Dice, _body: Json) -> Json:
    return {"tools": [_tool(dice, name) for name in NAMES[: dice.randint(1, 5)]]}


def _strict_tool(dice: Dice, _body: Json) -> Json:
    function = {"name": "f", "parameters": SCHEMAS[2], "strict": dice.choice((True, False))}
    return {"tools": [{"type": "function", "function": function}]}


def _choice(dice: Dice, body: Json) -> Json:
    tools = body.get("tools") or [_tool(dice, "f")]
    named = {"type": "function", "function": {"name": tools[0]["function"]["name"]}}
    return {"tools": tools, "tool_choice": dice.choice(("auto", "none", "required", named))}


def _parallel(dice: Dice, body: Json) -> Json:
    found = _choice(dice, body) if dice.random() < 0.5 else {"tools": body.get("tools") or [_tool(dice, "f")]}
    return {**found, "parallel_tool_calls": dice.choice((True, False))}


def _limit(dice: Dice, _body: Json) -> Json:
    return {dice.choice(("max_tokens", "max_completion_tokens")): dice.choice((1, 256, 4096))}


def _temperature(dice: Dice, _body: Json) -> Json:
    return {"temperature": dice.choice((0, 0.2, 1, 1.5, 2))}


def _top_p(dice: Dice, _body: Json) -> Json:
    return {"top_p": dice.choice((0.1, 0.95, 1))}


def _stop(dice: Dice, _body: Json) -> Json:
    return {"stop": dice.choice(("END", ["END", "###"], ["\n"], ["。", "STOP", "\n\n"]))}


def _schema(dice: Dice, _body: Json) -> Json:
    schema = {"name": "answer", "schema": {**dice.choice(SCHEMAS[1:3]), "additionalProperties": False}, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _object(_dice: Dice, _body: Json) -> Json:
    return {"response_format": {"type": "json_object"}}


def _effort(dice: Dice, _body: Json) -> Json:
    level = dice.choice(("none", "minimal", "low", "medium", "high"))
    return {"reasoning_effort": level, "max_completion_tokens": 30_000}


def _user_name(dice: Dice, _body: Json) -> Json:
    return {"user": dice.choice(("user-17", "jane@example.com", "ü" * 30))}


OPTIONS: tuple[Callable[[Dice, Json], Json], ...] = (
    _tools,
    _strict_tool,
    _choice,
    _parallel,
    _limit,
    _temperature,
    _top_p,
    _stop,
    _schema,
    _object,
    _effort,
    _user_name,
    lambda dice, _: {"n": dice.choice((1, 2))},
    lambda _, __: {"logprobs": True, "top_logprobs": 3},
    lambda dice, _: {"seed": dice.randint(0, 2**31)},
    lambda dice, _: {"frequency_penalty": dice.choice((0, 0.5))},
    lambda dice, _: {"presence_penalty": dice.choice((0, -0.5))},
    lambda _, __: {"logit_bias": {"50256": -100}},
    lambda _, __: {"service_tier": "auto"},
    lambda _, __: {"metadata": {"run": "7"}},
    lambda _, __: {"stream": False, "store": False},
    lambda dice, _: {"top_k": dice.choice((1, 40))},
)
