"""Amazon Bedrock's batch inference: a document in S3, a job that reads it as a role, results beside each other in S3.

Sources: the project's reference page with its updates of 2026-11-29 (botocore 1.44.8; user guide "Process multiple
prompts with batch inference"). A repeated create with the same `clientRequestToken` is ignored, but what its answer
holds is UNVERIFIED, so a lost create is looked for by its name, which holds our mark; its token and the address of its
document must be those of this staging. The control is that document, and the newest job before the create: no job is
ever deleted, so an account that does not show it is another one, whatever bucket it may read.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import msgspec

from proxy_plugin.providers.base import (
    Account,
    Capabilities,
    Credentials,
    InputMode,
    JobStatus,
    LineIn,
    Native,
    PartFile,
    Refused,
    Row,
    Sighting,
    Submission,
    Target,
)
from proxy_plugin.providers.calls import patiently
from proxy_plugin.providers.formats.bedrock.own_words import MODEL_INPUT
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.lanes.bedrock import jobs, objects, quotas, refusals
from proxy_plugin.providers.lanes.bedrock.accounts import (
    CONTROL,
    BedrockCredentials,
    bucket_of,
    jobs_of,
    of,
)
from proxy_plugin.providers.lanes.bedrock.kinds import kind_of
from proxy_plugin.providers.lanes.bedrock.rows import CHAT, ENDPOINTS, bare, request_record, result_row
from proxy_plugin.providers.signing.accounts import AWS_OF_LITELLM

CAPABILITIES = Capabilities(
    provider="bedrock",
    title="Amazon Bedrock",
    endpoints=ENDPOINTS,
    input_mode=InputMode.BUCKET,
    native={MODEL_INPUT: CHAT},
    default_host=CONTROL.format(region="{aws_region}", domain="amazonaws.com"),
    litellm={
        **AWS_OF_LITELLM,
        "s3_bucket_name": "aws_s3_bucket",
        "s3_region_name": "aws_s3_region",
        "s3_bucket_owner": "aws_s3_bucket_owner",
        "s3_output_bucket_name": "aws_s3_output_bucket",
        "s3_encryption_key_id": "aws_s3_encryption_key_id",
        "aws_bedrock_control_plane_endpoint": "bedrock_endpoint_url",
    },
    min_lines=100,  # "Minimum number of records per batch inference job", a quota of each model; its usual value
    max_lines=50_000,  # of a file and of a job; usual values, which a quota may change
    max_bytes=10**9,  # of a file, "1 GB"; likewise
    one_model_per_job=True,  # the model is a field of the create
    accepts_label=True,
    min_poll_seconds=0.0,  # `status` asks for more at AWS itself
    settle_seconds=900.0,  # our caution, no page names a bound
    results_kept_seconds=365 * 86400.0,  # in a bucket of the account's own
    discount=0.5,
    wrong_key=("ExpiredToken", "UnrecognizedClientException", "InvalidAccessKeyId"),  # of S3 and Bedrock, also as 400
    billing_codes=frozenset({"ServiceQuotaExceededException"}),
    known_by="name, token and document of the job",
    caveats=(
        "Lines of /v1/responses and /v1/completions run as chat; what chat cannot express is refused by name.",
        "Most models take no job of fewer than 100 records: min_lines_per_job of the virtual key.",
        "Converse jobs take no tools: such lines run in jobs of the model's own format, where it has one.",
        "gpt-oss runs by Bedrock's OpenAI batch, but lines with tools or schemas do not.",
        "'openai/', 'invoke/' or 'converse/' before a model's id chooses.",
        "Lines of /model/invoke hold a modelInput that goes as it is; what OpenAI has no form for comes back so.",
        "A line of embeddings holds one text at Titan and 96 at Cohere.",
        "Documents and results are deleted from the bucket after collection; keep_objects keeps them.",
        "What a stopped or expired job did not run has no record of its own.",
        "Signatures need botocore: pip install 'proxy-plugin[aws]'.",
    ),
)


class Bedrock:
    """The batch lane of Amazon Bedrock."""

    credentials: type[Credentials] = BedrockCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host and keys."""
        ours = cast("BedrockCredentials", credentials)
        key = ours.api_key.get_secret_value() if ours.api_key else ""
        return "\x1f".join((ours.base_url(), key, *ours.identity()))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return a record in the form that its model and its tools need."""
        self.capabilities.require(line.endpoint)
        return lightly(line, partial(request_record, target=target))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read a record; an error stands in place of the model's output."""
        return result_row(line, source, endpoint)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Bring the document to the bucket, and fix every field of the create."""
        _ = of(account).role, of(account).results(part.mark)  # what is missing is told before anything is uploaded
        await quotas.check(account, bare(part.model or ""), part.lines)
        bucket, key = await objects.upload(account, part, again=again)
        uri = f"s3://{bucket}/{key}"
        return {"bucket": bucket, "key": key, **kind_of(part.partition).order(account, part, uri)}

    async def fence(self, account: Account) -> str | None:
        """Return the newest job of the account."""
        try:
            newest = await jobs.JOBS.newest(jobs_of(account))
        except Refused as refused:
            raise refusals.told(refused) from None
        return newest.records[0].id if newest.records else None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the job. A repeat has the same body and the same token."""
        try:
            return await kind_of(submission.part.partition).create(account, submission.staged)
        except Refused as refused:
            raise refusals.of_create(refused) from None

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read the jobs whose names hold our mark. See the module for the control."""
        try:
            seen = await kind_of(submission.part.partition).found(account, submission)
        except Refused:
            return Sighting((), control=False, listed=False)
        return Sighting(tuple(seen), await _control(account, submission))

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. The results are looked for where the job writes them."""
        return await kind_of(job).status(account, job, part)

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:
        """Store every result that lies below the job's address, verified against its size."""
        return await objects.bring(account, status, folder, kind_of(job).RESULTS)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for a stop."""
        await kind_of(job).stop(account, job)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the document: a create that is accepted late finds none, for the next staging has another name."""
        await objects.take_away(account, submission.part, submission.staged["bucket"], submission.staged["key"])

    async def probe(self, account: Account) -> None:
        """List jobs and documents; ask whether role and bucket are named."""
        await self.fence(account)
        ours = of(account)
        try:
            _ = ours.role
            async for _ in bucket_of(account, ours.bucket).keys(ours.folder("probe")):
                break
        except Refused as refused:
            raise refusals.told(refused) from None

    async def clear(self, account: Account, submission: Submission, job: str | None) -> None:  # noqa: ARG002
        """Delete everything below the folders of the part, whichever job wrote it."""
        ours, mark, staged = of(account), submission.part.mark, submission.staged
        if not staged and ours.aws_s3_bucket is None:
            return
        own = f"{staged['key'].partition(f'pp-{mark}/')[0]}pp-{mark}/" if staged else ours.folder(mark)
        places = {(staged.get("bucket") or ours.bucket, own)}
        if uri := jobs.uri_of(msgspec.json.decode(staged.get("order", "{}")), "output"):
            places.add(objects.parted(uri))
        await objects.clear(account, mark, sorted(places))


async def _control(account: Account, submission: Submission) -> bool:
    staged, fence = submission.staged, submission.fence
    try:
        if fence is not None:
            await patiently(lambda: jobs_of(account).request("GET", f"{jobs.CREATE}/{fence}"))
        return await objects.shows(account, staged["bucket"], staged["key"])
    except Refused:
        return False


BEDROCK = Bedrock()
