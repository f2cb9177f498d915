"""The form parser: whole parts however a body is cut, and a refusal of everything that is not one whole form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.web.multipart import Form, Malformed, Part, boundary_of
from tests.support.files_app import BOUNDARY, closing, form, part

Parts = list[tuple[str, bytes | None, bytes]]


def _parts(chunks: list[bytes]) -> Parts:
    read, found = Form(BOUNDARY.encode()), list[tuple[str, bytes | None, bytearray]]()
    for chunk in chunks:
        for event in read.feed(chunk):
            if isinstance(event, Part):
                found.append((event.name, event.filename, bytearray()))
            elif event is not None:
                found[-1][2].extend(event)
    read.finish()
    return [(name, filename, bytes(data)) for name, filename, data in found]


CONTENT = st.lists(
    st.sampled_from([b"\r", b"\n", b"--", BOUNDARY.encode()[:9], b"\r\n--" + BOUNDARY.encode()[:-1], b"x"])
)


@given(st.lists(CONTENT.map(b"".join), min_size=1, max_size=4), st.lists(st.integers(1, 60)))
def test_parts_come_out_whole_however_the_body_is_cut(contents: list[bytes], sizes: list[int]) -> None:
    body = b"".join(part(f"p{n}", data, f"f{n}") for n, data in enumerate(contents)) + closing()
    chunks, at = [], 0
    for size in sizes:
        chunks.append(body[at : at + size])
        at += size
    whole = [chunk for chunk in [*chunks, body[at:]] if chunk]
    assert _parts(whole) == [(f"p{n}", f"f{n}".encode(), data) for n, data in enumerate(contents)]


def test_every_cut_off_body_is_refused() -> None:
    body = form()
    for length in range(len(body) - 2):  # the last CRLF is optional
        with pytest.raises(Malformed):
            _parts([body[:length]] if length else [])


@pytest.mark.parametrize(
    "body",
    [
        b"preamble\r\n" + form(),
        form().replace(BOUNDARY.encode(), b"another"),
        form().replace(b'name="file"; ', b""),
        form().replace(b"Content-Disposition", b"Content-Nonsense"),
        form().replace(b"\r\n", b"\n"),
        form(filename="a\r\nb.jsonl"),
        part("purpose", b"batch")[:-2] + b"\r\nX-Long: " + b"a" * 5000,
        b"--" + BOUNDARY.encode() + b"\r\n" + b"X-Header: 1\r\n" * 9 + b"\r\n",
    ],
    ids=["preamble", "boundary", "no name", "no disposition", "bare LF", "raw CRLF", "long header", "many headers"],
)
def test_a_malformed_body_is_refused_without_a_word_of_it(body: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        _parts([body])
    assert "preamble" not in str(refused.value)
    assert BOUNDARY not in str(refused.value)


@pytest.mark.parametrize("given_type", ["", "application/json", "multipart/mixed; boundary=x", "multipart/form-data"])
def test_a_type_without_a_boundary_is_refused(given_type: str) -> None:
    with pytest.raises(Malformed):
        boundary_of(given_type)


def test_a_boundary_may_be_quoted() -> None:
    assert boundary_of('Multipart/Form-Data; charset=utf-8; Boundary="a b"') == b"a b"
