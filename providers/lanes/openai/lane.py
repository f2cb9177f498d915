"""OpenAI's batch lane, and every lane that copies it: a `Service` row is all that a copy needs.

Sources: "Batch API" guide, developers.openai.com/api/docs/guides/batch, copy of 2026-06-27 (limits, statuses, files);
API reference, pages "Batch" and "Files", openapi.yaml of 2026-08-21 (fields, page sizes, purposes); captures of
2026-09-02 where marked. There is no idempotency key and no search: a job is found again by the mark in its metadata
together with the id of its input file, in the list, which is newest first.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from pydantic import AfterValidator, SecretStr, field_validator

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
from proxy_plugin.providers.lanes.openai import files as openai_files
from proxy_plugin.providers.lanes.openai.rows import request_line, result_row

# What needs `providers.http` is imported where it runs: workers only translate and read rows, aiohttp costs each 11 MB.
if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

MARK_KEY = "proxy_plugin"
PAGE = 100  # the most a list of batches returns at once
MOST_PAGES = 100
LISTING_SLACK = 60.0  # seconds
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

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,255}")


def _trimmed(key: SecretStr) -> SecretStr:
    text = key.get_secret_value().strip()  # keys read from files end with a newline
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("a key is printable ASCII text")
    return SecretStr(text)


class KeyCredentials(Credentials):
    """One API key, sent as a bearer token."""

    api_key: Annotated[SecretStr, AfterValidator(_trimmed)]

    @field_validator("custom_host")
    @classmethod
    def _plain_host(cls, host: str | None) -> str | None:
        from proxy_plugin.providers.http import plain_url  # noqa: PLC0415 - see above

        return None if host is None else plain_url(host)


class OpenAICredentials(KeyCredentials):
    """OpenAI's key, and the organisation and project that it should act for."""

    openai_organization: str | None = None
    openai_project: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service that speaks OpenAI's Files and Batches API. What is left out is as at OpenAI."""

    provider: str
    title: str
    host: str  # base URL, version path included
    endpoints: frozenset[str]
    credentials: type[KeyCredentials] = KeyCredentials
    aliases: tuple[str, ...] = ()
    model_patterns: tuple[str, ...] = ()
    max_lines: int | None = None
    max_bytes: int | None = None
    max_line_bytes: int | None = None
    max_inputs: int | None = None
    one_model_per_job: bool = True
    purpose: str = "batch"  # of the uploaded file
    file_purposes: frozenset[str] = frozenset()  # of other files that the service keeps
    window: str | None = "24h"  # completion_window, None: not sent
    metadata: bool = True  # accepted at create and shown in the list
    urls: Mapping[str, str] = field(default_factory=dict)  # our endpoint -> the service's, where they differ
    words: Mapping[str, str] = field(default_factory=dict)  # the service's status word in lower case -> OpenAI's
    min_poll_seconds: float = 0.0  # the page names no bound; the operator's poll_seconds_first counts
    settle_seconds: float = 900.0
    results_kept_seconds: float = 30 * 86400
    discount: float = 0.0
    caveats: tuple[str, ...] = ()

    def capabilities(self) -> Capabilities:
        """Return what the gateway must know of the service."""
        return Capabilities(
            provider=self.provider,
            title=self.title,
            endpoints=self.endpoints,
            input_mode=InputMode.FILE,
            default_host=self.host,
            aliases=self.aliases,
            model_patterns=self.model_patterns,
            max_lines=self.max_lines,
            max_bytes=self.max_bytes,
            max_line_bytes=self.max_line_bytes,
            max_inputs=self.max_inputs,
            one_model_per_job=self.one_model_per_job,
            accepts_label=self.metadata,
            min_poll_seconds=self.min_poll_seconds,
            settle_seconds=self.settle_seconds,
            results_kept_seconds=self.results_kept_seconds,
            discount=self.discount,
            caveats=self.caveats,
        )


class OpenAICompatible:
    """The batch lane of one `Service`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.capabilities = service.capabilities()
        self.credentials: type[Credentials] = service.credentials
        self.file_purposes = service.file_purposes

    def account_key(self, credentials: Credentials) -> str:
        """Return host, key, organisation and project."""
        return "\x1f".join((self._host(credentials), _key(credentials), *_membership(credentials).values()))

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
        stored = (await origin.upload("files", fields, part.path, _filename(part))).fields()
        file = _identifier(stored)
        if file is None or stored.get("bytes") not in (None, part.bytes):
            raise TryLater(f"upload of {_filename(part)}: the reply names no file of {part.bytes} bytes")
        return {"file": file}

    async def fence(self, account: Account) -> str | None:
        """Return the newest batch of the account."""
        reply = await self._origin(account).request("GET", "batches", params={"limit": "1"})
        return next(map(_identifier, _listed(reply.fields())), None)

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the batch. Its metadata carries our mark alone."""
        part = submission.part
        order: dict[str, object] = {"input_file_id": submission.staged["file"], "endpoint": self._url(part.endpoint)}
        if self.service.window:
            order["completion_window"] = self.service.window
        if self.service.metadata:
            order["metadata"] = {MARK_KEY: part.mark}
        reply = await self._origin(account).create("batches", json=order)
        job = _identifier(reply.fields())
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read the list down to the fence; the control is our input file, seen under its name by the same key."""
        origin, jobs = self._origin(account), list[str]()
        try:
            async for job in self._newer(origin, submission.fence):
                if self._ours(job, submission):
                    jobs.append(str(job["id"]))
        except Refused:
            return Sighting(tuple(jobs), control=False, listed=False)
        try:
            control = await self._shows_file(origin, submission)
        except Refused:
            control = False
        return Sighting(tuple(jobs), control)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:  # noqa: ARG002
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin = self._origin(account)
        found = await _known(origin, f"batches/{job}")
        state, end = self._state(found)
        completed, failed = _counts(found)
        if state is JobState.FAILED and completed:
            state, end = JobState.ENDED, JobEnd.COMPLETED  # paid answers exist, whatever the word says
        names = {"output": found.get("output_file_id"), "error": found.get("error_file_id")}
        refusal = _refusal(origin, found) if state is JobState.FAILED else None
        return JobStatus(
            state=state,
            mark=_mark(found),
            end=end,
            completed=completed,
            failed=failed,
            results={name: id_ for name, id_ in names.items() if isinstance(id_, str) and _ID.fullmatch(id_)},
            refusal=refusal,
            retryable=refusal is not None and refusal.code in QUOTA_CODES,
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Store `output.jsonl` and `error.jsonl`, whichever exist, verified against the size the service names."""
        origin, names = self._origin(account), []
        for name, file in status.results.items():
            size = (await _known(origin, f"files/{file}")).get("bytes")
            names.append(f"{name}.jsonl")
            await origin.download(f"files/{file}/content", folder / names[-1], size if isinstance(size, int) else None)
        return tuple(names)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation; a refusal is no error when the job turns out to be over or being cancelled."""
        origin = self._origin(account)
        try:
            await origin.request("POST", f"batches/{job}/cancel")
        except (Refused, TryLater) as error:
            if error.status not in {400, 409}:
                raise
            state, _ = self._state(await _known(origin, f"batches/{job}"))
            if state not in {JobState.ENDED, JobState.FAILED, JobState.CANCELLING}:
                raise

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the input file: a create that is accepted late then fails its validation and runs nothing."""
        path = f"files/{submission.staged['file']}"
        origin = self._origin(account)
        if not await _gone(origin, "DELETE", path) and not await _gone(origin, "GET", path):
            raise TryLater(f"/{path} is still there after its deletion")

    async def store_file(self, account: Account, file: NewFile) -> StoredFile:
        """Upload a file for another purpose than a batch."""
        record = await openai_files.store(self._origin(account), file)
        return openai_files.stored(record, _identifier(record))

    def read_file(self, account: Account, file: str, asked: Mapping[str, str]) -> AbstractAsyncContextManager[Content]:
        """Open a stored file's content."""
        return openai_files.content(self._origin(account), file, asked)

    async def delete_file(self, account: Account, file: str) -> None:
        """Delete a stored file."""
        await openai_files.delete(self._origin(account), file)

    def _origin(self, account: Account) -> Origin:
        credentials = account.credentials
        secret = {"Authorization": f"Bearer {_key(credentials)}"}
        membership = {name: value for name, value in _membership(credentials).items() if value}
        name = f"{account.slug}\x1f{account.fingerprint}"  # accounts of different callers may share a slug
        return account.http.origin(name, self._host(credentials), secret, membership)

    def _host(self, credentials: Credentials) -> str:
        return credentials.custom_host or self.service.host

    def _url(self, endpoint: str) -> str:
        return self.service.urls.get(endpoint, endpoint)

    async def _staged(self, origin: Origin, part: PartFile) -> str | None:
        """Look for an upload of this very part. Not being allowed to look costs a second upload, no money."""
        params = {"purpose": self.service.purpose, "order": "desc", "limit": "1000"}
        try:
            async for file in _all(origin, "files", params):
                same = file.get("filename") == _filename(part) and file.get("bytes") == part.bytes
                # Asked for by its id as well: a list may still show a file that was deleted a moment ago.
                if same and file.get("status") != "error" and not await _gone(origin, "GET", f"files/{file['id']}"):
                    return str(file["id"])
        except Refused:
            return None
        return None

    async def _newer(self, origin: Origin, fence: str | None) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the jobs created since the fence, and those of the minute before it.

        Times are whole seconds, given by many machines: a job made after the fence may be listed just below it.
        """
        edge = 0.0
        async for job in _all(origin, "batches", {"limit": str(PAGE)}):
            created = job.get("created_at")
            seconds = float(created) if isinstance(created, int) else 0.0
            if edge and seconds < edge:
                return
            yield job
            if job["id"] == fence:
                edge = seconds - LISTING_SLACK if seconds else math.inf

    def _ours(self, job: Mapping[str, Any], submission: Submission) -> bool:
        file = submission.staged.get("file")
        marked = _mark(job) == submission.part.mark if self.service.metadata else file is not None
        return marked and file in (None, job.get("input_file_id"))

    async def _shows_file(self, origin: Origin, submission: Submission) -> bool:
        file = submission.staged.get("file")
        if file is None:
            return False
        reply = await origin.request("GET", f"files/{file}")
        return bool(reply.fields().get("filename") == _filename(submission.part))

    def _state(self, job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
        word = str(job.get("status", "")).lower()
        state = STATES.get(self.service.words.get(word, word))
        if state is None:
            raise TryLater(f"unknown batch status {word if word.isidentifier() else ''}")
        return state


def _key(credentials: Credentials) -> str:
    return cast("KeyCredentials", credentials).api_key.get_secret_value()


def _membership(credentials: Credentials) -> dict[str, str]:
    if not isinstance(credentials, OpenAICredentials):
        return {}
    organization, project = credentials.openai_organization, credentials.openai_project
    return {"OpenAI-Organization": organization or "", "OpenAI-Project": project or ""}


def _filename(part: PartFile) -> str:
    return f"pp-{part.mark}.jsonl"


def _identifier(record: Mapping[str, Any]) -> str | None:
    """Return a record's id if it can stand in a path."""
    found = record.get("id")
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def _listed(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of a page. Raises TryLater for a reply that is no list: it would look like an empty one."""
    data = page.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) and _identifier(item) for item in data):
        raise TryLater("a list without usable records")
    return data


async def _all(origin: Origin, path: str, params: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
    """Yield the records of a list, page after page. Raises Refused when it does not end."""
    cursor: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        page = (await origin.request("GET", path, params={**params, **cursor})).fields()
        records = _listed(page)
        for record in records:
            yield record
        if not records or not page.get("has_more", len(records) >= int(params["limit"])):
            return
        cursor = {"after": records[-1]["id"]}
    raise Refused("the list is too long to be read", code="list_too_long")


async def _known(origin: Origin, path: str) -> dict[str, Any]:
    """GET what must exist; that it is not found is `TryLater`, the gateway decides for how long."""
    try:
        return (await origin.request("GET", path)).fields()
    except Refused as error:
        if error.status != 404:
            raise
        raise TryLater(f"/{path}: not found", status=404) from None


async def _gone(origin: Origin, method: str, path: str) -> bool:
    """Return whether the call is answered with 404."""
    try:
        await origin.request(method, path)
    except Refused as error:
        if error.status != 404:
            raise
        return True
    return False


def _mark(job: Mapping[str, Any]) -> str | None:
    metadata = job.get("metadata")
    mark = metadata.get(MARK_KEY) if isinstance(metadata, dict) else None
    return mark if isinstance(mark, str) else None


def _counts(job: Mapping[str, Any]) -> tuple[int | None, int | None]:
    counts = job.get("request_counts")
    found = [counts.get(name) if isinstance(counts, dict) else None for name in ("completed", "failed")]
    completed, failed = (count if isinstance(count, int) else None for count in found)
    return completed, failed


def _refusal(origin: Origin, job: Mapping[str, Any]) -> Refused:
    """Read the first of a failed job's errors. Its line number counts lines of the part, so it is said so."""
    errors = job.get("errors")
    entries = errors.get("data", errors) if isinstance(errors, dict) else errors
    first = entries[0] if isinstance(entries, list) and entries else entries
    refusal = origin.refusal(msgspec.json.encode(first), code="batch_failed")
    line = first.get("line") if isinstance(first, dict) else None
    where = f"line {line} of the native job: " if isinstance(line, int) else ""
    return Refused(where + refusal.message, code=refusal.code, param=refusal.param)


OPENAI = OpenAICompatible(
    Service(
        provider="openai",
        title="OpenAI",
        host="https://api.openai.com/v1",
        credentials=OpenAICredentials,
        model_patterns=(
            "gpt-*",
            "chatgpt-*",
            "o[134]",
            "o[134]-*",
            "text-embedding-*",
            "omni-moderation-*",
            "ft:gpt-*",
        ),
        file_purposes=openai_files.PURPOSES,
        endpoints=frozenset(  # reference page "Create batch", `endpoint`, openapi.yaml of 2026-08-21
            {
                "/v1/responses",
                "/v1/chat/completions",
                "/v1/embeddings",
                "/v1/completions",
                "/v1/moderations",
                "/v1/images/generations",
                "/v1/images/edits",
                "/v1/videos",
            }
        ),
        max_lines=50_000,  # guide, "Rate limits", 2026-06-27; so are the next two
        max_bytes=200 * 10**6,  # "200 MB", not said whether 2**20: the smaller reading costs one more part at most
        max_inputs=50_000,  # embedding inputs over all lines
        one_model_per_job=True,  # guide, "Prepare your batch file"
        settle_seconds=900.0,  # our caution, no page names a bound
        results_kept_seconds=30 * 86400,  # guide, 2026-06-27
        discount=0.5,
        caveats=(
            "Results are deleted 30 days after the job ended.",
            "An answer that was finished while a job was being cancelled may be in no file (seen 2026-09-02).",
        ),
    )
)
