"""What the step does that takes away what parts left: after each staging and each job, again, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.config.bounds import EngineSettings
from proxy_plugin.engine.desk import Desk, KeyMissing
from proxy_plugin.engine.housekeeping import GIVES_UP, LONGEST, SAVED_SECONDS, clear
from proxy_plugin.engine.replicas.claims import NoClaims
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import ProviderError, Refused, TryLater
from proxy_plugin.storage import sqlite
from proxy_plugin.storage.tables import batches, clearings, files, parts, submissions
from proxy_plugin.storage.tables.clearings import ClearingRow
from tests.support.rows import BATCH_ID, batch_row, file_row, part_row

STAGED = {"key": "a"}


class Tidy:
    """A lane with the power; it fails as often as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], str | None]] = []
        self.errors: list[ProviderError] = []

    async def clear(self, account: object, submission: Any, job: str | None) -> None:  # noqa: ARG002
        if self.errors:
            raise self.errors[0]
        self.calls.append((submission.part.mark, dict(submission.staged), job))


class Bench:
    """One part of one batch that has ended, a clock, and the step."""

    def __init__(self, path: Path) -> None:
        self.conn = sqlite.connect(path)
        sqlite.migrate(self.conn)
        files.insert(self.conn, file_row())
        batches.insert(self.conn, batch_row(state="merging"), is_retry=False)
        parts.insert(self.conn, part_row(BATCH_ID, state="staging", due_at=0.0))
        clearings.begin(self.conn, self.part)
        self.tidy, self.time, self.sealed = Tidy(), 1000.0, list[str | None]()
        self.errors = list[Exception]()
        engine = EngineSettings(poll_seconds_first=5, poll_seconds_max=300)
        blobs = SimpleNamespace(tree=None)
        self.gateway = SimpleNamespace(config=SimpleNamespace(engine=engine), chance=lambda: 0.0, blobs=blobs)
        self.claims = NoClaims()

    @property
    def part(self) -> Any:
        return parts.of_batch(self.conn, BATCH_ID)[0]

    @property
    def row(self) -> ClearingRow | None:
        return clearings.get(self.conn, BATCH_ID, 0)

    def end(self, *way: str) -> None:
        for state in way:
            parts.move(self.conn, self.part, state)
        batch = batches.get(self.conn, BATCH_ID)
        assert batch is not None
        batches.end(self.conn, batch, "completed", self.time)

    def collected(self) -> None:
        clearings.staged(self.conn, self.part, STAGED)
        self.end("staged", "creating", "running", "ended", "stored", "collected")

    async def step(self) -> ClearingRow | None:
        assert self.row is not None
        await clear(cast("Desk", self), self.row)
        return self.row

    def events(self) -> list[str]:
        return [each[0] for each in self.conn.execute("SELECT what FROM events ORDER BY seq")]

    # what a desk has

    async def read(self, work: Any, *args: Any, **more: Any) -> Any:
        return work(self.conn, *args, **more)

    write = read

    async def batch(self, batch_id: str) -> Any:
        return batches.get(self.conn, batch_id)

    def now(self) -> float:
        return self.time

    def lane(self, _: object) -> object:
        if self.errors:
            raise self.errors[0]
        return self.tidy

    def account(self, _: object, batch: Any) -> object:
        self.sealed.append(batch.sealed)
        return object()

    def document(self, part: Any, _: object) -> object:
        return SimpleNamespace(mark=part.mark)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "registry.sqlite3")
    yield made
    made.conn.close()


async def test_each_staging_and_each_job_is_cleared_after(bench: Bench) -> None:
    clearings.staged(bench.conn, bench.part, STAGED)
    clearings.begin(bench.conn, bench.part)  # staged anew, and cut off
    for job in ("job-1", "job-2"):
        row = submissions.begin(bench.conn, bench.part, "account", 1.0)
        row = submissions.move(bench.conn, row, "sent", sent_at=1.0)
        row = submissions.move(bench.conn, row, "accepted", job=job)
        submissions.move(bench.conn, row, "refused")
    bench.end("refused")
    assert await bench.step() is None
    found = [("mark", staged, job) for staged in (STAGED, {}) for job in ("job-1", "job-2")]
    assert bench.tidy.calls == found
    assert bench.events()[-1] == "cleared"


async def test_a_part_without_a_job_is_cleared_too(bench: Bench) -> None:
    bench.end("dropped")
    assert await bench.step() is None
    assert bench.tidy.calls == [("mark", {}, None)]


async def test_a_stranger_s_job_is_not_ours_to_clear(bench: Bench) -> None:
    row = submissions.begin(bench.conn, bench.part, "account", 1.0)
    row = submissions.move(bench.conn, row, "sent", sent_at=1.0)
    submissions.move(bench.conn, row, "accepted", job="perhaps", provisional=1)
    assert submissions.jobs(bench.conn, bench.part) == []


@pytest.mark.parametrize("state", ["sent", "unknown", "accepted"])
async def test_what_a_job_may_have_been_paid_for_is_left_for_a_week(bench: Bench, state: str) -> None:
    row = submissions.begin(bench.conn, bench.part, "account", 1.0)
    row = submissions.move(bench.conn, row, "sent", sent_at=1.0)
    if state != "sent":
        submissions.move(bench.conn, row, state)
    bench.end("refused")
    found = await bench.step()
    assert found is not None
    assert (found.due_at, bench.tidy.calls) == (bench.time + SAVED_SECONDS, [])
    bench.time += SAVED_SECONDS
    assert await bench.step() is None
    assert bench.tidy.calls == [("mark", {}, None)]


async def test_pauses_grow_and_nobody_waits(bench: Bench) -> None:
    bench.collected()
    bench.tidy.errors = [TryLater("the store is away")]
    pauses = list[float]()
    for _ in range(40):
        found = await bench.step()
        assert found is not None
        assert found.due_at is not None
        pauses.append(found.due_at - bench.time)
        bench.time = found.due_at + GIVES_UP / 10
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (5.0, LONGEST)
    batch = batches.get(bench.conn, BATCH_ID)
    assert batch is not None
    assert batch.state == "completed"
    bench.tidy.errors = []
    assert await bench.step() is None


async def test_a_store_that_names_its_pause_is_heard(bench: Bench) -> None:
    bench.collected()
    bench.tidy.errors = [TryLater("slow down", after=77.0)]
    found = await bench.step()
    assert found is not None
    assert found.due_at == bench.time + 77.0


@pytest.mark.parametrize("error", [Refused("no", code="AccessDenied", status=403), KeyMissing("lane")])
async def test_a_refusal_is_borne_for_a_month_and_told_twice(
    bench: Bench, error: ProviderError, caplog: pytest.LogCaptureFixture
) -> None:
    bench.collected()
    bench.tidy.errors = [error]
    begun = bench.time
    while (found := await bench.step()) is not None and found.state == "due":
        assert found.due_at is not None
        bench.time = found.due_at
    assert found is not None
    assert bench.time - begun >= GIVES_UP
    assert (found.state, found.due_at) == ("left", None)
    assert bench.events()[-1] == "objects left"
    assert [each.message for each in caplog.records] == ["objects_not_cleared", "objects_left"]


async def test_a_lane_that_is_gone_is_waited_for_like_a_missing_account(bench: Bench) -> None:
    bench.collected()
    bench.errors = [catalog.UnknownProvider("toy-tidy")]
    found = await bench.step()
    assert found is not None
    assert found.due_at == bench.time + 5.0


async def test_the_caller_s_credentials_outlive_the_batch(bench: Bench) -> None:
    bench.conn.execute("UPDATE batches SET sealed = 'secrets'")
    bench.collected()
    assert await bench.step() is None
    assert bench.sealed == ["secrets"]
