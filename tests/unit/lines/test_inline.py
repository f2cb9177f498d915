"""The body of an inline create, taken apart: no byte of a request's body is lost or changed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.envelope import decode_envelope
from proxy_plugin.lines.sources import inline
from proxy_plugin.lines.sources.inline import InlineJob, Others, Written, Wrong

CHAT = "/v1/chat/completions"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), VALUES, max_size=4).map(
    lambda body: (
        {key: value for key, value in body.items() if key not in ("stream", "model", "messages")} | {"model": "m"}
    )
)
STYLES = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "indent": st.sampled_from([None, 0, 2]),
        "separators": st.sampled_from([(",", ":"), (" , ", " :\t")]),
    }
)


NAMELESS = b'{"requests":[{"custom_id":"a","params":{}}]}'


def job_in(folder: Path, **more: Any) -> InlineJob:
    job = InlineJob(str(folder / "body"), str(folder / "lines"), CHAT, (CHAT,), {}, 2**24, 1000)
    return msgspec.structs.replace(job, **more)


def written(folder: Path, body: bytes, **more: Any) -> Written | Wrong:
    (folder / "body").write_bytes(body)
    return inline.write(job_in(folder, **more))


@settings(max_examples=150, deadline=None)
@given(bodies=st.lists(st.tuples(BODIES, STYLES), min_size=1, max_size=6), style=STYLES)
def test_bodies_stay_as_they_were_sent(bodies: list[tuple[Any, Any]], style: dict[str, Any]) -> None:
    texts = [json.dumps(body, **how) for body, how in bodies]
    elements = [json.dumps({"custom_id": str(n), "body": None}, **style) for n in range(len(texts))]
    whole = [element.replace("null", text) for element, text in zip(elements, texts, strict=True)]
    create = f'{{"endpoint": "x", "requests"\n:[{" ,".join(whole)}\n]}}'.encode()
    with tempfile.TemporaryDirectory() as home:
        facts = written(Path(home), create)
        assert isinstance(facts, Written), facts
        lines = (Path(home) / "lines").read_bytes().split(b"\n")
        assert lines.pop() == b""
        assert inline.others(str(Path(home) / "body")) == Others(b'{"endpoint":"x"}', has_requests=True)
    assert facts.file.lines == len(texts) == len(lines)
    for n, (line, text) in enumerate(zip(lines, texts, strict=True)):
        envelope = decode_envelope(line)
        assert (envelope.custom_id, envelope.url) == (str(n), CHAT)
        assert envelope.body == text.replace("\n", " ").encode()


def test_half_a_surrogate_pair_stays(tmp_path: Path) -> None:
    body = rb'{"model":"m","x":"\ude00 \ud83d\ude00"}'
    create = rb'{"requests":[{"custom_id":"\ud83d","body":%b}],"metadata":{"a":"\ud83d"}}' % body
    assert isinstance(written(tmp_path, create), Written)
    line = rb'{"custom_id":"\ud83d","method":"POST","url":"/v1/chat/completions","body":%b}' % body
    assert (tmp_path / "lines").read_bytes() == line + b"\n"
    assert inline.others(str(tmp_path / "body")).text == rb'{"metadata":{"a":"\ud83d"}}'


def test_of_a_member_that_comes_twice_the_last_one_counts(tmp_path: Path) -> None:
    one, two = (b'{"custom_id":"%d","body":{"model":"m"}}' % n for n in (1, 2))
    create = b'{"requests":[%b],"a":1,"requests":[%b],"a":2}' % (one, two)
    assert isinstance(written(tmp_path, create), Written)
    assert json.loads((tmp_path / "lines").read_bytes())["custom_id"] == "2"
    assert inline.others(str(tmp_path / "body")).text == b'{"a":2}'


def test_params_are_a_body_at_the_lanes_own_url(tmp_path: Path) -> None:
    create = b'{"requests":[{"custom_id":"a","params":{"model":"m", "max_tokens":1}}]}'
    facts = written(tmp_path, create, native={"params": "/v1/own"}, urls=None)
    assert isinstance(facts, Written)
    assert facts.urls == ("/v1/own",)
    line = b'{"custom_id":"a","method":"POST","url":"/v1/own","body":{"model":"m", "max_tokens":1}}\n'
    assert (tmp_path / "lines").read_bytes() == line
    without = written(tmp_path, create)
    assert isinstance(without, Wrong)
    assert (without.code, without.param) == ("unsupported_endpoint", "requests[0].params")
    nameless = written(tmp_path, NAMELESS, native={"params": "/v1/own"}, urls=None)
    assert isinstance(nameless, Wrong)
    assert nameless.param == "requests[0].params.model"


def test_a_body_one_level_deeper_is_taken_out(tmp_path: Path) -> None:
    """xAI's form: the name of the wrapper tells the url, and the id may be left out."""
    inside = b'{"chat_get_completion":{"model":"m", "x":1.0e0}}'
    create = b'{"requests":[{"batch_request_id":"a","batch_request":%b},{"batch_request":%b}]}' % (inside, inside)
    facts = written(tmp_path, create, url=None)
    assert isinstance(facts, Written)
    assert facts.urls == (CHAT,)
    line = '{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"model":"m", "x":1.0e0}}\n'
    assert (tmp_path / "lines").read_text() == line % "a" + line % "request-1"


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        ({"batch_request": {"other": {}}}, "batch_request", "invalid_value"),
        ({"batch_request": 7}, "batch_request", "invalid_value"),
        ({"batch_request": {}, "body": {}}, "batch_request", "invalid_value"),
        (
            {"batch_request": {"responses": {"model": 7}}},
            "batch_request.responses.model",
            "invalid_type",
        ),
        ({"modelInput": {}}, "modelInput", "unsupported_endpoint"),
        ({"recordId": 7, "modelInput": {"model": "m"}, "url": CHAT}, "custom_id", "invalid_type"),
        ({"modelInput": {"a": 1}, "modelId": 7, "url": CHAT}, "modelInput.model", "invalid_type"),
    ],
)
def test_what_is_wrong_in_a_lanes_own_form_has_its_path(
    tmp_path: Path, request_: dict[str, Any], param: str, code: str
) -> None:
    found = written(tmp_path, json.dumps({"requests": [request_]}).encode(), urls=None)
    assert isinstance(found, Wrong)
    assert (found.param, found.code) == (f"requests[0].{param}", code)


@pytest.mark.parametrize(
    ("limits", "code", "param"),
    [({"max_lines": 2}, "too_many_tasks", "requests"), ({"max_line_bytes": 60}, "line_too_long", "requests[0]")],
)
def test_limits_of_files_hold(tmp_path: Path, limits: dict[str, int], code: str, param: str) -> None:
    requests = [{"custom_id": str(n), "body": {"model": "m"}} for n in range(3)]
    found = written(tmp_path, json.dumps({"requests": requests}).encode(), **limits)
    assert isinstance(found, Wrong)
    assert (found.code, found.param) == (code, param)


def test_an_attempt_that_died_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"half a li")
    assert isinstance(written(tmp_path, b'{"requests":[{"custom_id":"a","body":{"model":"m"}}]}'), Written)
    assert (tmp_path / "lines").read_bytes().startswith(b'{"custom_id":"a"')


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b"[]", "must be a JSON object"),
        (b'{"a":1', "line 1, column 7"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        (b'{"requests":' + b"[" * 5000 + b"]" * 5000 + b"}", "We could not parse"),
    ],
)
def test_what_is_no_json_object_is_told(tmp_path: Path, body: bytes, said: str) -> None:
    (tmp_path / "body").write_bytes(body)
    assert said in (inline.others(str(tmp_path / "body")).problem or "")
