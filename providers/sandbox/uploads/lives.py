"""The jobs of a stand-in whose input was uploaded: each is one task that lives by the sandbox clock.

Moments are the planned ones, not those at which the task woke up, so a jump of the clock gives the same history as
waiting would. States have OpenAI's words here; a dialect has its own for them.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from proxy_plugin.providers.sandbox.answers import Style
from proxy_plugin.providers.sandbox.dialect import Services
from proxy_plugin.providers.sandbox.settings import Settings
from proxy_plugin.providers.sandbox.strangers import Crowd
from proxy_plugin.providers.sandbox.uploads.blobs import Blob
from proxy_plugin.providers.sandbox.uploads.lines import Answer, Bad, Task, answer_lines

TERMINAL = frozenset({"failed", "completed", "expired", "cancelled"})


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Times are in seconds of the sandbox clock. A job keeps the options in force at its creation."""

    validate_seconds: float = 0.05
    run_seconds: float = 0.2  # from the first line to the last
    finalize_seconds: float = 0.05
    cancel_seconds: float = 0.1
    window_seconds: float = 86400.0
    results_late: int = 0  # so many looks at an ended job do not show where its results are
    told_counts: dict[str, Any] = {}  # in place of the true ones, where the API tells any
    max_lines: int = 50_000
    unknown_models: list[str] = []  # besides "no-such-model"
    strangers_on_list: Crowd | None = None
    answers: Style = "digest"
    seed: int = 0  # of the order in which lines run and rows are written


@dataclass(slots=True)
class Job:
    """One job. Moments are Unix seconds of the sandbox clock."""

    id: str
    account: str
    order: Mapping[str, Any]  # the create request
    source: Blob | None
    options: Options
    number: int
    created: float
    stranger: bool = False
    status: str = "validating"
    problem: str | None = None
    answers: Sequence[Answer] = ()  # in the order in which they run
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled_at: float = 0.0
    settled: bool = False  # how it ends is decided
    done: int | None = None  # lines that ran, once no more will
    ended: float | None = None
    looks: int = 0  # at the ended job
    results: dict[str, Blob] = field(default_factory=dict)
    output: str | None = None  # the id of what holds the answers, as the API has it

    @property
    def lines(self) -> int:
        return self.source.lines if self.source else 0

    @property
    def mark(self) -> str | None:
        return self.source.mark if self.source else None

    @property
    def begins(self) -> float:
        return self.created + self.options.validate_seconds

    @property
    def runs_until(self) -> float:
        return self.begins + self.options.run_seconds

    @property
    def expires(self) -> float:
        return self.created + self.options.window_seconds

    def progress(self, now: float) -> int:
        """How many lines have run at `now`."""
        if self.done is not None or self.status in {"validating", "failed"}:
            return self.done or 0
        now = min(now, self.expires, self.cancelled_at or now)
        share = 1.0 if now >= self.runs_until else (now - self.begins) / self.options.run_seconds
        return max(0, int(len(self.answers) * share))

    def counts(self, now: float) -> tuple[int, int]:
        """Lines that went well and those that did not. Users report empty answers that count as completed."""
        done = self.answers[: self.progress(now)]
        good = sum(each.status in {0, 200} for each in done)
        return good, len(done) - good

    def shown(self) -> Mapping[str, Blob]:
        """The results, as far as the job names them by now."""
        return self.results if self.looks > self.options.results_late else {}


class Lives:
    """All jobs of a stand-in. `finish` writes the results of one that has run, before its end shows."""

    def __init__(
        self,
        services: Services,
        settings: Settings[Options],
        *,
        check: Callable[[Mapping[str, Any]], None],
        finish: Callable[[Job, float], Awaitable[None]],
        errors_paid: bool = True,
    ) -> None:
        self._services, self.settings, self._check, self._finish = services, settings, check, finish
        self._errors_paid = errors_paid
        self.jobs: dict[str, Job] = {}

    def newest(self, account: str) -> list[Job]:
        """The jobs of an account, newest first."""
        return [job for job in reversed(self.jobs.values()) if job.account == account]

    def find(self, account: str, job_id: str) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job and job.account == account else None

    def new(self, job_id: str, account: str, order: Mapping[str, Any], source: Blob | None) -> Job:
        now, options = self._services.clock.now(), self.settings.current
        return Job(job_id, account, order, source, options, len(self.jobs), now)

    async def accept(self, job: Job) -> None:
        """Let a job begin, once it is in the log."""
        facts = {"at": time.monotonic(), "account": job.account, "batch_id": job.id}
        await self._services.accepted.append({**facts, "mark": job.mark, "lines": job.lines})
        self.start(job)

    def start(self, job: Job, seconds: float | None = None) -> asyncio.Task[None]:
        """Let a job begin, which runs for `seconds` where these are named."""
        if seconds is not None:
            around = {} if seconds else {"validate_seconds": 0.0, "finalize_seconds": 0.0}
            job.options = msgspec.structs.replace(job.options, run_seconds=seconds, **around)
        self.jobs[job.id] = job
        return self._services.spawn(self._live(job))

    def cancel(self, job: Job) -> bool:
        """Begin to cancel a job; False if it is too late."""
        if job.settled or job.status in TERMINAL:
            return False
        if not job.cancelled.is_set():
            job.status, job.cancelled_at = "cancelling", self._services.clock.now()
            job.cancelled.set()
        return True

    def facts(self) -> list[dict[str, Any]]:
        """See `/_sandbox/jobs`."""
        now = self._services.clock.now()
        return [
            {
                "id": job.id,
                "account": job.account,
                "status": job.status,
                "counts": dict(zip(("completed", "failed"), job.counts(now), strict=True)),
                "lines": job.lines,
                "lines_run": sum(map(self._is_paid, job.answers[: job.progress(now)])),
                "mark": job.mark,
                "output_file_id": job.output,
                "created_at": job.created,
                "stranger": job.stranger,
            }
            for job in self.jobs.values()
        ]

    def _is_paid(self, answer: Answer) -> bool:
        return answer.ran and (self._errors_paid or answer.status in {0, 200})

    async def _live(self, job: Job) -> None:
        until = self._services.clock.until
        await until(min(job.begins, job.expires), job.cancelled)
        try:
            job.answers = await self._answers(job)
        except Bad as wrong:
            if not job.cancelled.is_set():
                job.settled, job.problem = True, str(wrong)
                self._end(job, "failed", job.begins)
                return
        if not job.cancelled.is_set():
            job.status = "in_progress"
        await until(min(job.runs_until, job.expires), job.cancelled)
        if not job.cancelled.is_set() and job.runs_until < job.expires:
            job.status = "finalizing"
            await until(job.runs_until + job.options.finalize_seconds, job.cancelled)
        await self._close(job)

    async def _answers(self, job: Job) -> Sequence[Answer]:
        if job.source is None or job.source.deleted:
            raise Bad("Failed to download input file: HTTP 404")
        options, model = job.options, job.order.get("model")
        if model in {"no-such-model", *options.unknown_models}:
            raise Bad(f"Unable to access model {model}")
        task = Task(
            source=job.source.path,
            endpoint=str(job.order.get("endpoint", "/v1/chat/completions")),
            identity=hashlib.sha256(job.id.encode()).hexdigest()[:16],
            created=int(job.begins),
            seed=options.seed * 1_000_003 + job.number,
            style=options.answers,
            most=options.max_lines,
            check=self._check,
            model=model,
        )
        answers = await self._services.work.run(job.source.size, answer_lines, task)
        if job.source.deleted:  # while it was read
            raise Bad("Failed to download input file: HTTP 404")
        return answers

    async def _close(self, job: Job) -> None:
        """Decide how the job ends, have its results written, and only then show the end."""
        if job.cancelled.is_set():
            job.done = job.progress(job.cancelled_at) if job.answers else 0
            moment, status = job.cancelled_at + job.options.cancel_seconds, "cancelled"
            await self._services.clock.until(moment)
        else:
            job.settled = True
            in_time = job.runs_until < job.expires
            moment = job.runs_until + job.options.finalize_seconds if in_time else job.expires
            status, job.done = "completed" if in_time else "expired", job.progress(moment)
        await self._finish(job, moment)
        self._end(job, status, moment)

    def _end(self, job: Job, status: str, moment: float) -> None:
        job.status, job.ended = status, moment


def stamp(moment: float | None) -> str | None:
    """RFC 3339 in UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
