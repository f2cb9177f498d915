"""Lines with pictures are translated without their data, which is copied once; the outcome is that of the whole way."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import LineIn, LineRejected, Target
from proxy_plugin.providers.formats import lightened as cutting
from proxy_plugin.providers.formats.lightened import CHAT, LEAST, lightened, lightly

Json = dict[str, Any]
MODELS = {
    "anthropic": "claude-haiku-4-5",
    "bedrock": "amazon.nova-pro-v1:0",
    "google": "gemini-2.5-flash",
    "vertex-ai": "gemini-2.5-flash",
    "mistral-ai": "mistral-small-latest",
    "x-ai": "grok-4",
    "cohere": "command-a",
    "together-ai": "m",
    "fireworks-ai": "m",
    "groq": "m",
    "openai": "m",
}
HEADS = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "pdf": b"%PDF-1.7", "html": b"<html>", "odd": b"\0"}
LONG = LEAST * 3 // 4 + 300


def data_of(kind: str, size: int = LONG) -> str:
    rest = b"words " * (size // 6) if kind == "html" else bytes(n % 251 for n in range(size))
    return base64.b64encode(HEADS[kind] + rest).decode()


def asked(*parts: Json) -> Json:
    return {"role": "user", "content": [*parts]}


def picture(url: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


DATA = st.builds(data_of, st.sampled_from(list(HEADS)), st.sampled_from([3, LONG, LONG + 1]))
# Data in which a reader may find more than base64.
SPOILT = st.builds(
    lambda data, odd: data[:3000] + odd + data[3000:],
    DATA,
    st.sampled_from(["\\", '"', "\n", "ü", "\ud83d", "~held-0-000~", " ", ";base64,", "1e999", "\x7f"]),
)
STARTS = (
    *("data:image/png;base64,", "data:image/webp;base64,", "data:application/pdf;base64,", "data:text/plain;base64,"),
    *("DATA:image/png;base64,", "data:image/png;name=a;base64,", "", "https://a.example/"),
)
URLS = st.builds(
    lambda start, data: start + data,
    st.sampled_from(STARTS),
    DATA | SPOILT,
)
TEXTS = st.sampled_from(["hi", "Köln; ~held-0- ~held-1-", '{"url": "data:image/png;base64,' + data_of("png") + '"}'])
PARTS = (
    st.builds(picture, URLS)
    | TEXTS.map(lambda text: {"type": "text", "text": text})
    | st.builds(lambda url: {"type": "file", "file": {"file_data": url, "filename": "a.pdf"}}, URLS)
)
BODIES = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.lists(PARTS, max_size=3).map(lambda parts: [asked(*parts)]),
    },
    optional={
        "user": st.builds(lambda data: "data:image/png;base64," + data, DATA),
        "metadata": st.fixed_dictionaries({"url": URLS}),
        "tools": st.just([{"type": "function", "function": {"name": "f", "parameters": {"minimum": 1.5}}}]),
        "temperature": st.just(0.5),
        "n": st.just(1),
    },
)


def line_of(body: bytes, name: str = "anthropic", endpoint: str = CHAT) -> LineIn:
    return LineIn("abcdefghij00000001", endpoint, body, MODELS[name])


def outcome(name: str, body: bytes, target: Target) -> object:
    try:
        return catalog.load(name).translate(line_of(body, name), target)
    except LineRejected as refused:
        return refused.message, refused.code, refused.params


@settings(max_examples=120, deadline=None)
@given(
    body=BODIES,
    name=st.sampled_from(list(MODELS)),
    style=st.sampled_from([(",", ":"), (", ", ": ")]),
    ascii_only=st.booleans(),
    switches=st.sampled_from([(None, False), ("other", True)]),
)
def test_the_outcome_is_that_of_the_whole_way(
    body: Json, name: str, style: tuple[str, str], ascii_only: bool, switches: tuple[str | None, bool]
) -> None:
    text = json.dumps(body, separators=style, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    target = Target(MODELS[name] if switches[0] else None, switches[1], False)
    light = outcome(name, text, target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "lightened", lambda _body: None)
        assert light == outcome(name, text, target)


@pytest.mark.parametrize("broken", [b"\x01", b"\n", b"\xff", b"\\"])
def test_data_that_no_reader_takes_is_left_where_it_is(broken: bytes) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [picture("data:image/png;base64," + data_of("png"))]}],
    }
    text = json.dumps(body).encode()
    assert lightened(text) is not None
    assert lightened(text[:3000] + broken + text[3000:]) is None


@pytest.mark.parametrize("name", MODELS)
def test_the_data_of_a_picture_is_copied_once(name: str) -> None:
    part = picture("data:image/png;base64," + data_of("png", 2**18))
    body = json.dumps({"model": MODELS[name], "messages": [asked(part)]}).encode()
    lane, target = catalog.load(name), Target(None, False, False)
    lane.translate(line_of(body, name), target)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        native = lane.translate(line_of(body, name), target)
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert len(native.data) > 2**18
    assert most < 1.2 * len(native.data)


def test_other_endpoints_go_the_whole_way() -> None:
    body = json.dumps({"url": "data:image/png;base64," + data_of("png")}).encode()
    seen = list[bytes]()

    def translate(line: LineIn) -> Any:
        seen.append(line.body)

    lightly(line_of(body, endpoint="/v1/responses"), translate)
    assert seen == [body]


@pytest.mark.parametrize("kind", ["html", "odd"])
def test_what_is_no_picture_by_its_first_bytes_is_left_where_it_is(kind: str) -> None:
    """A translator may look into it: a page that calls itself a picture is sent to Claude as a text."""
    file = {"file_data": "data:image/png;base64," + data_of(kind), "filename": "a.html"}
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [asked({"type": "file", "file": file})]}).encode()
    assert lightened(body) is None
    if kind == "html":
        native = catalog.load("anthropic").translate(line_of(body), Target(MODELS["anthropic"], True, False))
        assert b"words words" in native.data
