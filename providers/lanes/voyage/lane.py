"""Voyage's batches of embeddings: OpenAI's routes, with all parameters but the texts in the job.

Source: docs.voyageai.com, `reference/create-batch` (OpenAPI 1.1), November 2026; two public clients where marked. There
is no idempotency key: a job is found again by the mark in its metadata together with the id of its input file, in the
whole list, whose order no page tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.lanes.voyage import refusals
from proxy_plugin.providers.lanes.voyage.rows import (
    ENDPOINT,
    request_line,
    request_params,
    result_row,
    results_suffix,
)
from proxy_plugin.providers.listing import Listed, Listing, identifier, rfc_3339
from proxy_plugin.providers.marks import MARK_KEY
from proxy_plugin.providers.uploads import FileStore, bring, named_results

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 12 MB
    from proxy_plugin.providers.http import Origin

WINDOW = "12h"  # the only one
JOBS = Listing("batches", 100, "after", rfc_3339)
FILES = FileStore(
    Listing("files", 10_000, "after", rfc_3339, {"purpose": "batch", "order": "desc"}), {"purpose": "batch"}
)
STATES: Mapping[str, tuple[JobState, JobEnd | None]] = {
    "validating": (JobState.VALIDATING, None),
    "in_progress": (JobState.RUNNING, None),
    "finalizing": (JobState.FINALIZING, None),
    "cancelling": (JobState.CANCELLING, None),
    "completed": (JobState.ENDED, JobEnd.COMPLETED),
    "partially_completed": (JobState.ENDED, JobEnd.COMPLETED),  # in two public clients, in no page
    "expired": (JobState.ENDED, JobEnd.EXPIRED),  # OpenAI's word, in no page
    "cancelled": (JobState.ENDED, JobEnd.CANCELLED),
    "failed": (JobState.FAILED, None),
}

CAPABILITIES = Capabilities(
    provider="voyage",
    title="Voyage AI",
    endpoints=frozenset({ENDPOINT}),
    input_mode=InputMode.FILE,
    default_host="https://api.voyageai.com/v1",
    model_patterns=("voyage-*",),
    api_base=ApiBase(cut=("/embeddings",)),
    max_lines=100_000,  # of a client that read the docs; so is the next
    max_bytes=10**9,  # "1 GiB": the smaller reading
    one_model_per_job=True,  # and one of every other parameter: partitions
    accepts_label=True,
    min_poll_seconds=0.0,  # no page names a bound
    settle_seconds=900.0,  # our caution, no page names a bound
    results_kept_seconds=30 * 86400,  # our caution, no page names a bound
    discount=0.33,  # "33 %"
    caveats=(
        "Public preview. The window is 12 hours.",
        "All parameters but the texts belong to the job: lines with different ones go into different jobs.",
        "A text that is too long is refused unless the line says truncation: true; the API's own default cuts it.",
        "What rows and errors of a failed batch look like is not documented: OpenAI's forms are read.",
    ),
)


class Voyage:
    """The batch lane of Voyage's API."""

    credentials: type[Credentials] = KeyCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host and key."""
        return "\x1f".join((self._host(credentials), key_of(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return a line of texts alone; its partition has the rest."""
        self.capabilities.require(line.endpoint)
        return request_line(line, target)

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:  # noqa: ARG002 - there is one endpoint
        """Read a row of either file; its status alone tells whether it is an answer."""
        return result_row(line, source)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload the part, or find the upload of an interrupted run."""
        try:
            return await FILES.stage(self._origin(account), part, again=again)
        except Refused as refused:
            raise refusals.of_upload(refused) from None

    async def fence(self, account: Account) -> str | None:  # noqa: ARG002
        """Return nothing: the whole list is read, whatever its order."""
        return None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the batch. Its metadata carry our mark alone."""
        part = submission.part
        order = {
            "input_file_id": submission.staged["file"],
            "endpoint": ENDPOINT,
            "completion_window": WINDOW,
            "request_params": request_params(part.partition),
            "metadata": {MARK_KEY: part.mark},
        }
        reply = await self._origin(account).create("batches", json=order)
        job = identifier(reply.fields())
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read the whole list; the control is our input file, seen under its name by the same key."""
        origin, file = self._origin(account), submission.staged.get("file")

        def ours(job: Listed) -> bool:
            return _mark(job.fields) == submission.part.mark and file in (None, job.fields.get("input_file_id"))

        return await FILES.find(origin, JOBS.pages(origin), submission, ours)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin, path = self._origin(account), f"batches/{job}"
        found = (await known(origin.request("GET", path), path)).fields()
        state, end = _state(found)
        counts = found.get("request_counts")
        counts = counts if isinstance(counts, dict) else {}
        completed, failed = (believed(counts.get(name), part.lines) for name in ("completed", "failed"))
        ids = {name: identifier(found, f"{name}_file_id") for name in ("output", "error")}
        if state is JobState.FAILED and (counts.get("completed") or any(ids.values())):
            state, end = JobState.ENDED, JobEnd.COMPLETED  # paid answers may exist, whatever the word says
        results, missing = named_results(ids, end, completed, failed, suffix=results_suffix(part.partition))
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
        """Store the output and the error file, whichever exist, verified against the size that the service names."""
        origin, names = self._origin(account), []
        for name, file in status.results.items():
            names.append(f"{name}.jsonl")
            await bring(origin, file, folder / names[-1], status)
        return tuple(names)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin, path = self._origin(account), f"batches/{job}"

        async def look() -> JobState:
            return _state((await known(origin.request("GET", path), path)).fields())[0]

        await ask_to_cancel(origin.request("POST", f"{path}/cancel"), look)

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


def _state(job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    return meant(STATES, str(job.get("status", "")).lower())


def _mark(job: Mapping[str, Any]) -> str | None:
    metadata = job.get("metadata")
    mark = metadata.get(MARK_KEY) if isinstance(metadata, dict) else None
    return mark if isinstance(mark, str) else None


VOYAGE = Voyage()
