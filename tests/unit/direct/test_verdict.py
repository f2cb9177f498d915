"""What one call makes of a line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.direct.verdict import Again, Known, PartRefused, RowText, Tries, of_failure, of_reply, pause
from proxy_plugin.providers.direct.base import Lost, NotSent, Reply

ID = "abcdefghij00000001"
ANSWER = b'{"id": "chatcmpl-1",\n "model": "m"}'
LIMITS, FIRST = CallLimits(retries=2), Tries()
QUIET, OTHERS_ANSWERED = Known(answered=False, since=False), Known(answered=True, since=True)


def complaint(message: str = "no", code: str = "c") -> bytes:
    return json.dumps({"error": {"message": message, "code": code, "param": "model"}}).encode()


def judged(status: int, body: bytes = b"", tries: Tries = FIRST, known: Known = QUIET) -> object:
    return of_reply(ID, Reply(status, {}, body, "req_1"), tries, LIMITS, known, lambda: 0.0)


def row(found: object) -> dict[str, object]:
    assert isinstance(found, RowText)
    assert b"\n" not in found.text
    read = json.loads(b"{" + found.text)
    assert read["custom_id"] == ID
    return dict(read)


def test_an_answer_is_its_row_byte_for_byte() -> None:
    found = judged(200, b'{"n": 12345678901234567890123, "s": "\\ud83d"}')
    assert isinstance(found, RowText)
    assert found.ok
    assert b'{"n": 12345678901234567890123, "s": "\\ud83d"}' in found.text
    assert row(found)["response"] == {
        "status_code": 200,
        "request_id": "req_1",
        "body": {"n": 12345678901234567890123, "s": "\ud83d"},
    }


def test_breaks_between_tokens_go() -> None:
    assert row(judged(200, ANSWER))["error"] is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"a": ', b'{"a": "\xff"}'])
def test_what_is_no_json_object_is_no_answer_and_is_not_paid_twice(body: bytes) -> None:
    error = row(judged(200, body))["error"]
    assert isinstance(error, dict)
    assert error["code"] == "answer_unreadable"


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 529])
def test_failures_of_the_provider_are_tried_so_often_and_then_told(status: int) -> None:
    tries, calls = Tries(), 0
    while isinstance(found := judged(status, complaint(), tries), Again):
        tries, calls = found.tries, calls + 1
    assert calls == LIMITS.retries
    assert isinstance(found, RowText)
    assert not found.ok
    assert row(found)["response"] == {"status_code": status, "request_id": "req_1", "body": json.loads(complaint())}


@pytest.mark.parametrize("status", [400, 404, 413, 422, 302])
def test_what_the_line_is_refused_for_is_told_at_once(status: int) -> None:
    assert isinstance(judged(status, complaint()), RowText)


def test_words_that_are_no_json_become_an_error() -> None:
    assert row(judged(404, b"<html>nothing here"))["error"] == {
        "code": "404",
        "message": "The provider answered with HTTP 404.",
    }


def test_a_storm_of_429_costs_no_line() -> None:
    tries, longest = Tries(), 0.0
    for _ in range(1000):
        found = judged(429, complaint(), tries)
        assert isinstance(found, Again)
        tries, longest = found.tries, found.pause
    assert longest == 60.0


def test_a_line_that_asks_for_more_than_its_account_may_have_does_not_wait_for_ever() -> None:
    tries, calls = Tries(), 0
    while isinstance(found := judged(429, complaint(), tries, OTHERS_ANSWERED), Again):
        tries, calls = found.tries, calls + 1
    assert calls == LIMITS.retries * 4
    assert isinstance(found, RowText)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_an_account_that_is_refused_stops_the_part(status: int) -> None:
    assert judged(status, complaint("wrong key", "bad_key")) == PartRefused(status, "bad_key", "wrong key", "model")


def test_a_403_among_answers_is_about_its_line() -> None:
    assert isinstance(judged(403, complaint(), known=OTHERS_ANSWERED), RowText)
    assert isinstance(judged(401, complaint(), known=OTHERS_ANSWERED), PartRefused)


def test_a_429_for_want_of_money_stops_the_part() -> None:
    known = QUIET._replace(billing_codes=frozenset({"insufficient_quota"}))
    assert isinstance(judged(429, complaint(code="insufficient_quota"), known=known), PartRefused)


def test_what_never_left_is_sent_until_it_is_answered() -> None:
    tries = Tries()
    for _ in range(1000):
        found = of_failure(ID, NotSent("ClientConnectorError"), tries, lambda: 0.0)
        assert isinstance(found, Again)
        tries = found.tries


def test_what_may_have_been_answered_is_sent_once_more() -> None:
    first = of_failure(ID, Lost("ServerDisconnectedError"), Tries(), lambda: 0.0)
    assert isinstance(first, Again)
    error = row(of_failure(ID, Lost("TimeoutError"), first.tries, lambda: 0.0))["error"]
    assert isinstance(error, dict)
    assert error["code"] == "answer_lost"
    assert "2 times" in error["message"]


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_and_have_an_end(tries: int, chance: float) -> None:
    assert 0.25 <= pause(tries, lambda: chance) <= 60.0
