"""Anthropic's Message Batches: requests travel inside the create, results come as one stream of lines.

Sources: "Batch processing", "Versions", "Errors" and "Rate limits", Claude Platform documentation, copies of
2026-09-26; types of the official SDK, 2.11; captures of 2026-09-02 where marked.

A job has no label, no name and no idempotency key; only its results carry our ids. A lost create is looked for among
the jobs of the right size behind the fence, and `confirm` reads from the results whose they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from proxy_plugin.providers.api_base import ApiBase
from proxy_plugin.providers.base import (
    Account,
    Capabilities,
    Credentials,
    Framing,
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
    split_request_id,
)
from proxy_plugin.providers.calls import ask_to_cancel, known, patiently
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.formats.openai.through_chat import CHAT, ENDPOINTS
from proxy_plugin.providers.kept import note, noted
from proxy_plugin.providers.keys import HostCredentials, KeyCredentials, key_of
from proxy_plugin.providers.lanes.anthropic import refusals
from proxy_plugin.providers.lanes.anthropic.rows import (
    MESSAGES,
    custom_id_of,
    ends_whole,
    request_element,
    result_row,
    results_name,
)
from proxy_plugin.providers.listing import Listed, Listing, Page, identifier, rfc_3339

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 12 MB
    from proxy_plugin.providers.http import Origin
    from proxy_plugin.providers.signing.accounts import Proof

BATCHES = "messages/batches"
JOBS = Listing(BATCHES, 1000, "after_id", rfc_3339)  # the most that a list of batches returns at once
STATES: Mapping[str, JobState] = {
    "in_progress": JobState.RUNNING,
    "canceling": JobState.CANCELLING,
    "ended": JobState.ENDED,
}
OUTCOMES = ("succeeded", "errored", "canceled", "expired")  # counters, all 0 until the whole job has ended


class VersionCredentials(HostCredentials):
    """The version of the API that an account is used with.

    Version 2026-10-21 refuses what the translation may send, sampling parameters first: the default is the one before.
    """

    anthropic_version: str = Field("2023-06-01", pattern=r"^\d{4}-\d{2}-\d{2}$")
    """The version of the API, a day."""
    anthropic_beta: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+( *, *[A-Za-z0-9._-]+)*$")
    """Beta features, for whole batches. Example: context-1m-2025-08-07"""


class AnthropicCredentials(VersionCredentials, KeyCredentials):
    """An API key of one workspace."""


CAPABILITIES = Capabilities(
    provider="anthropic",
    title="Anthropic",
    endpoints=ENDPOINTS | {MESSAGES},
    native={MESSAGES: CHAT},
    input_mode=InputMode.INLINE,
    default_host="https://api.anthropic.com/v1",
    model_patterns=("claude-*",),
    # LiteLLM adds /v1/messages unless it is there (`main.py`), and knows bases with /v1 too (`wif.py`; 1.106.2).
    api_base=ApiBase(cut=("/batches", "/messages", "/v1"), added="/v1"),
    framing=Framing(b'{"requests":[', b",", b"]}"),
    max_lines=100_000,  # "Batch limitations", 2026-09-26; so is the next
    max_bytes=256 * 10**6,  # "256 MB", not said whether 2**20: the smaller reading costs one more part at most
    accepts_label=False,
    min_poll_seconds=0.0,  # no page names a bound; replies do (`retry-after: 10`, captured), `status` passes it on
    settle_seconds=900.0,  # our caution, no page names a bound
    results_kept_seconds=29 * 86400,  # since the job was created, not since it ended
    discount=0.5,
    billing_codes=frozenset({"billing_error"}),  # "Errors", 2026-09-26: 402; older pages 403 or 400
    caveats=(
        "Results are deleted 29 days after the job was created.",
        "Jobs carry no label: after a lost reply a job is known for certain only when it has ended.",
        "Progress is not told: until the whole job has ended, no line counts as done.",
        "Lines of /v1/responses and /v1/completions run as chat; what chat cannot express is refused by name.",
        "Lines of /v1/messages go as they are, and are answered as chat: as messages where the create asked for it.",
        "The API version is 2023-06-01 unless the account names another; 2026-10-21 refuses temperature and top_p.",
    ),
)


class Anthropic:
    """The batch lane of the Messages API, for whoever serves it: see `services/` for those beside Anthropic itself."""

    credentials: type[Credentials] = AnthropicCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host and key."""
        return "\x1f".join((self._host(credentials), key_of(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return one element of `requests`, a Messages request under our id."""
        self.capabilities.require(line.endpoint)
        return lightly(line, partial(request_element, target=target))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read a result of any kind; messages become what the endpoint answers, errors OpenAI's."""
        return result_row(line, source, endpoint)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:  # noqa: ARG002
        """Lines go inline: there is nothing to stage."""
        return {}

    async def fence(self, account: Account) -> str | None:
        """Return a `Fence` as text; None if the account has no job and its organisation is not told."""
        page = await JOBS.newest(self._origin(account))
        newest = page.records[0] if page.records else Listed("", 0.0, {})
        fence = Fence(_organization(page), newest.id, newest.created)
        return None if fence == Fence() else str(fence)

    async def create(self, account: Account, submission: Submission) -> str:
        """Send the part's document from disk."""
        try:
            reply = await self._origin(account).create(BATCHES, document=submission.part.path)
        except Refused as refused:
            raise refusals.of_create(refused) from None
        job = identifier(reply.fields())
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Return the jobs of the right size that were created since the fence; the control is the fence itself."""
        fence, lines = Fence.read(submission.fence), submission.part.lines
        jobs, control = list[str](), False
        try:
            async for page in JOBS.since(self._origin(account), fence.job, fence.created):
                control = control or fence.shown_by(page)
                newer = (job for job in page.records if job.created >= fence.created and job.id != fence.job)
                jobs += [job.id for job in newer if _lines(job.fields) in (None, lines)]
        except Refused:
            return Sighting(tuple(jobs), control=False, listed=False)
        return Sighting(tuple(jobs), control)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        path = f"{BATCHES}/{job}"
        reply = await known(self._origin(account).request("GET", path), path)
        state = _state(reply.fields())
        if state is not JobState.ENDED:
            return JobStatus(state, poll_after=reply.pause())
        return _ended(reply.fields(), part)

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:
        """Store the results, from the configured host: `results_url` could name another one.

        The stream has no length: one that ends in the middle of a row was cut.
        """
        ended = status.results.get("ended")  # None where an earlier version asked for the status
        name = results_name(float(ended) if ended else None)
        to, facts = folder / name, {"reading": status.reading}
        if await asyncio.to_thread(noted, to) != facts:
            await asyncio.to_thread(note, to, facts, keep=False)
        if not await asyncio.to_thread(to.exists):
            await self._origin(account).download(_results(job), to)
        if not status.last and not await asyncio.to_thread(ends_whole, to):
            await asyncio.to_thread(to.unlink)
            raise Short(f"GET /{_results(job)}: the results end in the middle of a row")
        return (name,)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin = self._origin(account)

        async def look() -> JobState:
            return _state((await origin.request("GET", f"{BATCHES}/{job}")).fields())

        await ask_to_cancel(origin.request("POST", f"{BATCHES}/{job}/cancel"), look)

    async def confirm(self, account: Account, job: str, part: PartFile) -> bool | None:
        """Compare the mark of the first result. Deleted jobs and archived results are `Refused` with status 404."""
        origin = self._origin(account)
        reply = await patiently(lambda: origin.request("GET", f"{BATCHES}/{job}"))
        if _state(reply.fields()) is not JobState.ENDED:
            return None
        line = await patiently(lambda: origin.first_line(_results(job)))
        try:
            split = split_request_id(custom_id_of(line))
        except ValueError:
            raise Short(f"GET /{_results(job)}: the first line is no result") from None
        return split is not None and split.mark == part.mark

    def _origin(self, account: Account) -> Origin:
        secret, signer = self._proof(account)
        return account.origin(self._host(account.credentials), secret, self._told(account.credentials), signer=signer)

    def _proof(self, account: Account) -> Proof:
        return {"x-api-key": key_of(account.credentials)}, None

    def _told(self, credentials: Credentials) -> dict[str, str]:
        versions = cast("VersionCredentials", credentials)
        headers = {"anthropic-version": versions.anthropic_version}
        return headers | ({"anthropic-beta": versions.anthropic_beta} if versions.anthropic_beta else {})

    def _host(self, credentials: Credentials) -> str:
        return self.capabilities.host(credentials)


@dataclass(frozen=True, slots=True)
class Fence:
    """The newest job before a create, and the organisation that answered. As text, `organization|job|created`."""

    organization: str = ""
    job: str = ""
    created: float = 0.0  # Unix seconds

    def __str__(self) -> str:
        return f"{self.organization}|{self.job}|{self.created!r}"

    @classmethod
    def read(cls, text: str | None) -> Fence:
        """Return the fence that a submission holds; an empty one where it holds none."""
        if text is None:
            return cls()
        organization, job, created = text.split("|")
        return cls(organization, job, float(created))

    def shown_by(self, page: Page) -> bool:
        """Whether a page of the list proves that the same account answers.

        Where it had no job, the organisation must do: of two workspaces of one organisation it cannot tell which.
        """
        if self.job:
            return any(job.id == self.job for job in page.records)
        return bool(self.organization) and _organization(page) == self.organization


def _results(job: str) -> str:
    return f"{BATCHES}/{job}/results"


def _state(job: Mapping[str, Any]) -> JobState:
    return meant(STATES, str(job.get("processing_status", "")))


def _ended(job: Mapping[str, Any], part: PartFile) -> JobStatus:
    """Say why a job is over. A cancel that came too late to stop anything is none."""
    counts = {name: count for name, count in _counts(job).items() if count <= part.lines}
    told = all(name in counts for name in OUTCOMES)
    end = JobEnd.COMPLETED
    if job.get("cancel_initiated_at") and counts.get("canceled"):
        end = JobEnd.CANCELLED
    elif counts.get("expired"):
        end = JobEnd.EXPIRED
    return JobStatus(
        JobState.ENDED,
        end=end,
        completed=counts.get("succeeded"),
        failed=believed(sum(counts[name] for name in OUTCOMES[1:]), part.lines) if told else None,
        results=_moment(job),
    )


def _moment(job: Mapping[str, Any]) -> dict[str, str]:
    """Return when the job ended (Unix seconds): no result says so itself."""
    ended = rfc_3339(job.get("ended_at"))
    return {} if ended is None else {"ended": str(int(ended))}


def _counts(job: Mapping[str, Any]) -> dict[str, int]:
    counts = job.get("request_counts")
    found = counts.items() if isinstance(counts, dict) else ()
    return {name: count for name, count in found if isinstance(count, int) and count >= 0}


def _lines(job: Mapping[str, Any]) -> int | None:
    """Return how many requests a job has, whatever became of them; None where that is not told."""
    counts = _counts(job)
    return sum(counts.values()) if counts else None


def _organization(page: Page) -> str:
    return identifier(page.headers, "anthropic-organization-id") or ""


ANTHROPIC = Anthropic()
