"""Anthropic's adapter against the stand-in, which is written from the published API and not from the adapter."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from proxy_plugin.providers.base import (
    Account,
    BatchProvider,
    Cancels,
    Confirms,
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
from proxy_plugin.providers.http import LONGEST_WAIT, Http, HttpSettings
from proxy_plugin.providers.lanes.anthropic.lane import ANTHROPIC, AnthropicCredentials, Fence
from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox

CHAT = "/v1/chat/completions"
KEY, OTHER_KEY = "sk-ant-adapter-0123456789abcdef", "sk-ant-other-0123456789abcdef"
PATIENCE = 15.0  # seconds of real time for something that takes a fraction of one
DAY = 86_400.0
NEVER = 50 * DAY  # longer than any job of a test runs


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    brisk = {"anthropic": {"run_seconds": 0.02, "cancel_seconds": 0.0}}
    with Sandbox(providers=["anthropic"], keys=[f"ours={KEY}", f"theirs={OTHER_KEY}"], options=brisk) as sandbox:
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


@dataclass
class Recorder:
    """A loopback host that notes every request and answers as told."""

    answer: Callable[[web.Request], web.StreamResponse] = lambda _: web.json_response({})
    url: str = ""
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((f"{request.method} {request.path_qs}", headers, await request.read()))
        return self.answer(request)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder, app = Recorder(), web.Application()
    app.router.add_route("*", "/{path:.*}", recorder.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield recorder
    await runner.cleanup()


def credentials(**fields: Any) -> AnthropicCredentials:
    return AnthropicCredentials.model_validate({"api_key": KEY, **fields})


def account_of(http: Http, host: str, fingerprint: str = "", **fields: Any) -> Account:
    return Account("prod", credentials(custom_host=host, **fields), http, fingerprint)


@pytest.fixture
def account(http: Http, sandbox: Sandbox) -> Account:
    return account_of(http, sandbox.url("anthropic"))


def chat(text: str, **more: Any) -> bytes:
    return json.dumps({"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": text}], **more}).encode()


def make_part(folder: Path, *texts: str, name: str = "part") -> PartFile:
    mark = make_mark(name)
    given = (LineIn(native_id(mark, number), CHAT, chat(text), "m") for number, text in enumerate(texts))
    lines = [ANTHROPIC.translate(line, Target()).data for line in given]
    framing = ANTHROPIC.capabilities.framing
    data = framing.prefix + framing.separator.join(lines) + framing.suffix
    path = folder / f"{name}.native"
    path.write_bytes(data)
    return PartFile(mark, path, len(data), len(lines), hashlib.sha256(data).hexdigest(), CHAT, None)


@pytest.fixture
def part(tmp_path: Path) -> PartFile:
    return make_part(tmp_path, "one", "two", "three")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    path.mkdir()
    return path


async def fenced(account: Account, part: PartFile) -> Submission:
    return Submission(part, await ANTHROPIC.stage(account, part, again=False), await ANTHROPIC.fence(account))


async def created(account: Account, part: PartFile) -> str:
    return await ANTHROPIC.create(account, await fenced(account, part))


async def ended(account: Account, job: str, part: PartFile) -> JobStatus:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = await ANTHROPIC.status(account, job, part)
        if status.state is JobState.ENDED:
            return status
        await asyncio.sleep(0.01)
    raise AssertionError(f"still {status.state}")


async def completed(account: Account, part: PartFile) -> tuple[str, JobStatus]:
    job = await created(account, part)
    return job, await ended(account, job, part)


async def strangers(sandbox: Sandbox, *sizes: int) -> list[str]:
    made = [await sandbox.strangers("anthropic", KEY, lines=size) for size in sizes]
    return [each["batches"][0] for each in made]


def stored(folder: Path) -> str:
    """Return the name of the only file, which tells when the job ended."""
    (path,) = (each for each in folder.iterdir() if not each.name.startswith("."))  # notes of the adapter's own
    assert re.fullmatch(r"results-\d{10}\.jsonl", path.name)
    return path.name


def rows_in(folder: Path) -> list[Row]:
    lines = (folder / stored(folder)).read_bytes().split(b"\n")
    return [row for line in lines if (row := ANTHROPIC.row(line, stored(folder), CHAT))]


async def creates(sandbox: Sandbox) -> list[str]:
    return [entry["batch_id"] for entry in await sandbox.log()]


def test_the_lane_says_what_it_can_do() -> None:
    lane: BatchProvider = ANTHROPIC
    facts = lane.capabilities
    assert load("anthropic") is ANTHROPIC
    assert isinstance(lane, Cancels)
    assert isinstance(lane, Confirms)
    assert not isinstance(lane, Revokes)
    assert (facts.provider, facts.default_host) == ("anthropic", "https://api.anthropic.com/v1")
    assert (facts.max_lines, facts.max_bytes) == (100_000, 256_000_000)
    assert facts.endpoints == {CHAT, "/v1/responses", "/v1/completions", "/v1/messages"}
    assert facts.native == {"/v1/messages": CHAT}
    assert not facts.accepts_label
    assert not facts.one_model_per_job


def test_a_worker_that_translates_does_not_pay_for_an_http_client() -> None:
    load = "from proxy_plugin.providers.catalog import load; load('anthropic')"
    code = f"import sys; {load}; print('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


async def test_every_line_comes_back_once_with_its_answer(
    sandbox: Sandbox, account: Account, tmp_path: Path, folder: Path
) -> None:
    texts = ["plain", 'é \u2028 \\ " 😀', "[[sandbox:error=429]]", "[[sandbox:expire]]", "[[sandbox:error=0]]"]
    part = make_part(tmp_path, *texts)
    job, status = await completed(account, part)
    assert (status.state, status.end, status.mark) == (JobState.ENDED, JobEnd.EXPIRED, None)
    assert (status.completed, status.failed) == (3, 2)
    assert await ANTHROPIC.fetch(account, job, status, folder) == (stored(folder),)
    rows = {row.native_id: row for row in rows_in(folder)}
    assert sorted(rows) == [native_id(part.mark, number) for number in range(len(texts))]
    sent = json.loads(part.path.read_bytes())["requests"]
    for number in (0, 1):
        row = rows[sent[number]["custom_id"]]
        answer = json.loads(row.response or b"")["body"]["choices"][0]["message"]["content"]
        assert answer == expected_text("/v1/messages", sent[number]["params"])
        assert (row.ok, row.model) == (True, "claude-haiku-4-5-20251001")
        assert row.usage is not None
        assert row.usage.output_tokens > 0
    others = [rows[native_id(part.mark, number)] for number in (2, 3, 4)]
    assert [(row.ok, row.code) for row in others] == [(False, "429"), (False, "batch_expired"), (True, None)]
    (entry,) = await sandbox.log()
    assert (entry["mark"], entry["lines"]) == (part.mark, len(texts))
    assert await sandbox.violations() == []


async def test_the_document_is_sent_as_it_is_with_its_length_and_the_pinned_version(
    http: Http, recorder: Recorder, part: PartFile
) -> None:
    recorder.answer = lambda _: web.json_response({"id": "msgbatch_1"})
    assert await ANTHROPIC.create(account_of(http, f"{recorder.url}/v1"), Submission(part, {})) == "msgbatch_1"
    ((line, headers, body),) = recorder.seen
    assert (line, body) == ("POST /v1/messages/batches", part.path.read_bytes())
    assert headers["content-length"] == str(part.bytes)
    assert headers["content-type"] == "application/json"
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert not {"authorization", "anthropic-beta", "transfer-encoding"} & set(headers)


async def test_another_version_and_betas_are_sent_where_the_account_names_them(
    http: Http, recorder: Recorder, part: PartFile
) -> None:
    recorder.answer = lambda _: web.json_response({"id": "msgbatch_1"})
    named = {"anthropic_version": "2026-10-21", "anthropic_beta": "output-300k-2026-03-24, other-1"}
    await ANTHROPIC.create(account_of(http, recorder.url, **named), Submission(part, {}))
    headers = recorder.seen[0][1]
    assert [headers["anthropic-version"], headers["anthropic-beta"]] == list(named.values())


# The fence


async def test_the_fence_is_the_newest_job_and_who_answered(account: Account, part: PartFile) -> None:
    empty = Fence.read(await ANTHROPIC.fence(account))
    assert (bool(empty.organization), empty.job, empty.created) == (True, "", 0.0)
    for _ in range(2):
        job = await created(account, part)
        fence = Fence.read(await ANTHROPIC.fence(account))
        assert (fence.organization, fence.job) == (empty.organization, job)
        assert abs(fence.created - time.time()) < 60


async def test_an_account_that_shows_nothing_has_no_fence(http: Http, recorder: Recorder) -> None:
    recorder.answer = lambda _: web.json_response({"data": [], "has_more": False})
    assert await ANTHROPIC.fence(account_of(http, recorder.url)) is None
    assert Fence.read(None) == Fence()


# Creating, and looking for what became of it


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        ({"kind": "drop"}, 0),
        ({"kind": "status", "status": 500}, 0),
        ({"kind": "status", "status": 529}, 0),
        ({"kind": "drop_after"}, 1),
        ({"kind": "drop_after", "reset": True}, 1),
        ({"kind": "status_after", "status": 504}, 1),
        ({"kind": "truncate", "bytes": 20}, 1),
        ({"kind": "status", "status": 200, "body": '{"type":"message_batch"}'}, 0),
        ({"kind": "status", "status": 200, "body": '{"id":"../x"}'}, 0),
    ],
)
async def test_a_lost_create_is_looked_up_among_the_jobs_of_its_size(
    sandbox: Sandbox, account: Account, part: PartFile, fault: dict[str, Any], accepted: int
) -> None:
    await strangers(sandbox, 3, 3)
    submission = await fenced(account, part)
    await strangers(sandbox, 2, 4)
    await sandbox.faults([{**fault, "on": "batches.create"}])
    with pytest.raises(OutcomeUnknown):
        await ANTHROPIC.create(account, submission)
    await strangers(sandbox, 1)
    assert await ANTHROPIC.find(account, submission) == Sighting(tuple(await creates(sandbox)), control=True)
    assert len(await creates(sandbox)) == accepted
    candidates = await strangers(sandbox, 3)
    assert (await ANTHROPIC.find(account, submission)).jobs == (*candidates, *await creates(sandbox))


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"kind": "status", "status": 429, "retry_after": 9}, TryLater, ""),
        ({"kind": "status", "status": 400}, Refused, "invalid_request_error"),
        ({"kind": "status", "status": 401}, Refused, "authentication_error"),
        ({"kind": "status", "status": 413}, Refused, "request_too_large"),
        ({"kind": "status", "status": 413, "body": "<html>too big</html>"}, Refused, "http_413"),
        ({"kind": "redirect", "url": "http://127.0.0.1:1/"}, Refused, "unexpected_redirect"),
    ],
)
async def test_a_create_that_was_not_accepted_says_so(
    sandbox: Sandbox, account: Account, part: PartFile, fault: dict[str, Any], error: type[ProviderError], code: str
) -> None:
    await sandbox.faults([{**fault, "on": "batches.create"}])
    with pytest.raises(error) as caught:
        await created(account, part)
    assert getattr(caught.value, "code", "") == code
    assert await creates(sandbox) == []


async def test_a_document_that_the_service_refuses_is_refused_in_its_words(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.options("anthropic", max_requests=2)
    with pytest.raises(Refused) as caught:
        await created(account, part)
    assert (caught.value.code, caught.value.status) == ("invalid_request_error", 400)
    assert "at most 2 items" in caught.value.message


async def test_a_create_without_a_connection_was_not_accepted(http: Http, part: PartFile) -> None:
    with pytest.raises(TryLater, match="no connection was made"):
        await ANTHROPIC.create(account_of(http, "http://127.0.0.1:1/v1"), Submission(part, {}))


TEN = datetime(2026, 11, 21, 10, tzinfo=UTC)


def record(name: str, second: float, lines: int = 3) -> dict[str, Any]:
    """Return a job as a list shows it, made so many seconds after ten o'clock."""
    counts = {"processing": 1, "succeeded": lines - 1, "errored": 0, "canceled": 0, "expired": 0}
    made = (TEN + timedelta(seconds=second)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"id": name, "type": "message_batch", "created_at": made, "request_counts": counts}


def fence_at(name: str, second: float) -> str:
    return str(Fence("org-1", name, TEN.timestamp() + second))


async def looked_up(
    http: Http,
    recorder: Recorder,
    part: PartFile,
    fence: str | None,
    *pages: list[dict[str, Any]],
    organization: str = "org-1",
) -> Sighting:
    """Look at an account whose list has these pages."""
    left = list(pages)

    def answer(_: web.Request) -> web.Response:
        data = left.pop(0)
        return web.json_response(
            {"data": data, "has_more": bool(left)}, headers={"anthropic-organization-id": organization}
        )

    recorder.answer = answer
    return await ANTHROPIC.find(account_of(http, recorder.url), Submission(part, {}, fence))


async def test_a_lookup_reads_on_to_the_fence_and_a_minute_beyond(
    http: Http, recorder: Recorder, part: PartFile
) -> None:
    pages = [
        [record("e", 602), record("d", 601, lines=7)],
        [record("c", 601), record("old", 600), record("y", 599)],
        [record("b", 600.000001), record("a", 539.9)],  # b came late into the list
        [record("z", 538)],
    ]
    assert await looked_up(http, recorder, part, fence_at("old", 600), *pages) == Sighting(
        ("e", "c", "b"), control=True
    )
    cursors = ["?limit=1000", "?limit=1000&after_id=d", "?limit=1000&after_id=y"]
    assert [line for line, _, _ in recorder.seen] == [f"GET /messages/batches{cursor}" for cursor in cursors]


async def test_a_fence_that_was_deleted_is_no_control_but_still_a_fence(
    http: Http, recorder: Recorder, part: PartFile
) -> None:
    page = [record("new", 601), record("before", 599), record("long-before", 60)]
    sighting = await looked_up(http, recorder, part, fence_at("gone", 600), page)
    assert sighting == Sighting(("new",), control=False)


async def test_without_a_fence_the_organisation_is_the_control(http: Http, recorder: Recorder, part: PartFile) -> None:
    page = [record("b", 9), record("a", 1), record("x", 0, lines=4)]
    for organization, control in (("org-1", True), ("org-2", False), ("", False)):
        found = await looked_up(http, recorder, part, str(Fence(organization)), page)
        assert found == Sighting(("b", "a"), control=control)
    for fence in (None, str(Fence("org-1"))):
        assert not (await looked_up(http, recorder, part, fence, page, organization="")).control


async def test_a_job_whose_size_is_not_told_could_be_ours(http: Http, recorder: Recorder, part: PartFile) -> None:
    silent = {**record("b", 9), "request_counts": None}
    assert (await looked_up(http, recorder, part, None, [silent, record("a", 1, lines=4)])).jobs == ("b",)


async def test_a_list_without_an_end_proves_nothing(http: Http, recorder: Recorder, part: PartFile) -> None:
    pages = [[record(f"job-{number}", 9)] for number in range(101)]
    found = await looked_up(http, recorder, part, fence_at("job-0", 9), *pages)
    assert (found.control, found.listed, len(found.jobs)) == (False, False, 99)


async def test_a_lookup_that_another_account_answers_proves_nothing(
    http: Http, sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await created(account, part)
    submission = await fenced(account, part)
    for key, listed in ((OTHER_KEY, True), ("sk-ant-unknown", False)):
        other = account_of(http, sandbox.url("anthropic"), api_key=key)
        assert await ANTHROPIC.find(other, submission) == Sighting((), control=False, listed=listed)


async def test_a_lookup_that_is_refused_proves_nothing(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    submission = await fenced(account, part)
    for status in (401, 403, 404):
        await sandbox.faults([{"kind": "status", "on": "batches.list", "status": status}])
        assert await ANTHROPIC.find(account, submission) == Sighting((), control=False, listed=False)
    for fault in ({"kind": "status", "status": 529}, {"kind": "drop"}, {"kind": "truncate", "bytes": 5}):
        await sandbox.faults([{"on": "batches.list", "times": None, **fault}])
        with pytest.raises(TryLater):
            await ANTHROPIC.find(account, submission)


NO_TIME = json.dumps({"data": [{**record("a", 1), "created_at": "yesterday"}]})


@pytest.mark.parametrize("reply", ["{}", '{"data":null}', '{"data":[{"id":"msgbatch_1"}]}', '{"data":["x"]}', NO_TIME])
async def test_what_is_no_list_is_not_an_empty_one(
    sandbox: Sandbox, account: Account, part: PartFile, reply: str
) -> None:
    submission = await fenced(account, part)
    await sandbox.faults([{"kind": "status", "on": "batches.list", "status": 200, "body": reply, "times": None}])
    with pytest.raises(TryLater):
        await ANTHROPIC.find(account, submission)
    with pytest.raises(TryLater):
        await ANTHROPIC.fence(account)


# Whose job it is


async def test_the_results_tell_whose_a_job_is(
    sandbox: Sandbox, account: Account, part: PartFile, tmp_path: Path
) -> None:
    ours, _ = await completed(account, part)
    other = make_part(tmp_path, "one", "two", "three", name="other")
    (stranger,) = await strangers(sandbox, 3)
    await ended(account, stranger, part)
    assert await ANTHROPIC.confirm(account, ours, part) is True
    assert await ANTHROPIC.confirm(account, ours, other) is False
    assert await ANTHROPIC.confirm(account, stranger, part) is False


async def test_a_job_that_runs_does_not_tell_whose_it_is(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    await sandbox.options("anthropic", run_seconds=NEVER, cancel_seconds=NEVER)
    job = await created(account, part)
    assert await ANTHROPIC.confirm(account, job, part) is None
    await ANTHROPIC.cancel(account, job)
    assert await ANTHROPIC.confirm(account, job, part) is None


async def test_a_job_of_which_nothing_ran_tells_whose_it_is(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    await sandbox.options("anthropic", run_seconds=NEVER)
    job = await created(account, part)
    await ANTHROPIC.cancel(account, job)
    assert (await ended(account, job, part)).completed == 0
    assert await ANTHROPIC.confirm(account, job, part) is True


async def test_results_that_are_gone_are_refused_with_404(
    sandbox: Sandbox, account: Account, part: PartFile, folder: Path
) -> None:
    job, status = await completed(account, part)
    await sandbox.advance(29 * DAY + 60)
    for call in (ANTHROPIC.confirm(account, job, part), ANTHROPIC.fetch(account, job, status, folder)):
        with pytest.raises(Refused) as caught:
            await call
        assert (caught.value.status, caught.value.code) == (404, "not_found_error")
    with pytest.raises(Refused) as caught:
        await ANTHROPIC.confirm(account, "msgbatch_unknown", part)
    assert caught.value.status == 404


@pytest.mark.parametrize("size", [0, 30])
async def test_a_first_row_that_was_cut_tells_nothing(
    sandbox: Sandbox, account: Account, part: PartFile, size: int
) -> None:
    job, _ = await completed(account, part)
    await sandbox.faults([{"kind": "truncate_chunked", "on": "batches.results", "bytes": size}])
    with pytest.raises(Short, match="the first line is no result"):
        await ANTHROPIC.confirm(account, job, part)


# Status


async def polled(sandbox: Sandbox, account: Account, part: PartFile, job: dict[str, Any], **reply: Any) -> JobStatus:
    body = json.dumps({"id": "msgbatch_1", "type": "message_batch", **job})
    await sandbox.faults([{"kind": "status", "on": "batches.retrieve", "status": 200, "body": body, **reply}])
    return await ANTHROPIC.status(account, "msgbatch_1", part)


def counters(succeeded: int, errored: int, canceled: int, expired: int) -> dict[str, int]:
    return {
        "processing": 0,
        "succeeded": succeeded,
        "errored": errored,
        "canceled": canceled,
        "expired": expired,
    }


@pytest.mark.parametrize(
    ("given", "cancelled", "end", "found"),
    [
        ((5, 0, 0, 0), False, JobEnd.COMPLETED, (5, 0)),
        ((0, 5, 0, 0), False, JobEnd.COMPLETED, (0, 5)),
        ((3, 1, 0, 1), False, JobEnd.EXPIRED, (3, 2)),
        ((2, 1, 2, 0), True, JobEnd.CANCELLED, (2, 3)),
        ((0, 0, 3, 2), True, JobEnd.CANCELLED, (0, 5)),
        ((5, 0, 0, 0), True, JobEnd.COMPLETED, (5, 0)),
        ((4, 0, 0, 1), True, JobEnd.EXPIRED, (4, 1)),
        ((4, 0, 1, 0), False, JobEnd.COMPLETED, (4, 1)),
    ],
)
async def test_the_counters_and_the_cancel_say_why_a_job_ended(
    sandbox: Sandbox,
    account: Account,
    part: PartFile,
    given: tuple[int, int, int, int],
    cancelled: bool,
    end: JobEnd,
    found: tuple[int, int],
) -> None:
    when = "2026-11-21T10:00:00Z" if cancelled else None
    facts = {"processing_status": "ended", "request_counts": counters(*given), "cancel_initiated_at": when}
    status = await polled(sandbox, account, replace(part, lines=5), facts)
    assert (status.state, status.end, status.mark) == (JobState.ENDED, end, None)
    assert (status.completed, status.failed) == found
    disbelieved = await polled(sandbox, account, part, facts)
    assert (disbelieved.completed or 0) <= part.lines >= (disbelieved.failed or 0)


async def test_a_job_that_runs_tells_no_counts_and_when_to_ask_again(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.options("anthropic", run_seconds=NEVER, poll_retry_after=10)
    job = await created(account, part)
    status = await ANTHROPIC.status(account, job, part)
    assert status == JobStatus(JobState.RUNNING, poll_after=10.0)
    await sandbox.options("anthropic", cancel_seconds=NEVER, poll_retry_after=None)
    second = await created(account, part)
    await ANTHROPIC.cancel(account, second)
    assert await ANTHROPIC.status(account, second, part) == JobStatus(JobState.CANCELLING)


async def test_an_absurd_pause_is_cut(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    facts = {"processing_status": "in_progress"}
    assert (await polled(sandbox, account, part, facts, retry_after=10**9)).poll_after == LONGEST_WAIT


async def test_counters_that_are_not_told_are_not_invented(sandbox: Sandbox, account: Account, part: PartFile) -> None:
    for counts in (None, {"succeeded": "3"}, [1]):
        status = await polled(sandbox, account, part, {"processing_status": "ended", "request_counts": counts})
        assert status == JobStatus(JobState.ENDED, end=JobEnd.COMPLETED)


@pytest.mark.parametrize("word", ["paused", "", None, 7, "sk-x y"])
async def test_an_unknown_status_word_is_no_guess(
    sandbox: Sandbox, account: Account, part: PartFile, word: object
) -> None:
    with pytest.raises(TryLater, match="unknown batch status"):
        await polled(sandbox, account, part, {"processing_status": word})


async def test_a_job_that_is_not_found_is_left_to_the_gateway(account: Account, part: PartFile) -> None:
    with pytest.raises(TryLater) as caught:
        await ANTHROPIC.status(account, "msgbatch_unknown", part)
    assert caught.value.status == 404


# Results


@pytest.mark.parametrize(
    ("fault", "size"),
    [("truncate", 0), ("truncate", 700), ("truncate_chunked", 700), ("drop", 0)],
)
async def test_truncated_results_are_noticed(
    sandbox: Sandbox, account: Account, part: PartFile, folder: Path, fault: str, size: int
) -> None:
    job, status = await completed(account, part)
    await sandbox.faults([{"kind": fault, "on": "batches.results", "bytes": size, "times": None}])
    with pytest.raises(TryLater) as caught:
        await ANTHROPIC.fetch(account, job, status, folder)
    assert isinstance(caught.value, Short) is (fault == "truncate_chunked")
    await sandbox.faults([])
    assert not list(folder.glob("results*"))
    assert await ANTHROPIC.fetch(account, job, status, folder) == (stored(folder),)
    assert len(rows_in(folder)) == part.lines


@pytest.mark.parametrize("rows", [0, 1])
async def test_results_cut_between_two_rows_are_read_again_in_another_reading(
    sandbox: Sandbox, account: Account, part: PartFile, folder: Path, rows: int
) -> None:
    """The gateway, which counts the rows, asks for it; within one reading nothing is read twice."""
    job, status = await completed(account, part)
    await ANTHROPIC.fetch(account, job, status, folder)
    path = folder / stored(folder)
    whole = path.read_bytes()
    size = sum(map(len, whole.splitlines(keepends=True)[:rows]))
    await sandbox.faults([{"kind": "truncate_chunked", "on": "batches.results", "bytes": size}])
    for reading, found in ((0, whole), (1, whole[:size]), (1, whole[:size]), (2, whole)):
        await ANTHROPIC.fetch(account, job, replace(status, reading=reading), folder)
        assert path.read_bytes() == found
    assert [each["op"] for each in await sandbox.requests()].count("batches.results") == 3


async def test_the_last_reading_takes_what_comes(
    sandbox: Sandbox, account: Account, part: PartFile, folder: Path
) -> None:
    job, status = await completed(account, part)
    await sandbox.faults([{"kind": "truncate_chunked", "on": "batches.results", "bytes": 700}])
    assert await ANTHROPIC.fetch(account, job, replace(status, last=True), folder) == (stored(folder),)
    assert (folder / stored(folder)).stat().st_size == 700


async def test_a_row_that_never_comes_does_not_hold_up_the_others(
    account: Account, tmp_path: Path, folder: Path
) -> None:
    part = make_part(tmp_path, "one", "[[sandbox:missing]] two", "three")
    job, status = await completed(account, part)
    await ANTHROPIC.fetch(account, job, status, folder)
    assert sorted(row.native_id for row in rows_in(folder)) == [native_id(part.mark, number) for number in (0, 2)]


async def test_results_come_from_the_configured_host_alone(
    sandbox: Sandbox, account: Account, part: PartFile, folder: Path, recorder: Recorder
) -> None:
    await sandbox.options("anthropic", results_url_host=recorder.url)
    job, status = await completed(account, part)
    await ANTHROPIC.confirm(account, job, part)
    await ANTHROPIC.fetch(account, job, status, folder)
    assert len(rows_in(folder)) == part.lines
    assert recorder.seen == []


async def test_no_redirect_is_followed(
    sandbox: Sandbox, account: Account, part: PartFile, folder: Path, recorder: Recorder
) -> None:
    job, status = await completed(account, part)
    await sandbox.faults([{"kind": "redirect", "on": "*", "url": f"{recorder.url}/x", "times": None}])
    calls: list[Callable[[], Any]] = [
        lambda: ANTHROPIC.fence(account),
        lambda: ANTHROPIC.create(account, Submission(part, {})),
        lambda: ANTHROPIC.confirm(account, job, part),
        lambda: ANTHROPIC.status(account, job, part),
        lambda: ANTHROPIC.fetch(account, job, status, folder),
        lambda: ANTHROPIC.cancel(account, job),
    ]
    for call in calls:
        with pytest.raises(Refused) as caught:
            await call()
        assert caught.value.code == "unexpected_redirect"
    assert recorder.seen == []


async def test_an_expired_job_answers_every_line(
    sandbox: Sandbox, account: Account, tmp_path: Path, folder: Path
) -> None:
    await sandbox.options("anthropic", run_seconds=200_000)
    part = make_part(tmp_path, *(f"text {number}" for number in range(10)))
    job = await created(account, part)
    await sandbox.advance(90_000)
    status = await ended(account, job, part)
    assert status.end is JobEnd.EXPIRED
    await ANTHROPIC.fetch(account, job, status, folder)
    rows = rows_in(folder)
    assert sorted(row.native_id for row in rows) == [native_id(part.mark, number) for number in range(10)]
    assert {row.code for row in rows} == {None, "batch_expired"}


# Cancelling


async def test_a_cancelled_job_keeps_what_it_has_and_a_second_cancel_is_no_error(
    sandbox: Sandbox, account: Account, tmp_path: Path, folder: Path
) -> None:
    await sandbox.options("anthropic", run_seconds=1000, cancel_seconds=50)
    part = make_part(tmp_path, *(f"text {number}" for number in range(10)))
    job = await created(account, part)
    await sandbox.advance(500)
    await ANTHROPIC.cancel(account, job)
    assert (await ANTHROPIC.status(account, job, part)).state is JobState.CANCELLING
    await ANTHROPIC.cancel(account, job)
    await sandbox.advance(60)
    status = await ended(account, job, part)
    assert status.end is JobEnd.CANCELLED
    assert (status.completed or 0) > 0
    await ANTHROPIC.fetch(account, job, status, folder)
    rows = rows_in(folder)
    assert {row.code for row in rows} == {None, "batch_cancelled"}
    assert len({row.native_id for row in rows}) == 10
    await ANTHROPIC.cancel(account, job)


async def test_a_cancel_that_stopped_nothing_leaves_a_completed_job(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.options("anthropic", run_seconds=1000, cancel_interrupts=False)
    job = await created(account, part)
    await ANTHROPIC.cancel(account, job)
    await sandbox.advance(2000)
    status = await ended(account, job, part)
    assert (status.end, status.completed) == (JobEnd.COMPLETED, part.lines)


async def test_a_cancel_that_is_refused_while_the_job_runs_is_an_error(
    sandbox: Sandbox, account: Account, part: PartFile
) -> None:
    await sandbox.options("anthropic", run_seconds=NEVER, cancel_seconds=NEVER)
    job = await created(account, part)
    for status, error in ((400, Refused), (409, TryLater), (529, TryLater)):
        await sandbox.faults([{"kind": "status", "on": "batches.cancel", "status": status}])
        with pytest.raises(error):
            await ANTHROPIC.cancel(account, job)
    with pytest.raises(Refused):
        await ANTHROPIC.cancel(account, "msgbatch_unknown")
    await ANTHROPIC.cancel(account, job)
    for status in (400, 409):
        await sandbox.faults([{"kind": "status", "on": "batches.cancel", "status": status}])
        await ANTHROPIC.cancel(account, job)  # it is being cancelled already


# Accounts


async def test_callers_that_share_a_slug_do_not_share_a_pause(http: Http, sandbox: Sandbox, account: Account) -> None:
    await sandbox.faults([{"kind": "status", "on": "batches.list", "status": 429, "retry_after": 600}])
    for _ in range(2):
        with pytest.raises(TryLater) as caught:
            await ANTHROPIC.fence(account)
        assert 590 < (caught.value.after or 0) <= 600
    assert await ANTHROPIC.fence(account_of(http, sandbox.url("anthropic"), fingerprint="another"))


def test_equal_accounts_have_equal_keys_and_others_do_not() -> None:
    key = ANTHROPIC.account_key(credentials())
    same = credentials(custom_host="https://api.anthropic.com/v1/", api_key=f" {KEY}\n", anthropic_version="2026-10-21")
    assert key == ANTHROPIC.account_key(same)
    others = [credentials(api_key=OTHER_KEY), credentials(custom_host="https://eu.api.anthropic.com/v1")]
    assert len({key, *map(ANTHROPIC.account_key, others)}) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": ""},
        {"api_key": f"{KEY}\nX: 1"},
        {"api_kei": KEY},
        {"custom_host": f"https://u:{KEY}@h/v1"},
        {"anthropic_version": f"2023-06-01\r\nx-other: {KEY}"},
        {"anthropic_version": "latest"},
        {"anthropic_beta": f"a\nx-other: {KEY}"},
        {"anthropic_beta": ""},
    ],
)
def test_wrong_credentials_are_refused_without_being_shown(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        credentials(**fields)
    assert KEY not in str(caught.value)


async def test_no_error_shows_the_key(
    http: Http, sandbox: Sandbox, part: PartFile, account: Account, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy_plugin.providers.calls.PAUSES", (0.0, 0.0, 0.0))
    message = f"invalid x-api-key: {KEY}."
    said = [repr(account), repr(account.credentials), repr(ANTHROPIC)]
    for status in (401, 429, 500):
        await sandbox.faults([{"kind": "status", "on": "*", "status": status, "message": message, "times": None}])
        calls: list[Callable[[], Any]] = [
            lambda: ANTHROPIC.fence(account),
            lambda: ANTHROPIC.create(account, Submission(part, {})),
            lambda: ANTHROPIC.status(account, "msgbatch_1", part),
            lambda: ANTHROPIC.confirm(account, "msgbatch_1", part),
            lambda: ANTHROPIC.fetch(account, "msgbatch_1", JobStatus(JobState.ENDED), folder),
            lambda: ANTHROPIC.cancel(account, "msgbatch_1"),
        ]
        for call in calls:
            with pytest.raises(ProviderError) as caught:
                await call()
            said += [str(caught.value), repr(caught.value), repr(vars(caught.value))]
    assert "[credential]" in "".join(said)
    assert KEY[:9] not in "".join(said)
