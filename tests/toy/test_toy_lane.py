"""The toy lane against its own service over real HTTP: what others may rely on when they run suites on it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy_plugin.lines.manifest import PartSpec
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import (
    Account,
    BatchProvider,
    Cancels,
    JobEnd,
    JobState,
    LineIn,
    LineRejected,
    OutcomeUnknown,
    PartFile,
    Refused,
    Sighting,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.http import Http
from tests.toy.toy_batch import ToyBatch, chat
from tests.toy.toy_lane import CHAT, EMBEDDINGS
from tests.toy.toy_service import UNKNOWN_ENGINE, ToyService, served

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def lane() -> BatchProvider:
    return catalog.load("toy")


@pytest.fixture
async def service() -> AsyncIterator[ToyService]:
    async with ToyService(keys=frozenset({"toy-key", "other-key"})).running() as running:
        yield running


def account(lane: BatchProvider, service: ToyService, key: str = "toy-key") -> Account:
    return Account("toy-prod", lane.credentials.model_validate({"api_key": key, "custom_host": service.url}), Http())


def parts(folder: Path, *lines: bytes) -> list[tuple[PartSpec, PartFile]]:
    batch = ToyBatch(folder, lines)
    return [(part, part.document(folder / "split")) for part in batch.split().parts]


async def submit(lane: BatchProvider, to: Account, part: PartFile) -> str:
    fence = await lane.fence(to)
    return await lane.create(to, Submission(part, await lane.stage(to, part, again=False), fence))


async def test_a_job_from_create_to_rows(lane: BatchProvider, service: ToyService, tmp_path: Path) -> None:
    to = account(lane, service)
    ((spec, part),) = parts(tmp_path, *(chat(f"id {n}", f"text {n}") for n in range(5)))
    job = await submit(lane, to, part)
    (accepted,) = service.accepted
    assert (accepted.loom, accepted.label, accepted.cards, accepted.sha256) == (job, part.mark, 5, part.sha256)
    status = await lane.status(to, job, part)
    assert (status.state, status.end, status.mark, status.completed) == (
        JobState.ENDED,
        JobEnd.COMPLETED,
        part.mark,
        5,
    )
    (tmp_path / "results").mkdir()
    names = await lane.fetch(to, job, status, tmp_path / "results")
    results = (tmp_path / "results" / names[0]).read_bytes().splitlines()
    rows = [lane.row(line, names[0], CHAT) for line in results]
    assert sorted(row.native_id[:10] for row in rows if row) == [spec.mark] * 5
    assert [row.native_id for row in rows if row] != sorted(row.native_id for row in rows if row)
    assert all(row.ok and row.usage and row.model == "wool-1" for row in rows if row)


async def test_a_lost_reply_is_found_by_its_label(lane: BatchProvider, service: ToyService, tmp_path: Path) -> None:
    to = account(lane, service)
    ((_, part),) = parts(tmp_path, chat("a"))
    submission = Submission(part, await lane.stage(to, part, again=False), await lane.fence(to))
    assert await lane.find(to, submission) == Sighting((), control=True)
    for fault in ("drop_after", "status_after"):
        setattr(service.faults, fault, 1)
        with pytest.raises(OutcomeUnknown):
            await lane.create(to, submission)
    sighting = await lane.find(to, submission)
    assert sighting.jobs == ("loom-000002", "loom-000001")
    assert sighting.control
    assert [each.label for each in service.accepted] == [part.mark] * 2
    newer = await lane.find(to, replace(submission, fence="loom-000001"))
    assert newer.jobs == ("loom-000002",)
    stranger = await lane.find(account(lane, service, "other-key"), submission)
    assert (stranger.jobs, stranger.control) == ((), False)


async def test_what_was_not_accepted_may_be_sent_again(
    lane: BatchProvider, service: ToyService, tmp_path: Path
) -> None:
    to = account(lane, service)
    ((_, part),) = parts(tmp_path, chat("a"))
    submission = Submission(part, await lane.stage(to, part, again=True))
    service.faults.too_many = 1
    with pytest.raises(TryLater) as told:
        await lane.create(to, submission)
    assert (told.value.after, told.value.status) == (0.05, 429)
    nowhere = replace(to, credentials=to.credentials.model_copy(update={"custom_host": "http://127.0.0.1:9"}))
    with pytest.raises(TryLater):
        await lane.create(nowhere, submission)
    assert service.accepted == []
    unlabelled = replace(submission, staged={"label": "0123456789"})
    with pytest.raises(Refused) as refused:
        await lane.create(to, unlabelled)
    assert (refused.value.code, refused.value.status) == ("unknown_label", 409)


async def test_a_running_job_is_cancelled_and_its_rows_say_so(
    lane: BatchProvider, service: ToyService, tmp_path: Path
) -> None:
    service.weaving_seconds = 3600
    to = account(lane, service)
    ((_, part),) = parts(tmp_path, chat("a"), chat("b"))
    job = await submit(lane, to, part)
    assert (await lane.status(to, job, part)).state is JobState.RUNNING
    assert isinstance(lane, Cancels)
    await lane.cancel(to, job)
    await lane.cancel(to, job)
    status = await lane.status(to, job, part)
    assert (status.state, status.end) == (JobState.ENDED, JobEnd.CANCELLED)
    (name,) = await lane.fetch(to, job, status, tmp_path)
    codes = [row.code for line in (tmp_path / name).read_bytes().splitlines() if (row := lane.row(line, name, CHAT))]
    assert codes == ["batch_cancelled"] * 2


async def test_a_spoilt_job_tells_why_and_whether_it_may_be_tried_again(
    lane: BatchProvider, service: ToyService, tmp_path: Path
) -> None:
    to = account(lane, service)
    ((_, unknown),) = parts(tmp_path / "a", chat("a", model=UNKNOWN_ENGINE))
    status = await lane.status(to, await submit(lane, to, unknown), unknown)
    assert (status.state, status.retryable) == (JobState.FAILED, False)
    assert status.refusal
    assert status.refusal.code == "unknown_engine"
    service.faults.no_quota = 1
    ((_, part),) = parts(tmp_path / "b", chat("b"))
    assert (await lane.status(to, await submit(lane, to, part), part)).retryable
    assert (await lane.status(to, await submit(lane, to, part), part)).state is JobState.ENDED


async def test_a_cut_download_and_an_odd_status_are_no_answers(
    lane: BatchProvider, service: ToyService, tmp_path: Path
) -> None:
    to = account(lane, service)
    ((_, part),) = parts(tmp_path, *(chat(f"{n}") for n in range(7)))
    job = await submit(lane, to, part)
    service.faults.odd_phase = 1
    with pytest.raises(TryLater):
        await lane.status(to, job, part)
    status = await lane.status(to, job, part)
    service.faults.cut_cloth = 1
    with pytest.raises(TryLater):
        await lane.fetch(to, job, status, tmp_path)
    service.faults.busy = 1
    with pytest.raises(TryLater):
        await lane.fetch(to, job, status, tmp_path)
    assert await lane.fetch(to, job, status, tmp_path) == ("cloth.rows",)


async def test_a_wrong_key_is_refused_and_never_told(lane: BatchProvider, service: ToyService, tmp_path: Path) -> None:
    to = account(lane, service, "wrong-key")
    ((_, part),) = parts(tmp_path, chat("a"))
    with pytest.raises(Refused) as refused:
        await lane.stage(to, part, again=False)
    assert (refused.value.status, refused.value.code) == (401, "wrong_key")
    assert "wrong-key" not in repr(to) + repr(refused.value)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "body.messages"),
        ({"model": "m", "messages": "hi"}, "body.messages"),
        ({"model": "m", "messages": ["hi"]}, "body.messages"),
        ({"model": "m", "messages": [{"role": "user", "content": "hi"}], "n": 2}, "body.n"),
    ],
)
def test_what_the_lane_cannot_express_is_rejected_by_name(lane: BatchProvider, body: object, param: str) -> None:
    line = LineIn("0" * 18, "/v1/chat/completions", json.dumps(body).encode(), "m")
    with pytest.raises(LineRejected) as rejected:
        lane.translate(line, Target())
    assert rejected.value.param == param


def test_embeddings_are_counted_by_input(lane: BatchProvider) -> None:
    native = lane.translate(LineIn("0" * 18, EMBEDDINGS, b'{"model": "m", "input": ["a", "b"]}', "m"), Target("other"))
    assert native.inputs == 2
    assert json.loads(native.data) == {"tag": "0" * 18, "engine": "other", "embed": ["a", "b"]}


def test_a_test_that_blocks_can_have_the_service_in_a_thread() -> None:
    with served(ToyService()) as service:
        request = urllib.request.Request(f"{service.url}/looms", headers={"x-loom-key": "toy-key"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer) == {"looms": [], "reserved": False}
    assert service.requests == ["GET /looms"]
