"""Fireworks' batch lane: datasets in and out, jobs whose ids we choose.

Sources: types of the official SDK, 1.2.30, and its `lib/dataset_upload.py` (signed upload); "Batch inference" guide and
API reference, docs.fireworks.ai, copies of 2026-11-29; captures of 2026-08-30 where marked.

A chosen id is the best mark there is: a create that is sent again is refused, and a look-up is one GET. There is no
cancel but the deletion of a job, after which nothing tells of it: its input is deleted before it, so that a job that is
not found and whose input is not found either is one that was cancelled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
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
    Refused,
    Row,
    Short,
    Sighting,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.calls import gone, patiently, ready
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.kept import bring
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.lanes.fireworks_ai import refusals
from proxy_plugin.providers.lanes.fireworks_ai.rows import request_line, result_row

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 12 MB
    from proxy_plugin.providers.http import Origin

JOBS, DATASETS, FILE = "batchInferenceJobs", "datasets", "input.jsonl"
PREFIX = "JOB_STATE_"
ENDS: Mapping[str, JobEnd] = {
    "COMPLETED": JobEnd.COMPLETED,
    "EXPIRED": JobEnd.EXPIRED,
    "EARLY_STOPPED": JobEnd.EXPIRED,
    "CANCELLED": JobEnd.CANCELLED,
}
STATES: Mapping[str, JobState] = {
    **dict.fromkeys(("UNSPECIFIED", "VALIDATING", "CREATING_INPUT_DATASET"), JobState.VALIDATING),
    **dict.fromkeys(("PENDING", "CREATING", "RUNNING", "RE_QUEUEING", "IDLE", "PAUSED"), JobState.RUNNING),
    "WRITING_RESULTS": JobState.FINALIZING,
    **dict.fromkeys(("CANCELLING", "DELETING", "DELETING_CLEANING_UP"), JobState.CANCELLING),
    **dict.fromkeys(ENDS, JobState.ENDED),
    "FAILED": JobState.FAILED,
}


class FireworksCredentials(KeyCredentials):
    """An API key, and the id of its account, which is part of every URL."""

    fireworks_account_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")
    """The account, which every path names. Example: my-account"""


CAPABILITIES = Capabilities(
    provider="fireworks-ai",
    title="Fireworks AI",
    endpoints=frozenset({"/v1/chat/completions"}),
    input_mode=InputMode.FILE,
    default_host="https://api.fireworks.ai",
    api_base=ApiBase(cut=("/chat/completions", "/completions", "/embeddings", "/inference/v1", "/v1")),
    model_patterns=("accounts/fireworks/models/*",),
    max_bytes=500 * 10**6,  # copies of the guide differ: 500 MB, 1 GB, 80 GiB
    one_model_per_job=True,  # the model is the job's; lines have none
    accepts_label=True,  # the chosen id
    known_by="the job id that we chose",
    min_poll_seconds=0.0,  # no page names a bound
    settle_seconds=60.0,  # our caution; a create that comes later finds its id taken
    results_kept_seconds=24 * 3600,  # retention is told nowhere: our caution
    discount=0.5,
    caveats=(
        "A cancelled job is deleted there: answers it has by then are lost unless its output stays readable.",
        "A line that Fireworks cannot read fails its whole job; which one it is has to be searched for.",
        "A job for a model that cannot run in batches may wait until it expires after 24 hours.",
        "max_tokens beyond the model's own limit is lowered there without a word.",
    ),
)


class Fireworks:
    """The batch lane of Fireworks AI."""

    credentials: type[Credentials] = FireworksCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host, key and account id."""
        return "\x1f".join((self._host(credentials), key_of(credentials), _account_id(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:  # noqa: ARG002 - the model is the job's
        """Wrap the body without its model."""
        self.capabilities.require(line.endpoint)
        return lightly(line, request_line)

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:  # noqa: ARG002 - rows come as they must go
        """Read a row of any file of the output dataset."""
        return result_row(line)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:  # noqa: ARG002
        """Make the dataset `pp-<mark>` and put the part there by a signed URL; both may be done again.

        A dataset that is ready is whole, whoever asks: it may be one of an earlier job of this part.
        """
        origin, name = self._origin(account), _name(part)
        try:
            if not await _is_ready(origin, name):
                await _upload(origin, name, part)
        except Refused as refused:
            raise refusals.of_document(refused) from None
        if not await ready(partial(_is_ready, origin, name), f"dataset {name}"):
            raise TryLater(f"dataset {name} is not there")
        return {"dataset": name}

    async def fence(self, account: Account) -> str | None:  # noqa: ARG002
        """None: a job is looked up by its id."""
        return None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the job under the id `pp-<mark>`. One that is there already is an outcome to be looked up."""
        name, root = submission.staged["dataset"], f"accounts/{_account_id(account.credentials)}/{DATASETS}"
        order = {
            "model": submission.part.model,
            "inputDatasetId": f"{root}/{name}",
            "outputDatasetId": f"{root}/{_output(name)}",  # chosen too: answers are found without the job
            "displayName": name,
        }
        try:
            reply = await self._origin(account).create(JOBS, json=order, params={"batchInferenceJobId": name})
        except Refused as refused:
            if refusals.is_there(refused):
                raise OutcomeUnknown(f"POST /{JOBS}: the id is taken") from None
            raise refusals.of_document(refused) from None
        if _last(reply.fields().get("name")) != name:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without the chosen id")
        return name

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Ask for the job by its id; the control is its input dataset, seen by the same key."""
        origin, name = self._origin(account), submission.staged["dataset"]
        try:
            if not await gone(patiently(partial(origin.request, "GET", f"{JOBS}/{name}"))):
                return Sighting((name,), control=True)
            shown = not await gone(patiently(partial(origin.request, "GET", f"{DATASETS}/{name}")))
        except Refused:
            return Sighting((), control=False, listed=False)
        return Sighting((), control=shown)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404, unless it was cancelled: then it has ended."""
        origin = self._origin(account)
        try:
            found = (await origin.request("GET", f"{JOBS}/{job}")).fields()
        except Refused as refused:
            if refused.status != 404:
                raise
            return await _deleted(origin, job)
        state, end = _state(found)
        completed, failed = (_count(found, name, part) for name in ("successfullyProcessedRequests", "failedRequests"))
        output = _last(found.get("outputDatasetId"))
        if state is JobState.FAILED and completed:
            state, end = JobState.ENDED, JobEnd.COMPLETED
        return JobStatus(
            state=state,
            mark=(_last(found.get("name")) or "").removeprefix("pp-"),
            end=end,
            completed=completed,
            failed=failed,
            results={"dataset": output} if output else {},
            refusal=refusals.of_job(origin, found) if state is JobState.FAILED else None,
            unnamed=end is JobEnd.COMPLETED and not output,
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Store every file of the output dataset. Its URLs are good for 10 minutes: each try asks for new ones."""
        origin, names = self._origin(account), []
        for dataset in status.results.values():
            path = f"{DATASETS}/{dataset}:getDownloadEndpoint"
            reply = await patiently(partial(origin.request, "GET", path))
            links = _links(reply.fields())
            if not links and not status.last:
                raise Short(f"GET /{path}: no files yet")
            for file, url in links.items():
                names.append(f"{hashlib.sha256(file.encode()).hexdigest()[:12]}.jsonl")
                get = partial(patiently, partial(origin.link(url).get, folder / names[-1]))
                await bring(folder / names[-1], {"file": file, "reading": status.reading}, get)
        return tuple(names)

    async def cancel(self, account: Account, job: str) -> None:
        """Delete the job, which is all that can be done, and before it its input, as a sign that we did.

        One that has ended is left alone: its answers are paid for.
        """
        origin = self._origin(account)
        reply = await patiently(partial(origin.request, "GET", f"{JOBS}/{job}"))
        if _state(reply.fields())[0] in {JobState.ENDED, JobState.FAILED, JobState.CANCELLING}:
            return
        with suppress(Refused):  # it is gone, or kept while its job runs: then the job alone tells
            await patiently(partial(origin.request, "DELETE", f"{DATASETS}/{job}"))
        await gone(patiently(partial(origin.request, "DELETE", f"{JOBS}/{job}")))

    async def probe(self, account: Account) -> None:
        """Read the head of the list of jobs."""
        await self._origin(account).request("GET", JOBS, params={"pageSize": "1"})

    def _origin(self, account: Account) -> Origin:
        secret = {"Authorization": f"Bearer {key_of(account.credentials)}"}
        base = f"{self._host(account.credentials)}/v1/accounts/{_account_id(account.credentials)}"
        return account.origin(base, secret)

    def _host(self, credentials: Credentials) -> str:
        return self.capabilities.host(credentials)


async def _upload(origin: Origin, name: str, part: PartFile) -> None:
    """Upload as the SDK does. All of it may be repeated: the same file is written to the same place."""
    dataset = {"datasetId": name, "dataset": {"userUploaded": {}, "exampleCount": str(part.lines)}}
    try:
        await patiently(partial(origin.request, "POST", DATASETS, json=dataset))
    except (Refused, TryLater) as error:
        if not refusals.is_there(error):
            raise
    path, size = f"{DATASETS}/{name}:getUploadEndpoint", str(part.bytes)
    reply = await patiently(partial(origin.request, "POST", path, json={"filenameToSize": {FILE: size}}))
    url = _links(reply.fields()).get(FILE, "")
    signed = {"X-Goog-Content-Length-Range": f"{size},{size}"}
    await patiently(partial(origin.link(url).put, part.path, signed))
    await patiently(partial(origin.request, "POST", f"{DATASETS}/{name}:validateUpload", json={}))


async def _is_ready(origin: Origin, name: str) -> bool | None:
    """Return whether a dataset may be read by a job; None while it is being looked into, False where there is none."""
    try:
        reply = await patiently(partial(origin.request, "GET", f"{DATASETS}/{name}"))
    except Refused as refused:
        if refused.status != 404:
            raise
        return False
    return True if reply.fields().get("state") == "READY" else None


async def _deleted(origin: Origin, job: str) -> JobStatus:
    """Read what it means that a job is not found. An account that shows its jobs, and not its input, has lost both."""
    if not await gone(patiently(partial(origin.request, "GET", f"{DATASETS}/{job}"))):
        raise TryLater(f"/{JOBS}/{job}: not found", status=404)
    await patiently(partial(origin.request, "GET", JOBS, params={"pageSize": "1"}))
    left = await _is_ready(origin, _output(job))
    results = {"dataset": _output(job)} if left else {}
    return JobStatus(JobState.ENDED, mark=job.removeprefix("pp-"), end=JobEnd.CANCELLED, results=results)


def _state(job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    word = str(job.get("state") or "UNSPECIFIED").removeprefix(PREFIX)
    return meant(STATES, word), ENDS.get(word)


def _count(job: Mapping[str, Any], name: str, part: PartFile) -> int | None:
    """Return a count of the progress, which may be absent early; whole numbers may be written as texts."""
    progress = job.get("jobProgress")
    told = progress.get(name) if isinstance(progress, dict) else None
    if isinstance(told, str) and told.isascii() and told.isdigit() and len(told) < 20:
        told = int(told)
    return believed(told, part.lines)


def _links(fields: Mapping[str, Any]) -> dict[str, str]:
    found = fields.get("filenameToSignedUrls")
    pairs = sorted(found.items()) if isinstance(found, dict) else []
    return {name: url for name, url in pairs if isinstance(url, str)}


def _last(name: object) -> str | None:
    """Return the id at the end of a resource name; None where it could not stand in a path."""
    text = name.rpartition("/")[2] if isinstance(name, str) else ""
    return text if text.replace("-", "").replace("_", "").isalnum() and text.isascii() else None


def _name(part: PartFile) -> str:
    return f"pp-{part.mark}"


def _output(name: str) -> str:
    return f"{name}-out"


def _account_id(credentials: Credentials) -> str:
    return cast("FireworksCredentials", credentials).fireworks_account_id


FIREWORKS = Fireworks()
