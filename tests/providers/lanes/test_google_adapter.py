"""Gemini's adapter against the stand-in, which is written from the published API and not from the adapter."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
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
from proxy_plugin.providers.catalog import canonical, load
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.lanes.google.lane import GOOGLE, GoogleCredentials
from proxy_plugin.providers.sandbox.process import Sandbox

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
MODEL = "gemini-2.5-flash"
KEY, OTHER_KEY = "AIza-adapter-0123456789abcdef", "AIza-other-0123456789abcdef"
PATIENCE = 15.0  # seconds of real time for something that takes a fraction of one
BRISK = {"processing_seconds": 0.0, "validate_seconds": 0.01, "run_seconds": 0.02, "cancel_seconds": 0.0}


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    keys = [f"ours={KEY}", f"theirs={OTHER_KEY}"]
    with Sandbox(providers=["google"], keys=keys, options={"google": {**BRISK, "answers": "echo"}}) as sandbox:
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


def account_of(http: Http, host: str, key: str = KEY, **more: Any) -> Account:
    credentials = GoogleCredentials.model_validate({"api_key": key, "custom_host": host, **more})
    return Account("prod", credentials, http)


@pytest.fixture
def account(http: Http, sandbox: Sandbox) -> Account:
    return account_of(http, sandbox.url("google"))


def make_part(folder: Path, *bodies: dict[str, Any], endpoint: str = CHAT, name: str = "part") -> PartFile:
    mark = make_mark(name)
    given = (LineIn(native_id(mark, n), endpoint, json.dumps(body).encode(), MODEL) for n, body in enumerate(bodies))
    data = b"".join(GOOGLE.translate(line, Target()).data + b"\n" for line in given)
    path = folder / f"{name}.native"
    path.write_bytes(data)
    return PartFile(mark, path, len(data), len(bodies), hashlib.sha256(data).hexdigest(), endpoint, MODEL)


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def part(tmp_path: Path) -> PartFile:
    return make_part(tmp_path, *map(chat, ("one", "two", "three")))


async def staged(account: Account, part: PartFile) -> Submission:
    file = await GOOGLE.stage(account, part, again=False)
    return Submission(part, file, await GOOGLE.fence(account))


async def ended(account: Account, job: str, part: PartFile) -> JobStatus:
    """Poll until the job is over."""
    deadline = time.monotonic() + PATIENCE
    while (status := await GOOGLE.status(account, job, part)).state not in (JobState.ENDED, JobState.FAILED):
        assert time.monotonic() < deadline, f"still {status.state}"
        await asyncio.sleep(0.01)
    return status


async def results(account: Account, job: str, part: PartFile, folder: Path) -> dict[str, Row]:
    names = await GOOGLE.fetch(account, job, await ended(account, job, part), folder)
    lines = [(line, name) for name in names for line in (folder / name).read_bytes().split(b"\n")]
    rows = [row for line, name in lines if (row := GOOGLE.row(line, name, part.endpoint))]
    return {row.native_id: row for row in rows}


async def creates(sandbox: Sandbox) -> list[str]:
    return [entry["batch_id"] for entry in await sandbox.log()]


async def ops(sandbox: Sandbox) -> list[str]:
    return [entry["op"] for entry in await sandbox.requests()]


def test_the_lane_says_what_it_can_do() -> None:
    lane: BatchProvider = GOOGLE
    facts = lane.capabilities
    assert load(canonical("gemini")) is GOOGLE
    assert isinstance(lane, Cancels)
    assert isinstance(lane, Revokes)
    assert (facts.max_bytes, facts.one_model_per_job, facts.accepts_label) == (2_000_000_000, True, True)
    assert facts.results_kept_seconds == 48 * 3600


@pytest.mark.parametrize(
    ("host", "version", "base"),
    [
        (None, None, ("https://generativelanguage.googleapis.com", "v1beta")),
        (None, "v1", ("https://generativelanguage.googleapis.com", "v1")),
        ("https://proxy.example/gemini", None, ("https://proxy.example/gemini", "v1beta")),
        ("https://proxy.example/gemini/v1", None, ("https://proxy.example/gemini", "v1")),
        ("https://proxy.example/gemini/v1/", "v1beta", ("https://proxy.example/gemini", "v1beta")),
    ],
)
def test_a_host_may_hold_the_version(host: str | None, version: str | None, base: tuple[str, str]) -> None:
    credentials = GoogleCredentials.model_validate({"api_key": KEY, "custom_host": host, "api_version": version})
    assert GOOGLE._base(credentials) == base


def test_a_version_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError):
        GoogleCredentials.model_validate({"api_key": KEY, "api_version": "v2"})


@pytest.mark.parametrize("version", ["v1beta", "v1"])
@pytest.mark.parametrize("output_in", ["metadata", "response", "both"])
@pytest.mark.parametrize("words", ["BATCH_STATE_", "JOB_STATE_"])
async def test_every_line_comes_back_once_with_its_answer(
    http: Http, sandbox: Sandbox, tmp_path: Path, version: str, output_in: str, words: str
) -> None:
    await sandbox.options("google", output_in=output_in, words=words)
    account = account_of(http, sandbox.url("google"), api_version=version)
    part = make_part(tmp_path, *map(chat, ("plain", 'é \u2028 " 😀', "[[sandbox:error=503]]", "[[sandbox:refusal]]")))
    submission = await staged(account, part)
    job = await GOOGLE.create(account, submission)
    status = await ended(account, job, part)
    assert (status.state, status.end, status.mark) == (JobState.ENDED, JobEnd.COMPLETED, part.mark)
    assert (status.completed, status.failed, status.unnamed) == (3, 1, False)
    rows = await results(account, job, part, tmp_path)
    assert sorted(rows) == [native_id(part.mark, number) for number in range(4)]
    said = [json.loads(rows[native_id(part.mark, number)].response or b"")["body"] for number in (0, 1)]
    assert [body["choices"][0]["message"]["content"] for body in said] == ["echo: plain", 'echo: é \u2028 " 😀']
    assert all(body["created"] > 0 and body["model"] == MODEL for body in said)
    failed = rows[native_id(part.mark, 2)]
    assert (failed.ok, failed.code) == (False, "503")
    assert json.loads(failed.response or b"")["body"]["error"]["code"] == "UNAVAILABLE"
    assert json.loads(rows[native_id(part.mark, 3)].response or b"")["body"]["choices"][0]["message"]["refusal"]
    assert await sandbox.violations() == []


async def test_embeddings_come_back_as_they_were_asked_for(sandbox: Sandbox, account: Account, tmp_path: Path) -> None:
    model = {"model": "gemini-embedding-001"}
    part = make_part(
        tmp_path,
        {**model, "input": "a", "dimensions": 3},
        {**model, "input": ["b"], "encoding_format": "base64"},
        endpoint=EMBEDDINGS,
    )
    job = await GOOGLE.create(account, await staged(account, part))
    rows = await results(account, job, part, tmp_path)
    plain, packed = (json.loads(rows[native_id(part.mark, n)].response or b"")["body"] for n in (0, 1))
    assert len(plain["data"][0]["embedding"]) == 3
    assert isinstance(packed["data"][0]["embedding"], str)
    assert plain["model"] == MODEL
    assert plain["usage"]["prompt_tokens"] > 0
    assert (await sandbox.requests())[-1]["op"] == "files.delete"


# Staging


async def test_an_upload_goes_on_where_it_broke_off(sandbox: Sandbox, account: Account, tmp_path: Path) -> None:
    part = make_part(tmp_path, *(chat(f"{n} {'x' * 500}") for n in range(20)))
    await sandbox.options("google", upload_breaks=[3000, 2000, 10])
    submission = await staged(account, part)
    sends = [entry for entry in await sandbox.requests() if entry["op"] == "files.create"]
    assert len(sends) == 1 + 4 + 3, "a start, four sends, three questions between them"
    job = await GOOGLE.create(account, submission)
    assert len(await results(account, job, part, tmp_path)) == 20


async def test_an_upload_that_never_moves_is_given_back(
    sandbox: Sandbox, account: Account, part: PartFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy_plugin.providers.calls.PAUSES", (0.0, 0.0, 0.0))
    await sandbox.options("google", upload_breaks=[0] * 20)
    with pytest.raises(TryLater):
        await GOOGLE.stage(account, part, again=False)


async def test_an_upload_whose_reply_was_lost_is_found_again(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.faults([{"kind": "drop_after", "on": "files.create", "skip": 1}])
    with pytest.raises(TryLater, match="looked for among the files"):
        await GOOGLE.stage(account, part, again=False)
    before = len(await sandbox.requests())
    first = await GOOGLE.stage(account, part, again=True)
    assert await GOOGLE.stage(account, part, again=True) == first
    assert "files.create" not in (await ops(sandbox))[before:]


async def test_a_file_that_is_processed_is_waited_for(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    await sandbox.options("google", processing_seconds=600)
    for again in (False, True, True):
        with pytest.raises(TryLater, match="still being processed") as caught:
            await GOOGLE.stage(account, part, again=again)
        assert caught.value.status is None
    await sandbox.advance(601)
    assert await GOOGLE.stage(account, part, again=True)
    assert (await ops(sandbox)).count("files.create") == 2, "a start and a send"


async def test_a_file_that_failed_is_a_refusal_with_its_reason(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.options("google", upload_fails=True)
    for again in (False, True):
        with pytest.raises(Refused) as caught:
            await GOOGLE.stage(account, part, again=again)
        assert (caught.value.code, caught.value.divisible) == ("INVALID_ARGUMENT", True)


async def test_only_a_fresh_upload_of_the_very_part_counts(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path
) -> None:
    (tmp_path / "twin").mkdir()
    twin = make_part(tmp_path / "twin", chat("another text"), name="part")
    assert twin.mark == part.mark
    other = await GOOGLE.stage(account, twin, again=False)
    await sandbox.options("google", file_seconds=3600)
    old = await GOOGLE.stage(account, part, again=False)
    mine = await GOOGLE.stage(account, part, again=True)
    assert len({other["file"], old["file"], mine["file"]}) == 3


async def test_a_wrong_key_is_a_refusal_with_googles_reason(http: Http, sandbox: Sandbox, part: PartFile) -> None:
    with pytest.raises(Refused) as caught:
        await GOOGLE.stage(account_of(http, sandbox.url("google"), "AIza-nobody-1"), part, again=False)
    assert (caught.value.status, caught.value.code, caught.value.divisible) == (400, "API_KEY_INVALID", False)


# Creating, and looking for what became of it


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        ({"kind": "drop"}, 0),
        ({"kind": "status", "status": 500}, 0),
        ({"kind": "drop_after"}, 1),
        ({"kind": "status_after", "status": 503}, 1),
        ({"kind": "truncate", "bytes": 20}, 1),
        ({"kind": "status", "status": 200, "body": "{}"}, 0),
    ],
)
@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_lost_create_is_looked_up(
    sandbox: Sandbox, account: Account, part: PartFile, fault: dict[str, Any], accepted: int, newest_first: bool
) -> None:
    await sandbox.options("google", newest_first=newest_first)
    await sandbox.strangers("google", key=KEY, batches=3)
    submission = await staged(account, part)
    await sandbox.strangers("google", key=KEY, batches=2)
    await sandbox.faults([{**fault, "on": "batches.create"}])
    with pytest.raises(OutcomeUnknown):
        await GOOGLE.create(account, submission)
    sighting = await GOOGLE.find(account, submission)
    assert sighting == Sighting(tuple(await creates(sandbox)), control=True)
    assert len(sighting.jobs) == accepted


@pytest.mark.parametrize(
    ("newest_first", "pages"), [(True, 2), (False, 5)], ids=["newest first", "oldest first: to the end"]
)
async def test_a_lookup_ends_behind_the_fence_only_where_the_list_is_seen_to_descend(
    sandbox: Sandbox, account: Account, part: PartFile, newest_first: bool, pages: int
) -> None:
    await sandbox.options("google", newest_first=newest_first, max_batches=10**6)
    await sandbox.strangers("google", key=KEY, batches=300, run_seconds=0.1)
    await sandbox.advance(3600)
    await sandbox.strangers("google", key=KEY, batches=1)
    submission = await staged(account, part)
    job = await GOOGLE.create(account, submission)
    await sandbox.advance(3600)
    await sandbox.strangers("google", key=KEY, batches=105)
    before = len(await sandbox.requests())
    assert await GOOGLE.find(account, submission) == Sighting((job,), control=True)
    assert (await ops(sandbox))[before:] == ["batches.list"] * pages + ["files.retrieve"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 429}, TryLater),
        ({"kind": "status", "status": 400}, Refused),
        ({"kind": "redirect", "url": "http://127.0.0.1:1/"}, Refused),
    ],
)
async def test_a_create_that_was_not_accepted_says_so(
    sandbox: Sandbox, account: Account, part: PartFile, fault: dict[str, Any], error: type[ProviderError]
) -> None:
    submission = await staged(account, part)
    await sandbox.faults([{**fault, "on": "batches.create"}])
    with pytest.raises(error):
        await GOOGLE.create(account, submission)
    assert await creates(sandbox) == []


@pytest.mark.parametrize("gone", [403, 404])
async def test_an_input_that_is_gone_is_staged_anew(
    sandbox: Sandbox, account: Account, part: PartFile, gone: int
) -> None:
    """Uploads last for 48 hours, and a part may wait for longer."""
    await sandbox.options("google", gone_status=gone)
    submission = await staged(account, part)
    await sandbox.advance(49 * 3600)
    with pytest.raises(TryLater) as caught:
        await GOOGLE.create(account, submission)
    assert caught.value.status == 404
    assert await GOOGLE.create(account, await staged(account, part))


async def test_a_create_for_a_model_that_is_not_there_is_a_refusal(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    submission = await staged(account, part)
    await sandbox.options("google", unknown_models=[MODEL])
    with pytest.raises(Refused) as caught:
        await GOOGLE.create(account, submission)
    assert (caught.value.status, caught.value.code, caught.value.divisible) == (404, "NOT_FOUND", False)


async def test_a_lookup_that_another_account_answers_proves_nothing(
    http: Http, sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    submission = await staged(account, part)
    job = await GOOGLE.create(account, submission)
    for key, listed in ((OTHER_KEY, True), ("AIza-unknown", False)):
        found = await GOOGLE.find(account_of(http, sandbox.url("google"), key), submission)
        assert found == Sighting((), control=False, listed=listed)
    later = await GOOGLE.fence(account)
    await sandbox.faults([{"kind": "status", "on": "files.retrieve", "status": 403, "times": None}])
    assert await GOOGLE.find(account, submission) == Sighting((job,), control=False)
    fenced = Submission(part, submission.staged, later)
    assert await GOOGLE.find(account, fenced) == Sighting((job,), control=True), "the fence itself is a proof"


@pytest.mark.parametrize("gone", [403, 404])
async def test_a_create_that_comes_after_the_revocation_makes_no_job(
    sandbox: Sandbox, account: Account, part: PartFile, gone: int
) -> None:
    await sandbox.options("google", gone_status=gone)
    submission = await staged(account, part)
    await sandbox.faults([{"kind": "late", "on": "batches.create", "seconds": 0.2}])
    with pytest.raises(OutcomeUnknown):
        await GOOGLE.create(account, submission)
    for _ in range(2):
        await GOOGLE.revoke(account, submission)
    await asyncio.sleep(0.4)
    assert await sandbox.jobs() == []
    await sandbox.faults([{"kind": "status", "on": "files.delete", "status": 403}])
    with pytest.raises(Refused):
        await GOOGLE.revoke(account, submission)


# Status and results


async def polled(sandbox: Sandbox, account: Account, part: PartFile, job: dict[str, Any]) -> JobStatus:
    body = json.dumps({"name": "batches/a1", **job})
    await sandbox.faults([{"kind": "status", "on": "batches.retrieve", "status": 200, "body": body}])
    return await GOOGLE.status(account, "a1", part)


STATES = {
    "PENDING": (JobState.VALIDATING, None),
    "RUNNING": (JobState.RUNNING, None),
    "SUCCEEDED": (JobState.ENDED, JobEnd.COMPLETED),
    "CANCELLED": (JobState.ENDED, JobEnd.CANCELLED),
    "EXPIRED": (JobState.ENDED, JobEnd.EXPIRED),
    "FAILED": (JobState.FAILED, None),
}


@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_"])
@pytest.mark.parametrize("word", STATES)
async def test_every_state_word_is_known(
    sandbox: Sandbox, account: Account, part: PartFile, prefix: str, word: str
) -> None:
    stats = {"requestCount": "3", "failedRequestCount": "2"}
    status = await polled(sandbox, account, part, {"metadata": {"state": prefix + word, "batchStats": stats}})
    assert (status.state, status.end) == STATES[word]
    assert (status.completed, status.failed) == (0, 2)
    assert status.unnamed is (word == "SUCCEEDED")
    silent = await polled(sandbox, account, part, {"metadata": {"state": prefix + word}})
    assert (silent.completed, silent.failed, silent.mark) == (None, None, None)


@pytest.mark.parametrize("word", ["BATCH_STATE_UNSPECIFIED", "BATCH_STATE_PAUSED", "", "\n"])
async def test_another_word_is_no_guess(sandbox: Sandbox, account: Account, part: PartFile, word: str) -> None:
    with pytest.raises(TryLater, match="unknown batch status"):
        await polled(sandbox, account, part, {"metadata": {"state": word}})


@pytest.mark.parametrize("count", ["-1", "4", "1e3", "9" * 30, "", None, 1.5, True])
async def test_a_count_that_cannot_be_is_none(sandbox: Sandbox, account: Account, part: PartFile, count: Any) -> None:
    stats = {"successfulRequestCount": count}
    status = await polled(sandbox, account, part, {"metadata": {"state": "JOB_STATE_RUNNING", "batchStats": stats}})
    assert status.completed is None


async def test_a_failed_job_says_why(sandbox: Sandbox, account: Account, tmp_path: Path) -> None:
    part = make_part(tmp_path, *map(chat, ("one", "[[sandbox:poison]]", "three")))
    status = await ended(account, await GOOGLE.create(account, await staged(account, part)), part)
    assert status.refusal is not None
    assert (status.state, status.retryable, status.refusal.code) == (JobState.FAILED, False, "INVALID_ARGUMENT")
    assert ([line.record for line in status.refusal.lines], status.refusal.divisible) == ([2], True)


async def test_a_job_without_quota_may_be_sent_again(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    await sandbox.options("google", no_quota=True)
    status = await ended(account, await GOOGLE.create(account, await staged(account, part)), part)
    assert status.refusal is not None
    assert (status.retryable, status.refusal.divisible, status.refusal.lines) == (True, False, ())


async def test_answers_of_a_failed_job_are_taken(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    for stats in ({"successfulRequestCount": "2"}, {"failedRequestCount": "3"}):
        facts = {"state": "BATCH_STATE_FAILED", "batchStats": stats, "output": {"responsesFile": "files/b"}}
        status = await polled(sandbox, account, part, {"metadata": facts, "error": {"code": 13}})
        assert (status.state, status.refusal, status.results["file"]) == (JobState.ENDED, None, "b")
    silent = await polled(sandbox, account, part, {"metadata": {"state": "BATCH_STATE_FAILED"}, "error": {"code": 13}})
    assert (silent.state, silent.refusal is None) == (JobState.FAILED, False)


async def test_a_job_that_is_not_there_is_waited_for(account: Account, part: PartFile) -> None:
    with pytest.raises(TryLater) as caught:
        await GOOGLE.status(account, "none1", part)
    assert caught.value.status == 404


async def test_results_are_there_some_looks_after_the_end(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    await sandbox.options("google", results_late=2)
    job = await GOOGLE.create(account, await staged(account, part))
    seen = [await ended(account, job, part) for _ in range(3)]
    assert [(status.unnamed, "file" in status.results) for status in seen] == [(True, False)] * 2 + [(False, True)]


@pytest.mark.parametrize("kind", ["truncate", "truncate_chunked"])
async def test_results_that_break_off_are_not_taken(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path, kind: str
) -> None:
    job = await GOOGLE.create(account, await staged(account, part))
    status = await ended(account, job, part)
    await sandbox.faults([{"kind": kind, "on": "files.content", "bytes": 100}])
    with pytest.raises(TryLater):
        await GOOGLE.fetch(account, job, status, tmp_path)
    for _ in range(2):
        assert len(await GOOGLE.fetch(account, job, status, tmp_path)) == 1
    assert (await ops(sandbox)).count("files.content") == 2, "what is whole is not read again"


async def test_a_size_that_is_not_told_is_no_obstacle(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path
) -> None:
    job = await GOOGLE.create(account, await staged(account, part))
    await ended(account, job, part)
    await sandbox.faults([{"kind": "status", "on": "files.retrieve", "status": 403}])
    assert len(await results(account, job, part, tmp_path)) == 3


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_cancelled_job_gives_what_it_shows(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path, keeps: bool
) -> None:
    await sandbox.options("google", run_seconds=600, keeps=keeps)
    job = await GOOGLE.create(account, await staged(account, part))
    await sandbox.advance(450)
    for _ in range(2):
        await GOOGLE.cancel(account, job)
    status = await ended(account, job, part)
    assert (status.end, status.unnamed) == (JobEnd.CANCELLED, False)
    rows = (await results(account, job, part, tmp_path)).values()
    assert sorted(row.code or "ok" for row in rows) == (["batch_cancelled", "ok", "ok"] if keeps else [])
    assert (await ops(sandbox))[-1] == "files.delete", "the upload is of no use any more"


async def test_a_cancel_that_comes_too_late_is_no_error(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    job = await GOOGLE.create(account, await staged(account, part))
    await ended(account, job, part)
    await GOOGLE.cancel(account, job)
    assert [entry["status"] for entry in await sandbox.requests() if entry["op"] == "batches.cancel"] == [400]


@pytest.mark.parametrize("verb", ["batchGenerateContent", "asyncBatchEmbedContent"])
async def test_results_in_the_job_itself_are_read_too(
    sandbox: Sandbox, account: Account, tmp_path: Path, verb: str
) -> None:
    embeds = verb == "asyncBatchEmbedContent"
    endpoint, body = (EMBEDDINGS, {"model": MODEL, "input": "x"}) if embeds else (CHAT, chat("x"))
    part = make_part(tmp_path, body, body, endpoint=endpoint)
    lines = [json.loads(line) for line in part.path.read_bytes().splitlines()]
    requests = [{"request": line["request"], "metadata": {"key": line["key"]}} for line in lines]
    order = {"displayName": f"pp-{part.mark}", "inputConfig": {"requests": {"requests": requests}}}
    reply = await GOOGLE._origin(account).create(f"models/{MODEL}:{verb}", json={"batch": order})
    job = reply.fields()["name"].removeprefix("batches/")
    rows = await results(account, job, part, tmp_path)
    assert sorted(rows) == [native_id(part.mark, 0), native_id(part.mark, 1)]
    assert all(row.ok for row in rows.values())
    status = await ended(account, job, part)
    await sandbox.faults([{"kind": "truncate_chunked", "on": "batches.retrieve", "bytes": 300}])
    (tmp_path / "cut").mkdir()
    with pytest.raises(Short):
        await GOOGLE.fetch(account, job, status, tmp_path / "cut")


async def test_an_input_is_deleted_when_its_results_are_here(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path
) -> None:
    submission = await staged(account, part)
    job = await GOOGLE.create(account, submission)
    await results(account, job, part, tmp_path)
    assert (await sandbox.requests())[-1]["id"] == submission.staged["file"]
    assert not (await GOOGLE.find(account, submission)).control
