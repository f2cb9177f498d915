"""Google's Gemini API: a file of lines goes up, a job names it and carries our mark, the results are a file again.

Sources: "Batch API", "Files API" and "Rate limits", ai.google.dev; google-genai 3.6.1; litellm 1.110.2,
`llms/gemini/batches` and `llms/gemini/files`; all as read for the reference page of 2026-11-29. There is no idempotency
key and no search: a job is found again by its display name together with its input file.

Every job gets a file, however small: what a lost create would read can then be deleted, and the file under its name
proves that the same project answers. Lines that travel in the create have neither. Results are read in both forms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from proxy_plugin.providers.apart import unpack
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
    ProviderError,
    Refused,
    Row,
    Sighting,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.calls import ask_to_cancel, known
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.formats.gemini.own_words import GENERATE
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.formats.openai.through_chat import CHAT, ENDPOINTS
from proxy_plugin.providers.kept import begin, bring
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.lanes.google import inline, refusals
from proxy_plugin.providers.lanes.google.files import JOBS, GoogleFiles, facts_of, id_in, number
from proxy_plugin.providers.lanes.google.rows import EMBEDDINGS, model_path, request_line, result_row, results_name
from proxy_plugin.providers.listing import Listed, rfc_3339

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 12 MB
    from proxy_plugin.providers.http import Origin

VERSIONS = ("v1beta", "v1")
STATES: Mapping[str, tuple[JobState, JobEnd | None]] = {  # behind BATCH_STATE_, or JOB_STATE_ as the SDK has them
    "QUEUED": (JobState.VALIDATING, None),
    "PENDING": (JobState.VALIDATING, None),
    "RUNNING": (JobState.RUNNING, None),
    "CANCELLING": (JobState.CANCELLING, None),
    "SUCCEEDED": (JobState.ENDED, JobEnd.COMPLETED),
    "PARTIALLY_SUCCEEDED": (JobState.ENDED, JobEnd.COMPLETED),
    "CANCELLED": (JobState.ENDED, JobEnd.CANCELLED),
    "EXPIRED": (JobState.ENDED, JobEnd.EXPIRED),
    "FAILED": (JobState.FAILED, None),
}
RESULTS = frozenset({"file", "inline"})  # where a job's results are, in what `status` tells `fetch`


class GoogleCredentials(KeyCredentials):
    """An API key of one project, and the version of the API, where neither the default nor that of the host is meant.

    Whether v1 has batches is UNVERIFIED; Google's SDK has used it since version 3.
    """

    api_version: Literal["v1beta", "v1"] | None = None
    """The version of the API; none: that of the host."""


CAPABILITIES = Capabilities(
    provider="google",
    title="Google Gemini API",
    endpoints=ENDPOINTS | {EMBEDDINGS, GENERATE},
    input_mode=InputMode.FILE,
    default_host="https://generativelanguage.googleapis.com/v1beta",
    native={GENERATE: CHAT},
    api_base=ApiBase(cut=("/models",)),
    max_bytes=2 * 10**9,  # "2 GB" a file, not said whether 2**30: the smaller reading costs one more part at most
    one_model_per_job=True,  # it stands in the path of the create
    accepts_label=True,
    min_poll_seconds=0.0,  # no page names a bound; the operator's poll_seconds_first counts
    settle_seconds=900.0,  # our caution, no page names a bound
    results_kept_seconds=48 * 3600,  # of every file; UNVERIFIED for those of results
    discount=0.5,
    billing_codes=frozenset({"BILLING_DISABLED"}),  # UNVERIFIED: google.rpc's word, on no page of this API
    wrong_key=("API_KEY_INVALID",),  # a 400, reference page, section 1
    caveats=(
        "Uploads are deleted after 48 hours, and so may results be; our uploads go as soon as results are here.",
        "A job that neither ran nor ended within 48 hours expires without results.",
        "Embeddings take one text a line.",
        "Whether a cancelled job keeps the answers it has is not documented; what it shows is taken.",
        "Limits of enqueued tokens by model and tier are answered with 429 and waited for.",
        "Lines of /v1/responses and /v1/completions run as chat; what chat cannot express is refused by name.",
    ),
)


class Google:
    """The batch lane of the Gemini API."""

    credentials: type[Credentials] = GoogleCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host and key."""
        return "\x1f".join((self._base(credentials)[0], key_of(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return one line of an input file, a generateContent or an embedding request under our id."""
        self.capabilities.require(line.endpoint)
        return lightly(line, partial(request_line, target=target))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read a result; responses become what the endpoint answers, errors OpenAI's."""
        return result_row(line, source, endpoint)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload the part, or find the upload of an interrupted run. What is not ready yet is AtWork."""
        return await self._files(account).stage(self._origin(account), part, again=again)

    async def fence(self, account: Account) -> str | None:
        """Return a job of the account, the newest where the list begins with it, and when it was made: `id|created`."""
        page = await JOBS.newest(self._origin(account))
        return f"{page.records[0].id}|{page.records[0].created!r}" if page.records else None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the job under the name `pp-<mark>`. An input that is gone is TryLater with status 404."""
        part, file, origin = submission.part, submission.staged["file"], self._origin(account)
        verb = "asyncBatchEmbedContent" if part.endpoint == EMBEDDINGS else "batchGenerateContent"
        order = {"batch": {"displayName": _name(part), "inputConfig": {"fileName": f"files/{file}"}}}
        try:
            reply = await origin.create(f"{model_path(part.model or '')}:{verb}", json=order)
        except Refused as refused:
            if await self._is_gone(account, file):
                raise TryLater(f"files/{file}: the upload is not there any more", status=404) from None
            raise refusals.of_create(refused) from None
        job = id_in(reply.fields().get("name"))
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without the name of a batch")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read the list; the control is our upload, seen under its name by the same key, or the fence."""
        origin, shown = self._origin(account), set[str]()
        fence, _, created = (submission.fence or "").partition("|")

        def ours(job: Listed) -> bool:
            shown.add(job.id)
            return _is_ours(job.fields, submission)

        found = await self._files(account).find(origin, JOBS.past(origin, float(created or 0)), submission, ours)
        return replace(found, control=found.control or (found.listed and fence in shown))

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin, path = self._origin(account), f"batches/{job}"
        reply = await known(origin.request("GET", path), path)
        found, facts = reply.fields(), facts_of(reply.fields())
        (state, end), (completed, failed) = _state(facts), _counts(facts, part)
        results = _results(found, facts)
        named = bool(RESULTS & results.keys())
        if state is JobState.FAILED and (completed or named):  # paid answers may exist, whatever the word says
            state, end = JobState.ENDED, JobEnd.COMPLETED
        failure = found.get("error") or facts.get("error")
        refusal = refusals.of_status(origin, failure, "batch_failed") if state is JobState.FAILED else None
        return JobStatus(
            state=state,
            mark=_mark(facts),
            end=end,
            completed=completed,
            failed=failed,
            results=results if state is JobState.ENDED else {},
            refusal=refusal,
            retryable=refusal is not None and refusal.code == refusals.QUOTA,
            poll_after=reply.pause(),
            unnamed=end is JobEnd.COMPLETED and not named,
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:
        """Store the results, then delete the input: uploads of 20 GB fill the project, which then takes no more."""
        origin, results = self._origin(account), status.results
        to = folder / results_name(results.get("ended", ""), results.get("model", ""))
        if "file" in results:
            await _bring(origin, self._origin(account, "/download"), to, status)
        elif "inline" in results:
            get = partial(_unpack, account, origin, f"batches/{job}", to, status)
            await bring(to, {"reading": status.reading}, get)
        if "input" in results:
            with suppress(ProviderError):
                await origin.request("DELETE", f"files/{results['input']}")
        return (to.name,) if RESULTS & results.keys() else ()

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin = self._origin(account)

        async def look() -> JobState:
            return _state(facts_of((await origin.request("GET", f"batches/{job}")).fields()))[0]

        await ask_to_cancel(origin.request("POST", f"batches/{job}:cancel"), look)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the upload: a create that comes late is refused, for it names a file that is not there."""
        await self._files(account).revoke(self._origin(account), submission)

    def _origin(self, account: Account, service: str = "") -> Origin:
        """Return the calls of the API, or of its "/upload" and "/download", which stand before the version."""
        host, version = self._base(account.credentials)
        return account.origin(f"{host}{service}/{version}", {"x-goog-api-key": key_of(account.credentials)})

    def _base(self, credentials: Credentials) -> tuple[str, str]:
        """Return the host without version, and the version: the account's own, that of the host, or the default."""
        given = self.capabilities.host(credentials)
        host, _, last = given.rpartition("/")
        chosen = cast("GoogleCredentials", credentials).api_version
        return (host, chosen or last) if last in VERSIONS else (given, chosen or VERSIONS[0])

    def _files(self, account: Account) -> GoogleFiles:
        return GoogleFiles(uploads=self._origin(account, "/upload"))

    async def _is_gone(self, account: Account, file: str) -> bool:
        try:
            return await self._files(account).absent(self._origin(account).request("GET", f"files/{file}"))
        except Refused:
            return False


async def _bring(origin: Origin, downloads: Origin, to: Path, status: JobStatus) -> None:
    """Make `to` hold the result file whole. A call that has succeeded is not made again in the same reading."""
    file = status.results["file"]
    size = await begin(to, {"file": file, "reading": status.reading}, lambda: _size(origin, file))
    if not await asyncio.to_thread(to.exists):
        await downloads.download(f"files/{file}:download", to, None if status.last else size, params={"alt": "media"})


async def _unpack(account: Account, origin: Origin, path: str, to: Path, status: JobStatus) -> None:
    """Make `to` hold the results that stand in the job."""
    beside = to.with_name(f".{to.name}.job")
    try:
        await origin.download(path, beside)
        await unpack(inline.__name__, beside, to, account.http.intake, {}, last=status.last)
    finally:
        beside.unlink(missing_ok=True)


async def _size(origin: Origin, file: str) -> int | None:
    """Return the size of a file in bytes; None where it is not told, as may be for files of results (UNVERIFIED)."""
    try:
        return number((await origin.request("GET", f"files/{file}")).fields(), "sizeBytes")
    except Refused:
        return None


def _name(part: PartFile) -> str:
    return f"pp-{part.mark}"


def _mark(facts: Mapping[str, Any]) -> str | None:
    name = facts.get("displayName")
    return name.removeprefix("pp-") if isinstance(name, str) and name.startswith("pp-") else None


def _is_ours(operation: Mapping[str, Any], submission: Submission) -> bool:
    facts = facts_of(operation)
    file = _input(facts)
    return _mark(facts) == submission.part.mark and file in (None, submission.staged.get("file"))


def _input(facts: Mapping[str, Any]) -> str | None:
    config = facts.get("inputConfig")
    return id_in(config.get("fileName")) if isinstance(config, dict) else None


def _state(facts: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    return meant(STATES, str(facts.get("state", "")).removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_"))


def _counts(facts: Mapping[str, Any], part: PartFile) -> tuple[int | None, int | None]:
    """Return how many lines have an answer and an error. Counts are texts, and those of 0 may be left out."""
    stats = facts.get("batchStats")
    if not isinstance(stats, dict):
        return None, None
    told = (number(stats, name, 0) for name in ("successfulRequestCount", "failedRequestCount"))
    completed, failed = (believed(count, part.lines) for count in told)
    return completed, failed


def _results(found: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    """Return where an ended job's results are, told in its metadata or as its response, and what no row says."""
    results, ended, file = dict[str, str](), rfc_3339(facts.get("endTime")), _input(facts)
    for place in (facts.get("output"), found.get("response")):
        output = place if isinstance(place, dict) else {}
        if (name := id_in(output.get("responsesFile"))) is not None:
            results["file"] = name
        elif any(isinstance(output.get(name), dict) for name in inline.NAMES):
            results["inline"] = "yes"
    more = {"ended": ended and str(int(ended)), "model": facts.get("model"), "input": file}
    return results | {name: value for name, value in more.items() if isinstance(value, str)}


GOOGLE = Google()
