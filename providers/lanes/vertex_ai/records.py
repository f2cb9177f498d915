"""Vertex AI's records of jobs: names with their place in front, 64-bit numbers as texts, lists by page token.

Source: protos of google-cloud-aiplatform 2.7. A list can be searched, by `display_name` and by labels; in which order
it comes no page tells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.base import JobEnd, JobState, PartFile, Refused
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.lanes.vertex_ai.rows import LABEL
from proxy_plugin.providers.listing import Listed, Listing, identifier, passed, rfc_3339

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

JOBS = "batchPredictionJobs"
STATES: Mapping[str, tuple[JobState, JobEnd | None]] = {  # behind JOB_STATE_
    "QUEUED": (JobState.VALIDATING, None),
    "PENDING": (JobState.VALIDATING, None),
    "RUNNING": (JobState.RUNNING, None),
    "UPDATING": (JobState.RUNNING, None),
    "PAUSED": (JobState.RUNNING, None),
    "CANCELLING": (JobState.CANCELLING, None),
    "SUCCEEDED": (JobState.ENDED, JobEnd.COMPLETED),
    "PARTIALLY_SUCCEEDED": (JobState.ENDED, JobEnd.COMPLETED),
    "CANCELLED": (JobState.ENDED, JobEnd.CANCELLED),
    "EXPIRED": (JobState.ENDED, JobEnd.EXPIRED),
    "FAILED": (JobState.FAILED, None),
}


def id_in(record: Mapping[str, Any]) -> str | None:
    """Return the id at the end of a job's name."""
    name = record.get("name")
    return identifier({"id": name.rpartition("/")[2]}) if isinstance(name, str) else None


def _read(record: Mapping[str, Any]) -> tuple[str | None, object]:
    return id_in(record), record.get("createTime")


LIST = Listing(
    *(JOBS, 100, "pageToken", rfc_3339),
    size="pageSize",
    newest_first=False,
    records=JOBS,
    omits_empty=True,
    paging=("nextPageToken",),
    read=_read,
)


async def search(origin: Origin, mark: str, fence: str | None, ours: Callable[[Listed], bool]) -> list[str]:
    """Return our jobs of a mark, newest first. Raises TryLater or Refused.

    What a search does not show may be there all the same, by another reading of its words (UNVERIFIED which the service
    takes), so that where both find nothing the list itself is read, down to the fence: `id|created`.
    """
    for words in (f'labels.{LABEL}="{mark}"', f'display_name="pp-{mark}"'):
        try:
            if found := [job async for job in _since(origin, {"filter": words}, 0.0) if ours(job)]:
                return _newest(found)
        except Refused as refused:
            if refused.status != 400:
                raise
    created = (fence or "").partition("|")[2]
    return _newest([job async for job in _since(origin, {}, float(created or 0)) if ours(job)])


async def _since(origin: Origin, params: Mapping[str, str], fence: float) -> AsyncIterator[Listed]:
    times = list[float]()
    async for page in replace(LIST, params=params).pages(origin):
        for job in page.records:
            times.append(job.created)
            yield job
        if fence and passed(times, fence):
            return


def _newest(jobs: list[Listed]) -> list[str]:
    return [job.id for job in sorted(jobs, key=lambda job: job.created, reverse=True)]


def mark_of(job: Mapping[str, Any]) -> str | None:
    """Return the mark in a job's name, or else in its label."""
    name, labels = job.get("displayName"), job.get("labels")
    if isinstance(name, str) and name.startswith("pp-"):
        return name.removeprefix("pp-")
    mark = labels.get(LABEL) if isinstance(labels, dict) else None
    return mark if isinstance(mark, str) else None


def inputs_of(job: Mapping[str, Any]) -> list[str]:
    """Return the addresses of what a job reads; none where it does not tell."""
    config = job.get("inputConfig")
    source = config.get("gcsSource") if isinstance(config, dict) else None
    uris = source.get("uris") if isinstance(source, dict) else None
    return [uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []


def state_of(job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    """Return where a job stands. Raises TryLater for a word that is not known."""
    return meant(STATES, str(job.get("state", "")).removeprefix("JOB_STATE_"))


def counts_of(job: Mapping[str, Any], part: PartFile) -> tuple[int | None, int | None]:
    """Return how many lines have an answer and an error: texts, which may be missing until the end."""
    stats = job.get("completionStats")
    if not isinstance(stats, dict):
        return None, None
    completed, failed = (_number(stats.get(name, "0")) for name in ("successfulCount", "failedCount"))
    return believed(completed, part.lines), believed(failed, part.lines)


def output_of(job: Mapping[str, Any]) -> str | None:
    """Return the address of the folder that a job names as that of its answers."""
    info = job.get("outputInfo")
    folder = info.get("gcsOutputDirectory") if isinstance(info, dict) else None
    return folder if isinstance(folder, str) and folder else None


def ended_at(job: Mapping[str, Any]) -> str | None:
    """Return when a job ended, in whole Unix seconds as text."""
    ended = rfc_3339(job.get("endTime"))
    return None if ended is None else str(int(ended))


def _number(told: object) -> object:
    return int(told[:20]) if isinstance(told, str) and told.isascii() and told.isdigit() else told
