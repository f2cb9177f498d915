"""What a file is by its first bytes, whatever is said of it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.formats.file_types import true_type, type_of, usual_type

REST = b"\x00" * 40
FILES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "image/tiff": b"II*\x00",
    "image/heic": b"\x00\x00\x00\x18ftypheic",
    "image/avif": b"\x00\x00\x00\x18ftypavif",
    "application/pdf": b"%PDF-1.7\n",
    "application/zip": b"PK\x03\x04",
    "audio/wav": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "audio/ogg": b"OggS\x00\x02",
    "audio/flac": b"fLaC\x00\x00",
    "audio/mpeg": b"ID3\x04",
}
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def encoded(start: bytes) -> str:
    return base64.b64encode(start + REST).decode()


@pytest.mark.parametrize("media", FILES)
def test_a_file_is_known_by_its_first_bytes(media: str) -> None:
    data = encoded(FILES[media])
    assert type_of(data) == media
    assert true_type(media, data) == media
    wrong = "image/jpeg" if media != "image/jpeg" else "image/png"
    assert true_type(wrong, data) == media
    folded = "\n".join(data[at : at + 10] for at in range(0, len(data), 10))
    assert type_of(folded) == media


@pytest.mark.parametrize(
    ("said", "start", "is_"),
    [
        ("image/jpg", FILES["image/jpeg"], "image/jpg"),
        ("image/heif", FILES["image/heic"], "image/heif"),
        ("audio/mp3", FILES["audio/mpeg"], "audio/mp3"),
        ("audio/x-wav", FILES["audio/wav"], "audio/x-wav"),
        (DOCX, FILES["application/zip"], DOCX),
        ("application/msword", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/msword"),
        ("application/pdf", FILES["application/zip"], "application/zip"),
        ("text/plain", FILES["application/pdf"], "application/pdf"),
        ("image/png", b"<svg xmlns=", "image/svg+xml"),
        ("image/png", b"\xef\xbb\xbf<?xml version=", "image/svg+xml"),
        ("image/png", b"<!DOCTYPE html>", "text/html"),
        ("application/pdf", b"  <html>", "text/html"),
        ("text/html", b"<html>", "text/html"),
        ("application/xml", b"<?xml version=", "application/xml"),
        ("text/plain", b"GIF is a format", "text/plain"),
        ("video/mp4", b"\x00\x00\x00\x18ftypmp42", "video/mp4"),
        ("text/csv", FILES["application/zip"], "application/zip"),
        ("application/json", FILES["image/png"], "image/png"),
    ],
)
def test_what_is_said_stays_unless_the_bytes_show_another(said: str, start: bytes, is_: str) -> None:
    assert true_type(said, encoded(start)) == is_


WORDS = [
    b"ID3 tags stand before the frames of a file",
    b"ID3,OggS,fLaC\n1,2,3\n",
    b"OggS is what each page begins with, and so on",
    b"fLaC is what a stream begins with, and so on.",
    b"GIF89a is the newer one of two formats, and so on",
    b"GIF87a is the older one of two formats, and so on",
    b"II*, MM* and other marks of byte order, and so on",
    b"RIFF1234WAVE is what a recording begins with",
    b"RIFF1234WEBP is what a picture begins with...",
    b"1234ftypheic is what a photograph begins with",
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("said", ["text/plain", "text/csv", "text/markdown", "application/x-yaml", "application/csv"])
def test_a_text_about_files_stays_a_text(words: bytes, said: str) -> None:
    assert true_type(said, base64.b64encode(words).decode()) == said


@given(st.text(min_size=60, max_size=80, alphabet=st.characters(exclude_categories=["C"])))
def test_no_text_becomes_another_file(words: str) -> None:
    if not words.startswith("%PDF-"):
        assert true_type("text/plain", base64.b64encode(words.encode()).decode()) == "text/plain"


@pytest.mark.parametrize(
    ("said", "usual"),
    [
        ("image/jpg", "image/jpeg"), ("image/pjpeg", "image/jpeg"), ("image/x-png", "image/png"),
        ("application/x-pdf", "application/pdf"), ("application/csv", "text/csv"), ("text/x-csv", "text/csv"),
        ("text/x-markdown", "text/markdown"), ("application/markdown", "text/markdown"),
        ("image/png", "image/png"), ("", ""), ("a/b", "a/b"),
    ],
)  # fmt: skip
def test_types_with_several_names(said: str, usual: str) -> None:
    assert usual_type(said) == usual


@given(st.text(max_size=80), st.sampled_from(["image/png", "text/plain", "application/pdf"]))
def test_anything_has_a_type(data: str, said: str) -> None:
    assert true_type(said, data)


@given(st.binary(max_size=60))
def test_short_and_odd_data(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    for cut in range(4):
        assert type_of(text[: len(text) - cut]) in {None, *FILES, "application/x-ole-storage"}
