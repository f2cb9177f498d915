"""xAI's batches: OpenAI's lines in a file, counters in place of a status, results in pages of JSON.

Source: the project's reference page (captures of 2026-08-28 and 29; `batch.proto` of 2026-05-17; updates of
2026-11-29). There is no idempotency key: a job is found again by the mark in its name, in the whole list, whose order
is not documented and whose times may be dates alone.

What a cancelled batch counts changes for some time: rows that were called cancelled are answers 20 seconds later
(captured). Its results are therefore read only when the batch has been over for `recount_seconds`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from proxy_plugin.providers.api_base import ApiBase
from proxy_plugin.providers.base import (
    Account,
    Capabilities,
    Credentials,
    InputMode,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    Native,
    OutcomeUnknown,
    PartFile,
    Row,
    Short,
    Sighting,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.calls import ask_to_cancel, known
from proxy_plugin.providers.counts import believed
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.kept import note, noted, publish
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.lanes.x_ai import refusals
from proxy_plugin.providers.lanes.x_ai.rows import ENDPOINTS, read_page, request_line, result_row
from proxy_plugin.providers.listing import Listed, Listing, identifier, named, rfc_3339, unix_seconds
from proxy_plugin.providers.uploads import FileStore

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 12 MB
    from proxy_plugin.providers.http import Origin

NAME = "proxy-plugin-"  # and the mark
NEXT_PAGE = "pagination_token"
FILE_KEPT = 30 * 86400  # seconds, as long as a batch: files cost money by the day
JOBS = Listing(
    *("batches", 100, NEXT_PAGE, rfc_3339),
    records="batches",
    paging=(NEXT_PAGE,),
    read=named("batch_id", "create_time"),
)
FILES = FileStore(
    Listing("files", 100, NEXT_PAGE, unix_seconds, paging=(NEXT_PAGE,)), {"expires_after": str(FILE_KEPT)}
)
RESULTS, PAGE = "results.jsonl", ".page-"
PAGE_ROWS, MOST_PAGES = 100, 1000  # 1,000 rows are allowed; a page is held in memory
A_DAY = 86400.0  # times may be dates alone
CANCELLED = {"end": "cancelled"}  # what `fetch` is told of a cancelled batch


class XAICredentials(KeyCredentials):
    """An API key of a team, and how long the counters of a cancelled batch are not believed (seconds)."""

    recount_seconds: float = Field(60.0, ge=0, le=3600)
    """For how long the counters of a cancelled job are not believed."""


CAPABILITIES = Capabilities(
    provider="x-ai",
    title="xAI",
    endpoints=ENDPOINTS,
    input_mode=InputMode.FILE,
    default_host="https://api.x.ai/v1",
    model_patterns=("grok-*",),
    api_base=ApiBase(cut=("/chat/completions",)),
    max_lines=50_000,  # "Limits", of file mode; so are the next two
    max_bytes=200 * 10**6,
    max_line_bytes=25 * 10**6,
    accepts_label=True,
    min_poll_seconds=0.0,  # the page names no bound
    settle_seconds=900.0,  # our caution, no page names a bound
    results_kept_seconds=30 * 86400,  # a batch expires 30 days after its create
    discount=0.2,  # of the listed text models
    wrong_key=("Incorrect API key",),  # a 400 with a code of many meanings, reference page, "LIVE"
    caveats=(
        "Only some models run in batches; another one, or a malformed line, refuses its file.",
        "Lines of /v1/responses and /v1/completions run as chat; what chat cannot express is refused by name.",
        "After a cancel the counters may change: its results are read a minute later (recount_seconds).",
        "A request may stay pending for as long as 30 days: there is no completion window.",
        "Files cost money by the day: an input file is stored for 30 days.",
    ),
)


class XAILane:
    """The batch lane of xAI's REST API."""

    credentials: type[Credentials] = XAICredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host and key."""
        return "\x1f".join((self._host(credentials), key_of(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return OpenAI's line; only `stream`, the model and halves of characters change a body."""
        self.capabilities.require(line.endpoint)
        return lightly(line, partial(request_line, target=target))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:  # noqa: ARG002
        """Read a result: an answer, or an error that is a text."""
        return result_row(line, endpoint)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload the part, or find the upload of an interrupted run."""
        return await FILES.stage(self._origin(account), part, again=again)

    async def fence(self, account: Account) -> str | None:  # noqa: ARG002
        """Return nothing: the whole list is read, whatever its order."""
        return None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the batch. Its name carries our mark."""
        order = {"name": NAME + submission.part.mark, "input_file_id": submission.staged["file"]}
        reply = await self._origin(account).create("batches", json=order)
        job = identifier(reply.fields(), "batch_id")
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read the whole list; the control is our input file, seen under its name by the same key."""
        origin, file = self._origin(account), submission.staged.get("file")

        def ours(job: Listed) -> bool:
            return _mark(job.fields) == submission.part.mark and job.fields.get("input_file_id") in (None, file)

        return await FILES.find(origin, JOBS.pages(origin), submission, ours)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin, path = self._origin(account), f"batches/{job}"
        found = (await known(origin.request("GET", path), path)).fields()
        state, end = _state(found, part)
        completed, errors, cancelled = (
            believed(_counted(found, name), part.lines) for name in ("success", "error", "cancelled")
        )
        failed = None if errors is None or cancelled is None else believed(errors + cancelled, part.lines)
        return JobStatus(
            state=state,
            mark=_mark(found),
            end=end,
            completed=completed,
            failed=failed,
            results=CANCELLED if end is JobEnd.CANCELLED else {},
            refusal=refusals.of_job(origin, found) if state is JobState.FAILED else None,
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:
        """Store `results.jsonl`, read page by page; a page that is whole is not asked for again in the same reading."""
        to = folder / RESULTS
        found = await asyncio.to_thread(noted, to)
        if found.get("reading") != status.reading:
            found = {"reading": status.reading, "since": found.get("since", time.time())}
            await asyncio.to_thread(_afresh, to, found)
        recount = cast("XAICredentials", account.credentials).recount_seconds
        left = min(found["since"] + recount - time.time(), recount)
        if CANCELLED.items() <= status.results.items() and left > 0:
            raise TryLater("the counters of a cancelled batch may still change", after=left)
        if not await asyncio.to_thread(to.exists):
            await self._read_pages(self._origin(account), job, to, last=status.last)
        return (RESULTS,)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin, path = self._origin(account), f"batches/{job}"

        async def look() -> JobState:
            return _state((await known(origin.request("GET", path), path)).fields(), None)[0]

        await ask_to_cancel(origin.request("POST", f"{path}:cancel"), look)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the input file: a create that is accepted late has nothing to run."""
        await FILES.revoke(self._origin(account), submission)

    async def probe(self, account: Account) -> None:
        """Read the head of the list of jobs."""
        await JOBS.newest(self._origin(account))

    def _origin(self, account: Account) -> Origin:
        credentials = account.credentials
        return account.origin(self._host(credentials), {"Authorization": f"Bearer {key_of(credentials)}"})

    def _host(self, credentials: Credentials) -> str:
        return self.capabilities.host(credentials)

    async def _read_pages(self, origin: Origin, job: str, to: Path, *, last: bool) -> None:
        path, token = f"batches/{job}/results", None
        for number in range(MOST_PAGES):
            page = to.with_name(f"{PAGE}{number:05}")
            asked = {"limit": str(PAGE_ROWS)} | ({} if token is None else {NEXT_PAGE: token})
            if not await asyncio.to_thread(page.exists):
                await origin.download(path, page, params=asked)
            whole, token = await asyncio.to_thread(_next, page)
            if not whole and not last:
                await asyncio.to_thread(page.unlink)
                raise Short(f"GET /{path}: a page of results is not whole")
            if token is None:
                return await asyncio.to_thread(_join, to)
        raise TryLater(f"GET /{path}: the results do not end")


def _state(job: Mapping[str, Any], part: PartFile | None) -> tuple[JobState, JobEnd | None]:
    """Tell where a batch stands by its counters: no word says it. Raises TryLater where they are not there."""
    counts = {name: _counted(job, name) for name in ("requests", "pending", "success", "error", "cancelled")}
    total, pending = counts["requests"], counts["pending"]
    if not isinstance(total, int) or not isinstance(pending, int):
        raise TryLater("a batch without counters")
    by_xai = str(job.get(refusals.BY_XAI) or "")
    if by_xai and not counts["success"] and (total == 0 or "validation" in by_xai):
        return JobState.FAILED, None  # before a line ran; any other cancel may yet show answers
    if by_xai or job.get("cancel_time"):
        return (JobState.CANCELLING, None) if pending > 0 else (JobState.ENDED, JobEnd.CANCELLED)
    if total == 0:
        return JobState.VALIDATING, None  # while the file is read
    if pending == 0:
        over = [believed(counts[name], part.lines if part else total) for name in ("success", "error", "cancelled")]
        short = None not in over and sum(each or 0 for each in over) < total  # a counter has gone backwards
        return (JobState.RUNNING, None) if short else (JobState.ENDED, JobEnd.COMPLETED)
    expires = rfc_3339(job.get("expire_time"))
    if expires is not None and time.time() > expires + A_DAY:
        return JobState.ENDED, JobEnd.EXPIRED
    return JobState.RUNNING, None


def _counted(job: Mapping[str, Any], name: str) -> Any:
    state = job.get("state")
    return state.get(f"num_{name}", 0) if isinstance(state, dict) else None


def _mark(job: Mapping[str, Any]) -> str | None:
    name = job.get("name")
    return name.removeprefix(NAME) if isinstance(name, str) and name.startswith(NAME) else None


def _afresh(to: Path, facts: Mapping[str, object]) -> None:
    for page in to.parent.glob(f"{PAGE}*"):
        page.unlink()
    note(to, facts, keep=False)


def _next(page: Path) -> tuple[bool, str | None]:
    found = read_page(page.read_text("utf-8", "replace"))
    return found.whole, found.token


def _join(to: Path) -> None:
    """Write the rows of all pages, one a line, durably; the pages go."""
    pages, part = sorted(to.parent.glob(f"{PAGE}*")), to.with_name(to.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for page in pages:
            file.writelines(row + "\n" for row in read_page(page.read_text("utf-8", "replace")).rows)
        file.flush()
        os.fsync(file.fileno())
    publish(part, to)
    for page in pages:
        page.unlink()


XAI = XAILane()
