"""Every vendor that copies OpenAI's API, against OpenAI's stand-in with what the vendor's pages tell of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.base import (
    Account,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    OutcomeUnknown,
    PartFile,
    Refused,
    Sighting,
    Submission,
    Target,
    make_mark,
    native_id,
)
from proxy_plugin.providers.catalog import BUILT_IN, load
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible
from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn, copies, names

KEY = "sk-copies-0123456789abcdef"
PATIENCE = 15.0  # seconds of real time for something that takes a fraction of one
EMPTY = {"groq": (JobState.ENDED,), "perplexity-ai": ()}  # a bad line elsewhere fails its job when it is validated
AT_ONCE = frozenset({"deepinfra"})  # a create without its input is refused there
BRISK = {"validate_seconds": 0.01, "run_seconds": 0.02, "finalize_seconds": 0.0, "cancel_seconds": 0.0}


@dataclass
class Lane:
    """One vendor's adapter, its stand-in and an account there."""

    record: StandIn
    provider: OpenAICompatible
    account: Account
    sandbox: Sandbox
    folder: Path

    def body(self, text: str) -> dict[str, Any]:
        said = [{"role": "user", "content": text}]
        where = "input" if self.record.endpoint == "/v1/responses" else "messages"
        return {"model": self.record.model, where: said}

    def part(self, *texts: str, name: str = "part") -> PartFile:
        mark, endpoint = make_mark(name), self.record.endpoint
        lines = [
            LineIn(native_id(mark, n), endpoint, json.dumps(self.body(text)).encode(), self.record.model)
            for n, text in enumerate(texts)
        ]
        data = b"".join(self.provider.translate(line, Target()).data + b"\n" for line in lines)
        path = self.folder / f"{name}.native"
        path.write_bytes(data)
        return PartFile(
            mark, path, len(data), len(lines), hashlib.sha256(data).hexdigest(), endpoint, self.record.model
        )

    async def staged(self, part: PartFile) -> Submission:
        file = await self.provider.stage(self.account, part, again=False)
        return Submission(part, file, await self.provider.fence(self.account))

    async def ended(self, job: str, part: PartFile, *states: JobState) -> JobStatus:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status = await self.provider.status(self.account, job, part)
            if status.state in (states or (JobState.ENDED, JobState.FAILED)):
                return status
            await asyncio.sleep(0.01)
        raise AssertionError(f"still {status.state}")

    async def strangers(self, count: int = 1) -> None:
        await self.sandbox.strangers(self.record.provider, KEY, batches=count)


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    served = [each.served for each in copies().values()]
    with Sandbox(providers=served, keys=[f"ours={KEY}"], options=dict.fromkeys(copies(), BRISK)) as sandbox:
        yield sandbox


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(HttpSettings(connect_timeout=5, read_timeout=5, create_timeout=5))
    yield http
    await http.close()


@pytest.fixture(params=copies().values(), ids=lambda record: record.provider)
async def lane(request: pytest.FixtureRequest, running: Sandbox, http: Http, tmp_path: Path) -> AsyncIterator[Lane]:
    await running.reset()
    record: StandIn = request.param
    provider = load(record.provider)
    assert isinstance(provider, OpenAICompatible)
    fields = record.settings(running.url(record.provider), KEY)
    account = Account("prod", provider.credentials.model_validate(fields), http)
    yield Lane(record, provider, account, running, tmp_path)
    assert await running.violations() == []


def test_every_copy_of_the_catalogue_has_a_record() -> None:
    ours = {name for name, where in BUILT_IN.items() if ".lanes.openai.services." in where}
    assert ours - {*names()} == {*copies()}, "the others have a stand-in of their own"


async def test_every_line_comes_back_once_with_its_answer(lane: Lane) -> None:
    texts = ["plain", 'é \u2028 \\ " 😀', "[[sandbox:error=400]] bad"]
    part = lane.part(*texts)
    submission = await lane.staged(part)
    job = await lane.provider.create(lane.account, submission)
    status = await lane.ended(job, part)
    assert (status.state, status.end, status.mark) == (JobState.ENDED, JobEnd.COMPLETED, part.mark)
    assert (status.completed, status.failed, status.unnamed) == (2, 1, False)
    names = await lane.provider.fetch(lane.account, job, status, lane.folder)
    assert names == ("output.jsonl", "error.jsonl")
    lines = [line for name in names for line in (lane.folder / name).read_bytes().split(b"\n")]
    rows = {row.native_id: row for line in lines if (row := lane.provider.row(line, "", part.endpoint))}
    assert sorted(rows) == [native_id(part.mark, number) for number in range(len(texts))]
    for number, text in enumerate(texts[:2]):
        row = rows[native_id(part.mark, number)]
        assert row.ok
        wanted = json.dumps(expected_text(lane.record.endpoint, lane.body(text)), ensure_ascii=False)
        assert wanted in (row.response or b"").decode()
        assert row.usage is not None
        assert row.usage.output_tokens > 0
    failed = rows[native_id(part.mark, 2)]
    assert (failed.ok, failed.code) == (False, "400")


async def test_a_lost_create_is_found_among_strangers_and_by_nobody_else(lane: Lane) -> None:
    part, other = lane.part("one", "two"), lane.part("three", name="other")
    submission, beside = await lane.staged(part), await lane.staged(other)
    await lane.strangers(2)
    await lane.sandbox.faults([{"on": "batches.create", "kind": "drop_after"}])
    with pytest.raises(OutcomeUnknown):
        await lane.provider.create(lane.account, submission)
    await lane.strangers(2)
    (entry,) = await lane.sandbox.log()
    assert await lane.provider.find(lane.account, submission) == Sighting((entry["batch_id"],), control=True)
    assert await lane.provider.find(lane.account, beside) == Sighting((), control=True)


async def test_a_lost_create_is_found_behind_pages_of_strangers(lane: Lane) -> None:
    part = lane.part("one")
    submission = await lane.staged(part)
    job = await lane.provider.create(lane.account, submission)
    await lane.strangers(103)
    assert await lane.provider.find(lane.account, submission) == Sighting((job,), control=True)


async def test_a_create_that_comes_after_the_revocation_runs_nothing(lane: Lane) -> None:
    part = lane.part("one")
    submission = await lane.staged(part)
    await lane.provider.revoke(lane.account, submission)
    if lane.record.provider in AT_ONCE:
        with pytest.raises(Refused) as caught:
            await lane.provider.create(lane.account, submission)
        assert caught.value.status == 404
    else:
        job = await lane.provider.create(lane.account, submission)
        assert (await lane.ended(job, part)).state is JobState.FAILED
    assert [entry["lines_run"] for entry in await lane.sandbox.jobs()] in ([], [0])
    assert not (await lane.provider.find(lane.account, submission)).control


async def test_a_line_that_is_no_good_is_named(lane: Lane) -> None:
    part = lane.part("one", "two", "[[sandbox:poison]] three")
    states = EMPTY.get(lane.record.provider, (JobState.FAILED,))
    if not states:  # its lines are checked at the upload
        with pytest.raises(Refused) as caught:
            await lane.provider.stage(lane.account, part, again=False)
        refusal: Refused | None = caught.value
    else:
        job = await lane.provider.create(lane.account, await lane.staged(part))
        status = await lane.ended(job, part)
        assert status.state in states
        refusal = status.refusal
    if refusal is None:  # it failed by itself
        assert (status.completed, status.failed) == (2, 1)
    elif lane.record.provider == "novita-ai":  # whose errors are a text
        assert (refusal.lines, refusal.divisible) == ((), True)
    else:
        assert [line.record for line in refusal.lines] == [3]


async def test_a_job_is_cancelled(lane: Lane) -> None:
    await lane.sandbox.options(lane.record.provider, run_seconds=3600)
    part = lane.part("one", "two")
    job = await lane.provider.create(lane.account, await lane.staged(part))
    await lane.ended(job, part, JobState.RUNNING)
    await lane.provider.cancel(lane.account, job)
    status = await lane.ended(job, part)
    assert (status.state, status.end) == (JobState.ENDED, JobEnd.CANCELLED)
    await lane.provider.cancel(lane.account, job)


async def test_an_interrupted_upload_is_found_again(lane: Lane) -> None:
    part = lane.part("one")
    await lane.sandbox.faults([{"on": "files.create", "kind": "drop_after"}])
    with pytest.raises(Exception, match="files"):
        await lane.provider.stage(lane.account, part, again=False)
    file = await lane.provider.stage(lane.account, part, again=True)
    uploads = [each for each in await lane.sandbox.requests() if each["op"] == "files.create"]
    assert len(uploads) == 1
    assert await lane.provider.create(lane.account, Submission(part, file))


async def test_a_key_that_nobody_has_is_refused(lane: Lane, http: Http) -> None:
    fields = lane.record.settings(lane.sandbox.url(lane.record.provider), "sk-nobody-has-this")
    account = Account("prod", lane.provider.credentials.model_validate(fields), http)
    with pytest.raises(Refused) as caught:
        await lane.provider.fence(account)
    assert caught.value.status == 401
