"""Uploads whose form cannot be read or stored; whatever a file calls itself, it is only shown that name."""

from __future__ import annotations

import re

import pytest

from tests.api.bad_input.forms import END, FORM, FORMS, LINES, PURPOSE, part
from tests.api.bad_input.rig import Answer, Case, Rig


@pytest.mark.parametrize("case", FORMS, ids=str)
def test_a_form_that_cannot_be_stored_leaves_nothing(rig: Rig, case: Case) -> None:
    before = rig.leftovers()
    rig.refused(case)
    assert rig.leftovers() == before


NAMES = [
    (b"../../etc/passwd", "../../etc/passwd", "passwd"),
    (b"C:\\\\Windows\\\\in.jsonl", "in.jsonl", "in.jsonl"),
    (b"a%0D%0ASet-Cookie: x=1", "aSet-Cookie: x=1", "aSet-Cookie_ x_1"),
    (b"a\0b", "ab", "ab"),
    (b"n" * 4000, "n" * 512, "n" * 512),
    (b"", "file.jsonl", "file.jsonl"),
    ("b\u202eé🙂.jsonl".encode(), "b\u202eé🙂.jsonl", "b___.jsonl"),
]


@pytest.mark.parametrize(("claimed", "shown", "saved"), NAMES, ids=[shown[:20] for _, shown, _ in NAMES])
def test_a_filename_is_only_shown(rig: Rig, claimed: bytes, shown: str, saved: str) -> None:
    """No path is ever made of it, and no header of a download is broken by it."""
    stored = _stored(rig, PURPOSE + part("file", LINES, claimed) + END)
    assert (stored.status, stored.value["filename"]) == (200, shown)
    path = f"/files/{stored.value['id']}"
    assert rig.ask("GET", path).value["filename"] == shown
    download = rig.ask("GET", f"{path}/content")
    assert download.body == LINES
    assert re.findall(r'^attachment; filename="([^"]*)"', download.headers["content-disposition"]) == [saved]
    assert "set-cookie" not in download.headers
    assert stored.value["id"] in rig.leftovers(), "a blob is named by the id alone"


def test_a_filename_with_a_real_line_break_ends_there(rig: Rig) -> None:
    stored = _stored(rig, PURPOSE + part("file", LINES, b"in\r\nSet-Cookie: x=1") + END)
    assert stored.status == 200
    assert "Cookie" not in stored.value["filename"]
    assert rig.ask("GET", f"/files/{stored.value['id']}/content").body == LINES


def _stored(rig: Rig, body: bytes) -> Answer:
    return rig.ask("POST", "/files", {"content-type": FORM}, body)
