"""OpenAI's batch lane, and every lane that copies it: a `Service` row is all that a copy needs.

Sources: "Batch API" guide, developers.openai.com/api/docs/guides/batch, copy of 2026-06-27 (limits, statuses, files);
API reference, pages "Batch" and "Files", openapi.yaml of 2026-08-21 (fields, page sizes, purposes); captures of
2026-09-02 where marked. There is no idempotency key and no search: a job is found again by the mark in its metadata
together with the id of its input file, in the list, which is newest first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.api_base import ApiBase
from proxy_plugin.providers.base import (
    Account,
    Capabilities,
    Content,
    Credentials,
    InputMode,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    LineRejected,
    Native,
    NewFile,
    OutcomeUnknown,
    PartFile,
    Refused,
    Row,
    Sighting,
    StoredFile,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.calls import ask_to_cancel, gone, known, patiently
from proxy_plugin.providers.counts import believed
from proxy_plugin.providers.kept import note, noted
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.lanes.openai import files as openai_files
from proxy_plugin.providers.lanes.openai import refusals
from proxy_plugin.providers.lanes.openai.rows import request_line, result_row
from proxy_plugin.providers.listing import Listing, identifier, unix_seconds

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 11 MB
    from proxy_plugin.providers.http import Origin

MARK_KEY = "proxy_plugin"
BATCHES = Listing("batches", 100, "after", unix_seconds)  # the most that a list of batches returns at once
STATES: Mapping[str, tuple[JobState, JobEnd | None]] = {
    "validating": (JobState.VALIDATING, None),
    "in_progress": (JobState.RUNNING, None),
    "finalizing": (JobState.FINALIZING, None),
    "cancelling": (JobState.CANCELLING, None),
    "completed": (JobState.ENDED, JobEnd.COMPLETED),
    "expired": (JobState.ENDED, JobEnd.EXPIRED),
    "cancelled": (JobState.ENDED, JobEnd.CANCELLED),
    "failed": (JobState.FAILED, None),
}
# Failures for want of quota, when nothing ran: the cap on enqueued tokens frees itself as other jobs end. The first is
# OpenAI's and Azure's (many user reports, no page lists it); the others are the names copies of the API give the same.
QUOTA_CODES = frozenset({"token_limit_exceeded", "request_limit_exceeded", "rate_limit_exceeded"})
# UNVERIFIED: no reference page lists them. They are what OpenAI's error bodies are known to hold when credit, a hard
# limit or the account's payment is the reason; one that is never sent costs nothing, one that is missing ends its part.
BILLING_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


# A base with its version, such as https://api.openai.com/v1, as OpenAI's client takes it; or the whole URL of a call
# (litellm 1.106.2, `llms/openai/chat/gpt_transformation.py`, `get_complete_url`).
OPENAIS_BASE = ApiBase(cut=("/chat/completions", "/completions", "/embeddings", "/responses"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Capabilities):
    """One service that speaks OpenAI's Files and Batches API. What is left out is as at OpenAI.

    `accepts_label`: metadata is accepted at create and shown in the list.
    """

    input_mode: InputMode = InputMode.FILE
    api_base: ApiBase = OPENAIS_BASE
    one_model_per_job: bool = True
    accepts_label: bool = True
    min_poll_seconds: float = 0.0  # the page names no bound; the operator's poll_seconds_first counts
    billing_codes: frozenset[str] = BILLING_CODES
    credentials: type[KeyCredentials] = KeyCredentials
    headers: Mapping[str, str] = field(default_factory=dict)  # further ones, sent where they are set -> credential
    purpose: str = "batch"  # of the uploaded file
    file_purposes: frozenset[str] = frozenset()  # of other files that the service keeps
    window: str | None = "24h"  # completion_window, None: not sent
    first_line: int | None = 1  # the number of a file's first line in validation errors, None: numbers mean nothing
    urls: Mapping[str, str] = field(default_factory=dict)  # our endpoint -> the service's, where they differ
    words: Mapping[str, str] = field(default_factory=dict)  # the service's status word in lower case -> OpenAI's


class OpenAICompatible:
    """The batch lane of one `Service`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.capabilities: Capabilities = service
        self.credentials: type[Credentials] = service.credentials
        self.file_purposes = service.file_purposes
        self._files = Listing("files", 1000, "after", unix_seconds, {"purpose": service.purpose, "order": "desc"})

    def account_key(self, credentials: Credentials) -> str:
        """Return host, key and what else the service is told of the account."""
        more = self._more(credentials).values()
        return "\x1f".join((self._host(credentials), key_of(credentials), *more))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Wrap the body as it is; only a target's model changes it."""
        if line.endpoint not in self.service.endpoints:
            message = f"{self.service.title} does not run {line.endpoint} in batches"
            raise LineRejected(message, code="unsupported_endpoint", param="url")
        return request_line(line, target, self._url(line.endpoint))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:  # noqa: ARG002 - rows come as they must go
        """Read a row; its status alone tells whether it is an answer, not the file it was in."""
        return result_row(line)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload the part as `pp-<mark>.jsonl`, or find the upload of an interrupted run."""
        origin = self._origin(account)
        if again and (found := await self._staged(origin, part)):
            return {"file": found}
        fields = {"purpose": self.service.purpose}
        try:
            stored = (await origin.upload("files", fields, part.path, _filename(part))).fields()
        except Refused as refused:
            raise refusals.of_upload(refused, first_line=self.service.first_line) from None
        file = identifier(stored)
        if file is None or stored.get("bytes") not in (None, part.bytes):
            raise TryLater(f"upload of {_filename(part)}: the reply names no file of {part.bytes} bytes")
        return {"file": file}

    async def fence(self, account: Account) -> str | None:
        """Return the newest batch of the account."""
        newest = await BATCHES.newest(self._origin(account))
        return newest.records[0].id if newest.records else None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the batch. Its metadata carries our mark alone."""
        part = submission.part
        order: dict[str, object] = {"input_file_id": submission.staged["file"], "endpoint": self._url(part.endpoint)}
        if self.service.window:
            order["completion_window"] = self.service.window
        if self.service.accepts_label:
            order["metadata"] = {MARK_KEY: part.mark}
        try:
            reply = await self._origin(account).create("batches", json=order)
        except Refused as refused:
            raise refusals.of_create(refused, first_line=self.service.first_line) from None
        job = identifier(reply.fields())
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read the list down to the fence; the control is our input file, seen under its name by the same key."""
        origin, jobs = self._origin(account), list[str]()
        try:
            async for page in BATCHES.since(origin, submission.fence):
                jobs += [job.id for job in page.records if self._ours(job.fields, submission)]
        except Refused:
            return Sighting(tuple(jobs), control=False, listed=False)
        try:
            control = await self._shows_file(origin, submission)
        except Refused:
            control = False
        return Sighting(tuple(jobs), control)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin = self._origin(account)
        found = await _read(origin, f"batches/{job}")
        state, end = self._state(found)
        completed, failed = _counts(found, part)
        if state is JobState.FAILED and _ran(found, failed):
            state, end = JobState.ENDED, JobEnd.COMPLETED
        names = {"output": found.get("output_file_id"), "error": found.get("error_file_id")}
        results = {name: id_ for name in names if (id_ := identifier(names, name))}
        refusal = self._refusal(origin, found) if state is JobState.FAILED else None
        return JobStatus(
            state=state,
            mark=_mark(found),
            end=end,
            completed=completed,
            failed=failed,
            results=results,
            refusal=refusal,
            retryable=refusal is not None and refusal.code in QUOTA_CODES,
            unnamed=state is JobState.ENDED and _unnamed(results, end, completed, failed),
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Store `output.jsonl` and `error.jsonl`, whichever exist, verified against the size the service names.

        A later reading asks for the sizes alone: a file that has grown is read again.
        """
        origin, names = self._origin(account), []
        for name, file in status.results.items():
            names.append(f"{name}.jsonl")
            await _bring(origin, file, folder / names[-1], status)
        return tuple(names)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin = self._origin(account)

        async def look() -> JobState:
            return self._state(await _read(origin, f"batches/{job}"))[0]

        await ask_to_cancel(origin.request("POST", f"batches/{job}/cancel"), look)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the input file: a create that is accepted late then fails its validation and runs nothing."""
        path = f"files/{submission.staged['file']}"
        origin = self._origin(account)
        if not await gone(origin.request("DELETE", path)) and not await gone(origin.request("GET", path)):
            raise TryLater(f"/{path} is still there after its deletion")

    async def store_file(self, account: Account, file: NewFile) -> StoredFile:
        """Upload a file for another purpose than a batch."""
        record = await openai_files.store(self._origin(account), file)
        return openai_files.stored(record)

    def read_file(self, account: Account, file: str, asked: Mapping[str, str]) -> AbstractAsyncContextManager[Content]:
        """Open a stored file's content."""
        return openai_files.content(self._origin(account), file, asked)

    async def delete_file(self, account: Account, file: str) -> None:
        """Delete a stored file."""
        await openai_files.delete(self._origin(account), file)

    def _origin(self, account: Account) -> Origin:
        credentials = account.credentials
        secret = {"Authorization": f"Bearer {key_of(credentials)}"}
        more = {name: value for name, value in self._more(credentials).items() if value}
        return account.origin(self._host(credentials), secret, more)

    def _more(self, credentials: Credentials) -> dict[str, str]:
        return {name: getattr(credentials, of) or "" for name, of in self.service.headers.items()}

    def _host(self, credentials: Credentials) -> str:
        return credentials.custom_host or self.service.default_host

    def _url(self, endpoint: str) -> str:
        return self.service.urls.get(endpoint, endpoint)

    def _refusal(self, origin: Origin, job: Mapping[str, Any]) -> Refused:
        first_line, one_model = self.service.first_line, self.service.one_model_per_job
        return refusals.of_job(origin, job, first_line=first_line, one_model=one_model)

    async def _staged(self, origin: Origin, part: PartFile) -> str | None:
        """Look for an upload of this very part. Not being allowed to look costs a second upload, no money."""
        try:
            async for page in self._files.pages(origin):
                for file in page.records:
                    if _is_of(file.fields, part) and not await gone(origin.request("GET", f"files/{file.id}")):
                        return file.id  # a list may still show a file that was deleted a moment ago
        except Refused:
            return None
        return None

    def _ours(self, job: Mapping[str, Any], submission: Submission) -> bool:
        file = submission.staged.get("file")
        marked = _mark(job) == submission.part.mark if self.service.accepts_label else file is not None
        return marked and file in (None, job.get("input_file_id"))

    async def _shows_file(self, origin: Origin, submission: Submission) -> bool:
        file = submission.staged.get("file")
        if file is None:
            return False
        reply = await patiently(lambda: origin.request("GET", f"files/{file}"))
        return bool(reply.fields().get("filename") == _filename(submission.part))

    def _state(self, job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
        word = str(job.get("status", "")).lower()
        state = STATES.get(self.service.words.get(word, word))
        if state is None:
            raise TryLater(f"unknown batch status {word if word.isidentifier() else ''}")
        return state


async def _read(origin: Origin, path: str) -> dict[str, Any]:
    return (await known(origin.request("GET", path), path)).fields()


async def _bring(origin: Origin, file: str, to: Path, status: JobStatus) -> None:
    """Make `to` hold a file whole. Each call that has succeeded is not made again in the same reading."""
    facts: dict[str, Any] = {"file": file, "reading": status.reading}
    found = await asyncio.to_thread(noted, to)
    if not facts.items() <= found.items():
        facts["bytes"] = (await _read(origin, f"files/{file}")).get("bytes")
        keep = found.get("file") == file and await asyncio.to_thread(_has_size, to, facts["bytes"])
        await asyncio.to_thread(note, to, facts, keep=keep)
        found = facts
    if not await asyncio.to_thread(to.exists):
        size = found.get("bytes") if not status.last else None
        await origin.download(f"files/{file}/content", to, size if isinstance(size, int) else None)


def _has_size(path: Path, size: object) -> bool:
    return path.exists() and path.stat().st_size == size


def _filename(part: PartFile) -> str:
    return f"pp-{part.mark}.jsonl"


def _is_of(file: Mapping[str, Any], part: PartFile) -> bool:
    """Whether a listed file is an upload of this very part, and usable."""
    same = file.get("filename") == _filename(part) and file.get("bytes") == part.bytes
    return same and file.get("status") != "error"


def _mark(job: Mapping[str, Any]) -> str | None:
    metadata = job.get("metadata")
    mark = metadata.get(MARK_KEY) if isinstance(metadata, dict) else None
    return mark if isinstance(mark, str) else None


def _counts(job: Mapping[str, Any], part: PartFile) -> tuple[int | None, int | None]:
    completed, failed = (believed(_counted(job, name), part.lines) for name in ("completed", "failed"))
    return completed, failed


def _ran(job: Mapping[str, Any], failed: int | None) -> bool:
    """Tell whether lines of a job ran, although it is called failed: paid answers may exist, whatever the word says.

    OpenAI's own jobs fail in validation alone, with counts of 0. Of failures that are counted, a named file tells more
    than the reason of the job does; without a reason they are none of the validation's.
    """
    if _counted(job, "completed"):
        return True
    return bool(failed) and (identifier(job, "error_file_id") is not None or not refusals.told(job))


def _counted(job: Mapping[str, Any], name: str) -> Any:
    counts = job.get("request_counts")
    return counts.get(name) if isinstance(counts, dict) else None


def _unnamed(results: Mapping[str, str], end: JobEnd | None, completed: int | None, failed: int | None) -> bool:
    """Tell whether a job has ended before the ids of its files are there, as users have seen.

    An id is null for good where its file would be empty (captured); a job that completed has one of the two.
    """
    if not results and end is JobEnd.COMPLETED:
        return True
    return bool((completed and "output" not in results) or (failed and "error" not in results))
