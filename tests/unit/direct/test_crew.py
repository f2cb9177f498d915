"""One task from its document to its answers, with a caller that does what it is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from proxy_plugin.direct import crew as module
from proxy_plugin.direct.answers import NAME, Answers
from proxy_plugin.direct.crew import Crew
from proxy_plugin.direct.gate import Gate
from proxy_plugin.direct.job import LEASE, STOP, AnswerFacts, AnswerJob, Lease, Stop, progress_in, write
from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.direct.pace import KeyPace
from proxy_plugin.providers.base import native_id
from proxy_plugin.providers.direct.base import Lost, NotSent, Reply

MARK = "abcdefghij"
URL = "/v1/chat/completions"
OK = Reply(200, {}, b'{"object": "chat.completion"}', "req")
Answer = Callable[[str, int], Awaitable[Reply]]


class Told:
    """A caller: `answer(native_id, n)` is asked for the n-th call of a line, from 1."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.calls: Counter[str] = Counter()
        self.running = self.most = 0

    async def call(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Reply:
        assert endpoint == URL
        assert json.loads(body)["model"] == "m"
        assert timeout == 600
        self.calls[native_id] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            return await self._answer(native_id, self.calls[native_id])
        finally:
            self.running -= 1

    async def close(self) -> None:
        raise NotImplementedError


def job_of(folder: Path, lines: int, **limits: object) -> AnswerJob:
    folder.mkdir(exist_ok=True)
    body = {"model": "m", "messages": [{"role": "user", "content": 'x,"body":{"'}]}
    named = ({"custom_id": native_id(MARK, n * 3), "method": "POST", "url": URL, "body": body} for n in range(lines))
    (folder / "document").write_text("".join(json.dumps(each, separators=(",", ":")) + "\n" for each in named))
    told = {"provider": "x", "endpoint": URL, "document": str(folder / "document"), "host": ""}
    return AnswerJob(folder=str(folder), pace="", limits=CallLimits(**limits), **told)  # type: ignore[arg-type]


async def done(job: AnswerJob, caller: Told) -> AnswerFacts:
    async with Answers(Path(job.folder)) as answers:
        return await Crew(job, Gate(KeyPace(job.limits)), answers, caller, frozenset()).work()


def ids(job: AnswerJob) -> list[str]:
    return [json.loads(line)["custom_id"] for line in (Path(job.folder) / NAME).read_bytes().splitlines()]


async def always(_id: str, _n: int) -> Reply:
    return OK


async def test_every_record_gets_its_row_with_so_many_calls_at_once(tmp_path: Path) -> None:
    job, caller = job_of(tmp_path, 40, concurrency=4), Told(always)
    facts = await done(job, caller)
    assert (facts.end, facts.progress.completed, facts.progress.failed) == ("completed", 40, 0)
    assert sorted(ids(job)) == [native_id(MARK, n * 3) for n in range(40)]
    assert caller.most == 4
    assert progress_in(tmp_path) == facts.progress


async def test_what_has_a_row_is_not_called_again(tmp_path: Path) -> None:
    job, caller = job_of(tmp_path, 10), Told(always)
    async with Answers(tmp_path) as answers:
        await answers.add(3, b'"custom_id":"%s"}' % native_id(MARK, 9).encode(), ok=True)
    facts = await done(job, caller)
    assert facts.progress.completed == 10
    assert native_id(MARK, 9) not in caller.calls
    assert (await done(job, caller)).progress.calls == 0


async def test_calls_that_fail_are_made_again(tmp_path: Path, monkeypatch: object) -> None:
    async def bumpy(_id: str, n: int) -> Reply:
        if n == 1:
            raise NotSent("ClientConnectorError")
        return Reply(503) if n == 2 else OK

    job, caller = job_of(tmp_path, 3), Told(bumpy)
    facts = await done(job, caller)
    assert facts.progress.completed == 3
    assert set(caller.calls.values()) == {3}


async def test_a_refused_account_ends_the_task_and_keeps_what_is_answered(tmp_path: Path) -> None:
    async def second(native: str, _n: int) -> Reply:
        return OK if native == native_id(MARK, 0) else Reply(401, {}, b'{"error": {"code": "bad", "message": "who?"}}')

    job, caller = job_of(tmp_path, 500, concurrency=1), Told(second)
    facts = await done(job, caller)
    assert facts.end == "refused"
    assert facts.refusal is not None
    assert (facts.refusal.status, facts.refusal.code, facts.refusal.message) == (401, "bad", "who?")
    assert (facts.progress.completed, len(caller.calls)) == (1, 2)


async def test_a_pause_is_told_whoever_makes_the_next_calls(tmp_path: Path) -> None:
    async def limited(_id: str, _n: int) -> Reply:
        write(tmp_path, STOP, Stop(0.0))
        return Reply(429, {"retry-after": "1000"})

    before = time.time()
    facts = await done(job_of(tmp_path, 3, concurrency=1), Told(limited))
    assert facts.end == "stopped"
    assert 900 < facts.progress.held - before < 1100
    assert facts.progress.wait is not None
    assert facts.progress.wait.next_at == facts.progress.held


async def test_retry_after_holds_the_whole_key(tmp_path: Path) -> None:
    times = dict[str, list[float]]()

    async def limited(native: str, n: int) -> Reply:
        times.setdefault(native, []).append(time.monotonic())
        return Reply(429, {"retry-after": "0.3"}) if native == native_id(MARK, 0) and n == 1 else OK

    job, caller = job_of(tmp_path, 20, concurrency=1), Told(limited)
    facts = await done(job, caller)
    assert facts.progress.completed == 20
    first, again = times[native_id(MARK, 0)]
    assert min([again, *(at for name, found in times.items() for at in found if at > first)]) - first >= 0.3


async def test_a_stop_lets_calls_end_and_begins_none(tmp_path: Path) -> None:
    release, began = asyncio.Event(), asyncio.Event()

    async def slow(_id: str, _n: int) -> Reply:
        began.set()
        await release.wait()
        return OK

    job, caller = job_of(tmp_path, 100, concurrency=5), Told(slow)
    task = asyncio.create_task(done(job, caller))
    await began.wait()
    write(tmp_path, STOP, Stop(60.0))
    while caller.most != 5:
        await asyncio.sleep(0)
    await asyncio.sleep(2 * module.LOOK_SECONDS)
    release.set()
    facts = await task
    assert (facts.end, facts.progress.completed, len(caller.calls)) == ("stopped", 5, 5)


async def test_calls_that_do_not_end_in_time_are_told_to_be_lost_where_nothing_is_called_again(tmp_path: Path) -> None:
    async def never(_id: str, _n: int) -> Reply:
        await asyncio.Event().wait()
        return OK

    job, caller = job_of(tmp_path, 100, concurrency=3), Told(never)
    write(tmp_path, STOP, Stop(0.05, for_good=True))
    task = asyncio.create_task(done(job, caller))
    facts = await task
    assert facts.end == "stopped"
    assert facts.progress.failed == len(caller.calls)
    codes = {json.loads(line)["error"]["code"] for line in (tmp_path / NAME).read_bytes().splitlines()}
    assert codes <= {"answer_lost"}


async def test_calls_that_do_not_end_before_a_pause_are_made_again(tmp_path: Path) -> None:
    async def never(native: str, n: int) -> Reply:
        if n == 1 and native in (native_id(MARK, 0), native_id(MARK, 3)):
            await asyncio.Event().wait()
        return OK

    job, caller = job_of(tmp_path, 4, concurrency=2), Told(never)
    task = asyncio.create_task(done(job, caller))
    while caller.most < 2:
        await asyncio.sleep(0)
    write(tmp_path, STOP, Stop(0.01))
    facts = await task
    assert (facts.end, facts.progress.completed + facts.progress.failed) == ("stopped", 0)
    (tmp_path / STOP).unlink()
    assert (await done(job, caller)).progress.completed == 4
    assert sorted(caller.calls.values()) == [1, 1, 2, 2]


async def test_a_lost_reply_is_asked_for_once_more(tmp_path: Path) -> None:
    async def lost(native: str, n: int) -> Reply:
        if native == native_id(MARK, 0) or n == 1:
            raise Lost("ServerDisconnectedError")
        return OK

    job, caller = job_of(tmp_path, 3), Told(lost)
    facts = await done(job, caller)
    assert (facts.end, facts.progress.completed, facts.progress.failed) == ("completed", 2, 1)
    assert set(caller.calls.values()) == {2}


async def test_no_call_begins_where_the_lease_was_over_at_the_start(tmp_path: Path) -> None:
    job, caller = job_of(tmp_path, 5, concurrency=2), Told(always)
    write(tmp_path, LEASE, Lease(time.monotonic() - 1.0))
    facts = await done(job, caller)
    assert (facts.end, caller.calls) == ("stopped", {})


async def test_no_call_begins_where_this_process_stood_still_until_the_lease_was_over(tmp_path: Path) -> None:
    """As in a machine that is frozen: what was about to call goes on before anything looks at a file."""
    until = time.monotonic() + 0.1

    async def still(_id: str, _n: int) -> Reply:
        while time.monotonic() <= until:
            time.sleep(0.01)  # noqa: ASYNC251 - nothing else of the process goes on
        return OK

    job, caller = job_of(tmp_path, 5, concurrency=2), Told(still)
    write(tmp_path, LEASE, Lease(until))
    facts = await done(job, caller)
    assert facts.end == "stopped"
    assert caller.calls.total() <= 2, "those that had begun"
