"""As many hands as calls may run at once: each takes the next record and keeps it until it has its row."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from pathlib import Path

from proxy_plugin.direct import verdict
from proxy_plugin.direct.answers import Answers
from proxy_plugin.direct.documents import DocumentLine, likely_tokens, records, used_tokens
from proxy_plugin.direct.gate import Gate, Stopped
from proxy_plugin.direct.job import (
    PROGRESS,
    AccountRefusal,
    AnswerFacts,
    AnswerJob,
    Progress,
    Stop,
    Wait,
    lease_in,
    stop_in,
    write,
)
from proxy_plugin.direct.limits import asked_pause
from proxy_plugin.direct.pace import Counted
from proxy_plugin.direct.verdict import TOO_MANY, Again, Known, PartRefused, RowText, Tries, Verdict
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.providers.direct.base import Caller, Lost, NotSent, Reply

TELL_SECONDS, LOOK_SECONDS = 1.0, 0.1  # between two files of progress, and looks for a stop


class Crew:
    """The calls of one task."""

    def __init__(
        self, job: AnswerJob, gate: Gate, answers: Answers, caller: Caller, billing_codes: frozenset[str]
    ) -> None:
        self._job, self._gate, self._answers, self._caller = job, gate, answers, caller
        self._billing = billing_codes
        self._left = records(Path(job.document), answers.has, job.endpoint)
        self._team: list[asyncio.Task[None]] = []
        self._running: dict[int, DocumentLine] = {}  # calls without a reply
        self._stop: Stop | None = None
        self._refusal: AccountRefusal | None = None
        self._cut = False  # a record has no row
        self._calls = self._good = 0
        self._wait: Wait | None = None

    async def work(self) -> AnswerFacts:
        """Return when every record has its row, or no call may begin any more and those that ran are over."""
        self._gate.until = await asyncio.to_thread(lease_in, Path(self._job.folder))
        self._team = [asyncio.create_task(self._hand()) for _ in range(self._job.limits.concurrency)]
        watch = asyncio.create_task(self._watch())
        try:
            ended = await asyncio.gather(*self._team, return_exceptions=True)
        finally:
            for task in (*self._team, watch):
                task.cancel()
            await asyncio.gather(*self._team, watch, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception):
                raise each
        for record in list(self._running.values()):
            await self._lost(record, Tries(lost=1))
        self._tell()
        return self._facts()

    def _facts(self) -> AnswerFacts:
        if self._refusal is not None:
            return AnswerFacts("refused", self._progress(), self._refusal)
        return AnswerFacts("stopped" if self._cut else "completed", self._progress())

    async def _hand(self) -> None:
        try:
            while (record := next(self._left, None)) is not None:
                await self._line(record)
        except (Stopped, asyncio.CancelledError):
            self._cut = True
        except Exception:
            self._gate.stop()  # the others end what they have begun
            raise

    # ---- one line ----

    async def _line(self, record: DocumentLine) -> None:
        tries, tokens = Tries(), self._tokens(record)
        try:
            while True:
                found = await self._called(record, tries, tokens)
                if isinstance(found, RowText):
                    await self._answers.add(record.n, found.text, ok=found.ok)
                    passing("answer.row")
                    return
                tries = self._goes_on(found)
                await self._gate.sleep(found.pause if isinstance(found, Again) else 0.0)
        except Stopped:
            await self._lost(record, tries)
            raise

    def _goes_on(self, found: Again | PartRefused) -> Tries:
        if isinstance(found, PartRefused):
            self._refusal = AccountRefusal(found.status, found.code, found.message, found.param)
            self._gate.stop()
            return Tries()
        self._wait = Wait(found.reason, time.time() + found.pause, found.said)
        return found.tries

    async def _lost(self, record: DocumentLine, tries: Tries) -> None:
        """Write down of a record that is not called again whether a reply of it was lost."""
        row = None
        if tries.lost and self._stop is not None and self._stop.for_good:
            row = verdict.of_failure(record.native_id, Lost("the batch ended"), tries, random.random, last=True)
        if isinstance(row, RowText):
            await self._answers.add(record.n, row.text, ok=False)

    def _tokens(self, record: DocumentLine) -> int:
        return 0 if self._job.limits.tokens_per_minute is None else likely_tokens(record.body)

    async def _called(self, record: DocumentLine, tries: Tries, tokens: int) -> Verdict:
        async with self._gate.turn(tokens) as call:
            good = self._good
            self._calls += 1
            self._running[record.n] = record
            try:
                reply = await self._caller.call(
                    record.endpoint, record.body, record.native_id, self._job.limits.timeout
                )
            except (NotSent, Lost) as failure:
                del self._running[record.n]
                last = self._stop is not None and self._stop.for_good
                return verdict.of_failure(record.native_id, failure, tries, random.random, last=last)
            del self._running[record.n]
            passing("answer.called")
            self._noted(call, reply)
        known = Known(self._good > 0 or self._answers.ok > 0, self._good > good, self._billing)
        return verdict.of_reply(record.native_id, reply, tries, self._job.limits, known, random.random)

    def _noted(self, call: Counted, reply: Reply) -> None:
        """Let the key's pace know what a reply says of it."""
        now, pace = time.monotonic(), self._gate.pace
        pace.hold(now, asked_pause(reply.headers, time.time()))
        if reply.status == TOO_MANY:
            pace.refused(call, now)
        elif reply.status <= 299:
            self._good += 1
            self._wait = None
            pace.answered()
            if self._job.limits.tokens_per_minute is not None:
                call.used = used_tokens(reply.body)

    # ---- beside them ----

    async def _watch(self) -> None:
        """Tell how far it is, and look whether it is to be stopped; then end what has not ended in time."""
        folder, told, until = Path(self._job.folder), 0.0, None
        while True:
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                with suppress(OSError):  # of a full disk the answers tell
                    self._tell()
            self._gate.until = await asyncio.to_thread(lease_in, folder)
            self._stop = await asyncio.to_thread(stop_in, folder)
            if self._stop is not None:
                self._gate.stop()
                until = until or time.monotonic() + self._stop.seconds
            if until is not None and time.monotonic() >= until:
                for task in self._team:
                    task.cancel()
            await asyncio.sleep(LOOK_SECONDS)

    def _tell(self) -> None:
        write(Path(self._job.folder), PROGRESS, self._progress())

    def _progress(self) -> Progress:
        held = self._gate.pace.held_until - time.monotonic()
        wait, until = self._wait, round(time.time() + held, 1) if held > 0 else 0.0  # a change is a row
        if until:
            wait = Wait("rate_limited", until, wait.said if wait else "")
        return Progress(self._answers.ok, self._answers.failed, self._answers.bytes, self._calls, wait, until)
