"""Together's adapter: its pure half by properties, and what its words prove."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import JobEnd, JobState, LineIn, LineRejected, Target, TryLater
from proxy_plugin.providers.lanes.together_ai import lane
from proxy_plugin.providers.lanes.together_ai.lane import STATES, TOGETHER
from tests.providers.lanes.judging import JSON, KEY, status_of

CHAT = "/v1/chat/completions"


def translated(body: dict[str, Any], model: str | None = None) -> dict[str, Any]:
    line = LineIn("0123456789abcdefgh", CHAT, json.dumps(body).encode(), str(body.get("model")))
    found: dict[str, Any] = json.loads(TOGETHER.translate(line, Target(model=model)).data)
    return found


@given(st.dictionaries(st.text(), JSON))
def test_a_body_goes_as_it_is(body: dict[str, Any]) -> None:
    assert translated(body) == {"custom_id": "0123456789abcdefgh", "body": body}
    assert translated(body, "another")["body"] == {**body, "model": "another"}


@given(JSON)
def test_what_an_answer_holds_comes_back(body: Any) -> None:
    written = {"id": "br_1", "custom_id": "a", "response": {"status_code": 200, "body": {"choices": body}}}
    row = TOGETHER.row(json.dumps(written).encode(), "output.jsonl", CHAT)
    assert row is not None
    assert row.ok
    assert json.loads(row.response or b"")["body"] == {"choices": body}


@given(JSON)
def test_any_object_with_an_id_is_a_row(inside: Any) -> None:
    for written in ({"response": inside}, {"error": inside}, {"response": {"body": inside}}):
        row = TOGETHER.row(json.dumps({"custom_id": "a", **written}).encode(), "output.jsonl", CHAT)
        assert row is not None
        assert (row.response is None) != (row.error is None)
        assert row.ok or row.code


def test_a_client_error_is_an_answer_and_another_is_none() -> None:
    for code, status in (("batch_client_error", 400), ("batch_server_error", None)):
        line = {"custom_id": "a", "error": {"code": code, "message": "Maximum four stop sequences allowed"}}
        row = TOGETHER.row(json.dumps(line).encode(), "error.jsonl", CHAT)
        assert row is not None
        assert (json.loads(row.response)["status_code"] if row.response else None) == status


def test_other_endpoints_are_refused_by_name() -> None:
    with pytest.raises(LineRejected, match="/v1/embeddings"):
        TOGETHER.translate(LineIn("a", "/v1/embeddings", b"{}", "m"), Target())


@given(st.sampled_from(sorted(STATES)), st.sampled_from([str.upper, str.lower, str.title]))
async def test_every_word_has_its_state_in_any_case(word: str, spell: Any) -> None:
    status = await status_of(TOGETHER, {"status": spell(word), "output_file_id": "file-1"})
    expected = (JobState.ENDED, JobEnd.COMPLETED) if word == "FAILED" else STATES[word]
    assert (status.state, status.end) == expected, "a job with results ran, whatever it is called"


@given(st.text().filter(lambda word: word.upper() not in STATES))
async def test_another_word_is_no_guess(word: str) -> None:
    with pytest.raises(TryLater):
        await status_of(TOGETHER, {"status": word})


@pytest.mark.parametrize(
    ("error", "divisible", "lines"),
    [
        ("line 3: messages[0]: data did not match any variant", True, [3]),
        ("error reading input file", True, []),
        ("Failed to download input file: HTTP 404", False, []),
        ("Unable to access non-serverless model x", False, []),
        (None, True, []),
    ],
)
async def test_a_failed_job_names_lines_in_words(error: str | None, divisible: bool, lines: list[int]) -> None:
    refusal = (await status_of(TOGETHER, {"status": "FAILED", "error": error})).refusal
    assert refusal is not None
    assert ([each.record for each in refusal.lines], refusal.divisible) == (lines, divisible)


async def test_a_completed_job_without_files_is_looked_at_again() -> None:
    assert (await status_of(TOGETHER, {"status": "COMPLETED"})).unnamed
    assert not (await status_of(TOGETHER, {"status": "CANCELLED"})).unnamed


async def test_together_is_polled_as_its_page_asks_and_a_private_host_as_the_operator_likes() -> None:
    job = {"status": "IN_PROGRESS", "progress": 50}
    assert (await status_of(TOGETHER, job, custom_host=None)).poll_after == lane.POLL_SECONDS
    assert (await status_of(TOGETHER, job, custom_host="https://private.example/v1")).poll_after is None
    assert (await status_of(TOGETHER, job)).completed == 2


@pytest.mark.parametrize("share", [True, -1, 101, 10**30, "50", None])
async def test_a_share_that_cannot_be_is_not_believed(share: Any) -> None:
    assert (await status_of(TOGETHER, {"status": "IN_PROGRESS", "progress": share})).completed is None


@pytest.mark.parametrize("listed", [None, {}, "x", [1], [{"status": "COMPLETED"}], [{"id": "a/b"}]])
def test_a_list_that_makes_no_sense_proves_nothing(listed: Any) -> None:
    with pytest.raises(TryLater):
        lane._listed(listed)


def test_an_account_is_its_host_and_key() -> None:
    keys = [TOGETHER.credentials.model_validate({"api_key": key}) for key in (KEY, KEY, "sk-another-0123")]
    assert TOGETHER.account_key(keys[0]) == TOGETHER.account_key(keys[1]) != TOGETHER.account_key(keys[2])
