"""Params in the API's own words: no byte changes but the model's and halves of characters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineIn, LineRejected, Target
from proxy_plugin.providers.formats.anthropic.requests import own_params
from proxy_plugin.providers.lanes.anthropic.lane import ANTHROPIC
from proxy_plugin.providers.lanes.anthropic.rows import MESSAGES

CHAT = "/v1/chat/completions"
NEEDED = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": []}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"x":1.0e0}'
)


@given(more=st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS), max_size=4), ascii_only=st.booleans())
def test_bodies_stay_as_they_are(more: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps({**more, **NEEDED}, ensure_ascii=ascii_only, separators=(" ,", ": ")).encode()
    assert own_params(body, model=None, drop_params=False) == (body, ())
    line = LineIn("id-1", MESSAGES, body, "m")
    assert ANTHROPIC.translate(line, Target()).data == b'{"custom_id":"id-1","params":' + body + b"}"
    replaced = ANTHROPIC.translate(line, Target(model="other")).data
    assert replaced == b'{"custom_id":"id-1","params":' + body.replace(b'"claude-haiku-4-5"', b'"other"') + b"}"


def test_half_a_character_is_mended_and_told() -> None:
    body = rb'{"max_tokens":1,"messages":[{"role":"user","content":"\ud83d"}],"model":"m"}'
    made = own_params(body, model=None, drop_params=False)
    assert made.body == body.replace(rb"\ud83d", rb"\ufffd")
    assert made.dropped


@pytest.mark.parametrize("name", ["messages", "max_tokens"])
def test_what_every_message_needs_is_named(name: str) -> None:
    body = json.dumps({key: value for key, value in NEEDED.items() if key != name}).encode()
    with pytest.raises(LineRejected) as rejected:
        own_params(body, model=None, drop_params=True)
    assert (rejected.value.code, rejected.value.param) == ("missing_required_parameter", f"body.{name}")


@pytest.mark.parametrize(("endpoint", "kind"), [(MESSAGES, "message"), (CHAT, None)])
def test_an_answer_is_the_message_itself_only_where_that_is_asked_for(endpoint: str, kind: str | None) -> None:
    line = b'{"custom_id":"c","result":{"type":"succeeded","message":%b}}' % MESSAGE
    row = ANTHROPIC.row(line, "results.jsonl", endpoint)
    assert row is not None
    assert row.ok
    assert row.response is not None
    assert json.loads(row.response)["body"].get("type") == kind
    assert (MESSAGE in row.response) == (kind is not None)
    assert row.model == "m"


@pytest.mark.parametrize(("endpoint", "kind"), [(MESSAGES, "error"), (CHAT, None)])
def test_so_is_an_error(endpoint: str, kind: str | None) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}, "request_id": "req_1"}
    line = json.dumps({"custom_id": "c", "result": {"type": "errored", "error": error}}).encode()
    row = ANTHROPIC.row(line, "results.jsonl", endpoint)
    assert row is not None
    assert row.response is not None
    answer = json.loads(row.response)
    assert (answer["status_code"], answer["request_id"], row.code) == (400, "req_1", "400")
    assert answer["body"].get("type") == kind
    assert answer["body"]["error"]["type"] == "invalid_request_error"
