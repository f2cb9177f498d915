"""Fireworks' adapter: its pure half by properties, what its words prove, and what a vanished job means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import (
    Account,
    JobEnd,
    JobState,
    LineIn,
    OutcomeUnknown,
    PartFile,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.http import Http
from proxy_plugin.providers.lanes.fireworks_ai.lane import ENDS, FIREWORKS, STATES
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.providers.lanes.judging import JSON, status_of
from tests.support.waiting import answered

CHAT, MODEL, MARK = "/v1/chat/completions", "accounts/fireworks/models/gpt-oss-20b", "0123456789"
OURS = {"fireworks_account_id": "sandbox"}


@given(st.dictionaries(st.text(), JSON))
def test_a_body_goes_without_its_model(body: dict[str, Any]) -> None:
    line = LineIn("a", CHAT, json.dumps({**body, "model": MODEL}).encode(), MODEL)
    expected = {key: value for key, value in body.items() if key != "model"}
    assert json.loads(FIREWORKS.translate(line, Target()).data) == {"custom_id": "a", "body": expected}


@given(JSON)
def test_any_object_with_an_id_is_read(inside: Any) -> None:
    for written in ({"response": inside}, {"error": inside}, {"response": {"body": inside}}, {"status_code": inside}):
        row = FIREWORKS.row(json.dumps({"custom_id": "a", **written}).encode(), "a.jsonl", CHAT)
        assert row is None or ((row.response is None) != (row.error is None) and (row.ok or row.code))


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_answer_is_read_bare_and_wrapped(wrapped: bool) -> None:
    body = {"choices": [], "model": MODEL, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    line = {"custom_id": "a", "response": {"status_code": 200, "body": body} if wrapped else body}
    row = FIREWORKS.row(json.dumps(line).encode(), "a.jsonl", CHAT)
    assert row is not None
    assert row.usage is not None
    assert (row.ok, row.model, row.usage.input_tokens, row.usage.output_tokens) == (True, MODEL, 7, 3)
    assert json.loads(row.response or b"") == {"status_code": 200, "request_id": "", "body": body}


@pytest.mark.parametrize(
    ("error", "status"),
    [("no", 400), ({"message": "no"}, 400), ({"message": "no", "code": "429"}, 429), ({"code": 500}, 500)],
)
def test_an_error_has_the_status_that_is_told(error: Any, status: int) -> None:
    row = FIREWORKS.row(json.dumps({"custom_id": "a", "error": error}).encode(), "a.jsonl", CHAT)
    assert row is not None
    assert (row.ok, row.code) == (False, str(status))


@given(st.sampled_from(sorted(STATES)))
async def test_every_word_has_its_state(word: str) -> None:
    status = await status_of(FIREWORKS, {"state": f"JOB_STATE_{word}", "name": f"accounts/a/b/pp-{MARK}"}, **OURS)
    assert (status.state, status.end, status.mark) == (STATES[word], ENDS.get(word), MARK)


async def test_another_word_is_no_guess() -> None:
    with pytest.raises(TryLater):
        await status_of(FIREWORKS, {"state": "JOB_STATE_ELSEWHERE"}, **OURS)


@pytest.mark.parametrize(("told", "believed"), [(3, 3), ("3", 3), (5, None), ("-1", None), (True, None), (None, None)])
async def test_counts_are_numbers_or_texts(told: Any, believed: int | None) -> None:
    job = {"state": "JOB_STATE_RUNNING", "jobProgress": {"successfullyProcessedRequests": told}}
    assert (await status_of(FIREWORKS, job, **OURS)).completed == believed


async def test_a_failed_job_with_answers_ran() -> None:
    job = {"state": "JOB_STATE_FAILED", "jobProgress": {"successfullyProcessedRequests": 1}}
    assert (await status_of(FIREWORKS, job, **OURS)).state is JobState.ENDED


@pytest.mark.parametrize(
    ("code", "message", "divisible"),
    [
        ("INVALID_ARGUMENT", "line 9: unknown role", True),
        ("INVALID_ARGUMENT", "model x does not support batch inference", False),
        ("RESOURCE_EXHAUSTED", "quota", False),
        ("INTERNAL", "oops", False),
    ],
)
async def test_a_failed_job_names_no_line(code: str, message: str, divisible: bool) -> None:
    job = {"state": "JOB_STATE_FAILED", "status": {"code": code, "message": message}}
    refusal = (await status_of(FIREWORKS, job, **OURS)).refusal
    assert refusal is not None
    assert (refusal.lines, refusal.divisible) == ((), divisible), "its line numbers are unreliable"


def test_an_account_id_is_needed_and_stands_in_a_path() -> None:
    for wrong in ({}, {"fireworks_account_id": "a/b"}, {"fireworks_account_id": ""}):
        with pytest.raises(ValueError, match="fireworks_account_id"):
            FIREWORKS.credentials.model_validate({"api_key": "fw_a", **wrong})


# Against the stand-in.


@pytest.fixture(scope="module")
def sandbox() -> Any:
    with Sandbox(options={"fireworks-ai": {"run_seconds": 600, "validate_seconds": 0, "cancel_seconds": 0}}) as running:
        yield running


@pytest.fixture
async def account(sandbox: Sandbox) -> AsyncIterator[Account]:
    sandbox.control.reset()
    http = Http()
    settings = {"api_key": DEFAULT_KEY, "custom_host": sandbox.url("fireworks-ai"), **OURS}
    yield Account("slug", FIREWORKS.credentials.model_validate(settings), http)
    await http.close()


@pytest.fixture
def part(tmp_path: Path) -> PartFile:
    path = tmp_path / "lines"
    body = {"messages": [{"role": "user", "content": "hello"}]}
    path.write_text("".join(json.dumps({"custom_id": f"{MARK}{n:08}", "body": body}) + "\n" for n in range(3)))
    return PartFile(MARK, path, path.stat().st_size, 3, "0" * 64, CHAT, MODEL)


async def submitted(account: Account, part: PartFile) -> Submission:
    return Submission(part, await FIREWORKS.stage(account, part, again=False))


async def test_a_second_create_is_an_outcome_to_be_looked_up(
    account: Account, part: PartFile, sandbox: Sandbox
) -> None:
    submission = await submitted(account, part)
    absent = await FIREWORKS.find(account, submission)
    assert (absent.jobs, absent.control) == ((), True), "the input dataset is the control"
    assert await FIREWORKS.create(account, submission) == f"pp-{MARK}"
    with pytest.raises(OutcomeUnknown):
        await FIREWORKS.create(account, submission)
    assert (await FIREWORKS.find(account, submission)).jobs == (f"pp-{MARK}",)
    assert len(sandbox.control.log()) == 1


async def test_a_part_is_staged_again_without_a_second_upload(
    account: Account, part: PartFile, sandbox: Sandbox
) -> None:
    first = await FIREWORKS.stage(account, part, again=False)
    assert await FIREWORKS.stage(account, part, again=True) == first
    assert await FIREWORKS.stage(account, part, again=False) == first, "as after a job that could not be paid"
    assert [each["op"] for each in sandbox.control.requests()].count("store.put") == 1


async def test_a_job_that_vanished_was_cancelled_only_if_its_input_is_gone_too(
    account: Account, part: PartFile
) -> None:
    job = await FIREWORKS.create(account, await submitted(account, part))
    origin = FIREWORKS._origin(account)
    await origin.request("DELETE", f"batchInferenceJobs/{job}")

    async def vanished() -> bool:
        try:
            await FIREWORKS.status(account, job, part)
        except TryLater as error:
            return error.status == 404
        return False

    await answered(vanished)
    await origin.request("DELETE", f"datasets/{job}")
    status = await FIREWORKS.status(account, job, part)
    assert (status.state, status.end, status.mark, status.results) == (JobState.ENDED, JobEnd.CANCELLED, MARK, {})


async def test_a_cancel_that_was_killed_half_way_is_done_again(account: Account, part: PartFile) -> None:
    """The input is deleted first: until the job is, too, it runs and is cancelled again."""
    job = await FIREWORKS.create(account, await submitted(account, part))
    await FIREWORKS._origin(account).request("DELETE", f"datasets/{job}")
    assert (await FIREWORKS.status(account, job, part)).state in {
        JobState.VALIDATING,
        JobState.RUNNING,
        JobState.FAILED,
    }


async def test_a_job_that_has_ended_is_not_deleted(account: Account, part: PartFile, sandbox: Sandbox) -> None:
    sandbox.control.options("fireworks-ai", run_seconds=0.01)
    job = await FIREWORKS.create(account, await submitted(account, part))

    async def ended() -> bool:
        return (await FIREWORKS.status(account, job, part)).state is JobState.ENDED

    await answered(ended)
    await FIREWORKS.cancel(account, job)
    assert "batches.cancel" not in {each["op"] for each in sandbox.control.requests()}
