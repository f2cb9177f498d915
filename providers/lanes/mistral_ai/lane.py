"""Mistral's batch jobs: lines in a file, a label in the metadata, answers and errors in a file each.

Sources: the project's reference page (docs repository `studio/batch-processing`, 2026-08-21; types of the official SDK
3.7; captures of 2026-09-02; updates of 2026-11-29). There is no idempotency key: a job is found again by the mark in
its metadata, in the list, newest first (how the list's own filter wants metadata written is not documented).

A create may also hold its lines (`requests`), up to 9,999. Nothing can be taken away from such a create when its reply
is lost: it is found and adopted if it arrived, and never sent again if it did not. So it is used only where the account
asks for it (`inline_requests`); the control is then the fence itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

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
    Refused,
    Row,
    Sighting,
    Submission,
    Target,
)
from proxy_plugin.providers.calls import ask_to_cancel, known
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.lanes.mistral_ai import refusals
from proxy_plugin.providers.lanes.mistral_ai.rows import (
    BASE64,
    EMBEDDINGS,
    ENDPOINTS,
    FIM,
    MODERATIONS,
    request_line,
    result_row,
)
from proxy_plugin.providers.listing import Listed, Listing, identifier, unix_seconds
from proxy_plugin.providers.marks import MARK_KEY
from proxy_plugin.providers.uploads import FileStore, bring, named_results

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 12 MB
    from proxy_plugin.providers.http import Origin

BATCHES, CHAT, BETWEEN = "batch/jobs", "/v1/chat/completions", "/v1/fim/completions"
JOBS = Listing(BATCHES, 100, "page", unix_seconds, {"order_by": "-created"}, size="page_size", numbered=True)
FILES = FileStore(
    Listing("files", 100, "page", unix_seconds, {"purpose": "batch"}, size="page_size", numbered=True),
    {"purpose": "batch"},
)
MOST_INLINE, INLINE_BYTES = 9_999, 8 << 20  # lines ("< 10,000"); bytes are our caution, the page names no bound
OWN = frozenset({EMBEDDINGS, MODERATIONS})  # endpoints that are not run as chat
HOURS = 24  # of `timeout_hours`, 1 to 168: our batches' window
STATES: Mapping[str, tuple[JobState, JobEnd | None]] = {
    "QUEUED": (JobState.VALIDATING, None),
    "RUNNING": (JobState.RUNNING, None),
    "CANCELLATION_REQUESTED": (JobState.CANCELLING, None),
    "SUCCESS": (JobState.ENDED, JobEnd.COMPLETED),
    "TIMEOUT_EXCEEDED": (JobState.ENDED, JobEnd.EXPIRED),
    "CANCELLED": (JobState.ENDED, JobEnd.CANCELLED),
    "FAILED": (JobState.FAILED, None),
}


class MistralCredentials(KeyCredentials):
    """An API key of a workspace, and whether creates of small parts hold their lines."""

    inline_requests: bool = False
    """Creates of small parts hold their lines; one that is lost is then waited for, not sent again."""


CAPABILITIES = Capabilities(
    provider="mistral-ai",
    title="Mistral",
    endpoints=ENDPOINTS,
    input_mode=InputMode.FILE,
    default_host="https://api.mistral.ai/v1",
    model_patterns=(  # other names are those of clouds, too
        *("mistral-*-latest", "ministral-*-latest", "magistral-*-latest", "devstral-*-latest", "pixtral-*-latest"),
        *("codestral-latest", "mistral-embed"),
    ),
    api_base=ApiBase(cut=("/chat/completions", "/embeddings", "/v1"), added="/v1"),
    max_lines=1_000_000,  # "Limits": pending requests of a workspace, and of a job
    max_bytes=512 * 10**6,  # "512 MB", not said whether 2**20
    one_model_per_job=True,  # the model is a field of the create
    accepts_label=True,
    min_poll_seconds=0.0,  # the page names no bound
    settle_seconds=900.0,  # our caution, no page names a bound
    results_kept_seconds=30 * 86400,  # "do not expire at present": our caution
    discount=0.5,
    caveats=(
        "Lines of /v1/responses and /v1/completions run as chat; what chat cannot express is refused by name.",
        "A line of /v1/completions with a suffix runs as fill-in-the-middle, which codestral models know.",
        "An upload is validated at once; a bad line refuses its file, and is left out by trial where none is named.",
        "What a cancelled or expired job did not run has no row of its own.",
        "With inline_requests a create that never arrived is waited for and not sent again: it cannot be taken away.",
        "Tool call ids are sent as nine letters and digits.",
        "Moderations take texts; their categories are Mistral's, and a text with one is flagged.",
    ),
)


class Mistral:
    """The batch lane of Mistral's API."""

    credentials: type[Credentials] = MistralCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host and key."""
        return "\x1f".join((self._host(credentials), key_of(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return a line of Mistral's own, without method and url."""
        self.capabilities.require(line.endpoint)
        return lightly(line, partial(request_line, target=target))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read a row of either file; its status alone tells whether it is an answer."""
        return result_row(line, source, endpoint)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload the part, or find the upload of an interrupted run; {} where its lines go inline."""
        inline = cast("MistralCredentials", account.credentials).inline_requests
        if inline and part.lines <= MOST_INLINE and part.bytes <= INLINE_BYTES:
            return {}
        try:
            return await FILES.stage(self._origin(account), part, again=again)
        except Refused as refused:
            raise refusals.of_upload(refused) from None

    async def fence(self, account: Account) -> str | None:
        """Return the newest job of the workspace."""
        newest = await JOBS.newest(self._origin(account))
        return newest.records[0].id if newest.records else None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the job. Its metadata carry our mark alone."""
        part = submission.part
        order: dict[str, object] = {
            "endpoint": BETWEEN if part.partition == FIM else part.endpoint if part.endpoint in OWN else CHAT,
            "metadata": {MARK_KEY: part.mark},
            "timeout_hours": HOURS,
        }
        if part.model is not None:
            order["model"] = part.model
        if file := submission.staged.get("file"):
            order["input_files"] = [file]
        else:
            order["requests"] = await asyncio.to_thread(_lines, part.path)
        try:
            reply = await self._origin(account).create(BATCHES, json=order)
        except Refused as refused:
            raise (refused if file else refusals.of_upload(refused)) from None
        job = identifier(reply.fields())
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a job id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read the list down to the fence; the control is our input file, seen under its name by the same key."""
        origin, file, shown = self._origin(account), submission.staged.get("file"), set[str]()

        def ours(job: Listed) -> bool:
            shown.add(job.id)
            files = job.fields.get("input_files")
            reads = file is None or not isinstance(files, list) or file in files
            return reads and _mark(job.fields) == submission.part.mark

        found = await FILES.find(origin, JOBS.since(origin, submission.fence), submission, ours)
        return found if file else replace(found, control=found.listed and submission.fence in shown)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin, path = self._origin(account), f"{BATCHES}/{job}"
        found = (await known(origin.request("GET", path), path)).fields()
        state, end = _state(found)
        completed = believed(found.get("succeeded_requests"), part.lines)  # `completed_requests` has failures in it
        failed = believed(found.get("failed_requests"), part.lines)
        ids = {name: identifier(found, f"{name}_file") for name in ("output", "error")}
        if state is JobState.FAILED and (found.get("succeeded_requests") or any(ids.values())):
            state, end = JobState.ENDED, JobEnd.COMPLETED  # paid answers may exist, whatever the word says
        suffix = f"-{BASE64}" if part.partition == BASE64 else ""
        results, missing = named_results(ids, end, completed, failed, suffix=suffix)
        return JobStatus(
            state=state,
            mark=_mark(found),
            end=end,
            completed=completed,
            failed=failed,
            results=results,
            refusal=refusals.of_job(origin, found) if state is JobState.FAILED else None,
            unnamed=state is JobState.ENDED and missing,
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Store the output and the error file, whichever exist, verified against the size that the service names.

        They are read whatever the end: a cancelled job may hold all of its answers (captured).
        """
        origin, names = self._origin(account), []
        for name, file in status.results.items():
            names.append(f"{name}.jsonl")
            await bring(origin, file, folder / names[-1], status)
        return tuple(names)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin, path = self._origin(account), f"{BATCHES}/{job}"

        async def look() -> JobState:
            return _state((await known(origin.request("GET", path), path)).fields())[0]

        await ask_to_cancel(origin.request("POST", f"{path}/cancel"), look)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the input file: a create that is accepted late finds no file (404) and runs nothing."""
        if "file" not in submission.staged:
            raise Refused("A create that holds its lines cannot be taken away.", code="not_revocable")
        await FILES.revoke(self._origin(account), submission)

    def _origin(self, account: Account) -> Origin:
        credentials = account.credentials
        return account.origin(self._host(credentials), {"Authorization": f"Bearer {key_of(credentials)}"})

    def _host(self, credentials: Credentials) -> str:
        return self.capabilities.host(credentials)


def _lines(path: Path) -> list[msgspec.Raw]:
    return [msgspec.Raw(line) for line in path.read_bytes().splitlines() if line]


def _state(job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    return meant(STATES, str(job.get("status", "")).upper())


def _mark(job: Mapping[str, Any]) -> str | None:
    metadata = job.get("metadata")
    mark = metadata.get(MARK_KEY) if isinstance(metadata, dict) else None
    return mark if isinstance(mark, str) else None


MISTRAL = Mistral()
