"""Together's batch lane: OpenAI's bodies in lines of its own, jobs without a label in a list without pages.

Sources: types of the official SDK, 3.1.1; "Batch", docs.together.ai, copy of 2026-11-29; Together's own agent skill of
2026-08-18; captures of 2026-09-02 where marked. There is no idempotency key, no name and no metadata: a job is found
again by the id of its input file, which one upload of one part alone has, in the list of all jobs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

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
    TryLater,
)
from proxy_plugin.providers.calls import ask_to_cancel, gone, known, patiently
from proxy_plugin.providers.counts import meant
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.kept import bring
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.lanes.together_ai import refusals
from proxy_plugin.providers.lanes.together_ai.rows import request_line, result_row
from proxy_plugin.providers.listing import identifier

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 12 MB
    from proxy_plugin.providers.http import Origin

PURPOSE = "batch-api"
POLL_SECONDS = 30.0  # "Poll every 30-60 s"; a host of the operator's own is asked as often as the operator likes
STATES: Mapping[str, tuple[JobState, JobEnd | None]] = {
    "VALIDATING": (JobState.VALIDATING, None),
    "IN_PROGRESS": (JobState.RUNNING, None),
    "CANCELING": (JobState.CANCELLING, None),  # in no page and no SDK [captured]
    "CANCELLING": (JobState.CANCELLING, None),
    "COMPLETED": (JobState.ENDED, JobEnd.COMPLETED),
    "EXPIRED": (JobState.ENDED, JobEnd.EXPIRED),
    "CANCELLED": (JobState.ENDED, JobEnd.CANCELLED),
    "FAILED": (JobState.FAILED, None),
}
SPOILED = frozenset({"FAILED", "INVALID_FORMAT"})  # `processing_status` of a file, SDK 3.1.1
_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class TogetherCredentials(KeyCredentials):
    """An API key. `together_upload`: a signed PUT as the SDK uploads, or one form to `/files/upload` [captured]."""

    together_upload: Literal["signed", "direct"] = "signed"
    """How documents are uploaded: by a signed PUT, or as one form to `/files/upload`."""


CAPABILITIES = Capabilities(
    provider="together-ai",
    title="Together AI",
    endpoints=frozenset({"/v1/chat/completions"}),
    input_mode=InputMode.FILE,
    default_host="https://api.together.xyz/v1",  # api.together.ai/v1 answers the same [captured]
    api_base=ApiBase(cut=("/chat/completions", "/completions", "/embeddings")),
    max_lines=50_000,  # "Batch", limits; so are the next two
    max_bytes=100 * 10**6,  # "100 MB", not said whether 2**20: the smaller reading costs one more part at most
    max_line_bytes=10 * 10**6,
    one_model_per_job=True,  # the norm; whether models may be mixed is told nowhere
    accepts_label=True,  # the id of the input file stands for one
    known_by="our input file in its list",
    min_poll_seconds=0.0,  # `status` asks for POLL_SECONDS at Together's own host
    settle_seconds=900.0,  # our caution, no page names a bound
    caveats=(
        "Jobs carry no label: a lost one is found by the id of its input file.",
        "Listed models cost half in batches, the others their full price, which is what is shown here.",
        "Progress is told in percent: how many lines failed is known when the results are there.",
        "Whether a refused line failed for the client's or for a passing reason is told in words alone.",
    ),
)


class Together:
    """The batch lane of Together AI."""

    credentials: type[Credentials] = TogetherCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host and key."""
        return "\x1f".join((self._host(credentials), key_of(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Wrap the body as it is; only a target's model changes it."""
        self.capabilities.require(line.endpoint)
        return lightly(line, partial(request_line, target=target))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:  # noqa: ARG002 - rows come as they must go
        """Read a row of either file."""
        return result_row(line)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:  # noqa: ARG002
        """Upload the part as `pp-<mark>.jsonl`.

        An upload that was cut off is left behind: its record is there before its bytes are, so it proves nothing.
        """
        origin = self._origin(account)
        fields = {"purpose": PURPOSE, "file_name": _filename(part), "file_type": "jsonl"}
        try:
            if cast("TogetherCredentials", account.credentials).together_upload == "direct":
                stored = (await origin.upload("files/upload", fields, part.path, _filename(part))).fields()
            else:
                stored = await _put(origin, fields, part)
        except Refused as refused:
            raise refusals.of_upload(refused) from None
        if stored.get("processing_status") in SPOILED:
            raise refusals.of_file(origin, stored)
        file = identifier(stored)
        if file is None or stored.get("bytes") not in (None, part.bytes):
            raise TryLater(f"upload of {_filename(part)}: the reply names no file of {part.bytes} bytes")
        return {"file": file}

    async def fence(self, account: Account) -> str | None:  # noqa: ARG002
        """None: the list has no pages, and an input file is one job's alone."""
        return None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the batch. Nothing is validated here: what is wrong is told by the job [captured]."""
        part = submission.part
        order = {"input_file_id": submission.staged["file"], "endpoint": part.endpoint, "completion_window": "24h"}
        fields = (await self._origin(account).create("batches", json=order)).fields()
        inside = fields.get("job")
        job = identifier(inside if isinstance(inside, dict) else fields)
        if job is None:
            raise OutcomeUnknown("a create was answered without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Look for our input file among all jobs; the control is that file, seen under its name by the same key."""
        origin, file = self._origin(account), submission.staged["file"]
        try:
            reply = await patiently(partial(origin.request, "GET", "batches"))
        except Refused:
            return Sighting((), control=False, listed=False)
        jobs = tuple(job for job, fields in _listed(reply.json) if fields.get("input_file_id") == file)
        try:
            stored = (await patiently(partial(origin.request, "GET", f"files/{file}"))).fields()
        except Refused:
            return Sighting(jobs, control=False)
        return Sighting(jobs, stored.get("filename") == _filename(submission.part))

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404.

        The mark is the part's own: a job shows only the id of its file, by which it was made or found.
        """
        origin = self._origin(account)
        found = (await known(origin.request("GET", f"batches/{job}"), f"batches/{job}")).fields()
        state, end = _state(found)
        names = {"output": found.get("output_file_id"), "error": found.get("error_file_id")}
        results = {name: file for name in names if (file := identifier(names, name))}
        if state is JobState.FAILED and results:
            state, end = JobState.ENDED, JobEnd.COMPLETED
        return JobStatus(
            state=state,
            mark=part.mark,
            end=end,
            completed=_done(found, part) if state is JobState.RUNNING else None,
            results=results,
            refusal=refusals.of_job(origin, found) if state is JobState.FAILED else None,
            poll_after=POLL_SECONDS if account.credentials.custom_host is None else None,
            unnamed=end is JobEnd.COMPLETED and not results,
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Store `output.jsonl` and `error.jsonl`, whichever exist, each verified against the size that is told."""
        origin, names = self._origin(account), []
        for name, file in status.results.items():
            names.append(f"{name}.jsonl")
            facts = {"file": file, "reading": status.reading}
            await bring(folder / names[-1], facts, partial(_download, origin, file, folder / names[-1], status))
        return tuple(names)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin = self._origin(account)

        async def look() -> JobState:
            return _state((await origin.request("GET", f"batches/{job}")).fields())[0]

        await ask_to_cancel(origin.request("POST", f"batches/{job}/cancel"), look)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the input file: a job that is accepted late then fails to download it [captured] and runs nothing."""
        origin, path = self._origin(account), f"files/{submission.staged['file']}"
        if not await gone(origin.request("DELETE", path)) and not await gone(origin.request("GET", path)):
            raise TryLater(f"/{path} is still there after its deletion")

    async def probe(self, account: Account) -> None:
        """Read the head of the list of jobs."""
        await self._origin(account).request("GET", "batches")

    def _origin(self, account: Account) -> Origin:
        secret = {"Authorization": f"Bearer {key_of(account.credentials)}"}
        return account.origin(self._host(account.credentials), secret)

    def _host(self, credentials: Credentials) -> str:
        return self.capabilities.host(credentials)


async def _put(origin: Origin, fields: Mapping[str, str], part: PartFile) -> dict[str, Any]:
    """Upload as the SDK does: ask where to, PUT the bytes there without our key, and say that they are there."""
    reply = await patiently(partial(origin.pointed, "files", fields))
    file = reply.headers.get("X-Together-File-Id", "")
    if not _FILE_ID.fullmatch(file):
        raise TryLater("an upload was answered without the id of a file")
    await patiently(partial(origin.link(reply.headers.get("Location", "")).put, part.path))
    return (await patiently(partial(origin.request, "POST", f"files/{file}/preprocess"))).fields()


async def _download(origin: Origin, file: str, to: Path, status: JobStatus) -> None:
    size = (await patiently(partial(origin.request, "GET", f"files/{file}"))).fields().get("bytes")
    await patiently(partial(origin.download, f"files/{file}/content", to, None if status.last else _size(size)))


def _size(told: object) -> int | None:
    return told if isinstance(told, int) and told > 0 else None


def _listed(found: object) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the jobs of the bare array. One that cannot be understood would look like a job that is not there."""
    if isinstance(found, dict):
        found = found.get("data")
    if not isinstance(found, list):
        raise TryLater("a list without usable records")
    records = [(identifier(each) if isinstance(each, dict) else None, each) for each in found]
    if not all(job for job, _ in records):
        raise TryLater("a list without usable records")
    return [(job, each) for job, each in records if job]


def _state(job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    return meant(STATES, str(job.get("status", "")).upper())


def _done(job: Mapping[str, Any], part: PartFile) -> int | None:
    """Return how many lines a share of 0 to 100 is."""
    share = job.get("progress")
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 100:
        return None
    return int(part.lines * share / 100)


def _filename(part: PartFile) -> str:
    return f"pp-{part.mark}.jsonl"


TOGETHER = Together()
