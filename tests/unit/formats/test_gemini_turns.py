"""Conversations as contents: roles, tool calls and their results, signatures, media."""

from __future__ import annotations

import pytest

from tests.unit.formats.gemini_lines import (
    FLASH,
    FLASH_3,
    HELLO,
    PDF,
    PNG,
    Json,
    call,
    calling,
    contents,
    image,
    noting,
    result,
    signed,
    text,
    translate,
    user,
)

NO_SIGNATURE = "skip_thought_signature_validator"


def spoken(role: str, *parts: object) -> Json:
    return {"role": role, "parts": [{"text": each} if isinstance(each, str) else each for each in parts]}


def test_consecutive_turns_of_one_role_become_one() -> None:
    assert contents(
        {"role": "user", "content": "a"},
        {"role": "user", "content": [text("b"), text(""), text("c")]},
        {"role": "assistant", "content": "d", "refusal": "e"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": [text("f"), {"type": "refusal", "refusal": "g"}]},
        {"role": "user", "content": " "},
    ) == [spoken("user", "a", "b", "c"), spoken("model", "d", "e", "f", "g"), spoken("user", " ")]


def test_system_messages_stand_first_and_stay_apart() -> None:
    told = [
        {"role": "system", "content": "a"},
        *HELLO,
        {"role": "developer", "content": [text("b"), text("c")]},
        {"role": "system", "content": ""},
    ]
    request, dropped = noting(messages=told)
    assert request["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}, {"text": "c"}]}
    assert dropped == ("messages[]=first",)
    first = [told[0], {"role": "developer", "content": "b"}, *HELLO]
    assert translate(messages=first)["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}


def function_call(args: object = None, **more: object) -> Json:
    return {"functionCall": {**more, "name": "f", "args": args or {}}}


def response(output: object = "r", **more: object) -> Json:
    return {"functionResponse": {**more, "name": "f", "response": {"output": output}}}


def test_calls_and_results_before_gemini_3() -> None:
    assert contents(*HELLO, calling(call('{"a": 1}'), content="so"), result(name="f"), *HELLO) == [
        spoken("user", "hi"),
        spoken("model", "so", function_call({"a": 1})),
        spoken("user", response()),
        spoken("user", "hi"),
    ]


def test_results_go_in_the_order_of_their_calls() -> None:
    turns = contents(
        *HELLO, calling(call(given="a"), call(given="b")), result("b", "second"), result("a", "first"), model=FLASH_3
    )
    assert turns[2] == spoken("user", response("first", id="a"), response("second", id="b"))


def test_calls_have_ids_from_gemini_3_on() -> None:
    turns = contents(*HELLO, calling(call(given="x y")), result("x y"), model=FLASH_3)
    assert turns[1]["parts"] == [{**function_call(id="x y"), "thoughtSignature": NO_SIGNATURE}]
    assert turns[2]["parts"] == [response(id="x y")]


def test_an_id_that_returns_in_a_later_turn_becomes_another() -> None:
    turns = contents(*HELLO, calling(call()), result(), calling(call()), result(), model=FLASH_3)
    ids = [part["functionCall"]["id"] for turn in (turns[1], turns[3]) for part in turn["parts"]]
    assert ids[0] == "call_1" != ids[1]
    assert turns[4]["parts"][0]["functionResponse"]["id"] == ids[1]


def test_signatures_are_kept() -> None:
    turns = contents(
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "extra_content": signed("c2ln")},
        {"role": "user", "content": "c"},
        calling(call(given="1", extra_content=signed("Zm9v")), call(given="2"), extra_content={"google": {}}),
        result("1"),
        result("2"),
        calling(call(given="3", extra_content=None), call(given="4")),
        result("3"),
        result("4"),
        {"role": "assistant", "content": None, "extra_content": signed("YmFy")},
        *HELLO,
        model=FLASH_3,
    )
    found = [part.get("thoughtSignature") for turn in turns for part in turn["parts"] if turn["role"] == "model"]
    assert found == ["c2ln", "Zm9v", None, NO_SIGNATURE, None, "YmFy"]
    assert turns[7]["parts"] == [{"text": "", "thoughtSignature": "YmFy"}]


def test_older_models_need_no_stand_in_for_a_signature() -> None:
    turns = contents(*HELLO, calling(call(extra_content=signed("Zm9v"))), result(), calling(call()), result())
    assert [turns[at]["parts"][0].get("thoughtSignature") for at in (1, 3)] == ["Zm9v", None]


def test_the_older_form_of_calls() -> None:
    asked = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    turns = contents(*HELLO, asked, {"role": "function", "name": "f", "content": "r"})
    assert turns[1:] == [spoken("model", function_call()), spoken("user", response())]


@pytest.mark.parametrize(
    ("content", "output"),
    [
        ("", ""),
        (None, ""),
        ([text("a")], "a"),
        ([text("a"), text("b")], ["a", "b"]),
        ('{"output": 1}', '{"output": 1}'),
    ],
)
def test_results_stay_texts(content: object, output: object) -> None:
    assert contents(*HELLO, calling(call()), result(content=content))[2]["parts"] == [response(output)]


def inline(media: str, data: str) -> Json:
    return {"inlineData": {"mimeType": media, "data": data}}


def at(uri: str, media: str | None = None) -> Json:
    return {"fileData": {"mimeType": media, "fileUri": uri} if media else {"fileUri": uri}}


def file(**members: object) -> Json:
    return {"type": "file", "file": members}


BOTH: list[tuple[Json, Json]] = [
    (image(PNG, detail="auto"), inline("image/png", "iVBORw0KGgo=")),
    ({"type": "image_url", "image_url": "DATA:image/JPG;name=x;base64,/9j/"}, inline("image/jpeg", "/9j/")),
    (image("https://example.com/A.JPG?x=1.png"), at("https://example.com/A.JPG?x=1.png", "image/jpeg")),
    (image("https://example.com/a", format="image/webp"), at("https://example.com/a", "image/webp")),
    (file(file_data=PDF, filename="a"), inline("application/pdf", "JVBERi0xLjc=")),
    (file(file_data="JVBERi0xLjc=", file_id=None), inline("application/pdf", "JVBERi0xLjc=")),
    (file(file_data="YQ==", filename="a.b.csv"), inline("text/csv", "YQ==")),
    (file(file_data="YQ==", format="text/plain"), inline("text/plain", "YQ==")),
    (file(file_id="https://example.com/b", filename="a.pdf"), at("https://example.com/b", "application/pdf")),
    ({"type": "input_audio", "input_audio": {"data": "YQ==", "format": "mp3"}}, inline("audio/mp3", "YQ==")),
    ({"type": "input_audio", "input_audio": {"data": "YQ==", "format": "wav"}}, inline("audio/wav", "YQ==")),
]
VERTEX: list[tuple[Json, Json]] = [
    (image("gs://b/a.png"), at("gs://b/a.png", "image/png")),
    (file(file_id="gs://b/a", format="video/mp4"), at("gs://b/a", "video/mp4")),
]
STORED = "https://generativelanguage.googleapis.com/v1beta/files/abc"


@pytest.mark.parametrize(("given", "native"), BOTH)
@pytest.mark.parametrize("vertex", [False, True])
def test_media(given: Json, native: Json, vertex: bool) -> None:
    assert contents(*user(text("a"), given), vertex=vertex)[0]["parts"] == [{"text": "a"}, native]


@pytest.mark.parametrize(("given", "native"), VERTEX)
def test_media_in_a_bucket(given: Json, native: Json) -> None:
    assert contents(*user(given), vertex=True)[0]["parts"] == [native]


def test_the_gemini_api_knows_the_type_of_its_files() -> None:
    assert contents(*user(file(file_id=STORED)), model=FLASH)[0]["parts"] == [at(STORED)]
