"""Bedrock's OpenAI batches: OpenAI's open models on `bedrock-runtime`, with a document in S3 in place of an upload.

Source: the project's reference page, update 2 of 2026-11-29 (AWS user guide, "Submit a batch of prompts with the OpenAI
Batch API"): two headers name role and model, `input_file_id` is the document's address, and answers (`.out`) and errors
(`.err`) come into a folder beside it that is named after the batch. There is no token: a lost create is found by that
address, which no other staging has. The batch is OpenAI's object; whether it shows our metadata is UNVERIFIED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy_plugin.providers.base import (
    Account,
    JobEnd,
    JobState,
    JobStatus,
    OutcomeUnknown,
    PartFile,
    Refused,
    Submission,
)
from proxy_plugin.providers.calls import ask_to_cancel, known
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.lanes.bedrock import objects, refusals
from proxy_plugin.providers.lanes.bedrock.accounts import batches_of, of
from proxy_plugin.providers.lanes.bedrock.rows import CHAT, OPENAI, bare
from proxy_plugin.providers.line_faults import at_fault
from proxy_plugin.providers.listing import Listing, identifier, moment

BATCHES = Listing("batches", 100, "after", moment, newest_first=False)
OWN = f"{OPENAI}:"  # before the ids of these jobs, as another API has them
RESULTS = (".out", ".err")  # what the names of results end with
MARK_KEY = "proxy_plugin"
HEADER = "X-Amzn-Bedrock-"
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


def order(account: Account, part: PartFile, uri: str) -> dict[str, str]:
    """Return the create of a job: its body, and the headers that go with it."""
    ours = of(account)
    body = {"input_file_id": uri, "endpoint": CHAT, "completion_window": "24h", "metadata": {MARK_KEY: part.mark}}
    headers = {f"{HEADER}RoleArn": ours.role, f"{HEADER}ModelId": bare(part.model or "")}
    if ours.aws_s3_encryption_key_id:
        headers[f"{HEADER}OutputEncryptionKeyId"] = ours.aws_s3_encryption_key_id
    if ours.aws_batch_tags:
        headers[f"{HEADER}Tags"] = _text([{"key": key, "value": value} for key, value in ours.aws_batch_tags.items()])
    return {"order": _text(body), "headers": _text(headers)}


async def create(account: Account, staged: Mapping[str, str]) -> str:
    """Create the job. Raises like `BatchProvider.create`."""
    origin = batches_of(account, msgspec.json.decode(staged["headers"]))
    reply = await origin.create(BATCHES.path, json=msgspec.Raw(staged["order"].encode()))
    job = identifier(reply.fields())
    if job is None:
        raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a job id")
    return OWN + job


async def found(account: Account, submission: Submission) -> list[str]:
    """Return the jobs that read the document of this staging. Raises TryLater or Refused."""
    uri, jobs = f"s3://{submission.staged['bucket']}/{submission.staged['key']}", list[str]()
    async for page in BATCHES.pages(batches_of(account)):
        jobs += [OWN + each.id for each in page.records if each.fields.get("input_file_id") == uri]
    return jobs


async def status(account: Account, job: str, part: PartFile) -> JobStatus:
    """Poll. Raises TryLater or Refused."""
    origin, path = batches_of(account), f"{BATCHES.path}/{job.removeprefix(OWN)}"
    fields = (await known(origin.request("GET", path), path)).fields()
    state, end = _state(fields)
    counts = fields.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    completed, failed = believed(counts.get("completed"), part.lines), believed(counts.get("failed"), part.lines)
    uri = str(fields.get("input_file_id") or "")
    results, unnamed = {"uri": f"{uri.rpartition('/')[0]}/{path.rpartition('/')[2]}/"}, False
    if state is JobState.ENDED:
        seen = (await objects.written(account, results["uri"], RESULTS)).objects
        unnamed = _lacking(seen, ".out", completed) or _lacking(seen, ".err", failed)
        unnamed = unnamed or (not seen and end is JobEnd.COMPLETED)
    return JobStatus(
        state=state,
        mark=_mark(fields, uri),
        end=end,
        completed=completed,
        failed=failed,
        results={**results, "form": OPENAI, "model": bare(part.model or "")},
        refusal=_why(origin, fields) if state is JobState.FAILED else None,
        unnamed=unnamed,
        poll_after=of(account).pace(),
    )


async def stop(account: Account, job: str) -> None:
    """Ask for a cancellation; one that comes too late is no error."""
    origin, path = batches_of(account), f"{BATCHES.path}/{job.removeprefix(OWN)}"

    async def look() -> JobState:
        return _state((await known(origin.request("GET", path), path)).fields())[0]

    await ask_to_cancel(origin.request("POST", f"{path}/cancel"), look)


def _state(fields: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    return meant(STATES, str(fields.get("status", "")).lower())


def _lacking(seen: Mapping[str, int], end: str, count: int | None) -> bool:
    return bool(count) and not any(key.endswith(end) for key in seen)


def _mark(fields: Mapping[str, Any], uri: str) -> str | None:
    metadata = fields.get("metadata")
    mark = metadata.get(MARK_KEY) if isinstance(metadata, dict) else None
    if isinstance(mark, str):
        return mark
    return next((name[3:] for name in uri.split("/") if name.startswith("pp-")), None)


def _why(origin: Any, fields: Mapping[str, Any]) -> Refused:
    errors = fields.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    refused = refusals.of_job(origin, first.get("message"))
    line = first.get("line")
    return at_fault(refused, [line], divisible=True) if isinstance(line, int) else refused


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
