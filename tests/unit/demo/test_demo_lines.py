"""The demo's lines: the same at every run, valid for the service they name, and of every kind that makes trouble."""

from __future__ import annotations

import base64
import json
import struct
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types import chat
from pydantic import TypeAdapter

from proxy_plugin.demo.lines import LONGEST_ID, body, custom_id, lines, png, write_input
from proxy_plugin.lines.envelope import decode_envelope
from proxy_plugin.providers.sandbox.answers import markers, user_text

COUNT = 2000
ENDPOINT = "/v1/chat/completions"

REQUEST: TypeAdapter[Any] = TypeAdapter(chat.completion_create_params.CompletionCreateParamsNonStreaming)
MESSAGE: TypeAdapter[Any] = TypeAdapter(chat.ChatCompletionMessageParam)
PART: TypeAdapter[Any] = TypeAdapter(chat.ChatCompletionContentPartParam)
TOOL: TypeAdapter[Any] = TypeAdapter(chat.ChatCompletionToolParam)


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(COUNT, "some-model", ENDPOINT)]


def test_a_file_is_the_same_at_every_run(tmp_path: Path) -> None:
    size = write_input(tmp_path / "a", 500, "some-model", ENDPOINT)
    write_input(tmp_path / "b", 500, "some-model", ENDPOINT)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    assert size == len(content)
    assert content.count(b"\n") == 500
    assert content.endswith(b"}\n")


def test_the_gateway_takes_every_line_as_it_is() -> None:
    for ordinal, line in enumerate(lines(COUNT, "some-model", ENDPOINT)):
        envelope = decode_envelope(line.rstrip(b"\n"))
        assert (envelope.custom_id, envelope.model, envelope.url) == (custom_id(ordinal), "some-model", ENDPOINT)


def test_every_body_is_what_the_service_describes(made: list[dict[str, Any]]) -> None:
    for line in made:
        request = line["body"]
        REQUEST.validate_python(request)
        for message in request["messages"]:
            MESSAGE.validate_python(message)
            for part in message.get("content", []) if isinstance(message.get("content"), list) else []:
                PART.validate_python(part)
        for tool in request.get("tools", []):
            TOOL.validate_python(tool)


def test_no_two_custom_ids_or_bodies_are_equal(made: list[dict[str, Any]]) -> None:
    assert len({line["custom_id"] for line in made}) == COUNT
    # Lines that carry a marker say nothing else.
    plain = [json.dumps(line["body"]) for line in made if "[[sandbox:" not in json.dumps(line["body"])]
    assert len(set(plain)) == len(plain) > COUNT - 10


def test_custom_ids_are_of_many_shapes() -> None:
    ids = [custom_id(ordinal) for ordinal in range(COUNT)]
    assert max(map(len, ids)) == LONGEST_ID == 200
    assert any(" " in one for one in ids)
    assert any(one.count("/") > 2 for one in ids)
    assert any('"' in one and "\\" in one and "\t" in one for one in ids)
    assert any("\u200d" in one for one in ids)
    assert any(unicodedata.bidirectional(letter) == "AL" for one in ids for letter in one)
    assert any(unicodedata.normalize("NFC", one) != one for one in ids)


def test_texts_hold_every_kind_of_trouble(made: list[dict[str, Any]]) -> None:
    letters = set("".join(user_text(ENDPOINT, line["body"]) for line in made))
    for name in ("CJK UNIFIED IDEOGRAPH", "HANGUL", "HEBREW", "ARABIC", "DEVANAGARI", "THAI", "COMBINING", "EMOJI"):
        assert any(unicodedata.name(letter, "").startswith(name) for letter in letters), name
    assert {"\u2028", "\u200d", "\U0001d518"} <= letters, "a line separator, a joiner, a letter beyond 16 bits"


def test_bodies_are_of_every_kind(made: list[dict[str, Any]]) -> None:
    found = Counter(kind for line in made for kind in kinds_of(line["body"]))
    wanted = {"system", "tool", "tools", "auto", "required", "named", "json_schema", "data:", "https:", "long", "short"}
    assert set(found) == wanted
    assert min(found.values()) >= COUNT // 50, found


def kinds_of(request: dict[str, Any]) -> Iterator[str]:
    yield "long" if len(json.dumps(request)) > 4000 else "short"
    yield from {message["role"] for message in request["messages"]} & {"system", "tool"}
    if "tools" in request:
        yield "tools"
        yield request["tool_choice"] if isinstance(request["tool_choice"], str) else "named"
    if "response_format" in request:
        yield request["response_format"]["type"]
    content = request["messages"][-1]["content"]
    if isinstance(content, list):
        (url,) = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        yield url.partition(":")[0] + ":"


@pytest.mark.parametrize(("count", "expected"), [(200, 1), (1000, 3), (2000, 6)])
def test_three_lines_in_a_thousand_ask_for_trouble(count: int, expected: int) -> None:
    asked = [markers(user_text(ENDPOINT, body(ordinal, "some-model"))) for ordinal in range(count)]
    odd = [one for one in asked if one]
    assert len(odd) == expected
    assert any("error" in one for one in odd), "else the demo has no error file to show"
    assert all(one.keys() <= {"error", "refusal"} for one in odd)


def test_some_lines_are_escaped_and_some_are_plain_utf8() -> None:
    written = list(lines(200, "some-model", ENDPOINT))
    assert any(b"\\ud83d" in line for line in written)
    assert any("🙂".encode()[:2] in line for line in written)


@pytest.mark.parametrize("ordinal", [0, 6, 18, 1998])
def test_pictures_are_valid_png(ordinal: int) -> None:
    data = png(ordinal)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks = dict(chunks_of(data[8:]))
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 2), "RGB"
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data:
        (length,) = struct.unpack(">I", data[:4])
        kind, content, (crc,) = data[4:8], data[8 : 8 + length], struct.unpack(">I", data[8 + length : 12 + length])
        assert crc == zlib.crc32(data[4 : 8 + length])
        yield kind, content
        data = data[12 + length :]


def test_the_pictures_of_the_lines_are_these(made: list[dict[str, Any]]) -> None:
    content = made[6]["body"]["messages"][0]["content"]
    head, _, encoded = content[1]["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(encoded, validate=True) == png(6)
