"""Vertex AI's adapter against the stand-in, which is written from Google's pages and not from the adapter."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy_plugin.providers import calls, kept
from proxy_plugin.providers.base import (
    Account,
    Cancels,
    JobEnd,
    JobState,
    JobStatus,
    Leaves,
    LineIn,
    OutcomeUnknown,
    PartFile,
    Probes,
    ProviderError,
    Refused,
    Revokes,
    Row,
    Sighting,
    Submission,
    Target,
    TryLater,
    make_mark,
    native_id,
)
from proxy_plugin.providers.catalog import canonical, load
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.lanes.vertex_ai.lane import VERTEX_AI
from proxy_plugin.providers.lanes.vertex_ai.places import VertexCredentials
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.tokens import service_account
from proxy_plugin.providers.sandbox.vertex_ai.stand_in import BUCKET, STAND_IN
from proxy_plugin.providers.stores import gcs

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
GEMINI, CLAUDE, OPEN = "gemini-2.5-flash", "claude-haiku-4-5", "openai/gpt-oss-20b-maas"
VECTOR, OLDER = "gemini-embedding-001", "text-embedding-005"
KEY, OTHER_KEY = "sk-vertex-0123456789abcdef", "sk-other-0123456789abcdef"
NAME = "vertex-ai"


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    options = {NAME: {**STAND_IN.quick, "answers": "echo"}}
    with Sandbox(providers=[NAME], keys=[f"ours={KEY}", f"theirs={OTHER_KEY}"], options=options) as sandbox:
        yield sandbox


@pytest.fixture
async def sandbox(running: Sandbox) -> Sandbox:
    await running.reset()
    return running


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gcs, calls):
        monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(HttpSettings(connect_timeout=5, read_timeout=5, create_timeout=5))
    yield http
    await http.close()


def account_of(http: Http, url: str, key: str = KEY, **more: Any) -> Account:
    settings = {**STAND_IN.settings(url, key), **more}
    return Account("prod", VertexCredentials.model_validate({k: v for k, v in settings.items() if v is not None}), http)


@pytest.fixture
def account(http: Http, sandbox: Sandbox) -> Account:
    return account_of(http, sandbox.url(NAME))


def body(model: str, text: str, endpoint: str = CHAT, **more: Any) -> dict[str, Any]:
    if endpoint == EMBEDDINGS:
        return {"model": model, "input": text, **more}
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def make_part(folder: Path, *bodies: dict[str, Any], endpoint: str = CHAT, name: str = "part") -> PartFile:
    mark, model = make_mark(name), bodies[0]["model"]
    lines = (LineIn(native_id(mark, n), endpoint, json.dumps(each).encode(), model) for n, each in enumerate(bodies))
    native = [VERTEX_AI.translate(line, Target()) for line in lines]
    data = b"".join(each.data + b"\n" for each in native)
    path = folder / f"{name}.native"
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return PartFile(mark, path, len(data), len(bodies), digest, endpoint, model, native[0].partition)


@pytest.fixture
def part(tmp_path: Path) -> PartFile:
    return make_part(tmp_path, *(body(GEMINI, f"line {n}") for n in range(6)))


async def staged(account: Account, part: PartFile) -> Submission:
    return Submission(part, await VERTEX_AI.stage(account, part, again=False), await VERTEX_AI.fence(account))


async def ended(account: Account, job: str, part: PartFile) -> JobStatus:
    async with asyncio.timeout(15):
        while (status := await VERTEX_AI.status(account, job, part)).state not in (JobState.ENDED, JobState.FAILED):
            await asyncio.sleep(0.01)
    return status


async def fetched(account: Account, job: str, status: JobStatus, part: PartFile, folder: Path) -> dict[str, Row]:
    """Return the rows of a job by id; a row that is corrupt is an error of the test."""
    folder.mkdir(exist_ok=True)
    names = await VERTEX_AI.fetch(account, job, status, folder)
    lines = [(line, name) for name in names for line in (folder / name).read_bytes().splitlines()]
    rows = [VERTEX_AI.row(line, name, part.endpoint) for line, name in lines]
    return {row.native_id: row for row in rows if row is not None}


async def run(account: Account, part: PartFile) -> tuple[str, JobStatus, dict[str, Row]]:
    job = await VERTEX_AI.create(account, await staged(account, part))
    status = await ended(account, job, part)
    return job, status, await fetched(account, job, status, part, part.path.parent / "results")


def text_of(row: Row) -> str:
    return str(json.loads(row.response or b"{}")["body"]["choices"][0]["message"]["content"])


async def objects(account: Account) -> list[str]:
    from proxy_plugin.providers.lanes.vertex_ai.places import bucket_of

    return [key async for key, _ in bucket_of(account).keys("")]


def test_it_is_found_under_both_names_and_has_all_powers() -> None:
    assert load("vertex_ai") is load(canonical("vertex_ai")) is VERTEX_AI
    assert all(isinstance(VERTEX_AI, power) for power in (Cancels, Revokes, Probes, Leaves))


@pytest.mark.parametrize("model", [GEMINI, CLAUDE, OPEN])
async def test_every_family_runs_to_the_answer_of_each_line(account: Account, tmp_path: Path, model: str) -> None:
    part = make_part(tmp_path, *(body(model, f"line {n}") for n in range(5)), body(model, "[[sandbox:error=400]]"))
    _, status, rows = await run(account, part)
    assert (status.mark, status.end, status.completed, status.failed) == (part.mark, JobEnd.COMPLETED, 5, 1)
    assert {own: text_of(row) for own, row in rows.items() if row.ok} == {
        native_id(part.mark, n): f"echo: line {n}" for n in range(5)
    }
    failed = rows[native_id(part.mark, 5)]
    assert (failed.ok, failed.code) == (False, "400")
    assert "asked the sandbox" in json.loads(failed.response or b"")["body"]["error"]["message"]
    assert all(row.usage and row.usage.input_tokens for row in rows.values() if row.ok)


@pytest.mark.parametrize("model", [VECTOR, OLDER, "intfloat/multilingual-e5-small-maas"])
@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_of_every_family(account: Account, tmp_path: Path, model: str, encoding: str) -> None:
    lines = [body(model, f"text {n}", EMBEDDINGS, encoding_format=encoding) for n in range(3)]
    part = make_part(tmp_path, *lines, endpoint=EMBEDDINGS)
    _, _, rows = await run(account, part)
    assert rows.keys() == {native_id(part.mark, n) for n in range(3)}
    for row in rows.values():
        answer = json.loads(row.response or b"")["body"]
        assert isinstance(answer["data"][0]["embedding"], str if encoding == "base64" else list)
        assert answer["usage"]["prompt_tokens"]
        assert answer["model"]


async def test_a_blocked_prompt_is_an_answer_that_was_withheld(account: Account, tmp_path: Path) -> None:
    part = make_part(tmp_path, body(GEMINI, "[[sandbox:refusal]]"), body(GEMINI, "plain"))
    _, _, rows = await run(account, part)
    choice = json.loads(rows[native_id(part.mark, 0)].response or b"")["body"]["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("content_filter", "PROHIBITED_CONTENT")
    assert choice["message"]["refusal"].startswith("I cannot help")


async def test_a_job_whose_every_row_failed_succeeded(account: Account, tmp_path: Path) -> None:
    part = make_part(tmp_path, *(body(GEMINI, f"[[sandbox:error=503]] {n}") for n in range(3)))
    _, status, rows = await run(account, part)
    assert (status.end, status.completed, status.failed) == (JobEnd.COMPLETED, 0, 3)
    assert [row.code for row in rows.values()] == ["503"] * 3


@pytest.mark.parametrize("names", ["predictions", "numbers", "results"])
@pytest.mark.parametrize("shards", [1, 3])
async def test_answers_are_found_whatever_their_names(
    account: Account, sandbox: Sandbox, part: PartFile, names: str, shards: int
) -> None:
    await sandbox.options(NAME, names=names, shards=shards)
    _, _, rows = await run(account, part)
    assert len(rows) == part.lines
    seen = [each["id"] for each in await sandbox.requests() if each["op"] == "objects.content"]
    assert len(seen) == shards
    assert not any("incremental" in each for each in seen)


@pytest.mark.parametrize("end", ["cancelled", "expired"])
@pytest.mark.parametrize("whole", [True, False])
async def test_what_a_job_had_answered_when_it_was_stopped_is_kept(
    account: Account, sandbox: Sandbox, part: PartFile, end: str, *, whole: bool
) -> None:
    window = {"window_seconds": 10.0} if end == "expired" else {}
    await sandbox.options(NAME, run_seconds=20.0, whole=whole, validate_seconds=0.0, **window)
    job = await VERTEX_AI.create(account, await staged(account, part))
    await sandbox.advance(5)
    while (await VERTEX_AI.status(account, job, part)).state is JobState.VALIDATING:
        await asyncio.sleep(0.01)
    if end == "cancelled":
        await sandbox.advance(5)
        await VERTEX_AI.cancel(account, job)
    await sandbox.advance(20)
    status = await ended(account, job, part)
    assert status.end is JobEnd(end)
    rows = await fetched(account, job, status, part, part.path.parent / "results")
    assert 0 < len(rows) < part.lines
    assert len(rows) == status.completed
    assert all(row.ok for row in rows.values())


async def test_a_cancel_that_comes_too_late_is_no_error(account: Account, sandbox: Sandbox, part: PartFile) -> None:
    await sandbox.options(NAME, deaf=True)
    job = await VERTEX_AI.create(account, await staged(account, part))
    await VERTEX_AI.cancel(account, job)
    status = await ended(account, job, part)
    assert (status.end, status.completed) == (JobEnd.COMPLETED, part.lines)
    await VERTEX_AI.cancel(account, job)


async def test_a_job_that_succeeded_in_parts_has_ended(account: Account, sandbox: Sandbox, tmp_path: Path) -> None:
    await sandbox.options(NAME, partly=True)
    part = make_part(tmp_path, body(GEMINI, "one"), body(GEMINI, "[[sandbox:missing]]"))
    _, status, rows = await run(account, part)
    assert (status.end, list(rows)) == (JobEnd.COMPLETED, [native_id(part.mark, 0)])


async def test_answers_that_are_not_named_yet_are_said_so(account: Account, sandbox: Sandbox, part: PartFile) -> None:
    await sandbox.options(NAME, results_late=1)
    job = await VERTEX_AI.create(account, await staged(account, part))
    first = await ended(account, job, part)
    assert first.unnamed
    assert not (await VERTEX_AI.status(account, job, part)).unnamed
    assert len(await fetched(account, job, first, part, part.path.parent / "results")) == part.lines


# Whose rows they are


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("model", [GEMINI, CLAUDE, OPEN])
async def test_rows_without_an_id_are_known_by_their_request(
    account: Account, sandbox: Sandbox, tmp_path: Path, every: int, model: str
) -> None:
    await sandbox.options(NAME, lost_ids=every, shards=3)
    texts = ["same", "same", *(f"line {n}" for n in range(6)), "same"]
    part = make_part(tmp_path, *(body(model, text) for text in texts))
    job, status, rows = await run(account, part)
    expected = {native_id(part.mark, n): f"echo: {text}" for n, text in enumerate(texts)}
    assert {own: text_of(row) for own, row in rows.items()} == expected
    again = await fetched(account, job, status, part, tmp_path / "results")
    assert again == rows


async def test_no_row_gets_an_id_by_its_place(account: Account, sandbox: Sandbox, part: PartFile) -> None:
    await sandbox.options(NAME, lost_ids=1)
    submission = await staged(account, part)
    job = await VERTEX_AI.create(account, submission)
    status = await ended(account, job, part)
    await VERTEX_AI.revoke(account, submission)
    with pytest.raises(ValueError, match="without an id"):
        await fetched(account, job, status, part, part.path.parent / "results")


async def test_nothing_more_is_read_where_every_row_has_its_id(
    account: Account, sandbox: Sandbox, part: PartFile
) -> None:
    await run(account, part)
    assert not any("input" in str(each["id"]) for each in await sandbox.requests() if each["op"] == "objects.content")


# Creates that are in doubt


async def found(account: Account, submission: Submission) -> Sighting:
    return await VERTEX_AI.find(account, submission)


@pytest.mark.parametrize("searches", ["both", "name", "none", "blind"])
async def test_a_lost_create_is_found_by_whatever_the_list_can_be_searched_by(
    account: Account, sandbox: Sandbox, part: PartFile, searches: str
) -> None:
    await sandbox.strangers(NAME, KEY, batches=3)
    await sandbox.options(NAME, searches=searches)
    submission = await staged(account, part)
    assert await found(account, submission) == Sighting((), control=True)
    await sandbox.faults([{"on": "batches.create", "kind": "drop_after"}])
    with pytest.raises(OutcomeUnknown):
        await VERTEX_AI.create(account, submission)
    await sandbox.strangers(NAME, KEY, batches=3)
    (made,) = await sandbox.log()
    assert await found(account, submission) == Sighting((made["batch_id"],), control=True)


async def test_a_job_of_our_name_with_another_input_is_not_taken(account: Account, part: PartFile) -> None:
    submission = await staged(account, part)
    other = Submission(part, {"object": submission.staged["object"] + ".other"})
    await VERTEX_AI.create(account, other)
    assert await found(account, submission) == Sighting((), control=True)


async def test_another_account_proves_nothing(http: Http, sandbox: Sandbox, account: Account, part: PartFile) -> None:
    submission = await staged(account, part)
    theirs = account_of(http, sandbox.url(NAME), OTHER_KEY)
    assert await found(theirs, submission) == Sighting((), control=False)
    assert VERTEX_AI.account_key(theirs.credentials) != VERTEX_AI.account_key(account.credentials)


@pytest.mark.parametrize("change", [{"vertex_region": "europe-west4"}, {"vertex_project_id": "another"}])
async def test_another_place_proves_nothing(
    http: Http, sandbox: Sandbox, account: Account, part: PartFile, change: dict[str, str]
) -> None:
    submission = await staged(account, part)
    assert not (await found(account_of(http, sandbox.url(NAME), **change), submission)).control


async def test_an_input_that_was_revoked_never_gets_its_key_again(
    account: Account, sandbox: Sandbox, part: PartFile
) -> None:
    submission = await staged(account, part)
    await VERTEX_AI.revoke(account, submission)
    await VERTEX_AI.revoke(account, submission)  # a kill between may ask twice
    assert (await found(account, submission)) == Sighting((), control=False)
    again = await staged(account, part)
    assert again.staged["object"] != submission.staged["object"]
    late, job = await VERTEX_AI.create(account, submission), await VERTEX_AI.create(account, again)
    assert (await ended(account, late, part)).state is JobState.FAILED
    assert (await ended(account, job, part)).completed == part.lines
    assert (await found(account, again)).jobs == (job,)


async def test_staging_again_uploads_nothing_twice(account: Account, sandbox: Sandbox, part: PartFile) -> None:
    first = await VERTEX_AI.stage(account, part, again=False)
    assert await VERTEX_AI.stage(account, part, again=True) == first
    sent = [each for each in await sandbox.requests() if each["op"] == "objects.send"]
    assert len(sent) == 1
    assert kept.noted(part.path) == {"key": first["object"]}


# Cleaning up


async def test_what_a_part_left_is_taken_away_and_nothing_else(
    account: Account, part: PartFile, tmp_path: Path
) -> None:
    other = make_part(tmp_path, body(GEMINI, "another"), name="another")
    kept_there = (await staged(account, other)).staged["object"]
    job, status, _ = await run(account, part)
    submission = Submission(part, {"object": status.results["input"]})
    await VERTEX_AI.clear(account, submission, job)
    await VERTEX_AI.clear(account, submission, job)
    assert await objects(account) == [kept_there]


async def test_objects_may_be_kept(http: Http, sandbox: Sandbox, part: PartFile) -> None:
    account = account_of(http, sandbox.url(NAME), keep_objects=True, vertex_storage_bucket_name=f"{BUCKET}/our/folder")
    job, status, _ = await run(account, part)
    before = await objects(account)
    await VERTEX_AI.clear(account, Submission(part, {"object": status.results["input"]}), job)
    assert await objects(account) == before
    assert all(key.startswith(f"our/folder/pp-{part.mark}/") for key in before)


@pytest.mark.parametrize("skip", range(4))
async def test_a_kill_while_it_cleans_up_leaves_nothing(
    account: Account, sandbox: Sandbox, part: PartFile, skip: int
) -> None:
    await sandbox.options(NAME, shards=2)
    job, status, _ = await run(account, part)
    assert len(await objects(account)) == 4
    submission = Submission(part, {"object": status.results["input"]})
    await sandbox.faults([{"on": "objects.delete", "kind": "status_after", "skip": skip, "times": 2}])
    with pytest.raises(TryLater):
        await VERTEX_AI.clear(account, submission, job)
    assert len(await objects(account)) == 3 - skip
    await VERTEX_AI.clear(account, submission, job)
    assert await objects(account) == []


async def test_an_upload_that_never_ended_is_cancelled(account: Account, sandbox: Sandbox, part: PartFile) -> None:
    await sandbox.faults([{"on": "objects.send", "kind": "drop", "times": None}])
    with pytest.raises(TryLater):
        await VERTEX_AI.stage(account, part, again=False)
    await sandbox.faults([])
    await VERTEX_AI.clear(account, Submission(part, {}), None)
    seen = [each["status"] for each in await sandbox.requests() if each["op"] == "objects.abandon"]
    assert (seen, await objects(account)) == ([499], [])


# What an operator is told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vertex_service_account_json": None, "api_key": "ya29.over"}, "The token is wrong or over"),
        (
            {"vertex_service_account_json": service_account("sk-nobody")},
            "there is no such service account",
        ),
        ({"vertex_storage_bucket_name": "no-such-bucket"}, "the account sees no bucket no-such-bucket"),
        ({"vertex_storage_bucket_name": "closed"}, "Storage Object Admin on the bucket closed"),
        ({"vertex_project_id": "another"}, "Vertex AI User in project another"),
        ({"vertex_region": "europe-west4"}, "vertex_region (europe-west4)"),
    ],
)
async def test_what_is_wrong_with_an_account_is_said(
    http: Http, sandbox: Sandbox, part: PartFile, change: dict[str, str], words: str
) -> None:
    await sandbox.options(NAME, closed_buckets=["closed"])
    account = account_of(http, sandbox.url(NAME), **change)
    with pytest.raises(ProviderError) as probed:
        await VERTEX_AI.probe(account)
    with pytest.raises(ProviderError) as refused:
        await VERTEX_AI.create(account, await staged(account, part))
    for caught in (probed, refused):
        assert words in (caught.value.message if isinstance(caught.value, Refused) else str(caught.value))
    assert await sandbox.jobs() == []


async def test_a_token_that_ended_is_renewed(http: Http, sandbox: Sandbox, part: PartFile) -> None:
    account = account_of(http, sandbox.url(NAME))
    await VERTEX_AI.probe(account)
    await sandbox.advance(4000)
    await VERTEX_AI.probe(account)
    assert len([each for each in await sandbox.requests() if each["op"] == "tokens.create"]) == 2


async def test_a_job_that_may_not_read_the_bucket_says_who_needs_what(
    account: Account, sandbox: Sandbox, part: PartFile
) -> None:
    error = {"code": 7, "message": "Permission denied: failed to access gs://sandbox-batches."}
    await sandbox.options(NAME, job_error=error)
    status = await ended(account, await VERTEX_AI.create(account, await staged(account, part)), part)
    assert status.refusal is not None
    assert status.refusal.code == "PERMISSION_DENIED"
    assert "gcp-sa-aiplatform.iam.gserviceaccount.com" in status.refusal.message
    assert not status.retryable


async def test_a_job_that_failed_for_lack_of_quota_may_be_sent_again(
    account: Account, sandbox: Sandbox, part: PartFile
) -> None:
    await sandbox.options(NAME, job_error={"code": 8, "message": "Quota of concurrent jobs exceeded."})
    status = await ended(account, await VERTEX_AI.create(account, await staged(account, part)), part)
    assert status.retryable


# Accounts


def test_litellms_way_to_write_an_account_is_understood() -> None:
    written = {"vertex_project_id": "p", "vertex_storage_bucket_name": "gs://bucket/some/folder/"}
    key = json.loads(service_account("sk-some"))
    found = VertexCredentials.model_validate({**written, "vertex_service_account_json": key})
    assert (found.bucket, found.folder("m")) == ("bucket", "some/folder/pp-m/")
    assert found.base_url() == "https://aiplatform.googleapis.com"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("global", "https://aiplatform.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
        ("eu", "https://eu-aiplatform.googleapis.com"),
    ],
)
def test_a_region_has_its_host(region: str, host: str) -> None:
    settings = {
        "vertex_project_id": "p",
        "vertex_storage_bucket_name": "bucket",
        "api_key": "ya29",
        "vertex_region": region,
    }
    found = VertexCredentials.model_validate(settings)
    assert found.base_url() == VERTEX_AI.capabilities.host(found) == host


@pytest.mark.parametrize("name", ["", "UPPER", "bucket/../other", "bucket//x", "a", "bucket?x"])
def test_a_bucket_that_cannot_be_one_is_refused(name: str) -> None:
    settings = {"vertex_project_id": "p", "vertex_storage_bucket_name": name, "api_key": "ya29"}
    with pytest.raises(ValidationError):
        VertexCredentials.model_validate(settings)
