"""Anthropic's Message Batches: requests travel inside the create, results come as one stream of lines.

Sources: "Batch processing", "Versions", "Errors" and "Rate limits", Claude Platform documentation, copies of
2026-09-26; types of the official SDK, 2.11; captures of 2026-09-02 where marked.

A job has no label, no name and no idempotency key; only its results carry our ids. A lost create is looked for among
the jobs of the right size behind the fence, and `confirm` reads from the results whose they are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import AfterValidator, Field, SecretStr, field_validator

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
    LineRejected,
    Native,
    OutcomeUnknown,
    PartFile,
    Refused,
    Row,
    Sighting,
    Submission,
    Target,
    TryLater,
    split_native_id,
)
from proxy_plugin.providers.formats.openai.through_chat import ENDPOINTS
from proxy_plugin.providers.lanes.anthropic.rows import count_rows, custom_id_of, request_element, result_row

# What needs `providers.http` is imported where it runs: workers only translate and read rows, and aiohttp costs each
# of them 12 MB and 0.15 s [measured, Python 3.11].
if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

BATCHES = "messages/batches"
RESULTS = "results.jsonl"
PAGE = 1000  # the most a list of batches returns at once
MOST_PAGES = 100
LISTING_SLACK = 60.0  # seconds
STATES: Mapping[str, JobState] = {
    "in_progress": JobState.RUNNING,
    "canceling": JobState.CANCELLING,
    "ended": JobState.ENDED,
}
OUTCOMES = ("succeeded", "errored", "canceled", "expired")  # counters, all 0 until the whole job has ended

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def _trimmed(key: SecretStr) -> SecretStr:
    text = key.get_secret_value().strip()  # keys read from files end with a newline
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("a key is printable ASCII text")
    return SecretStr(text)


class AnthropicCredentials(Credentials):
    """An API key of one workspace, and the version of the API it is used with.

    Version 2026-10-21 refuses what the translation may send, sampling parameters first: the default is the one before.
    """

    api_key: Annotated[SecretStr, AfterValidator(_trimmed)]
    anthropic_version: str = Field("2023-06-01", pattern=r"^\d{4}-\d{2}-\d{2}$")
    anthropic_beta: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+( *, *[A-Za-z0-9._-]+)*$")  # of whole batches

    @field_validator("custom_host")
    @classmethod
    def _plain_host(cls, host: str | None) -> str | None:
        from proxy_plugin.providers.http import plain_url  # noqa: PLC0415 - see above

        return None if host is None else plain_url(host)


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

    def shown_by(self, page: _Page) -> bool:
        """Whether a page of the list proves that the same account answers.

        Where it had no job, the organisation must do: of two workspaces of one organisation it cannot tell which.
        """
        if self.job:
            return any(job.id == self.job for job in page.jobs)
        return bool(self.organization) and page.organization == self.organization


@dataclass(frozen=True, slots=True)
class _Listed:
    """A job as the list shows it. `lines`: its requests, whatever became of them; None where that is not told."""

    id: str
    created: float
    lines: int | None


@dataclass(frozen=True, slots=True)
class _Page:
    organization: str
    jobs: list[_Listed]
    more: bool


class Anthropic:
    """The batch lane of the Messages API."""

    credentials: type[Credentials] = AnthropicCredentials
    capabilities = Capabilities(
        provider="anthropic",
        title="Anthropic",
        endpoints=ENDPOINTS,
        input_mode=InputMode.INLINE,
        default_host="https://api.anthropic.com/v1",
        model_patterns=("claude-*",),
        framing=Framing(b'{"requests":[', b",", b"]}"),
        max_lines=100_000,  # "Batch limitations", 2026-09-26; so is the next
        max_bytes=256 * 10**6,  # "256 MB", not said whether 2**20: the smaller reading costs one more part at most
        accepts_label=False,
        min_poll_seconds=0.0,  # no page names a bound; replies do (`retry-after: 10`, captured), `status` passes it on
        settle_seconds=900.0,  # our caution, no page names a bound
        results_kept_seconds=29 * 86400,  # since the job was created, not since it ended
        discount=0.5,
        caveats=(
            "Results are deleted 29 days after the job was created.",
            "Jobs carry no label: after a lost reply a job is known for certain only when it has ended.",
            "Progress is not told: until the whole job has ended, no line counts as done.",
            "Lines of /v1/responses and /v1/completions run as chat; what chat cannot express is refused by name.",
            "The API version is 2023-06-01 unless the account names another; 2026-10-21 refuses temperature and top_p.",
        ),
    )

    def account_key(self, credentials: Credentials) -> str:
        """Return host and key."""
        return "\x1f".join((self._host(credentials), _key(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return one element of `requests`, a Messages request under our id."""
        if line.endpoint not in ENDPOINTS:
            message = f"Anthropic does not run {line.endpoint} in batches"
            raise LineRejected(message, code="unsupported_endpoint", param="url")
        return request_element(line, target)

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:  # noqa: ARG002 - there is one file
        """Read a result of any kind; messages become what the endpoint answers, errors OpenAI's."""
        return result_row(line, endpoint)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:  # noqa: ARG002
        """Lines go inline: there is nothing to stage."""
        return {}

    async def fence(self, account: Account) -> str | None:
        """Return a `Fence` as text; None if the account has no job and its organisation is not told."""
        page = await _page(self._origin(account), {"limit": "1"})
        newest = page.jobs[0] if page.jobs else _Listed("", 0.0, None)
        fence = Fence(page.organization, newest.id, newest.created)
        return None if fence == Fence() else str(fence)

    async def create(self, account: Account, submission: Submission) -> str:
        """Send the part's document from disk."""
        reply = await self._origin(account).create(BATCHES, document=submission.part.path)
        job = _identifier(reply.fields())
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Return the jobs of the right size that were created since the fence; the control is the fence itself."""
        fence, lines = Fence.read(submission.fence), submission.part.lines
        jobs, control = list[str](), False
        try:
            async for page in _since(self._origin(account), fence):
                control = control or fence.shown_by(page)
                newer = (job for job in page.jobs if job.created >= fence.created and job.id != fence.job)
                jobs += [job.id for job in newer if job.lines in (None, lines)]
        except Refused:
            return Sighting(tuple(jobs), control=False, listed=False)
        return Sighting(tuple(jobs), control)

    async def confirm(self, account: Account, job: str, part: PartFile) -> bool | None:
        """Compare the mark of the first result. Deleted jobs and archived results are `Refused` with status 404."""
        origin = self._origin(account)
        if _state((await origin.request("GET", f"{BATCHES}/{job}")).fields()) is not JobState.ENDED:
            return None
        line = await origin.first_line(_results(job))
        try:
            split = split_native_id(custom_id_of(line))
        except ValueError:
            raise TryLater(f"GET /{_results(job)}: the first line is no result") from None
        return split is not None and split[0] == part.mark

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:  # noqa: ARG002
        """Poll. A job that is not found is `TryLater` with status 404."""
        try:
            reply = await self._origin(account).request("GET", f"{BATCHES}/{job}")
        except Refused as error:
            if error.status != 404:
                raise
            raise TryLater(f"/{BATCHES}/{job}: not found", status=404) from None
        found = reply.fields()
        state = _state(found)
        if state is not JobState.ENDED:
            return JobStatus(state, poll_after=reply.pause())
        return _ended(found)

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:
        """Store `results.jsonl`, from the configured host: `results_url` could name another one.

        The stream has no length, so its rows are counted. One that ends in the middle of a row, or is empty, was cut.
        Whole rows that are too few may be all there are: that is believed when a second reading agrees.
        """
        origin, to, announced = self._origin(account), folder / RESULTS, int(status.results.get("rows", "0"))
        rows = await _stored(origin, job, to)
        if rows < announced and (rows == 0 or await _stored(origin, job, to) != rows):
            await asyncio.to_thread(to.unlink)
            raise TryLater(f"GET /{_results(job)}: {rows} rows arrived, {announced} were announced")
        return (RESULTS,)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation; a refusal is no error when the job turns out to be over or being cancelled."""
        origin = self._origin(account)
        try:
            await origin.request("POST", f"{BATCHES}/{job}/cancel")
        except (Refused, TryLater) as error:
            if error.status not in {400, 409}:
                raise
            if _state((await origin.request("GET", f"{BATCHES}/{job}")).fields()) is JobState.RUNNING:
                raise

    def _origin(self, account: Account) -> Origin:
        credentials = cast("AnthropicCredentials", account.credentials)
        headers = {"anthropic-version": credentials.anthropic_version}
        if credentials.anthropic_beta:
            headers["anthropic-beta"] = credentials.anthropic_beta
        name = f"{account.slug}\x1f{account.fingerprint}"  # accounts of different callers may share a slug
        return account.http.origin(name, self._host(credentials), {"x-api-key": _key(credentials)}, headers)

    def _host(self, credentials: Credentials) -> str:
        return credentials.custom_host or self.capabilities.default_host


def _key(credentials: Credentials) -> str:
    return cast("AnthropicCredentials", credentials).api_key.get_secret_value()


def _results(job: str) -> str:
    return f"{BATCHES}/{job}/results"


def _identifier(record: Mapping[str, Any]) -> str | None:
    """Return a record's id if it can stand in a path."""
    found = record.get("id")
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def _state(job: Mapping[str, Any]) -> JobState:
    word = str(job.get("processing_status", ""))
    state = STATES.get(word)
    if state is None:
        raise TryLater(f"unknown batch status {word if word.isidentifier() else ''}")
    return state


def _ended(job: Mapping[str, Any]) -> JobStatus:
    """Say why a job is over. A cancel that came too late to stop anything is none."""
    counts = _counts(job)
    known = all(name in counts for name in OUTCOMES)
    end = JobEnd.COMPLETED
    if job.get("cancel_initiated_at") and counts.get("canceled"):
        end = JobEnd.CANCELLED
    elif counts.get("expired"):
        end = JobEnd.EXPIRED
    return JobStatus(
        JobState.ENDED,
        end=end,
        completed=counts.get("succeeded"),
        failed=sum(counts[name] for name in OUTCOMES[1:]) if known else None,
        results={"rows": str(sum(counts[name] for name in OUTCOMES))} if known else {},
    )


def _counts(job: Mapping[str, Any]) -> dict[str, int]:
    counts = job.get("request_counts")
    found = counts.items() if isinstance(counts, dict) else ()
    return {name: count for name, count in found if isinstance(count, int) and count >= 0}


def _listed(record: object) -> _Listed:
    """Raises TryLater for a record without id and time: a list that cannot be understood is not an empty one."""
    job = record if isinstance(record, dict) else {}
    name, created, counts = _identifier(job), _seconds(job.get("created_at")), _counts(job)
    if name is None or created is None:
        raise TryLater("a list without usable records")
    return _Listed(name, created, sum(counts.values()) if counts else None)


def _seconds(text: object) -> float | None:
    """Read an RFC 3339 time as Unix seconds."""
    try:
        time = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


async def _page(origin: Origin, params: Mapping[str, str]) -> _Page:
    reply = await origin.request("GET", BATCHES, params=params)
    data, more = reply.fields().get("data"), reply.fields().get("has_more")
    if not isinstance(data, list):
        raise TryLater("a list without usable records")
    organization = reply.headers.get("anthropic-organization-id", "")
    more = more if isinstance(more, bool) else len(data) >= int(params["limit"])
    return _Page(organization if _ID.fullmatch(organization) else "", [_listed(record) for record in data], more)


async def _since(origin: Origin, fence: Fence) -> AsyncIterator[_Page]:
    """Yield the list, newest first, down to the fence and a minute beyond: many machines give the times.

    Raises Refused when it does not end.
    """
    cursor: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        page = await _page(origin, {"limit": str(PAGE), **cursor})
        yield page
        if not page.more or not page.jobs or page.jobs[-1].created < fence.created - LISTING_SLACK:
            return
        cursor = {"after_id": page.jobs[-1].id}
    raise Refused("the list is too long to be read", code="list_too_long")


async def _stored(origin: Origin, job: str, to: Path) -> int:
    """Store the results and count them. Raises TryLater, and leaves nothing, when the last row has no end."""
    await origin.download(_results(job), to)
    try:
        return await asyncio.to_thread(count_rows, to)
    except ValueError:
        await asyncio.to_thread(to.unlink)
        raise TryLater(f"GET /{_results(job)}: the results end in the middle of a row") from None


ANTHROPIC = Anthropic()
