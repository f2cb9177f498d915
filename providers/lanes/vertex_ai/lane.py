"""Vertex AI's batch prediction jobs: an object of lines in a bucket, a job that names it, objects of answers.

Source: the project's reference page of Vertex AI and its updates of 2026-11-29 (protos of google-cloud-aiplatform 2.7,
google-genai 3.6.1, Google Cloud docs, litellm 1.110.2). There is no idempotency key: a job is found again by its name
and label, which carry our mark, and by its input. That is an object of ours, which the same account must show, and
without which a create that comes late runs nothing; an input that was revoked never gets its key again.

The service says neither how its objects are called nor in which order rows come: all that lies below our own folder is
read, and each row by its id (`rows.whose`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

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
from proxy_plugin.providers.calls import ask_to_cancel, known
from proxy_plugin.providers.formats.gemini.own_words import GENERATE
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.formats.openai.through_chat import ENDPOINTS
from proxy_plugin.providers.lanes.vertex_ai import lost_ids, refusals
from proxy_plugin.providers.lanes.vertex_ai.places import (
    VertexCredentials,
    bucket_of,
    input_key,
    jobs_of,
    order,
    ours,
    turn_key,
)
from proxy_plugin.providers.lanes.vertex_ai.records import (
    JOBS,
    LIST,
    counts_of,
    ended_at,
    id_in,
    inputs_of,
    mark_of,
    output_of,
    search,
    state_of,
)
from proxy_plugin.providers.lanes.vertex_ai.rows import (
    CHAT,
    EMBEDDINGS,
    MOST_UNITS,
    request_line,
    result_row,
    results_name,
)
from proxy_plugin.providers.listing import Listed
from proxy_plugin.providers.signing.accounts import GOOGLE_OF_LITELLM
from proxy_plugin.providers.stores.gcs import Bucket

INCREMENTAL = "/incremental_predictions/"  # answers of a job that runs, beside the whole ones of its end


CAPABILITIES = Capabilities(
    provider="vertex-ai",
    title="Google Vertex AI",
    endpoints=ENDPOINTS | {EMBEDDINGS, GENERATE},
    input_mode=InputMode.BUCKET,
    default_host="https://aiplatform.googleapis.com",
    native={GENERATE: CHAT},
    litellm={
        **GOOGLE_OF_LITELLM,
        "gcs_bucket_name": "vertex_storage_bucket_name",
    },
    max_lines=1_000_000,  # of Gemini's embeddings, September 2026; `max_inputs` has the bounds of the others
    max_bytes=10**9,  # "1 GB", not said whether 2**30
    max_inputs=MOST_UNITS,
    one_model_per_job=True,  # it is a field of the create
    accepts_label=True,
    min_poll_seconds=0.0,  # no page names a bound
    settle_seconds=900.0,  # our caution, no page names a bound
    results_kept_seconds=30 * 86400,  # the bucket is the account's own: as long as it keeps them
    discount=0.5,
    billing_codes=frozenset({"BILLING_DISABLED"}),  # UNVERIFIED: google.rpc's word, on no page of this API
    caveats=(
        "A job takes 200,000 lines, or 1,000,000 of embeddings, or 30,000 of their older models.",
        "A job may wait up to 72 hours for room before it expires; what it has answered by then is kept and billed.",
        "Each request of Gemini has our id as the label pp, which shows in the project's billing export.",
        "Whether rows of Gemini show an id again is not documented; one that shows none is known by its request.",
        "Embeddings take one text a line. embed_content_config: true in the body moves their options to that object.",
        "Half of a character is replaced by U+FFFD.",
        "What a cancelled or expired job did not run has no row of its own.",
        "Lines of /v1/responses and /v1/completions run as chat; what chat cannot express is refused by name.",
        "Input and output lie in the account's bucket until their rows are collected, or for good with keep_objects.",
    ),
)


class VertexAI:
    """The batch lane of Vertex AI."""

    credentials: type[Credentials] = VertexCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return hosts, bucket and what proves the account."""
        assert isinstance(credentials, VertexCredentials)
        own = credentials
        return "\x1f".join((own.base_url(), own.store, own.vertex_storage_bucket_name, *own.identity()))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return one line of an input file, in the words of its model's family."""
        self.capabilities.require(line.endpoint)
        return lightly(line, partial(request_line, target=target))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read a result; responses become what the endpoint answers, errors OpenAI's."""
        return result_row(line, source, endpoint)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:  # noqa: ARG002
        """Put the part into the bucket, or go on with the upload of an earlier run, which is noted beside the part."""
        key = await asyncio.to_thread(input_key, account, part)
        with refusals.of_bucket(ours(account)):
            await bucket_of(account).put(part.path, key, part.mark)
        return {"object": key}

    async def fence(self, account: Account) -> str | None:
        """Return a job of the account, the newest where the list begins with it, and when it was made: `id|created`."""
        with refusals.of_jobs(ours(account)):
            page = await LIST.newest(jobs_of(account))
        return f"{page.records[0].id}|{page.records[0].created!r}" if page.records else None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the job as `pp-<mark>`. An input that is gone is TryLater with status 404."""
        part, key = submission.part, submission.staged["object"]
        try:
            with refusals.of_jobs(ours(account)):
                reply = await jobs_of(account).create(JOBS, json=order(ours(account), part, key))
        except Refused as refused:
            if refused.status in {400, 404} and await _shown(account, key) is False:
                raise TryLater(f"{key}: the input is not there any more", status=404) from None
            raise refusals.of_create(refused) from None
        job = id_in(reply.fields())
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without the name of a job")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Look for our mark; the control is our input, which the same account must show in the bucket."""
        part, key = submission.part, submission.staged["object"]
        address = f"gs://{ours(account).bucket}/{key}"

        def is_ours(job: Listed) -> bool:
            return mark_of(job.fields) == part.mark and address in (inputs_of(job.fields) or [address])

        try:
            jobs = await search(jobs_of(account), part.mark, submission.fence, is_ours)
        except Refused:
            return Sighting((), control=False, listed=False)
        return Sighting(tuple(jobs), control=await _shown(account, key) is True)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin, path = jobs_of(account), f"{JOBS}/{job}"
        with refusals.of_jobs(ours(account)):
            reply = await known(origin.request("GET", path), path)
        found = reply.fields()
        (state, end), (completed, failed) = state_of(found), counts_of(found, part)
        results = _results(ours(account), found, part)
        if state is JobState.FAILED and (completed or await _has_objects(bucket_of(account), results["out"])):
            state, end = JobState.ENDED, JobEnd.COMPLETED  # paid answers may exist, whatever the word says
        refusal = refusals.of_job(origin, found.get("error")) if state is JobState.FAILED else None
        return JobStatus(
            state=state,
            mark=mark_of(found),
            end=end,
            completed=completed,
            failed=failed,
            results=results if state is JobState.ENDED else {},
            refusal=refusal,
            retryable=refusal is not None and refusal.code == refusals.QUOTA,
            poll_after=reply.pause(),
            unnamed=end is JobEnd.COMPLETED and output_of(found) is None,
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Store every object below the job's folder, and give rows that came without an id that of their line.

        Of a job that left whole answers those that it wrote while it ran are not read.
        """
        bucket, facts = bucket_of(account), status.results
        with refusals.of_bucket(ours(account)):
            found = [each async for each in bucket.keys(facts["out"]) if each[1]]
            found = found or [each async for each in bucket.keys(facts["home"]) if each[1]]
            whole = [each for each in found if INCREMENTAL not in each[0]]
            paths = list[Path]()
            for key, size in whole or found:
                paths.append(folder / results_name(key, facts))
                await bucket.bring(key, paths[-1], status, size)
            await _identify(account, status, paths, folder / ".input.jsonl")
        return tuple(path.name for path in paths)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation. One that is taken may still come too late: then the job ends as it would have."""
        origin, path = jobs_of(account), f"{JOBS}/{job}"

        async def look() -> JobState:
            return state_of((await known(origin.request("GET", path), path)).fields())[0]

        await ask_to_cancel(origin.request("POST", f"{path}:cancel", json={}), look)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the input: a create that is accepted late finds no object. The next upload gets another key."""
        key, bucket = submission.staged["object"], bucket_of(account)
        await asyncio.to_thread(turn_key, submission.part, key)
        await bucket.delete(key)
        if await bucket.size(key) is not None:
            raise TryLater(f"{key} is still there after its deletion")

    async def probe(self, account: Account) -> None:
        """Read the head of the list of jobs and of the bucket."""
        await self.fence(account)
        with refusals.of_bucket(ours(account), missing=400):  # the service itself is there
            await _has_objects(bucket_of(account), ours(account).folder(""))

    async def clear(self, account: Account, submission: Submission, job: str | None) -> None:  # noqa: ARG002
        """Delete what lies below the part's own folder, and end an upload that was not finished."""
        bucket, own = bucket_of(account), ours(account)
        await bucket.abandon(submission.part.path)
        if not own.keep_objects:
            for key in [key async for key, _ in bucket.keys(own.folder(submission.part.mark))]:
                await bucket.delete(key)


async def _shown(account: Account, key: str) -> bool | None:
    """Tell whether the account shows an object in its bucket; None where it may not look."""
    try:
        return await bucket_of(account).size(key) is not None
    except Refused:
        return None


async def _has_objects(bucket: Bucket, folder: str) -> bool:
    async for _ in bucket.keys(folder, 1):
        return True
    return False


def _results(own: VertexCredentials, job: Mapping[str, object], part: PartFile) -> dict[str, str]:
    """Return where an ended job's answers are, and what no row says.

    `out` is the folder that the job names, where it is in our bucket, or else `home`, the one that it was given.
    """
    bucket, uris, given = f"gs://{own.bucket}/", inputs_of(job), f"{own.folder(part.mark)}out/"
    folder = (output_of(job) or "").removesuffix("/") + "/"
    named = folder.removeprefix(bucket) if folder.startswith(bucket) else ""
    results = {"home": given, "out": named or given}
    more = {
        "mark": part.mark,
        "ended": ended_at(job),
        "model": part.model,
        "vectors": part.partition,
        "input": uris[0].removeprefix(bucket) if uris and uris[0].startswith(bucket) else None,
    }
    return results | {name: value for name, value in more.items() if value}


async def _identify(account: Account, status: JobStatus, paths: Sequence[Path], document: Path) -> None:
    """Give rows without an id that of the line whose request they show, where the input is still there."""
    facts, bucket = status.results, bucket_of(account)
    if not await asyncio.to_thread(lost_ids.any_lost, paths, facts["mark"]) or "input" not in facts:
        return
    if (size := await bucket.size(facts["input"])) is not None:
        await bucket.bring(facts["input"], document, status, size)
        await lost_ids.restore(paths, document, facts["mark"], account.http.intake)


VERTEX_AI = VertexAI()
