"""Bodies changed by a route: what is named changes, and every other value keeps its bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proxy_plugin.lines.body_changes import BodyEditor
from proxy_plugin.providers.base import LineRejected
from proxy_plugin.routing.route import Changes

EXACT = (  # values that a decoder and an encoder would change
    b"12345678901234567890123456789",
    b"1e400",
    b"-0",
    b"1.10",
    rb'"\ud83d half"',
    rb'"\u00e9 \ud83d\ude00 \/"',
    b'"\xc3\xa9"',
    b'{ "a" : [ 1 , 2 ],"b":null }',
    b"[ ]",
    b"true",
)
NAMES = st.sampled_from(["model", "messages", "user", "seed", "é", "a.b", "x"])
BODIES = st.dictionaries(NAMES, st.sampled_from(EXACT), max_size=7)
PARAMS = st.dictionaries(NAMES, st.sampled_from([b"1", b'"new"', b"[1]"]), max_size=3)


def spelled(body: dict[str, bytes]) -> bytes:
    return b"{" + b" , ".join(json.dumps(name).encode() + b" : " + value for name, value in body.items()) + b"}"


def raw(params: dict[str, bytes]) -> dict[str, Raw]:
    return {name: Raw(value) for name, value in params.items()}


def members(body: bytes) -> dict[str, str]:
    """Return {name: exact text} of a compact object whose values are among EXACT and the small new ones."""
    found, rest = {}, body.decode()[1:-1]
    decoder = json.JSONDecoder()
    while rest:
        name, end = decoder.raw_decode(rest)
        value_begin = end + 1
        _, value_end = decoder.raw_decode(rest[value_begin:])
        found[name] = rest[value_begin : value_begin + value_end]
        rest = rest[value_begin + value_end :].removeprefix(",")
    return found


@given(BODIES, PARAMS, PARAMS, st.lists(NAMES.filter(lambda name: "." not in name), max_size=2, unique=True))
def test_only_what_is_named_changes(
    body: dict[str, bytes], override: dict[str, bytes], default: dict[str, bytes], remove: list[str]
) -> None:
    editor = BodyEditor(Changes(raw(override), raw(default), tuple(remove)))
    edited, removed = editor.edit(spelled(body))
    assert set(removed) == set(remove) & body.keys()
    kept = {name: value for name, value in body.items() if name not in remove}
    expected = default | kept | override
    if edited == spelled(body):
        assert expected == body
    else:
        assert members(edited) == {name: value.decode() for name, value in expected.items()}


@pytest.mark.parametrize(
    ("path", "expected", "found"),
    [
        ("a", b'{"c":[{"d":1e400},2]}', True),
        ("c.0.d", b'{"a":{"b":1},"c":[{},2]}', True),
        ("c.1", b'{"a":{"b":1},"c":[{"d":1e400}]}', True),
        ("a.b", b'{"a":{},"c":[{"d":1e400},2]}', True),
        ("a.b.c", None, False),
        ("c.7", None, False),
        ("c.x", None, False),
        ("c.-1", None, False),
        ("nothing.here", None, False),
    ],
)
def test_a_dotted_path_is_removed_and_the_rest_stays(path: str, expected: bytes | None, found: bool) -> None:
    body = b'{"a":{"b":1},"c":[{"d":1e400},2]}'
    assert BodyEditor(Changes(remove=(path,))).edit(body) == (expected or body, (path,) if found else ())


def test_removal_comes_first_and_a_default_fills_what_was_removed() -> None:
    changes = Changes({}, raw({"user": b'"route"'}), ("user",))
    assert BodyEditor(changes).edit(b'{"user":"client"}') == (b'{"user":"route"}', ("user",))


def test_of_two_equal_names_the_last_counts() -> None:
    edited, _ = BodyEditor(Changes(raw({"n": b"9"}))).edit(b'{"n":1,"m":2,"n":3}')
    assert edited == b'{"n":9,"m":2}'


def test_a_name_that_is_no_text_is_refused_without_being_shown() -> None:
    with pytest.raises(LineRejected) as refusal:
        BodyEditor(Changes(raw({"n": b"9"}))).edit(rb'{"secret\ud83d": 1}')
    assert (refusal.value.code, refusal.value.param) == ("invalid_value", "body")
    assert "secret" not in refusal.value.message


def test_the_result_is_what_json_means() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": 'quote " back \\ é 🙂'}], "n": 2}
    edited, _ = BodyEditor(Changes(raw({"n": b"3"}), raw({"top_p": b"0.5"}))).edit(json.dumps(body).encode())
    assert json.loads(edited) == body | {"n": 3, "top_p": 0.5}
