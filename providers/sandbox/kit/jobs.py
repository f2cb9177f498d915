"""Jobs over files of lines: accepted, validated, run by the sandbox clock, ended or cancelled half-way.

Moments are the planned ones (created + validate_seconds, and so on), not those at which a task woke up, so a jump of
the clock gives the same history as waiting would.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from proxy_plugin.providers.sandbox.answers import Style
from proxy_plugin.providers.sandbox.dialect import Services
from proxy_plugin.providers.sandbox.kit.lines import CANCELLED, EXPIRED, JSON, Form, Ran, Task, run
from proxy_plugin.providers.sandbox.strangers import Crowd

ENDS = frozenset({"completed", "cancelled", "expired", "failed"})


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Times are in seconds of the sandbox clock. A job keeps the options in force at its creation."""

    validate_seconds: float = 0.05
    run_seconds: float = 0.2  # from the first line to the last
    finalize_seconds: float = 0.0  # from the last line to the end
    cancel_seconds: float = 0.1
    window_seconds: float = 86400.0
    results_late: int = 0  # so many looks at an ended job do not find its results yet
    told_counts: dict[str, Any] = {}  # members of its counts in place of the true ones, once it has ended
    unknown_models: list[str] = []
    strangers_on_list: Crowd | None = None
    answers: Style = "digest"
    seed: int = 0  # of the order in which lines run and rows are written


@dataclass(slots=True)
class Job:
    """One job. `order` is the create's body; moments are Unix seconds of the sandbox clock."""

    id: str
    account: str
    order: JSON
    source: Path | None
    options: Any  # the wire's own `Options`
    number: int
    created: float
    stranger: bool = False
    state: str = "validating"  # then in_progress, finalizing, cancelling, and one of ENDS
    problem: str | None = None
    rows: list[Ran] = field(default_factory=list)  # in running order
    done: int | None = None  # lines that ran, once no more will
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled_at: float | None = None
    ended_at: float | None = None
    settled: bool = False  # how it ends is decided
    ending: str = ""  # in which of ENDS
    looks: int = 0  # at the ended job
    files: dict[str, str] = field(default_factory=dict)  # a wire's own notes of its results
    deleted: bool = False

    @property
    def validated(self) -> float:
        """When its lines begin to run."""
        return self.created + float(self.options.validate_seconds)

    @property
    def run(self) -> float:
        """When the last line is done."""
        return self.validated + float(self.options.run_seconds)

    @property
    def finalized(self) -> float:
        """When its results are written."""
        return self.run + float(self.options.finalize_seconds)

    @property
    def expires(self) -> float:
        """When the lines that have not run are given up."""
        return self.created + float(self.options.window_seconds)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in ENDS

    def progress(self, now: float) -> int:
        """How many lines have run at `now`."""
        if self.done is not None:
            return self.done
        if self.state not in {"in_progress", "finalizing", "cancelling"} or not self.rows:
            return 0
        now = min(now, self.expires, now if self.cancelled_at is None else self.cancelled_at)
        share = 1.0 if now >= self.run else max(0.0, now - self.validated) / self.options.run_seconds
        return int(len(self.rows) * share)

    def counts(self, now: float) -> tuple[int, int]:
        """Lines that were answered, and lines that ended with an error, at `now`."""
        done = self.rows[: self.progress(now)]
        well = sum(200 <= row.status < 300 for row in done)
        return well, len(done) - well

    def results(self, form: Form) -> Iterator[tuple[bool, bytes]]:
        """Every row of an ended job: whether it is an answer, and its text. Rows that are doubled come last again."""
        done, again, rest = self.done or 0, list[Ran](), EXPIRED if self.ending == "expired" else CANCELLED
        for number, row in enumerate(self.rows):
            text = row.row if number < done else form.result(row.custom_id, row.identity, rest)
            well = number < done and 200 <= row.status < 300
            if text and (row.copies or number >= done):
                yield well, text
            if number < done and row.foreign:
                yield well, row.foreign
            again += [row] if number < done and row.copies > 1 else []
        yield from ((200 <= row.status < 300, row.row) for row in again)

    def facts(self, now: float, *, errors_paid: bool) -> dict[str, Any]:
        """What `/_sandbox/jobs` tells; `lines_run` counts the lines that a model saw, which somebody pays for."""
        well, failed = self.counts(now)
        ran = sum(row.status > 0 for row in self.rows[: self.progress(now)])
        return {
            "id": self.id,
            "account": self.account,
            "status": self.state,
            "counts": {"completed": well, "failed": failed},
            "lines": len(self.rows),
            "lines_run": ran if errors_paid else well,
            "output_file_id": self.files.get("output"),
            "created_at": self.created,
            "ended_at": self.ended_at,
            "stranger": self.stranger,
        }


class Jobs:
    """The jobs of all accounts and their lives.

    `problem` says why a job fails whatever its lines are, `publish` makes the results of one that is over.
    """

    def __init__(
        self,
        services: Services,
        form: Form,
        new_id: Callable[[], str],
        problem: Callable[[Job], str | None],
        publish: Callable[[Job], Awaitable[None]],
    ) -> None:
        self._services, self._form, self._new_id, self._problem, self._publish = (
            services,
            form,
            new_id,
            problem,
            publish,
        )
        self.all: dict[str, Job] = {}

    async def accept(
        self, account: str, order: JSON, source: Path | None, options: Options, log: dict[str, Any], job_id: str = ""
    ) -> Job:
        """A new job, which is in the log of accepted creates before anybody hears of it."""
        job = self._new(account, order, source, options, job_id)
        entry = {"at": time.monotonic(), "account": account, "batch_id": job.id, **log}
        await self._services.accepted.append(entry)
        self._start(job)
        return job

    def strangers(
        self, account: str, order: JSON, source: Path, options: Options, seconds: float | None
    ) -> tuple[Job, asyncio.Task[None]]:
        """A job of somebody else with the same account: visible, but in no log. Itself and its life."""
        if seconds is not None:
            around = {} if seconds else {"validate_seconds": 0.0}
            options = msgspec.structs.replace(options, run_seconds=seconds, **around)
        job = self._new(account, order, source, options)
        job.stranger = True
        return job, self._start(job)

    def _new(self, account: str, order: JSON, source: Path | None, options: Options, job_id: str = "") -> Job:
        now = self._services.clock.now()
        return Job(job_id or self._new_id(), account, order, source, options, len(self.all), now)

    def _start(self, job: Job) -> asyncio.Task[None]:
        self.all[job.id] = job
        return self._services.spawn(self._live(job))

    def find(self, account: str, job_id: str) -> Job | None:
        """A job of this account."""
        job = self.all.get(job_id)
        return job if job and job.account == account and not job.deleted else None

    def of(self, account: str) -> list[Job]:
        """The jobs of an account, newest first."""
        return [job for job in reversed(self.all.values()) if job.account == account and not job.deleted]

    def cancel(self, job: Job) -> bool:
        """Cancel a job; False: it is too late."""
        if job.settled or job.ended:
            return False
        if not job.cancelled.is_set():
            job.state, job.cancelled_at = "cancelling", self._services.clock.now()
            job.cancelled.set()
        return True

    async def _live(self, job: Job) -> None:
        clock = self._services.clock
        await clock.until(min(job.validated, job.expires), job.cancelled)
        rows, problem = await self._examined(job)
        if problem and not job.cancelled.is_set():
            job.settled, job.problem = True, problem
            await self._end(job, "failed", job.validated)
            return
        job.rows = [] if problem else rows
        if not job.cancelled.is_set():
            job.state = "in_progress"
        await clock.until(min(job.run, job.expires), job.cancelled)
        if job.options.finalize_seconds and job.run <= job.expires and not job.cancelled.is_set():
            job.state = "finalizing"
            await clock.until(job.finalized, job.cancelled)
        if (cancelled_at := job.cancelled_at) is not None:
            job.done = job.progress(cancelled_at)
            await clock.until(cancelled_at + job.options.cancel_seconds)
            await self._end(job, "cancelled", cancelled_at + job.options.cancel_seconds)
            return
        job.settled, end = True, job.finalized if job.run <= job.expires else job.expires
        job.done = job.progress(end)
        await self._end(job, "completed" if job.run <= job.expires else "expired", end)

    async def _examined(self, job: Job) -> tuple[list[Ran], str | None]:
        """Judge and answer the lines. A file that is deleted before has no lines to run."""
        if job.source is None or not job.source.exists():
            return [], self._form.gone
        if (problem := self._problem(job)) is not None:
            return [], problem
        task = Task(
            source=job.source,
            form=self._form,
            order=job.order,
            identity=hashlib.sha256(job.id.encode()).hexdigest()[:16],
            created=int(job.validated),
            seed=job.options.seed * 1_000_003 + job.number,
            style=job.options.answers,
        )
        rows, problem = await self._services.work.run(job.source.stat().st_size, run, task)
        return rows, problem if job.source.exists() else self._form.gone

    async def _end(self, job: Job, state: str, moment: float) -> None:
        """Write the results, and only then show the end."""
        job.ending = state
        if state != "failed":
            await self._publish(job)
        job.state, job.ended_at = state, moment
