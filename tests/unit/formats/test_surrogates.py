"""Halves of characters: found wherever they stand, never confused with escapes of backslashes or with whole emoji."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from proxy_plugin.providers.formats.surrogates import mended
from tests.unit.formats.anthropic_lines import HAIKU, HELLO, TOOL, Json, body, call, calling, result, user

HALF = "\ud83d"
NAMED = {"type": "function", "function": {"name": "f", "description": f"d{HALF}"}}

# Where half a character stands, and what is noted.
PLACES: list[tuple[Json, tuple[str, ...]]] = [
    ({"messages": [{"role": "user", "content": f"great {HALF}"}]}, ("messages[].content",)),
    ({"messages": [{"role": "user", "content": "\ude00"}]}, ("messages[].content",)),
    ({"messages": user({"type": "text", "text": HALF})}, ("messages[].content[].text",)),
    ({"messages": [{"role": "system", "content": HALF}, *HELLO]}, ("messages[].content",)),
    ({"messages": [*HELLO, {"role": "assistant", "content": HALF}, *HELLO]}, ("messages[].content",)),
    (
        {"messages": [*HELLO, calling(call(json.dumps({"a": HALF}))), result()]},
        ("messages[].tool_calls[].function.arguments",),
    ),
    ({"messages": [*HELLO, calling(call()), result(content=HALF)]}, ("messages[].content",)),
    ({"messages": HELLO, "system": HALF}, ("system",)),
    ({"messages": HELLO, "stop": [HALF]}, ("stop[]",)),
    ({"messages": HELLO, "tools": [NAMED]}, ("tools[].function.description",)),
    (
        {"messages": [{"role": "user", "content": HALF}], "tools": [NAMED, TOOL | {"cache_control": None}][:1]},
        ("messages[].content", "tools[].function.description"),
    ),
]


@pytest.mark.parametrize(("options", "noted"), PLACES)
@pytest.mark.parametrize("form", Form)
def test_half_a_character_becomes_the_sign_for_a_lost_one(options: Json, noted: tuple[str, ...], form: Form) -> None:
    translated = to_messages(body(**options), model=HAIKU, drop_params=False, form=form)
    assert translated.dropped == tuple(f"{name}=U+FFFD" for name in noted)
    json.loads(translated.body).__repr__().encode()  # no half is left
    assert b"\\ufffd" in translated.body


WHOLE = ["😀", "\\ud83d", "\\\\ud83d", "\\", "\\u", "d83d", "\\ud83d\\ude00", "\ufffd", "é\u2028", "\x00"]


@pytest.mark.parametrize("words", WHOLE)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_what_is_whole_stays_as_it_is(words: str, ascii_only: bool) -> None:
    given_body = {"model": HAIKU, "messages": [{"role": "user", "content": words + "."}]}
    line = json.dumps(given_body, ensure_ascii=ascii_only).encode()
    translated = to_messages(line, model=None, drop_params=False)
    assert json.loads(translated.body)["messages"][0]["content"] == words + "."
    assert translated.dropped == ()


@given(st.lists(st.sampled_from(["\\", "\ud83d", "\ude00", "😀", "u", '"', "d83d", "a", "\n"]), max_size=12))
def test_every_text_becomes_what_utf_16_makes_of_it(pieces: list[str]) -> None:
    text = json.dumps("".join(pieces))
    expected = json.loads(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    found = json.loads(mended(text.encode()))
    found.encode()
    # Decoders join or split runs of halves differently; what is whole is the same for all.
    assert found.replace("\ufffd", "") == expected.replace("\ufffd", "")


def test_a_text_without_halves_is_not_copied() -> None:
    for text in (b'{"a":"b"}', b'{"a":"\\ud83d\\ude00"}', b'{"a":"\\\\ud83d"}'):
        assert mended(text) is text
