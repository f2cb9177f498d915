"""What a batch object says, at OpenAI and at services that copy its API: the same facts in several shapes.

Null counts, or counts beside `request_counts`; an object, or the object within another one; metadata that is shown or
not (reference page of compatible services, 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.base import JobEnd, JobState, PartFile
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.lanes.openai import refusals
from proxy_plugin.providers.listing import identifier

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Reply

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
# Failures for want of quota, when nothing ran: the cap on enqueued tokens frees itself as other jobs end. The first is
# OpenAI's and Azure's (many user reports, no page lists it); the others are the names copies of the API give the same.
QUOTA_CODES = frozenset({"token_limit_exceeded", "request_limit_exceeded", "rate_limit_exceeded"})
URLS, LONGEST_URL = ("https://", "http://"), 4096
WRAPPERS = ("data", "batch", "file", "job")


def record(reply: Reply) -> dict[str, Any]:
    """Return the object of an answer, which may be wrapped in another one."""
    fields = reply.fields()
    inner = (fields[name] for name in WRAPPERS if isinstance(fields.get(name), dict))
    return fields if "id" in fields else next(inner, fields)


def state(job: Mapping[str, Any], words: Mapping[str, str]) -> tuple[JobState, JobEnd | None]:
    """Return where a job stands, and why it ended. Raises TryLater for an unknown word."""
    word = str(job.get("status", "")).lower()
    return meant(STATES, words.get(word, word))


def mark(job: Mapping[str, Any], key: str) -> str | None:
    """Return the mark in a job's metadata, None where it shows none."""
    metadata = job.get("metadata")
    found = metadata.get(key) if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None


def counts(job: Mapping[str, Any], part: PartFile) -> tuple[int | None, int | None]:
    """Return how many lines are counted as completed and as failed."""
    completed, failed = (believed(_counted(job, name), part.lines) for name in ("completed", "failed"))
    return completed, failed


def ran(job: Mapping[str, Any], failed: int | None) -> bool:
    """Tell whether lines of a job ran, although it is called failed: paid answers may exist, whatever the word says.

    OpenAI's own jobs fail in validation alone, with counts of 0. Of failures that are counted, a named file tells more
    than the reason of the job does; without a reason they are none of the validation's.
    """
    if _counted(job, "completed"):
        return True
    return bool(failed) and (identifier(job, "error_file_id") is not None or not refusals.told(job))


def _counted(job: Mapping[str, Any], name: str) -> Any:
    found = job.get("request_counts")
    return found.get(name) if isinstance(found, dict) else job.get(name)


def result(job: Mapping[str, Any], name: str) -> str | None:
    """Return the id of a result file, or its URL where a service names that in its place."""
    found = job.get(name)
    url = isinstance(found, str) and found.startswith(URLS) and len(found) <= LONGEST_URL
    return found if url else identifier(job, name)


def unnamed(results: Mapping[str, str], end: JobEnd | None, completed: int | None, failed: int | None) -> bool:
    """Tell whether a job has ended before the ids of its files are there, as users have seen.

    An id is null for good where its file would be empty (captured); a job that completed has one of the two.
    """
    if not results and end is JobEnd.COMPLETED:
        return True
    return bool((completed and "output" not in results) or (failed and "error" not in results))
