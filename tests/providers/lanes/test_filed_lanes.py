"""Lanes whose lines go through a provider's file store and whose jobs carry our mark, each against its stand-in."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.base import (
    Account,
    BatchProvider,
    Cancels,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    LineRejected,
    OutcomeUnknown,
    PartFile,
    Refused,
    Revokes,
    Row,
    Short,
    Submission,
    Target,
    TryLater,
    make_mark,
    native_id,
)
from proxy_plugin.providers.catalog import load
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn, find

NAMES = ("bedrock", "mistral-ai", "voyage", "x-ai")
KEY, OTHER_KEY = "sk-adapter-0123456789abcdef", "sk-other-0123456789abcdef"
INPUTS = frozenset({"/v1/embeddings", "/v1/moderations"})
PATIENCE = 15.0  # seconds of real time for something that takes a fraction of one


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    options = {name: find(name).quick for name in NAMES}
    with Sandbox(providers=NAMES, keys=[f"ours={KEY}", f"theirs={OTHER_KEY}"], options=options) as sandbox:
        yield sandbox


@dataclass
class Rig:
    """One lane, its stand-in, and an account of it."""

    lane: Any
    stand_in: StandIn
    sandbox: Sandbox
    http: Http
    folder: Path

    def account(self, key: str = KEY) -> Account:
        given = dict(self.stand_in.settings(self.sandbox.url(self.stand_in.provider), key))
        return Account("prod", self.lane.credentials.model_validate(given), self.http, key)

    def line(self, text: str, native: str, **more: Any) -> LineIn:
        model, endpoint = self.stand_in.model, self.stand_in.endpoint
        said = {"input": text} if endpoint in INPUTS else {"messages": [{"role": "user", "content": text}]}
        return LineIn(native, endpoint, json.dumps({"model": model, **said, **more}).encode(), model)

    def part(self, *texts: str, name: str = "part", **more: Any) -> PartFile:
        mark = make_mark(name)
        made = [
            self.lane.translate(self.line(text, native_id(mark, n), **more), Target()) for n, text in enumerate(texts)
        ]
        path, data = self.folder / f"{name}.native", b"".join(each.data + b"\n" for each in made)
        path.write_bytes(data)
        digest, model = hashlib.sha256(data).hexdigest(), self.stand_in.model
        endpoint = self.stand_in.endpoint
        return PartFile(mark, path, len(data), len(texts), digest, endpoint, model, made[0].partition)

    async def staged(self, part: PartFile, *, again: bool = False) -> Submission:
        account = self.account()
        return Submission(part, await self.lane.stage(account, part, again=again), await self.lane.fence(account))

    async def ended(self, job: str, part: PartFile, *states: JobState) -> JobStatus:
        """Poll until the job is in one of `states`, by default over and its results named."""
        deadline, wanted = time.monotonic() + PATIENCE, states or (JobState.ENDED, JobState.FAILED)
        while time.monotonic() < deadline:
            status: JobStatus = await self.lane.status(self.account(), job, part)
            if status.state in wanted and not status.unnamed:
                return status
            await asyncio.sleep(0.02)
        raise AssertionError(f"still {status.state}")

    async def fetched(self, job: str, status: JobStatus) -> tuple[str, ...]:
        """Fetch, as often as the lane says that it is too early."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                names: tuple[str, ...] = await self.lane.fetch(self.account(), job, status, self.folder)
            except Short:
                raise
            except TryLater as error:
                await asyncio.sleep(error.after or 0.02)
            else:
                return names
        raise AssertionError("never fetched")

    def rows(self, names: tuple[str, ...]) -> list[Row]:
        lines = ((line, name) for name in names for line in (self.folder / name).read_bytes().split(b"\n"))
        return [row for line, name in lines if (row := self.lane.row(line, name, self.stand_in.endpoint))]


@pytest.fixture
async def rig(request: pytest.FixtureRequest, running: Sandbox, tmp_path: Path) -> AsyncIterator[Rig]:
    await running.reset()
    http = Http(HttpSettings(connect_timeout=5, read_timeout=5, create_timeout=5))
    yield Rig(load(request.param), find(request.param), running, http, tmp_path)
    await http.close()


every = pytest.mark.parametrize("rig", NAMES, indirect=True)
xai = pytest.mark.parametrize("rig", ["x-ai"], indirect=True)


@every
async def test_every_line_comes_back_once(rig: Rig) -> None:
    lane: BatchProvider = rig.lane
    assert isinstance(lane, Cancels)
    assert isinstance(lane, Revokes)
    part = rig.part("plain", 'é \u2028 \\ " 😀 half \ud83d', "[[sandbox:error=400]] bad", "[[sandbox:timeout]]")
    submission = await rig.staged(part)
    job = await rig.lane.create(rig.account(), submission)
    status = await rig.ended(job, part)
    assert (status.state, status.end, status.mark) == (JobState.ENDED, JobEnd.COMPLETED, part.mark)
    assert (status.completed, status.failed) == (2, 2)
    rows = rig.rows(await rig.fetched(job, status))
    assert sorted(row.native_id for row in rows) == [native_id(part.mark, n) for n in range(4)]
    assert sorted(row.ok for row in rows) == [False, False, True, True]
    assert all(row.usage and row.usage.input_tokens for row in rows if row.ok)


@every
async def test_an_interrupted_upload_is_found_again_and_a_deleted_one_is_not(rig: Rig) -> None:
    part, other = rig.part("one"), rig.part("one, and more", name="other")
    first = await rig.staged(part)
    await rig.staged(other)
    assert (await rig.staged(part, again=True)).staged == first.staged
    await rig.lane.revoke(rig.account(), first)
    await rig.lane.revoke(rig.account(), first)
    assert (await rig.staged(part, again=True)).staged != first.staged


@every
async def test_a_lost_create_is_found_by_its_mark_with_the_input_as_control(rig: Rig) -> None:
    part = rig.part("one", "two")
    submission = await rig.staged(part)
    await rig.sandbox.strangers(rig.stand_in.provider, KEY, batches=3, lines=2)
    sighting = await rig.lane.find(rig.account(), submission)
    assert (sighting.jobs, sighting.control) == ((), True)
    await rig.sandbox.faults([{"on": "batches.create", "kind": "drop_after"}])
    with pytest.raises(OutcomeUnknown):
        await rig.lane.create(rig.account(), submission)
    (accepted,) = [entry["batch_id"] for entry in await rig.sandbox.log()]
    await rig.sandbox.strangers(rig.stand_in.provider, KEY, batches=120, lines=1)  # more than a page
    assert (await rig.lane.find(rig.account(), submission)).jobs == (accepted,)
    foreign = await rig.lane.find(rig.account(OTHER_KEY), submission)
    assert (foreign.jobs, foreign.control) == ((), False)
    assert (await rig.lane.find(rig.account("sk-nobody"), submission)).control is False


@pytest.mark.parametrize("rig", [name for name in NAMES if name != "bedrock"], indirect=True)
async def test_a_create_behind_its_revocation_runs_nothing(rig: Rig) -> None:
    submission = await rig.staged(rig.part("one"))
    await rig.lane.revoke(rig.account(), submission)
    with pytest.raises(Refused) as found:
        await rig.lane.create(rig.account(), submission)
    assert found.value.status == 404
    assert await rig.sandbox.log() == []


@every
async def test_a_cancelled_job_keeps_what_ran(rig: Rig) -> None:
    await rig.sandbox.options(rig.stand_in.provider, run_seconds=100)
    part = rig.part(*(f"say {n}" for n in range(20)))
    job = await rig.lane.create(rig.account(), await rig.staged(part))
    await rig.ended(job, part, JobState.RUNNING)
    await rig.sandbox.advance(50)
    await rig.lane.cancel(rig.account(), job)
    await rig.lane.cancel(rig.account(), job)
    status = await rig.ended(job, part)
    assert status.end is JobEnd.CANCELLED
    await rig.lane.cancel(rig.account(), job)
    rows = rig.rows(await rig.fetched(job, status))
    ran = sum(entry["lines_run"] for entry in await rig.sandbox.jobs())
    assert 0 < ran < 20
    assert sum(row.ok for row in rows) == ran
    assert {row.code for row in rows if not row.ok} <= {"batch_cancelled"}


@every
async def test_a_job_that_is_not_there_is_asked_for_again(rig: Rig) -> None:
    with pytest.raises(TryLater) as found:
        await rig.lane.status(rig.account(), "00000000-0000-4000-8000-000000000000", rig.part("one"))
    assert found.value.status == 404


@every
@pytest.mark.parametrize("marker", ["poison", "poison=silent"])
async def test_a_line_for_which_a_file_is_refused_is_named_where_the_provider_names_it(rig: Rig, marker: str) -> None:
    part = rig.part("one", f"[[sandbox:{marker}]]", "three")
    try:
        job = await rig.lane.create(rig.account(), await rig.staged(part))
        refusal = (await rig.ended(job, part)).refusal
    except Refused as refused:
        refusal = refused
    assert refusal is not None
    assert refusal.divisible
    assert [line.record for line in refusal.lines] == ([2] if marker == "poison" else [])


@pytest.mark.parametrize("rig", ["mistral-ai", "voyage"], indirect=True)
async def test_files_that_are_not_named_yet_are_waited_for_and_a_whole_one_is_read_once(rig: Rig) -> None:
    await rig.sandbox.options(rig.stand_in.provider, results_late=2)
    part = rig.part("one", "two")
    job = await rig.lane.create(rig.account(), await rig.staged(part))
    status = await rig.ended(job, part)
    for _ in range(2):
        assert len(rig.rows(await rig.fetched(job, status))) == 2
    asked = [each for each in await rig.sandbox.requests() if each["op"] == "files.content"]
    assert len(asked) == 1


@pytest.mark.parametrize("rig", ["mistral-ai"], indirect=True)
async def test_lines_that_travel_in_the_create_are_found_with_the_fence_as_control_and_not_taken_away(rig: Rig) -> None:
    given = {**rig.stand_in.settings(rig.sandbox.url("mistral-ai"), KEY), "inline_requests": True}
    account = Account("prod", rig.lane.credentials.model_validate(given), rig.http, KEY)
    part = rig.part("one", "two \u2028", "three")
    staged = await rig.lane.stage(account, part, again=False)
    alone = Submission(part, staged, await rig.lane.fence(account))
    assert (staged, alone.fence) == ({}, None)
    assert (await rig.lane.find(account, alone)).control is False, "an empty account proves nothing"
    await rig.sandbox.strangers("mistral-ai", KEY, batches=2, lines=3)
    submission = Submission(part, staged, await rig.lane.fence(account))
    sighting = await rig.lane.find(account, submission)
    assert (sighting.jobs, sighting.control) == ((), True)
    assert (await rig.lane.find(rig.account(OTHER_KEY), submission)).control is False
    await rig.sandbox.faults([{"on": "batches.create", "kind": "drop_after"}])
    with pytest.raises(OutcomeUnknown):
        await rig.lane.create(account, submission)
    (job,) = (await rig.lane.find(account, submission)).jobs
    with pytest.raises(Refused, match="not_revocable"):
        await rig.lane.revoke(account, submission)
    status = await rig.ended(job, part)
    assert [row.ok for row in rig.rows(await rig.fetched(job, status))] == [True] * 3
    bad = Submission(rig.part("a", "[[sandbox:poison]]", name="bad"), {}, None)
    with pytest.raises(Refused) as refused:
        await rig.lane.create(account, bad)
    assert [line.record for line in refused.value.lines] == [2]


@pytest.mark.parametrize("rig", ["voyage"], indirect=True)
async def test_parameters_keep_lines_apart_and_vectors_come_as_they_are_wanted(rig: Rig) -> None:
    plain, other = rig.part("one"), rig.part("one", name="other", dimensions=4, encoding_format="base64")
    assert plain.partition != other.partition
    job = await rig.lane.create(rig.account(), await rig.staged(other))
    status = await rig.ended(job, other)
    (row,) = rig.rows(await rig.fetched(job, status))
    entry = json.loads(row.response or b"")["body"]["data"][0]["embedding"]
    assert isinstance(entry, str)
    assert len(entry) == 24  # 4 numbers of 4 bytes


NOW, LONG_AGO = "2100-01-01", "2020-01-01"


@xai
@pytest.mark.parametrize(
    ("counts", "more", "state", "end"),
    [
        ((0, 0, 0, 0, 0), {}, JobState.VALIDATING, None),
        ((3, 2, 1, 0, 0), {}, JobState.RUNNING, None),
        ((3, 1, 2, 0, 0), {"expire_time": NOW}, JobState.RUNNING, None),
        ((3, 1, 2, 0, 0), {"expire_time": LONG_AGO}, JobState.ENDED, JobEnd.EXPIRED),
        ((3, 0, 2, 1, 0), {}, JobState.ENDED, JobEnd.COMPLETED),
        ((3, 0, 1, 1, 0), {}, JobState.RUNNING, None),  # a counter that has gone backwards
        ((3, 1, 0, 0, 2), {"cancel_time": NOW}, JobState.CANCELLING, None),
        ((3, 0, 0, 0, 3), {"cancel_time": NOW}, JobState.ENDED, JobEnd.CANCELLED),
        ((0, 0, 0, 0, 0), {"cancel_time": NOW}, JobState.ENDED, JobEnd.CANCELLED),
        ((0, 0, 0, 0, 0), {"cancel_by_xai_message": "line 2: no"}, JobState.FAILED, None),
        ((3, 0, 0, 0, 3), {"cancel_by_xai_message": "JSONL file validation failed: no"}, JobState.FAILED, None),
        ((3, 0, 1, 0, 2), {"cancel_by_xai_message": "validation"}, JobState.ENDED, JobEnd.CANCELLED),
        ((3, 0, 0, 0, 3), {"cancel_by_xai_message": "abuse"}, JobState.ENDED, JobEnd.CANCELLED),
    ],
)
async def test_counters_tell_where_a_batch_stands(
    rig: Rig, counts: tuple[int, ...], more: dict[str, str], state: JobState, end: JobEnd | None
) -> None:
    part = rig.part("one", "two", "three")
    named = dict(zip(("requests", "pending", "success", "error", "cancelled"), counts, strict=True))
    told = {
        "batch_id": "b",
        "name": f"proxy-plugin-{part.mark}",
        "state": {f"num_{key}": n for key, n in named.items()},
    }
    body = json.dumps(told | more)
    await rig.sandbox.faults([{"on": "batches.retrieve", "kind": "status", "status": 200, "body": body}])
    status = await rig.lane.status(rig.account(), "b", part)
    assert (status.state, status.end, status.mark) == (state, end, part.mark)


@xai
async def test_a_page_is_asked_for_once_and_a_cut_one_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_plugin.providers.lanes.x_ai.lane.PAGE_ROWS", 3)
    part = rig.part(*(f"say {n}" for n in range(8)))
    job = await rig.lane.create(rig.account(), await rig.staged(part))
    status = await rig.ended(job, part)
    await rig.sandbox.faults(
        [
            {"on": "batches.results", "kind": "truncate_chunked", "bytes": 40, "skip": 1, "times": 1},
            {"on": "batches.results", "kind": "status", "status": 503, "skip": 1, "times": 1},
        ]
    )
    with pytest.raises(Short):
        await rig.lane.fetch(rig.account(), job, status, rig.folder)
    assert len(rig.rows(await rig.fetched(job, status))) == 8
    whole = [each for each in await rig.sandbox.requests() if each["op"] == "batches.results" and not each["fault"]]
    assert len(whole) == 3
    assert [path.name for path in rig.folder.glob(".page-*")] == []


@xai
async def test_answers_that_were_called_cancelled_are_waited_for(rig: Rig) -> None:
    await rig.sandbox.options("x-ai", run_seconds=100, recount_seconds=0.2)
    part = rig.part(*(f"say {n}" for n in range(6)))
    job = await rig.lane.create(rig.account(), await rig.staged(part))
    await rig.ended(job, part, JobState.RUNNING)
    await rig.sandbox.advance(60)
    await rig.lane.cancel(rig.account(), job)
    status = await rig.ended(job, part)
    rows = rig.rows(await rig.fetched(job, status))
    ran = sum(each["lines_run"] for each in await rig.sandbox.jobs())
    assert 0 < ran < 6
    assert sum(row.ok for row in rows) == ran


@pytest.mark.parametrize("rig", ["mistral-ai"], indirect=True)
async def test_mistral_writes_what_stands_between(rig: Rig) -> None:
    model = "codestral-latest"
    body = {"model": model, "prompt": "def f(", "suffix": "): pass", "max_tokens": 64, "seed": 3}
    mark = make_mark("between")
    lines = [LineIn(native_id(mark, n), "/v1/completions", json.dumps(body).encode(), model) for n in range(2)]
    made = [rig.lane.translate(each, Target()) for each in lines]
    assert {each.partition for each in made} == {"fim"}
    path, data = rig.folder / "part.native", b"".join(each.data + b"\n" for each in made)
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    part = PartFile(mark, path, len(data), 2, digest, "/v1/completions", model, "fim")
    job = await rig.lane.create(rig.account(), await rig.staged(part))
    names = await rig.fetched(job, await rig.ended(job, part))
    text = b"".join((rig.folder / name).read_bytes() for name in names)
    rows = [rig.lane.row(line, names[0], "/v1/completions") for line in text.splitlines()]
    answers = [json.loads(row.response)["body"] for row in rows if row and row.response]
    assert [each["object"] for each in answers] == ["text_completion"] * 2
    assert all("def f(|): pass" in each["choices"][0]["text"] for each in answers)


@pytest.mark.parametrize("rig", ["mistral-ai"], indirect=True)
async def test_mistral_moderates_texts(rig: Rig) -> None:
    rig.stand_in = replace(rig.stand_in, endpoint="/v1/moderations")
    part = rig.part("one", "[[sandbox:error=400]]", "three")
    job = await rig.lane.create(rig.account(), await rig.staged(part))
    rows = {row.native_id: row for row in rig.rows(await rig.fetched(job, await rig.ended(job, part)))}
    assert [rows[native_id(part.mark, n)].ok for n in range(3)] == [True, False, True]
    body = json.loads(rows[native_id(part.mark, 0)].response or b"")["body"]
    (result,) = body["results"]
    assert result["flagged"] is any(result["categories"].values())
    assert set(result) == {"flagged", "categories", "category_scores"}
    with pytest.raises(LineRejected) as caught:
        rig.lane.translate(rig.line("x", "id", input=[{"type": "image_url"}]), Target())
    assert caught.value.param == "input"
