"""Bedrock's own jobs, "model invocation jobs": created with a token and a name, listed by a part of the name, stopped.

Shapes, patterns and states: botocore 1.44.8. The token and the name hold the mark, and a hash of the part's document
and of where this staging put it; so a repeated create has the same body, and one of a later staging another token.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from proxy_plugin.providers.base import (
    Account,
    JobEnd,
    JobState,
    JobStatus,
    OutcomeUnknown,
    PartFile,
    Submission,
)
from proxy_plugin.providers.calls import ask_to_cancel, known
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.lanes.bedrock import objects, refusals
from proxy_plugin.providers.lanes.bedrock.accounts import jobs_of, of
from proxy_plugin.providers.lanes.bedrock.rows import bare
from proxy_plugin.providers.listing import Listed, Listing, rfc_3339

RESULTS = (".out",)  # what the names of results end with
CREATE = "model-invocation-job"
ARN = re.compile(r"(?:arn:[!-~]+/)?([a-z0-9]{12})")
NAME = re.compile(r"pp-([a-z0-9]{10})-[0-9a-f]{16}")
STATES: Mapping[str, tuple[JobState, JobEnd | None]] = {
    "Submitted": (JobState.VALIDATING, None),
    "Validating": (JobState.VALIDATING, None),
    "Scheduled": (JobState.RUNNING, None),
    "InProgress": (JobState.RUNNING, None),
    "Stopping": (JobState.CANCELLING, None),
    "Completed": (JobState.ENDED, JobEnd.COMPLETED),
    "PartiallyCompleted": (JobState.ENDED, JobEnd.EXPIRED),  # ran out of time: what was done has rows
    "Expired": (JobState.ENDED, JobEnd.EXPIRED),
    "Stopped": (JobState.ENDED, JobEnd.CANCELLED),
    "Failed": (JobState.FAILED, None),
}


def _named(fields: Mapping[str, Any]) -> tuple[str | None, object]:
    """Return a job's id, which is what stands in paths, and its time."""
    found = ARN.fullmatch(str(fields.get("jobArn")))
    return found and found[1], fields.get("submitTime")


JOBS = Listing(
    "model-invocation-jobs",
    1000,
    "nextToken",
    lambda created: rfc_3339(created) or 0.0,
    {"sortBy": "CreationTime", "sortOrder": "Descending"},
    size="maxResults",
    records="invocationJobSummaries",
    omits_empty=True,
    paging=("nextToken",),
    read=_named,
)


def order(account: Account, part: PartFile, uri: str) -> dict[str, str]:
    """Return the create of a job, whose every field is fixed from now on. Raises Refused."""
    ours = of(account)
    bucket, results = ours.results(part.mark)
    own = hashlib.sha256(f"{part.mark}\x1f{part.sha256}\x1f{uri}".encode()).hexdigest()[:16]
    owner = {"s3BucketOwner": ours.aws_s3_bucket_owner} if ours.aws_s3_bucket_owner else {}
    key = {"s3EncryptionKeyId": ours.aws_s3_encryption_key_id} if ours.aws_s3_encryption_key_id else {}
    made: dict[str, Any] = {
        "jobName": f"pp-{part.mark}-{own}",
        "clientRequestToken": f"pp-{part.mark}-{own}",
        "roleArn": ours.role,
        "modelId": bare(part.model or ""),
        "modelInvocationType": part.partition.partition("-")[0],
        "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": uri, **owner}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{bucket}/{results}", **key, **owner}},
        "timeoutDurationInHours": ours.hours(part.window),
    }
    if ours.aws_batch_tags:
        made["tags"] = [{"key": name, "value": value} for name, value in ours.aws_batch_tags.items()]
    if ours.aws_batch_subnet_ids:
        groups = list(ours.aws_batch_security_group_ids)
        made["vpcConfig"] = {"subnetIds": list(ours.aws_batch_subnet_ids), "securityGroupIds": groups}
    return {"order": msgspec.json.encode(made).decode()}


async def create(account: Account, staged: Mapping[str, str]) -> str:
    """Create the job. Raises like `BatchProvider.create`."""
    reply = await jobs_of(account).create(CREATE, json=msgspec.Raw(staged["order"].encode()))
    job = _named(reply.fields())[0]
    if job is None:
        raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a job id")
    return job


async def found(account: Account, submission: Submission) -> list[str]:
    """Return the jobs of this staging, of those whose names hold our mark. Raises TryLater or Refused."""
    order = msgspec.json.decode(submission.staged["order"])
    listing, jobs = replace(JOBS, params={**JOBS.params, "nameContains": f"pp-{submission.part.mark}"}), list[str]()

    def ours(job: Listed) -> bool:
        same = job.fields.get("jobName") == order["jobName"] and uri_of(job.fields) == uri_of(order)
        return same and job.fields.get("clientRequestToken") in (None, order["clientRequestToken"])

    async for page in listing.pages(jobs_of(account)):
        jobs += [job.id for job in page.records if ours(job)]
    return jobs


async def status(account: Account, job: str, part: PartFile) -> JobStatus:
    """Poll. Where the job and its manifest count differently, the more are missed. Raises TryLater or Refused."""
    origin, path = jobs_of(account), f"{CREATE}/{job}"
    fields = (await known(origin.request("GET", path), path)).fields()
    state, end = _state(fields)
    if state is JobState.FAILED and believed(fields.get("processedRecordCount"), part.lines):
        state, end = JobState.ENDED, JobEnd.COMPLETED  # paid answers may exist, whatever the word says
    uri = f"{uri_of(fields, 'output').rstrip('/')}/{job}/"
    wrote = await objects.written(account, uri, RESULTS) if state is JobState.ENDED else objects.Written({})
    completed = _more(part, fields.get("successRecordCount"), wrote.completed)
    failed = _more(part, fields.get("errorRecordCount"), wrote.failed)
    due = bool(completed or failed) or end is JobEnd.COMPLETED
    mark = NAME.fullmatch(str(fields.get("jobName")))
    return JobStatus(
        state=state,
        mark=mark and mark[1],
        end=end,
        completed=completed,
        failed=failed,
        results={"uri": uri, "form": part.partition, "model": bare(part.model or ""), "ended": _ended(fields)},
        refusal=refusals.of_job(origin, fields.get("message")) if state is JobState.FAILED else None,
        unnamed=state is JobState.ENDED and due and not wrote.objects,
        poll_after=of(account).pace(),
    )


async def stop(account: Account, job: str) -> None:
    """Ask for a stop; one that comes too late is no error."""
    origin, path = jobs_of(account), f"{CREATE}/{job}"

    async def look() -> JobState:
        return _state((await known(origin.request("GET", path), path)).fields())[0]

    await ask_to_cancel(origin.request("POST", f"{path}/stop"), look)


def uri_of(job: Mapping[str, Any], way: str = "input") -> str:
    """Return the address of a job's document or results; "" for none."""
    config = job.get(f"{way}DataConfig")
    inner = config.get(f"s3{way.title()}DataConfig") if isinstance(config, dict) else None
    return str(inner.get("s3Uri") or "") if isinstance(inner, dict) else ""


def _state(job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    return meant(STATES, str(job.get("status", "")))


def _ended(job: Mapping[str, Any]) -> str:
    return str(int(rfc_3339(job.get("endTime")) or 0))


def _more(part: PartFile, *counts: object) -> int | None:
    found = [number for count in counts if (number := believed(count, part.lines)) is not None]
    return max(found, default=None)
