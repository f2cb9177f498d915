"""Pictures and documents for Claude: what their first bytes say counts, and what the API refuses is refused in plan."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from proxy_plugin.providers.formats.file_types import type_of
from tests.unit.formats.anthropic_lines import HAIKU, HELLO, Json, body, call, calling, noting, user

HEADS = {
    "image/png": b"\x89PNG\r\n\x1a\n\x00\x00",
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "image/gif": b"GIF89a\x01\x00",
    "image/webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
    "application/pdf": b"%PDF-1.7\n",
}
OTHERS = {
    "svg": b"<svg xmlns='x'/>",
    "docx": b"PK\x03\x04\x14\x00",
    "doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00",
    "tiff": b"II*\x00\x08\x00",
    "tiff of Macs": b"MM\x00*\x00\x08",
    "heic": b"\x00\x00\x00\x18ftypheic",
    "avif": b"\x00\x00\x00\x18ftypavif",
    "pdf": HEADS["application/pdf"],
}
IMAGES = [media for media in HEADS if media.startswith("image/")]
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uri(media: str, data: bytes) -> str:
    return f"data:{media};base64,{encoded(data)}"


def image(url: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def file(**given_file: object) -> Json:
    return {"type": "file", "file": given_file}


def block_of(part: Json) -> tuple[Json, tuple[str, ...]]:
    params, noted = noting(messages=user(part))
    (block,) = params["messages"][0]["content"]
    return block, noted


def refused(part: Json, **more: object) -> LineRejected:
    with pytest.raises(LineRejected) as caught:
        to_messages(body(HAIKU, user(part)), model=None, drop_params=True, **more)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("said", [*IMAGES, "image/bmp", "image/jpg", "image/x-unknown", "application/pdf"])
@pytest.mark.parametrize("real", IMAGES)
def test_a_picture_goes_as_what_its_first_bytes_are(said: str, real: str) -> None:
    data = HEADS[real]
    block, noted = block_of(image(uri(said, data)))
    assert block == {"type": "image", "source": {"type": "base64", "media_type": real, "data": encoded(data)}}
    same = real == said or (said, real) == ("image/jpg", "image/jpeg")
    assert noted == (() if same else (f"messages[].content[].image_url.url={real}",))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("said", ["image/png", "image/jpeg", "image/svg+xml", "application/octet-stream"])
def test_what_is_no_picture_is_refused(name: str, said: str) -> None:
    error = refused(image(uri(said, OTHERS[name])))
    assert error.param == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize("media", ["image/svg+xml", "image/bmp", "image/tiff", "image/heic", "text/plain", SHEET])
def test_what_says_that_it_is_no_picture_is_refused(media: str) -> None:
    assert refused(image(uri(media, b"nothing that is known"))).param == "messages[0].content[0].image_url.url"


def test_a_picture_whose_bytes_say_nothing_is_taken_at_its_word() -> None:
    block, noted = block_of(image(uri("image/png", b"unknown")))
    assert (block["source"]["media_type"], noted) == ("image/png", ())


TEXTS = [
    ("text/plain", "a.txt", "Hello, é \u6771"),
    ("text/csv", "a.csv", "a,b\n1,2\n"),
    ("text/markdown", "a.md", "# Title\n"),
    ("text/html", "a.html", "<p>Hi</p>"),
    ("text/xml", "a.xml", "<a/>"),
    ("application/json", "a.json", '{"a":1}'),
    ("application/xml", "a.xml", "<a/>"),
    ("application/yaml", "a.yaml", "a: 1"),
    ("text/tab-separated-values", "a.tsv", "a\tb"),
    ("application/octet-stream", "A.CSV", "a,b"),
    ("application/octet-stream", "notes.md", "# x"),
    ("text/plain;charset=utf-8", "a.txt", "x"),
    ("application/csv", "a.csv", "a,b"),
    ("text/csv", "a.csv", "ID3,OggS,fLaC\n1,2,3"),
    ("text/plain", "a.txt", "GIF89a is a format of pictures, II* is none"),
    ("application/octet-stream", "a.txt", "ID3 tags stand in front of MP3 frames"),
]


@pytest.mark.parametrize(("media", "name", "words"), TEXTS)
def test_texts_are_documents(media: str, name: str, words: str) -> None:
    block, noted = block_of(file(file_data=uri(media, words.encode()), filename=name))
    assert block == {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": words},
        "title": name,
    }
    assert noted == ()


@given(st.text(min_size=1).filter(lambda words: not words.isspace() and not words.startswith("\ufeff")))
def test_any_text_survives_in_a_document(words: str) -> None:
    data = words.encode()
    if type_of(encoded(data)) is not None:
        return
    block, _ = block_of(file(file_data=uri("text/plain", data)))
    assert block["source"]["data"] == words


@pytest.mark.parametrize(
    ("media", "data", "name"),
    [
        (SHEET, b"PK\x03\x04", "a.xlsx"),
        ("application/msword", OTHERS["doc"], "a.doc"),
        ("application/pdf", b"PK\x03\x04", "a.pdf"),
        ("text/plain", b"PK\x03\x04", "a.txt"),
        (SHEET, b"unknown", "a.xlsx"),
        ("image/svg+xml", b"<svg/>", "a.svg"),
        ("image/svg+xml", b"<?xml version='1.0'?><svg/>", "a.svg"),
        ("application/octet-stream", b"unknown", "a.bin"),
        ("application/octet-stream", b"unknown", ""),
        ("audio/wav", b"RIFF\x00\x00\x00\x00WAVE", "a.wav"),
        ("video/mp4", b"\x00\x00\x00\x18ftypmp42", "a.mp4"),
        ("text/plain", b"\xff\xfe\x00", "a.txt"),
        ("text/csv", b" \n", "a.csv"),
    ],
)
def test_files_that_claude_cannot_read(media: str, data: bytes, name: str) -> None:
    error = refused(file(file_data=uri(media, data), filename=name))
    assert error.param == "messages[0].content[0].file.file_data"
    assert "has no equivalent" not in error.message


@pytest.mark.parametrize("real", HEADS)
@pytest.mark.parametrize("said", ["application/pdf", "application/octet-stream", "text/plain", "image/png", None])
def test_a_file_goes_as_what_its_first_bytes_are(said: str | None, real: str) -> None:
    data = HEADS[real]
    block, noted = block_of(file(file_data=encoded(data) if said is None else uri(said, data), filename="a"))
    assert (block["type"], block["source"]["media_type"]) == ("document" if "pdf" in real else "image", real)
    silent = said in (None, "application/octet-stream", real)
    assert noted == (() if silent else (f"messages[].content[].file.file_data={real}",))


@pytest.mark.parametrize("name", ["a.csv", "A.MD", "a.txt", "a.html", "a.json"])
def test_a_text_without_a_uri_goes_by_its_name(name: str) -> None:
    block, noted = block_of(file(file_data=encoded(b"a,b"), filename=name))
    assert (block["source"]["data"], noted) == ("a,b", ())


def test_a_page_that_calls_itself_a_pdf_goes_as_a_text_and_is_noted() -> None:
    block, noted = block_of(file(file_data=uri("application/pdf", b"<html>hi</html>"), filename="a.pdf"))
    assert block["source"] == {"type": "text", "media_type": "text/plain", "data": "<html>hi</html>"}
    assert noted == ("messages[].content[].file.file_data=text/html",)


@pytest.mark.parametrize("url", ["https://example.com/a.pdf", "HTTP://example.com/b?c=d"])
def test_a_pdf_by_url(url: str) -> None:
    block, noted = block_of(file(file_url=url, filename="a.pdf"))
    assert block == {"type": "document", "source": {"type": "url", "url": url}, "title": "a.pdf"}
    assert noted == ()
    for form in (Form.BEDROCK, Form.VERTEX):
        error = refused(file(file_url=url), form=form)
        assert (error.param, "fetches no URLs" in error.message) == ("messages[0].content[0].file.file_url", True)


@pytest.mark.parametrize("url", [7, "", "ftp://example.com/a.pdf", "a.pdf", "file:///etc/passwd"])
def test_what_is_no_url(url: object) -> None:
    assert refused(file(file_url=url)).param in (
        *("messages[0].content[0].file.file_url", "messages[0].content[0].file"),
    )


def test_tool_results_hold_documents_too() -> None:
    part = file(file_data=uri("text/csv", b"a,b"), filename="a.csv")
    answered: Json = {"role": "tool", "tool_call_id": "call_1", "content": [part]}
    params, noted = noting(messages=[*HELLO, calling(call()), answered])
    (result,) = params["messages"][2]["content"]
    assert result["content"][0]["source"]["data"] == "a,b"
    assert noted == ()
