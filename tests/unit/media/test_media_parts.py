"""Finding the pictures of a body, and putting others in their places: every other byte stays as it was."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.media.parts import taken_apart
from proxy_plugin.media.store import Album, Media, name_of
from proxy_plugin.providers.base import LineRejected

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3
URL = "https://pictures.example/a.png?sig=%2F"
LIMIT = 100_000


def chat(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": role, "content": [*parts]}]}


def part(url: str = URL, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def packed(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def paths(body: object) -> list[str]:
    return [picture.path for picture in taken_apart(packed(body)).pictures]


@pytest.fixture
def album(tmp_path: Path) -> Album:
    (tmp_path / name_of(URL)).write_bytes(b"image/png\n" + PNG)
    return Album(Media(str(tmp_path), "nobody asked for it", LIMIT, 3 * LIMIT))


def test_pictures_of_a_chat_are_found_in_order() -> None:
    body = chat({"type": "text", "text": URL}, part(detail="low"), {"type": "image_url", "image_url": URL}, part())
    found = taken_apart(packed(body))
    assert [each.path for each in found.pictures] == [
        "messages[1].content[1].image_url.url",
        "messages[1].content[2].image_url",
        "messages[1].content[3].image_url.url",
    ]
    assert {each.url for each in found.pictures} == {URL}
    assert json.dumps(URL).encode().join(found.pieces) == packed(body)


def test_pictures_of_a_response_are_found_in_messages_and_tool_results() -> None:
    image = {"type": "input_image", "image_url": "HTTP://x/y", "detail": "auto"}
    message = {"role": "user", "content": [{"type": "input_text", "text": "?"}, image]}
    result = {"type": "function_call_output", "call_id": "c", "output": [image]}
    assert paths({"model": "m", "input": [message, result]}) == [
        "input[0].content[1].image_url",
        "input[1].output[0].image_url",
    ]


@pytest.mark.parametrize(
    "body",
    [
        chat(part("data:image/png;base64,AAAA")),
        chat(part("gs://bucket/a.png")),
        chat({"type": "file", "image_url": {"url": URL}}),
        chat({"type": "image_url", "image_url": [URL]}),
        chat({"type": "image_url"}, URL, None, 3),
        {"model": "m", "messages": URL, "image_url": URL},
        {"model": "m", "input": ["image", 3, [URL]]},
        {"model": "m", "messages": [{"content": {"type": "image_url", "image_url": URL}}], "metadata": [part()]},
    ],
)
def test_what_is_no_picture_on_the_web_stays(body: dict[str, Any]) -> None:
    assert taken_apart(packed(body)) == ([packed(body)], [])


def test_what_is_not_touched_keeps_its_bytes(album: Album) -> None:
    numbers = b'"seed":12345678901234567890123456789,"top_p":0.70000000000000001,"x":1E2'
    before = b'{"model":"m",%s,"messages":[{"content":[{"image_url":{"detail" : "low","url":' % numbers
    before = before.replace(b'"detail" : ', b'"detail":')
    after = (
        b'},"type":"image\\u005furl"},{"type":"text","text":"\\ud83d caf\\u00e9 \xc3\xa9"}],"role":"user"}],"z":{ }}'
    )
    uri = b'"data:image/png;base64,' + base64.b64encode(PNG) + b'"'
    written = json.dumps(URL).replace("/", "\\/").encode()
    assert album.fill(before + written + after) == before + uri + after
    assert album.filled == 1


texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
)
parts = st.one_of(
    st.builds(part), st.just({"type": "image_url", "image_url": URL}), values, st.builds(part, st.just("data:,"))
)
items = st.builds(lambda content, more: more | {"content": content}, st.lists(parts), st.dictionaries(texts, values))


@given(st.lists(items), st.dictionaries(texts, values))
def test_any_body_put_together_again_is_the_same(messages: list[Any], more: dict[str, Any]) -> None:
    body = packed(more | {"messages": messages})
    pieces, pictures = taken_apart(body)
    asked = [p for m in messages for p in m["content"] if isinstance(p, dict) and URL in json.dumps(p.get("image_url"))]
    assert len(pictures) == len(asked)
    assert json.dumps(URL).encode().join(pieces) == body


def test_the_base64_of_every_length_is_whole(tmp_path: Path) -> None:
    chunk = 3 * 64 * 1024
    for length in (1, 2, 3, chunk - 1, chunk, chunk + 1, 2 * chunk + 2):
        content = bytes(n % 251 for n in range(length))
        (tmp_path / name_of(URL)).write_bytes(b"image/gif\n" + content)
        filled = json.loads(Album(Media(str(tmp_path), "", 10**7, 10**7)).fill(packed(chat(part()))))
        uri = filled["messages"][1]["content"][0]["image_url"]["url"]
        assert uri.startswith("data:image/gif;base64,")
        assert base64.b64decode(uri.partition(",")[2], validate=True) == content


def test_a_picture_without_a_file_rejects_the_line_without_quoting_it(album: Album) -> None:
    with pytest.raises(LineRejected) as caught:
        album.fill(packed(chat(part(), part("https://secret.example/b"))))
    assert (caught.value.code, caught.value.param) == ("media_unavailable", "messages[1].content[1].image_url.url")
    assert "nobody asked for it" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / name_of(URL)).write_bytes(b"-its host was asleep\n")
    with pytest.raises(LineRejected, match="its host was asleep") as caught:
        Album(Media(str(tmp_path), "", LIMIT, LIMIT)).fill(packed(chat(part())))
    assert caught.value.code == "media_unavailable"


def test_a_line_may_not_grow_beyond_what_a_line_may_be(album: Album) -> None:
    with pytest.raises(LineRejected, match="max_line_bytes") as caught:
        album.fill(packed(chat(*[part()] * 100)))
    assert caught.value.code == "line_too_large"
    assert album.filled == 0


def test_all_lines_may_not_grow_beyond_what_a_file_may_be(album: Album) -> None:
    large, small = packed(chat(*[part()] * 60)), packed(chat(part()))
    for _ in range(3 * LIMIT // (60 * len(base64.b64encode(PNG)))):
        album.fill(large)
    with pytest.raises(LineRejected, match="max_file_bytes") as caught:
        album.fill(large)
    assert caught.value.code == "media_unavailable"
    assert len(album.fill(small)) > len(small), "what still fits still runs"


def test_a_plan_puts_a_tiny_picture_in() -> None:
    album = Album(None)
    filled = json.loads(album.fill(packed(chat(part("https://nowhere.example/")))))
    head, _, data = filled["messages"][1]["content"][0]["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data, validate=True).startswith(PNG[:8])
    assert album.filled == 1
