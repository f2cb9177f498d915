"""OpenAI's adapter against the stand-in, which is written from the published API and not from the adapter."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from proxy_plugin.providers.base import (
    Account,
    BatchProvider,
    Cancels,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    OutcomeUnknown,
    PartFile,
    ProviderError,
    Refused,
    Revokes,
    Row,
    Short,
    Sighting,
    Submission,
    Target,
    TryLater,
    make_mark,
    native_id,
)
from proxy_plugin.providers.catalog import load
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.keys import KeyCredentials
from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.lanes.openai.services.openai import OPENAI, OpenAICredentials
from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox

CHAT = "/v1/chat/completions"
KEY, OTHER_KEY = "sk-adapter-0123456789abcdef", "sk-other-0123456789abcdef"
PATIENCE = 15.0  # seconds of real time for something that takes a fraction of one


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    brisk = {"openai": {"validate_seconds": 0.01, "run_seconds": 0.02, "finalize_seconds": 0.0, "cancel_seconds": 0.0}}
    with Sandbox(providers=["openai"], keys=[f"ours={KEY}", f"theirs={OTHER_KEY}"], options=brisk) as sandbox:
        yield sandbox


@pytest.fixture
async def sandbox(running: Sandbox) -> Sandbox:
    await running.reset()
    return running


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(HttpSettings(connect_timeout=5, read_timeout=5, create_timeout=5))
    yield http
    await http.close()


def account_of(http: Http, host: str, key: str = KEY, fingerprint: str = "") -> Account:
    return Account("prod", OpenAICredentials.model_validate({"api_key": key, "custom_host": host}), http, fingerprint)


@pytest.fixture
def account(http: Http, sandbox: Sandbox) -> Account:
    return account_of(http, sandbox.url())


def bodies(*texts: str, model: str = "gpt-4.1-nano") -> list[dict[str, Any]]:
    return [{"model": model, "messages": [{"role": "user", "content": text}]} for text in texts]


def make_part(folder: Path, *texts: str, name: str = "part", lines: list[bytes] | None = None) -> PartFile:
    mark = make_mark(name)
    if lines is None:
        texts_of = (json.dumps(body).encode() for body in bodies(*texts))
        given = (LineIn(native_id(mark, number), CHAT, text, "m") for number, text in enumerate(texts_of))
        lines = [OPENAI.translate(line, Target()).data for line in given]
    path, data = folder / f"{name}.native", b"".join(line + b"\n" for line in lines)
    path.write_bytes(data)
    return PartFile(mark, path, len(data), len(lines), hashlib.sha256(data).hexdigest(), CHAT, "gpt-4.1-nano")


@pytest.fixture
def part(tmp_path: Path) -> PartFile:
    return make_part(tmp_path, "one", "two", "three")


async def staged(account: Account, part: PartFile) -> Submission:
    file = await OPENAI.stage(account, part, again=False)
    return Submission(part, file, await OPENAI.fence(account))


async def ended(
    account: Account, job: str, part: PartFile, *states: JobState, provider: BatchProvider = OPENAI
) -> JobStatus:
    """Poll until the job is in one of `states`, by default over."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = await provider.status(account, job, part)
        if status.state in (states or (JobState.ENDED, JobState.FAILED)):
            return status
        await asyncio.sleep(0.01)
    raise AssertionError(f"still {status.state}")


def rows_in(folder: Path, names: tuple[str, ...]) -> list[Row]:
    lines = ((line, name) for name in names for line in (folder / name).read_bytes().split(b"\n"))
    return [row for line, name in lines if (row := OPENAI.row(line, name, CHAT))]


async def creates(sandbox: Sandbox) -> list[str]:
    return [entry["batch_id"] for entry in await sandbox.log()]


def test_the_lane_says_what_it_can_do() -> None:
    lane: BatchProvider = OPENAI
    facts = lane.capabilities
    assert load("openai") is OPENAI
    assert isinstance(lane, Cancels)
    assert isinstance(lane, Revokes)
    assert (facts.provider, facts.default_host) == ("openai", "https://api.openai.com/v1")
    assert (facts.max_lines, facts.max_inputs, facts.max_bytes) == (50_000, 50_000, 200_000_000)
    assert facts.one_model_per_job
    assert facts.accepts_label
    assert len(facts.endpoints) == 8


async def test_every_line_comes_back_once_with_its_answer(sandbox: Sandbox, account: Account, tmp_path: Path) -> None:
    texts = ["plain", 'é \u2028 \\ " 😀', "[[sandbox:error=400]] bad", "[[sandbox:timeout]]", "[[sandbox:error=0]]"]
    part = make_part(tmp_path, *texts)
    submission = await staged(account, part)
    assert submission.fence is None
    job = await OPENAI.create(account, submission)
    status = await ended(account, job, part)
    assert (status.state, status.end, status.mark) == (JobState.ENDED, JobEnd.COMPLETED, part.mark)
    assert (status.completed or 0) + (status.failed or 0) == len(texts)
    names = await OPENAI.fetch(account, job, status, tmp_path)
    assert names == ("output.jsonl", "error.jsonl")
    rows = {row.native_id: row for row in rows_in(tmp_path, names)}
    assert sorted(rows) == [native_id(part.mark, number) for number in range(len(texts))]
    for number, body in enumerate(bodies(*texts[:2])):
        row = rows[native_id(part.mark, number)]
        answer = json.loads(row.response or b"")["body"]["choices"][0]["message"]["content"]
        assert (row.ok, row.model, answer) == (True, "gpt-4.1-nano", expected_text(CHAT, body))
        assert row.usage is not None
        assert row.usage.output_tokens > 0
    failed = [rows[native_id(part.mark, number)] for number in (2, 3, 4)]
    assert [(row.ok, row.code) for row in failed] == [(False, "400"), (False, "request_timeout"), (False, "0")]
    (entry,) = await sandbox.log()
    assert (entry["metadata"], entry["lines"]) == ({"proxy_plugin": part.mark}, len(texts))
    assert await sandbox.violations() == []


async def test_the_fence_is_the_newest_job(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    for expected in range(2):
        submission = await staged(account, part)
        assert submission.fence == ([None, *await creates(sandbox)][expected])
        await OPENAI.create(account, submission)


# Staging


async def test_an_upload_whose_reply_was_lost_is_found_again(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.strangers(key=KEY, batches=3)
    await sandbox.faults([{"kind": "drop_after", "on": "files.create"}])
    with pytest.raises(TryLater):
        await OPENAI.stage(account, part, again=False)
    first = await OPENAI.stage(account, part, again=True)
    assert await OPENAI.stage(account, part, again=True) == first
    assert [entry["op"] for entry in await sandbox.requests()].count("files.create") == 1


async def test_only_an_upload_of_the_very_part_counts(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path
) -> None:
    (tmp_path / "twin").mkdir()
    twin = make_part(tmp_path / "twin", "another text", name="part")
    assert twin.mark == part.mark
    other = await OPENAI.stage(account, twin, again=False)
    mine = await OPENAI.stage(account, part, again=True)
    assert mine != other
    await OPENAI.revoke(account, Submission(part, mine))
    assert await OPENAI.stage(account, part, again=True) not in (mine, other)


async def test_a_list_may_still_show_a_file_that_is_gone(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    mine = await OPENAI.stage(account, part, again=False)
    listed = {
        "object": "list",
        "data": [{"id": mine["file"], "filename": f"pp-{part.mark}.jsonl", "bytes": part.bytes}],
    }
    await OPENAI.revoke(account, Submission(part, mine))
    rule = {"kind": "status", "on": "files.list", "status": 200, "body": json.dumps({**listed, "has_more": False})}
    await sandbox.faults([rule])
    assert await OPENAI.stage(account, part, again=True) != mine


async def test_not_being_allowed_to_look_costs_an_upload_only(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.faults([{"kind": "status", "on": "files.list", "status": 403}])
    assert (await OPENAI.stage(account, part, again=True))["file"].startswith("file-")


@pytest.mark.parametrize("reply", ['{"id":"file-1","bytes":1}', '{"object":"file"}', '{"id":"../x"}', "[]"])
async def test_an_upload_that_is_not_confirmed_is_repeated(
    sandbox: Sandbox, account: Account, part: PartFile, reply: str
) -> None:
    await sandbox.faults([{"kind": "status", "on": "files.create", "status": 200, "body": reply}])
    with pytest.raises(TryLater):
        await OPENAI.stage(account, part, again=False)


# Creating, and looking for what became of it


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        ({"kind": "drop"}, 0),
        ({"kind": "status", "status": 500}, 0),
        ({"kind": "drop_after"}, 1),
        ({"kind": "drop_after", "reset": True}, 1),
        ({"kind": "status_after", "status": 502}, 1),
        ({"kind": "status_after", "status": 409}, 1),
        ({"kind": "truncate", "bytes": 20}, 1),
        ({"kind": "status", "status": 200, "body": "<html>ok</html>"}, 0),
        ({"kind": "status", "status": 200, "body": '{"object":"batch"}'}, 0),
    ],
)
async def test_a_lost_create_is_looked_up(
    sandbox: Sandbox, account: Account, part: PartFile, fault: dict[str, Any], accepted: int
) -> None:
    submission = await staged(account, part)
    await sandbox.strangers(key=KEY, batches=2, metadata={"proxy_plugin": part.mark})
    await sandbox.faults([{**fault, "on": "batches.create"}])
    with pytest.raises(OutcomeUnknown):
        await OPENAI.create(account, submission)
    sighting = await OPENAI.find(account, submission)
    assert sighting == Sighting(tuple(await creates(sandbox)), control=True)
    assert len(sighting.jobs) == accepted, "a stranger's job with our mark but another file is not ours"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 429, "retry_after": 9}, TryLater),
        ({"kind": "status", "status": 400, "code": "invalid_value"}, Refused),
        ({"kind": "status", "status": 401, "code": "invalid_api_key"}, Refused),
        ({"kind": "redirect", "url": "http://127.0.0.1:1/"}, Refused),
    ],
)
async def test_a_create_that_was_not_accepted_says_so(
    sandbox: Sandbox, account: Account, part: PartFile, fault: dict[str, Any], error: type[ProviderError]
) -> None:
    submission = await staged(account, part)
    await sandbox.faults([{**fault, "on": "batches.create"}])
    with pytest.raises(error):
        await OPENAI.create(account, submission)
    assert await creates(sandbox) == []


async def test_a_create_without_a_connection_was_not_accepted(http: Http, part: PartFile) -> None:
    nowhere = account_of(http, "http://127.0.0.1:1/v1")
    with pytest.raises(TryLater, match="no connection was made"):
        await OPENAI.create(nowhere, Submission(part, {"file": "file-1"}))


async def test_a_lookup_reads_on_to_the_fence_and_hardly_beyond(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.options(validate_seconds=86_000)
    await sandbox.strangers(key=KEY, batches=100)
    await sandbox.advance(3600)
    await sandbox.strangers(key=KEY, batches=1)
    submission = await staged(account, part)
    job = await OPENAI.create(account, submission)
    await sandbox.advance(3600)
    await sandbox.strangers(key=KEY, batches=105)
    before = len(await sandbox.requests())
    assert await OPENAI.find(account, submission) == Sighting((job,), control=True)
    assert [entry["op"] for entry in (await sandbox.requests())[before:]] == [
        "batches.list",
        "batches.list",
        "files.retrieve",
    ]


async def test_a_job_listed_just_below_the_fence_is_seen(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    submission = await staged(account, part)
    job = await OPENAI.create(account, submission)
    await sandbox.strangers(key=KEY)
    newest = await OPENAI.fence(account)
    assert newest != job
    assert (await OPENAI.find(account, Submission(part, submission.staged, newest))).jobs == (job,)


async def test_a_lookup_that_another_account_answers_proves_nothing(
    http: Http, sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    submission = await staged(account, part)
    await OPENAI.create(account, submission)
    for key, listed in ((OTHER_KEY, True), ("sk-unknown", False)):
        found = await OPENAI.find(account_of(http, sandbox.url(), key), submission)
        assert found == Sighting((), control=False, listed=listed)
    assert await OPENAI.find(account, Submission(part, {})) == Sighting(tuple(await creates(sandbox)), control=False)


@pytest.mark.parametrize("on", ["batches.list", "files.retrieve"])
async def test_a_lookup_that_is_refused_proves_nothing(
    sandbox: Sandbox, account: Account, part: PartFile, on: str
) -> None:
    submission = await staged(account, part)
    for status in (401, 403, 404):
        await sandbox.faults([{"kind": "status", "on": on, "status": status}])
        found = await OPENAI.find(account, submission)
        assert found == Sighting((), control=False, listed=on != "batches.list")
    for fault in ({"kind": "status", "status": 500}, {"kind": "drop"}, {"kind": "truncate", "bytes": 5}):
        await sandbox.faults([{"on": on, "times": None, **fault}])
        with pytest.raises(TryLater):
            await OPENAI.find(account, submission)


@pytest.mark.parametrize("reply", ["{}", '{"data":null}', '{"data":[{"object":"batch"}]}', '{"data":["x"]}'])
async def test_what_is_no_list_is_not_an_empty_one(
    sandbox: Sandbox, account: Account, part: PartFile, reply: str
) -> None:
    submission = await staged(account, part)
    await sandbox.faults([{"kind": "status", "on": "batches.list", "status": 200, "body": reply, "times": None}])
    with pytest.raises(TryLater):
        await OPENAI.find(account, submission)
    with pytest.raises(TryLater):
        await OPENAI.fence(account)


async def test_a_create_accepted_after_the_revocation_runs_nothing(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    submission = await staged(account, part)
    await sandbox.faults([{"kind": "late", "on": "batches.create", "seconds": 0.3}])
    with pytest.raises(OutcomeUnknown):
        await OPENAI.create(account, submission)
    assert await OPENAI.find(account, submission) == Sighting((), control=True)
    await OPENAI.revoke(account, submission)
    await OPENAI.revoke(account, submission)
    deadline = time.monotonic() + PATIENCE
    while not (late := await creates(sandbox)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    status = await ended(account, late[0], part)
    assert (status.state, status.retryable) == (JobState.FAILED, False)
    assert status.refusal is not None
    assert (status.refusal.code, status.refusal.param) == ("invalid_request", "file_id")
    assert [job["lines_run"] for job in await sandbox.jobs()] == [0]


async def test_a_deletion_that_did_not_happen_is_noticed(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    submission = await staged(account, part)
    body = json.dumps({"id": submission.staged["file"], "deleted": True})
    await sandbox.faults([{"kind": "status", "on": "files.delete", "status": 200, "body": body}])
    with pytest.raises(TryLater, match="still there"):
        await OPENAI.revoke(account, submission)
    await sandbox.faults([{"kind": "status", "on": "files.delete", "status": 403}])
    with pytest.raises(Refused):
        await OPENAI.revoke(account, submission)


# Status


STATES = {
    "validating": (JobState.VALIDATING, None),
    "in_progress": (JobState.RUNNING, None),
    "finalizing": (JobState.FINALIZING, None),
    "cancelling": (JobState.CANCELLING, None),
    "completed": (JobState.ENDED, JobEnd.COMPLETED),
    "expired": (JobState.ENDED, JobEnd.EXPIRED),
    "cancelled": (JobState.ENDED, JobEnd.CANCELLED),
    "Failed": (JobState.FAILED, None),
}


async def polled(sandbox: Sandbox, account: Account, part: PartFile, job: dict[str, Any]) -> JobStatus:
    body = json.dumps({"id": "batch_1", "object": "batch", **job})
    await sandbox.faults([{"kind": "status", "on": "batches.retrieve", "status": 200, "body": body}])
    return await OPENAI.status(account, "batch_1", part)


@pytest.mark.parametrize("word", STATES)
async def test_every_status_word_is_known(sandbox: Sandbox, account: Account, part: PartFile, word: str) -> None:
    files = {"output_file_id": "file-o", "error_file_id": "file-e"}
    status = await polled(sandbox, account, part, {"status": word, "request_counts": None, **files})
    assert (status.state, status.end) == STATES[word]
    assert (status.completed, status.failed, status.mark) == (None, None, None)
    assert status.results == {"output": "file-o", "error": "file-e"}
    counted = await polled(sandbox, account, part, {"status": word, "request_counts": {"completed": 0, "failed": 2}})
    assert (counted.completed, counted.failed, counted.results) == (0, 2, {})


REASON = {"errors": {"data": [{"code": "bad", "message": "Bad.", "line": 1}]}}
NO_REASON: dict[str, Any] = {"errors": {"object": "list", "data": []}}
NAMED = {"error_file_id": "file-e"}
# What a job that is called failed says besides; whether lines of it ran, so that there are rows to wait for.
FAILURES: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    (REASON, False),
    ({"request_counts": {"completed": 0, "failed": 0}}, False),
    ({"request_counts": {"completed": 0, "failed": 0}, **NAMED}, False),  # some name an empty file
    ({"request_counts": {"completed": 0, "failed": 3}, **REASON}, False),  # all lines are counted for one reason
    ({"request_counts": {"completed": 0, "failed": 3}, **REASON, **NAMED}, True),
    ({"request_counts": {"completed": 0, "failed": 3}}, True),
    ({"request_counts": {"completed": 0, "failed": 3}, **NO_REASON}, True),
    ({"request_counts": {"completed": 0, "failed": 10**30}}, False),
    ({"request_counts": {"completed": None, "failed": -1}}, False),
    ({"request_counts": {"completed": 3, "failed": 0}, **REASON}, True),
    ({"request_counts": {"completed": 1, "failed": 2}}, True),
    ({"request_counts": {"completed": 10**30, "failed": 0}, **REASON}, True),  # not believed, and not taken for none
]


@pytest.mark.parametrize(("said", "ran"), FAILURES)
async def test_a_failed_job_of_which_lines_ran_has_rows(
    sandbox: Sandbox, account: Account, part: PartFile, said: dict[str, Any], ran: bool
) -> None:
    status = await polled(sandbox, account, part, {"status": "failed", **said})
    assert (status.state is JobState.ENDED, status.refusal is None) == (ran, ran)
    if ran and "error_file_id" not in said:
        assert status.unnamed


ABSURD: list[object] = [10**30, 2**63, 150, 4, -1, -(10**30), 1.5, 1e300, "3", True, None, [3], {}]


@pytest.mark.parametrize("number", ABSURD, ids=repr)
@pytest.mark.parametrize("word", ["in_progress", "completed", "cancelled"])
async def test_counts_are_believed_between_none_and_all_lines(
    sandbox: Sandbox, account: Account, part: PartFile, number: object, word: str
) -> None:
    for counts in ({"completed": number, "failed": 1}, {"completed": 1, "failed": number}):
        status = await polled(sandbox, account, part, {"status": word, "request_counts": counts})
        assert sorted((status.completed, status.failed), key=lambda each: each is None) == [1, None]


# Status word, counts, ids that are there; whether more of them will come.
NAMES: list[tuple[str, tuple[int, int] | None, str, bool]] = [
    ("completed", (3, 0), "", True),
    ("completed", (3, 0), "output", False),
    ("completed", (0, 3), "error", False),
    ("completed", (0, 3), "output", True),
    ("completed", (2, 1), "error", True),
    ("completed", (2, 1), "output", True),
    ("completed", (2, 1), "output error", False),
    ("completed", (0, 0), "", True),
    ("completed", None, "", True),
    ("completed", None, "output", False),
    ("failed", (3, 0), "", True),
    ("failed", (2, 1), "error", True),
    ("failed", (0, 0), "", False),
    ("expired", (2, 0), "error", True),
    ("expired", (2, 0), "output error", False),
    ("expired", (0, 0), "error", False),
    ("expired", None, "", False),
    ("cancelled", (1, 1), "", True),
    ("cancelled", (1, 0), "error", True),
    ("cancelled", (0, 0), "error", False),
    ("cancelled", (0, 0), "", False),
    ("in_progress", (3, 0), "", False),
    ("finalizing", (3, 0), "", False),
]


@pytest.mark.parametrize(("word", "counts", "named", "more"), NAMES)
async def test_ids_that_counts_promise_may_come_later(
    sandbox: Sandbox,
    account: Account,
    part: PartFile,
    word: str,
    counts: tuple[int, int] | None,
    named: str,
    more: bool,
) -> None:
    told = counts and {"total": 3, "completed": counts[0], "failed": counts[1]}
    files = {f"{name}_file_id": f"file-{name}" if name in named else None for name in ("output", "error")}
    status = await polled(sandbox, account, part, {"status": word, "request_counts": told, **files})
    assert status.unnamed is more
    assert set(status.results) == set(named.split())


@pytest.mark.parametrize("word", ["paused", "", None, 7, "sk-x y"])
async def test_an_unknown_status_word_is_no_guess(
    sandbox: Sandbox, account: Account, part: PartFile, word: object
) -> None:
    with pytest.raises(TryLater, match="unknown batch status"):
        await polled(sandbox, account, part, {"status": word})


async def test_answers_of_a_job_called_failed_are_not_thrown_away(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    job = {"status": "failed", "request_counts": {"completed": 2, "failed": 0}, "output_file_id": "file-o"}
    status = await polled(sandbox, account, part, job)
    assert (status.state, status.results, status.refusal) == (JobState.ENDED, {"output": "file-o"}, None)


@pytest.mark.parametrize(
    ("errors", "code", "message"),
    [
        (None, "batch_failed", "batch_failed"),
        ({"object": "list", "data": []}, "batch_failed", "batch_failed"),
        ([{"code": "c", "message": "m"}], "c", "m"),
        ("just words", "batch_failed", "just words"),
        (
            {"data": [{"code": "two words", "message": f"key {KEY}", "line": 3}]},
            "batch_failed",
            "key [credential]",
        ),
    ],
)
async def test_the_reason_of_a_failure_is_read_in_any_shape(
    sandbox: Sandbox, account: Account, part: PartFile, errors: object, code: str, message: str
) -> None:
    status = await polled(sandbox, account, part, {"status": "failed", "errors": errors})
    assert status.refusal is not None
    assert (status.refusal.code, status.refusal.message) == (code, message)


async def test_a_line_that_fails_validation_is_named(sandbox: Sandbox, account: Account, tmp_path: Path) -> None:
    record = {"custom_id": "a", "method": "POST", "url": CHAT, "body": bodies("x")[0]}
    lines = [json.dumps(record).encode(), json.dumps({**record, "body": bodies("y", model="other")[0]}).encode()]
    part = make_part(tmp_path, lines=[lines[0], lines[1].replace(b'"a"', b'"b"', 1)])
    job = await OPENAI.create(account, await staged(account, part))
    status = await ended(account, job, part)
    assert status.refusal is not None
    assert (status.state, status.retryable, status.refusal.code) == (JobState.FAILED, False, "mismatched_model")
    assert [(line.record, line.code) for line in status.refusal.lines] == [(2, "mismatched_model")]
    assert status.refusal.divisible


async def test_a_full_queue_is_a_failure_that_may_be_repeated(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.options(enqueued_token_cap=1)
    submission = await staged(account, part)
    status = await ended(account, await OPENAI.create(account, submission), part)
    assert (status.state, status.retryable) == (JobState.FAILED, True)
    await sandbox.options(enqueued_token_cap=None)
    again = await ended(account, await OPENAI.create(account, submission), part)
    assert again.end is JobEnd.COMPLETED


async def test_a_job_that_is_not_found_is_left_to_the_gateway(account: Account, part: PartFile) -> None:
    with pytest.raises(TryLater) as caught:
        await OPENAI.status(account, "batch_unknown", part)
    assert caught.value.status == 404


# Results


async def completed(account: Account, part: PartFile) -> tuple[str, JobStatus]:
    job = await OPENAI.create(account, await staged(account, part))
    return job, await ended(account, job, part)


@pytest.mark.parametrize("fault", [{"kind": "truncate"}, {"kind": "truncate_chunked"}, {"kind": "drop"}])
@pytest.mark.parametrize("size", [0, 700])
async def test_truncated_results_are_noticed(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path, fault: dict[str, Any], size: int
) -> None:
    job, status = await completed(account, part)
    folder = tmp_path / "results"
    folder.mkdir()
    await sandbox.faults([{**fault, "on": "files.content", "bytes": size, "times": None}])
    with pytest.raises(TryLater):
        await OPENAI.fetch(account, job, status, folder)
    await sandbox.faults([])
    assert not (folder / "output.jsonl").exists()
    assert await OPENAI.fetch(account, job, status, folder) == ("output.jsonl",)
    assert len(rows_in(folder, ("output.jsonl",))) == part.lines


async def test_a_job_without_answers_has_an_error_file_only(account: Account, tmp_path: Path) -> None:
    part = make_part(tmp_path, "[[sandbox:error=500]] a", "[[sandbox:error=400]] b")
    job, status = await completed(account, part)
    assert status.end is JobEnd.COMPLETED
    names = await OPENAI.fetch(account, job, status, tmp_path)
    assert names == ("error.jsonl",)
    assert sorted(row.code or "" for row in rows_in(tmp_path, names)) == ["400", "500"]


async def test_a_result_file_that_is_not_there_yet_is_asked_for_again(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path
) -> None:
    job, status = await completed(account, part)
    await sandbox.faults([{"kind": "status", "on": "files.retrieve", "status": 404}])
    with pytest.raises(TryLater) as caught:
        await OPENAI.fetch(account, job, status, tmp_path)
    assert caught.value.status == 404


@pytest.mark.parametrize("refused", range(4))
async def test_a_fetch_goes_on_where_it_was(sandbox: Sandbox, account: Account, tmp_path: Path, refused: int) -> None:
    """Two sizes and two files: each is asked for once, whichever of the four calls is refused first."""
    part = make_part(tmp_path, "one", "[[sandbox:error=400]] two")
    job, status = await completed(account, part)
    before = len(await sandbox.requests())
    calls = ["files.retrieve", "files.content"] * 2
    await sandbox.faults([{"kind": "status", "on": calls[refused], "status": 429, "skip": refused // 2}])
    with pytest.raises(TryLater):
        await OPENAI.fetch(account, job, status, tmp_path)
    names = await OPENAI.fetch(account, job, status, tmp_path)
    assert await OPENAI.fetch(account, job, status, tmp_path) == names == ("output.jsonl", "error.jsonl")
    assert len(rows_in(tmp_path, names)) == 2
    seen = [entry["op"] for entry in (await sandbox.requests())[before:]]
    assert seen == [*calls[:refused], calls[refused], *calls[refused:]]


async def test_a_later_reading_asks_for_the_sizes_and_reads_what_has_changed(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path
) -> None:
    job, status = await completed(account, part)
    (name,) = await OPENAI.fetch(account, job, status, tmp_path)
    whole = (tmp_path / name).read_bytes()
    before = len(await sandbox.requests())
    await OPENAI.fetch(account, job, replace(status, reading=1), tmp_path)
    (tmp_path / name).write_bytes(whole[:100])
    await OPENAI.fetch(account, job, replace(status, reading=2), tmp_path)
    assert (tmp_path / name).read_bytes() == whole
    seen = [entry["op"] for entry in (await sandbox.requests())[before:]]
    assert seen == ["files.retrieve", "files.retrieve", "files.content"]


async def test_another_file_under_the_same_name_is_another_result(
    sandbox: Sandbox, account: Account, tmp_path: Path
) -> None:
    found = [await completed(account, make_part(tmp_path, text, name=text)) for text in ("one", "two")]
    for job, status in found:
        await OPENAI.fetch(account, job, status, tmp_path)
    assert [row.native_id for row in rows_in(tmp_path, ("output.jsonl",))] == [native_id(make_mark("two"), 0)]


async def test_a_reading_that_ends_short_says_so_and_the_last_takes_it(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path
) -> None:
    job, status = await completed(account, part)
    await sandbox.faults([{"kind": "truncate_chunked", "on": "files.content", "bytes": 100, "times": None}])
    with pytest.raises(Short, match="100 bytes arrived"):
        await OPENAI.fetch(account, job, status, tmp_path)
    (name,) = await OPENAI.fetch(account, job, replace(status, last=True), tmp_path)
    assert (tmp_path / name).stat().st_size == 100


async def test_both_files_of_an_expired_job_are_read(sandbox: Sandbox, account: Account, tmp_path: Path) -> None:
    await sandbox.options(run_seconds=200_000, window_seconds=86_400)
    part = make_part(tmp_path, *(f"text {number}" for number in range(10)))
    job = await OPENAI.create(account, await staged(account, part))
    await ended(account, job, part, JobState.RUNNING)
    await sandbox.advance(90_000)
    status = await ended(account, job, part)
    assert status.end is JobEnd.EXPIRED
    rows = rows_in(tmp_path, await OPENAI.fetch(account, job, status, tmp_path))
    assert sorted(row.native_id for row in rows) == [native_id(part.mark, number) for number in range(10)]
    assert {row.code for row in rows} == {None, "batch_expired"}


async def test_a_cancelled_job_keeps_what_it_has_and_a_second_cancel_is_no_error(
    sandbox: Sandbox, account: Account, tmp_path: Path
) -> None:
    await sandbox.options(run_seconds=1000, cancel_seconds=50)
    part = make_part(tmp_path, *(f"text {number}" for number in range(10)))
    job = await OPENAI.create(account, await staged(account, part))
    await ended(account, job, part, JobState.RUNNING)
    await sandbox.advance(500)
    await OPENAI.cancel(account, job)
    assert (await OPENAI.status(account, job, part)).state is JobState.CANCELLING
    await OPENAI.cancel(account, job)
    await sandbox.advance(60)
    status = await ended(account, job, part)
    assert status.end is JobEnd.CANCELLED
    rows = rows_in(tmp_path, await OPENAI.fetch(account, job, status, tmp_path))
    assert {row.code for row in rows} == {None, "batch_cancelled"}
    assert len({row.native_id for row in rows}) == 10
    await OPENAI.cancel(account, job)


async def test_a_cancel_that_is_refused_while_the_job_runs_is_an_error(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.options(run_seconds=1000)
    job = await OPENAI.create(account, await staged(account, part))
    await ended(account, job, part, JobState.RUNNING)
    for status, error in ((400, Refused), (409, TryLater), (500, TryLater)):
        await sandbox.faults([{"kind": "status", "on": "batches.cancel", "status": status}])
        with pytest.raises(error):
            await OPENAI.cancel(account, job)
    with pytest.raises(Refused):
        await OPENAI.cancel(account, "batch_unknown")


# Accounts


async def test_callers_that_share_a_slug_do_not_share_a_pause(http: Http, sandbox: Sandbox, account: Account) -> None:
    await sandbox.faults([{"kind": "status", "on": "batches.list", "status": 429, "retry_after": 600}])
    with pytest.raises(TryLater):
        await OPENAI.fence(account)
    with pytest.raises(TryLater) as caught:
        await OPENAI.fence(account)
    assert 590 < (caught.value.after or 0) <= 600
    assert await OPENAI.fence(account_of(http, sandbox.url(), fingerprint="another")) is None


def credentials(**fields: Any) -> OpenAICredentials:
    return OpenAICredentials.model_validate({"api_key": KEY, **fields})


def test_equal_accounts_have_equal_keys_and_others_do_not() -> None:
    host = "https://api.openai.com/v1"
    key = OPENAI.account_key(credentials())
    assert key == OPENAI.account_key(credentials(custom_host=f"{host}/", api_key=f" {KEY}\n"))
    others = [
        credentials(api_key=OTHER_KEY),
        credentials(custom_host="https://eu.api.openai.com/v1"),
        credentials(openai_organization="org-1"),
        credentials(openai_project="org-1"),
    ]
    assert len({key, *map(OPENAI.account_key, others)}) == 5


@pytest.mark.parametrize(
    "fields", [{"api_key": ""}, {"api_key": f"{KEY}\nX: 1"}, {"api_kei": KEY}, {"custom_host": f"https://u:{KEY}@h/v1"}]
)
def test_wrong_credentials_are_refused_without_being_shown(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        credentials(**fields)
    assert KEY not in str(caught.value)


async def test_no_error_shows_the_key(http: Http, sandbox: Sandbox, part: PartFile, account: Account) -> None:
    message = f"Incorrect API key provided: {KEY}."
    said = [repr(account), repr(account.credentials), repr(OPENAI)]
    for status in (401, 429, 500):
        await sandbox.faults([{"kind": "status", "on": "*", "status": status, "message": message, "times": None}])
        calls: list[Callable[[], Any]] = [
            lambda: OPENAI.stage(account, part, again=False),
            lambda: OPENAI.create(account, Submission(part, {"file": "file-1"})),
            lambda: OPENAI.status(account, "batch_1", part),
        ]
        for call in calls:
            with pytest.raises(ProviderError) as caught:
                await call()
            said += [str(caught.value), repr(caught.value), repr(vars(caught.value))]
    assert "[credential]" in "".join(said)
    assert KEY[:9] not in "".join(said)


# A service that copies the API is one row


class CopyServer:
    """A loopback service with its own words, addresses and gaps."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.forms: list[dict[str, str]] = []
        self.orders: list[dict[str, Any]] = []

    async def upload(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        form = await request.post()
        self.forms.append({name: value for name, value in form.items() if isinstance(value, str)})
        return web.json_response({"id": "f1"})

    async def create(self, request: web.Request) -> web.Response:
        self.orders.append(await request.json())
        return web.json_response({"id": "j2"})

    async def jobs(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "j2", "input_file_id": "f1"}, {"id": "j1", "input_file_id": "f0"}]})

    async def job(self, request: web.Request) -> web.Response:
        return web.json_response({"id": "j2", "status": request.match_info["job"].upper(), "request_counts": None})

    async def file(self, _: web.Request) -> web.Response:
        return web.json_response({"id": "f1", "filename": f"pp-{make_mark('part')}.jsonl"})


@pytest.fixture
async def copy() -> AsyncIterator[tuple[CopyServer, str]]:
    server, app = CopyServer(), web.Application()
    app.router.add_post("/paas/v4/files", server.upload)
    app.router.add_get("/paas/v4/files/f1", server.file)
    app.router.add_post("/paas/v4/batches", server.create)
    app.router.add_get("/paas/v4/batches", server.jobs)
    app.router.add_get("/paas/v4/batches/{job}", server.job)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}/paas/v4"
    await runner.cleanup()


async def test_a_copy_of_the_api_is_one_row(http: Http, copy: tuple[CopyServer, str], part: PartFile) -> None:
    server, url = copy
    lane = OpenAICompatible(
        Service(
            provider="acme",
            title="Acme",
            default_host=url,
            endpoints=frozenset({CHAT}),
            purpose="batch-api",
            window=None,
            accepts_label=False,
            urls={CHAT: "/v4/chat/completions"},
            words={"progress": "in_progress", "in_queue": "validating"},
        )
    )
    account = Account("acme", KeyCredentials.model_validate({"api_key": KEY}), http)
    assert not lane.capabilities.accepts_label
    native = lane.translate(LineIn(native_id(part.mark, 0), CHAT, b'{"model":"m"}', "m"), Target())
    assert json.loads(native.data)["url"] == "/v4/chat/completions"
    submission = Submission(part, await lane.stage(account, part, again=False), "j1")
    assert await lane.create(account, submission) == "j2"
    assert server.forms == [{"purpose": "batch-api"}]
    assert server.orders == [{"input_file_id": "f1", "endpoint": "/v4/chat/completions"}]
    assert await lane.find(account, submission) == Sighting(("j2",), control=True)
    states = [(await lane.status(account, word, part)).state for word in ("progress", "in_queue", "completed")]
    assert states == [JobState.RUNNING, JobState.VALIDATING, JobState.ENDED]


async def test_organisation_and_project_are_sent(http: Http, copy: tuple[CopyServer, str], part: PartFile) -> None:
    server, url = copy
    for fields in ({"openai_organization": "org-1", "openai_project": "proj_1"}, {}):
        account = Account("prod", credentials(custom_host=url, **fields), http)
        await OPENAI.stage(account, part, again=False)
    first, second = server.headers
    assert (first["openai-organization"], first["openai-project"]) == ("org-1", "proj_1")
    assert not {"openai-organization", "openai-project"} & set(second)
    assert {sent["authorization"] for sent in server.headers} == {f"Bearer {KEY}"}
