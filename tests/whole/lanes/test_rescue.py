"""Lines that fail in one lane are answered by another: what counts, what is told, and what a stop does to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.ground.workers import WorkerDied, Workers
from proxy_plugin.lines.onward.rescue import rescue as rescue_lines
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from proxy_plugin.storage.tables import parts, rescues
from tests.support.options import as_they_were
from tests.whole.lanes.rig import Line, Stand, chat, chats, text_of
from tests.whole.lanes.world import World, opened

ERROR, GONE, LATE = "[[sandbox:error=429]]", "[[sandbox:missing]]", "[[sandbox:expire]]"
IN_ORDER: dict[str, Any] = {
    "strategy": {"mode": "fallback"},
    "targets": [{"virtual_key": "lane"}, {"virtual_key": "second"}],
}
PAIRS = [("openai", "anthropic"), ("anthropic", "openai"), ("mistral-ai", "openai")]
DENIED = {"status": 401, "code": "invalid_api_key", "message": "This key is not valid."}
HOUR = 3600


class Two:
    """Two lanes: the first honours the markers of the tests, the second answers everything."""

    def __init__(self, sandbox: Sandbox, names: Sequence[str]) -> None:
        sandbox.control.reset()
        self.sandbox = sandbox
        self.first, self.second = (Stand(sandbox, find(name)) for name in names)
        self.second.options(answers="calm")

    def opened(self, data: Path, route: Mapping[str, Any] = IN_ORDER, **first: Any) -> Any:
        others = {"second": self.second.key(), "third": self.second.key()}
        return opened(data, self.sandbox, self.first.key(**first), others=others, route=route)

    def ran(self) -> dict[str, int]:
        """Return how many lines each provider ran."""
        jobs = [job for job in self.sandbox.control.jobs() if not job["stranger"]]
        found = dict.fromkeys((self.first.provider, self.second.provider), 0)
        for job in jobs:
            found[job["provider"]] += job["lines_run"]
        return found


@pytest.fixture(params=PAIRS, ids="-".join)
def two(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Two]:
    with as_they_were(sandbox, request.param):
        yield Two(sandbox, request.param)


@pytest.fixture
def openai_first(sandbox: Sandbox) -> Iterator[Two]:
    with as_they_were(sandbox, PAIRS[0]):
        yield Two(sandbox, PAIRS[0])


def marked(count: int, what: Mapping[int, str]) -> list[Line]:
    return [chat(f"line {n}", f"Say {n} {what.get(n, '')}".strip()) for n in range(count)]


async def told(world: World, batch: Any, lines: Sequence[Line]) -> dict[int, list[tuple[str, str]]]:
    """Return the attempts of each line, account and outcome, after checking the files of an ended batch."""
    output, error = await world.rows(batch.output_file_id), await world.rows(batch.error_file_id)
    order = [line["custom_id"] for line in lines]
    assert sorted([row["custom_id"] for row in (*output, *error)], key=order.index) == order
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (len(lines), len(output), len(error))
    said = {line["custom_id"]: line["body"]["messages"][-1]["content"] for line in lines}
    assert all(text_of(row) == f"echo: {said[row['custom_id']]}" for row in output)
    attempts: dict[int, list[tuple[str, str]]] = {n: [] for n in range(len(lines))}
    path = world.gateway.data_dir / "batches" / batch.id / "ledger.jsonl"
    counted = list[str]()
    for entry in map(json.loads, path.read_bytes().splitlines()):
        attempts[order.index(entry["custom_id"])].append((entry["virtual_key"], entry["outcome"]))
        counted += [entry["custom_id"]] if entry.get("counts", True) else []
    assert counted == order
    return attempts


async def test_lines_that_fail_in_one_lane_are_answered_by_the_next(two: Two, tmp_path: Path) -> None:
    lines = marked(40, {3: ERROR, 17: GONE, 18: LATE, 31: ERROR})
    async with two.opened(tmp_path / "data", max_lines_per_job=20) as world:
        batch = await world.create(lines)
        seen = list[tuple[int, int]]()
        while (now := await world.client.batches.retrieve(batch.id)).status in ("validating", "in_progress"):
            counts = now.request_counts
            seen.append((counts.completed, counts.failed))
            assert 0 <= counts.completed + counts.failed <= 40
            await asyncio.sleep(0)
        ended = await world.until(batch.id)
        assert (ended.status, ended.error_file_id) == ("completed", None)
        attempts = await told(world, ended, lines)
        answered = world.client.get(f"/batches/{batch.id}?include=jobs", cast_to=object)
        shown: Any = await answered
        assert await world.gateway.registry.read(rescues.totals) == {"second": 4}
    ours = {n: [("lane", "succeeded")] for n in range(40)}
    late = "missing" if two.first.provider == "mistral-ai" else "expired"  # which has no word for such a line
    failed = {3: "failed", 17: "missing", 18: late, 31: "failed"}
    assert attempts == ours | {n: [("lane", what), ("second", "succeeded")] for n, what in failed.items()}
    assert two.ran()[two.second.provider] == 4
    onward = [job for job in shown["jobs"] if "rescued_from" in job]
    assert sum(job["request_counts"]["total"] for job in onward) == shown["x_rescued"]["lines"] == 4
    assert len(onward) == shown["x_rescued"]["jobs"]
    assert ended.usage.output_tokens == sum(job["usage"]["output_tokens"] for job in shown["jobs"])


@pytest.mark.parametrize("two", PAIRS[:2], indirect=True, ids="-".join)
async def test_an_account_that_is_refused_everything_is_stood_in_for(two: Two, tmp_path: Path) -> None:
    lines = chats(9)
    two.first.faults({"on": "*", "kind": "status", "times": None, "provider": two.first.provider, **DENIED})
    async with two.opened(tmp_path / "data", max_lines_per_job=4) as world:
        ended = await world.until((await world.create(lines)).id)
        assert (ended.status, ended.request_counts.completed) == ("completed", 9)
        attempts = await told(world, ended, lines)
    assert attempts == {n: [("lane", "refused"), ("second", "succeeded")] for n in range(9)}
    assert two.ran() == {two.first.provider: 0, two.second.provider: 9}


@pytest.mark.parametrize("two", PAIRS[:1], indirect=True, ids="-".join)
async def test_a_line_that_a_job_is_refused_for_goes_on_and_the_rest_does_not(two: Two, tmp_path: Path) -> None:
    """The second provider takes it no more than the first: each says so, and the last word is told."""
    lines = marked(8, {5: "[[sandbox:poison]]"})
    async with two.opened(tmp_path / "data") as world:
        ended = await world.until((await world.create(lines)).id)
        attempts = await told(world, ended, lines)
    assert attempts[5] == [("lane", "refused"), ("second", "refused")]
    assert all(attempts[n] == [("lane", "succeeded")] for n in range(8) if n != 5)


async def test_a_line_goes_on_as_often_as_there_are_targets(openai_first: Two, tmp_path: Path) -> None:
    two = openai_first
    two.second.options(answers="echo")
    route = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": n} for n in ("lane", "second", "third")]}
    lines = marked(6, {2: ERROR})
    async with two.opened(tmp_path / "data", route) as world:
        ended = await world.until((await world.create(lines)).id)
        attempts = await told(world, ended, lines)
    assert attempts[2] == [("lane", "failed"), ("second", "failed"), ("third", "failed")]
    assert ended.request_counts.failed == 1


async def test_statuses_that_are_not_named_stay_where_they_are(openai_first: Two, tmp_path: Path) -> None:
    route = {**IN_ORDER, "strategy": {"mode": "fallback", "on_status_codes": [429]}}
    lines = marked(6, {1: "[[sandbox:error=400]]", 2: ERROR, 4: GONE})
    async with openai_first.opened(tmp_path / "data", route) as world:
        ended = await world.until((await world.create(lines)).id)
        attempts = await told(world, ended, lines)
    assert [len(attempts[n]) for n in range(6)] == [1, 1, 2, 1, 2, 1]
    assert ended.request_counts.failed == 1


class Holding:
    """Holds the worker that puts lines into new parts: on its way in, or with its files written."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, behind: bool, dies: int = 0, of: type[Exception] = WorkerDied
    ) -> None:
        self.reached, self.go, self.begun = asyncio.Event(), asyncio.Event(), 0
        run = Workers.run

        async def held(workers: Workers, *args: Any) -> Any:
            if rescue_lines not in args:
                return await run(workers, *args)
            self.begun += 1
            if self.begun <= dies:
                raise of("rescue")
            found = await run(workers, *args) if behind else None
            self.reached.set()
            await self.go.wait()
            return found if behind else await run(workers, *args)

        monkeypatch.setattr(Workers, "run", held)


@pytest.mark.parametrize("behind", [False, True], ids=["before the files", "behind the files"])
async def test_a_cancel_that_comes_before_the_lines_have_gone_on_wins(
    behind: bool, openai_first: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding, lines = Holding(monkeypatch, behind=behind), marked(6, {2: ERROR})
    async with openai_first.opened(tmp_path / "data") as world:
        batch = await world.create(lines)
        await asyncio.wait_for(holding.reached.wait(), 30)
        await world.client.batches.cancel(batch.id)
        holding.go.set()
        ended = await world.until(batch.id)
        attempts = await told(world, ended, lines)
    assert attempts[2] == [("lane", "failed")]
    assert (ended.request_counts.completed, ended.request_counts.failed) == (5, 1)
    assert openai_first.ran()["anthropic"] == 0


async def test_a_cancel_that_comes_behind_it_ends_the_new_job(openai_first: Two, tmp_path: Path) -> None:
    openai_first.second.options(run_seconds=600.0)
    lines = marked(6, {2: ERROR})
    async with openai_first.opened(tmp_path / "data") as world:
        batch = await world.create(lines)
        await world.until_true(world.running_at("anthropic"))
        await world.client.batches.cancel(batch.id)
        ended = await world.until(batch.id)
        attempts = await told(world, ended, lines)
    assert (ended.status, attempts[2]) == ("cancelled", [("lane", "failed"), ("second", "cancelled")])
    rows = ended.request_counts
    assert (rows.completed, rows.failed) == (5, 1)


@pytest.mark.parametrize(("error", "tries"), [(WorkerDied, 6), (RuntimeError, 1)])
async def test_where_a_worker_never_succeeds_the_lines_stay_and_the_batch_ends(
    error: type[Exception], tries: int, openai_first: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding, lines = Holding(monkeypatch, behind=False, dies=99, of=error), marked(6, {2: ERROR})
    async with openai_first.opened(tmp_path / "data") as world:
        ended = await world.until((await world.create(lines)).id)
        attempts = await told(world, ended, lines)
    assert (ended.status, attempts[2]) == ("completed", [("lane", "failed")])
    assert (holding.begun, openai_first.ran()["anthropic"]) == (tries, 0)


async def test_a_worker_that_dies_is_begun_again_and_nothing_is_sent_twice(
    openai_first: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding, lines = Holding(monkeypatch, behind=False, dies=1), marked(6, {2: ERROR})
    holding.go.set()
    async with openai_first.opened(tmp_path / "data") as world:
        ended = await world.until((await world.create(lines)).id)
        attempts = await told(world, ended, lines)
    assert attempts[2] == [("lane", "failed"), ("second", "succeeded")]
    assert (holding.begun, openai_first.ran()["anthropic"]) == (2, 1)


LOST = {"kind": "status", "on": "*", "provider": "openai", "status": 500, "times": None}


@pytest.mark.parametrize("later", [[], [LOST]], ids=["they come", "the look fails"])
async def test_answers_that_come_when_their_lines_have_others_are_superseded_and_paid(
    later: list[dict[str, Any]], openai_first: Two, tmp_path: Path
) -> None:
    """The provider counts all answers and names no file; it does when another lane has answered the lines."""
    two, lines = openai_first, marked(4, {})
    two.second.options(run_seconds=600.0)
    first, second = IN_ORDER["targets"]
    priced = [{**first, "override_params": {"model": "gpt-4.1-nano"}}, second]
    async with two.opened(tmp_path / "data", {**IN_ORDER, "targets": priced}) as world:
        batch = await world.create(lines)
        await world.until_true(world.running_at("openai"))
        (job,) = await asyncio.to_thread(two.first.jobs)
        counts = {"total": 4, "completed": 4, "failed": 0}
        said = {"id": job["id"], "status": "completed", "metadata": job["metadata"], "request_counts": counts}
        rule = {"kind": "status", "on": "batches.retrieve", "status": 200, "body": json.dumps(said), "times": None}
        await world.sandbox.faults([rule | {"provider": "openai"}])
        await world.until_true(lambda: _waits_for_results(world, batch.id))
        await world.pass_time(HOUR + 60)
        await world.until_true(world.running_at("anthropic"))
        await world.sandbox.faults(later)
        await world.pass_time(601)
        ended = await world.until(batch.id)
        attempts = await told(world, ended, lines)
        shown: Any = await world.client.get(f"/batches/{batch.id}?include=jobs", cast_to=object)
    came = [] if later else [("lane", "superseded")]
    assert list(attempts.values()) == [[("lane", "missing"), *came, ("second", "succeeded")]] * 4
    assert ended.request_counts.completed == 4
    first, second = shown["jobs"]
    assert ended.usage.output_tokens == second["usage"]["output_tokens"] > 0
    assert bool(first["usage"]["output_tokens"]) == ("cost" in first) == (not later)
    assert shown["cost"] == pytest.approx(first.get("cost", 0.0) + second["cost"])


async def _waits_for_results(world: World, batch_id: str) -> bool:
    shown: Any = await world.client.get(f"/batches/{batch_id}", cast_to=object)
    return (shown.get("x_status") or {}).get("waiting_for") == "results_late"


# ---- ordinary calls ----


def called(*slugs: str, **rescue: Any) -> dict[str, Any]:
    """Return a config whose second target, and others by name, may be called."""
    targets = [{"virtual_key": slug, **({"direct": True} if slug in slugs else {})} for slug in ("lane", "second")]
    return {"strategy": {"mode": "fallback"}, "targets": targets, **({"rescue": rescue} if rescue else {})}


async def parts_of(world: World, batch_id: str) -> list[tuple[str, str, str, int]]:
    found = await world.gateway.registry.read(parts.of_batch, batch_id)
    return [(part.slug, part.way, part.state, part.lines) for part in found]


@pytest.mark.parametrize("two", PAIRS[1:2], indirect=True, ids="-".join)  # to one whose calls need no litellm
async def test_near_the_end_of_the_window_jobs_are_cancelled_once_and_their_lines_are_called(
    two: Two, tmp_path: Path
) -> None:
    lines = chats(6)
    two.first.options(run_seconds=10.0**9, window_seconds=10.0**9)
    async with two.opened(tmp_path / "data", called("second", direct_before="2h"), max_lines_per_job=4) as world:
        batch = await world.create(lines)
        await world.until_true(world.running_at(two.first.provider))
        await world.pass_time(20 * HOUR)
        assert await world.calls("batches.cancel") == []
        await world.pass_time(2 * HOUR + 60)
        ended = await world.until(batch.id)
        attempts = await told(world, ended, lines)
        found = await parts_of(world, batch.id)
        assert len(await world.calls("batches.cancel")) == 2
        assert len(await world.calls("call.chat.completions")) == 6
    assert found[:2] == [("lane", "native", "collected", 4), ("lane", "native", "collected", 2)]
    assert {part[:3] for part in found[2:]} == {("second", "direct", "collected")}
    assert sum(lines for *_, lines in found[2:]) == 6
    assert ended.status == "completed"
    assert list(attempts.values()) == [[("lane", "cancelled"), ("second", "succeeded")]] * 6
    assert two.ran()["openai"] == 0


@pytest.mark.parametrize(("slugs", "slug", "way"), [(("lane",), "lane", "direct"), ((), "second", "native")])
async def test_too_few_lines_for_a_job_are_called_where_they_may_be_or_go_on(
    slugs: tuple[str, ...], slug: str, way: str, openai_first: Two, tmp_path: Path
) -> None:
    lines = chats(6)
    async with openai_first.opened(tmp_path / "data", called(*slugs), min_lines_per_job=10) as world:
        ended = await world.until((await world.create(lines)).id)
        first, second = await parts_of(world, ended.id)
        assert first == ("lane", "native", "refused", 6)
        assert second == (slug, way, "collected", 6)
        assert ended.status == "completed"
        attempts = await told(world, ended, lines)
        assert len(await world.calls("call.chat.completions")) == (6 if way == "direct" else 0)
    assert list(attempts.values()) == [[("lane", "refused"), (slug, "succeeded")]] * 6
    assert openai_first.ran()["openai"] == 0


async def test_a_try_that_failed_tells_the_model_that_its_target_asked_for(openai_first: Two, tmp_path: Path) -> None:
    openai_first.second.options(answers="echo")
    first, second = IN_ORDER["targets"]
    theirs = openai_first.second.stand_in.models[1]
    route = {**IN_ORDER, "targets": [first, {**second, "override_params": {"model": theirs}}]}
    lines = marked(3, {1: ERROR, 2: "[[sandbox:missing]]"})
    async with openai_first.opened(tmp_path / "data", route) as world:
        ended = await world.until((await world.create(lines)).id)
        path = world.gateway.data_dir / "batches" / ended.id / "ledger.jsonl"
        ledger = [json.loads(each) for each in path.read_bytes().splitlines()]
    failed = [(each["line"], each["virtual_key"], each["model"]) for each in ledger if each["outcome"] != "succeeded"]
    own = lines[0]["body"]["model"]
    assert own != theirs
    assert failed == [(n, *tried) for n in (2, 3) for tried in (("lane", own), ("second", theirs))]


async def test_answers_of_the_next_lane_are_kept_as_its_own(openai_first: Two, tmp_path: Path) -> None:
    two, kept = openai_first, {"cache": {"mode": "simple"}}
    lines = marked(12, {3: ERROR, 7: LATE})
    async with two.opened(tmp_path / "data", IN_ORDER | kept) as world:
        await world.until((await world.create(lines)).id)
        before = two.ran()
        again = await world.until((await world.create(lines)).id)
        attempts = await told(world, again, lines)
        assert (again.request_counts.completed, again.error_file_id) == (12, None)
    assert [len(attempts[n]) for n in range(12)] == [2 if n in (3, 7) else 1 for n in range(12)]
    assert sum(two.ran().values()) - sum(before.values()) <= 4, "the two that failed at the first, at both"
    async with two.opened(tmp_path / "data", {"virtual_key": "second"} | kept) as world:
        before = two.ran()
        there = await world.until((await world.create([lines[3], lines[7]])).id)
        assert there.request_counts.completed == 2
    assert two.ran() == before, "the second lane has answered these before"
