"""The document of a part in a provider's file store, and the files that hold its results: shared by lanes.

FileStore   stages a part as `pp-<mark>.jsonl`, finds the upload of an interrupted run, takes it away again; and
            looks for a lost create, with the file as the control: the same key must show it under its name
named_results, bring   which result files a job names; one of them stored whole
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.base import JobEnd, JobStatus, PartFile, Refused, Sighting, Submission, TryLater
from proxy_plugin.providers.calls import gone, known, patiently
from proxy_plugin.providers.kept import note, noted
from proxy_plugin.providers.listing import Listed, Listing, Page, identifier

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin


@dataclass(frozen=True, slots=True)
class FileStore:
    """How a provider keeps files. `listing` is newest first; `fields` are those of the form beside the file."""

    listing: Listing
    fields: Mapping[str, str] = field(default_factory=dict)

    async def stage(self, origin: Origin, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload a part, or find the upload of an interrupted run. Raises like `BatchProvider.stage`."""
        if again and (found := await self._staged(origin, part)):
            return {"file": found}
        stored = (await origin.upload(self.listing.path, self.fields, part.path, filename(part))).fields()
        file = identifier(stored)
        if file is None or stored.get("bytes") not in (None, part.bytes):
            raise TryLater(f"upload of {filename(part)}: the reply names no file of {part.bytes} bytes")
        return {"file": file}

    async def find(
        self, origin: Origin, pages: AsyncIterator[Page], submission: Submission, ours: Callable[[Listed], bool]
    ) -> Sighting:
        """Read a list of jobs; the control is our input file, seen under its name by the same key."""
        jobs = list[str]()
        try:
            async for page in pages:
                jobs += [job.id for job in page.records if ours(job)]
        except Refused:
            return Sighting(tuple(jobs), control=False, listed=False)
        try:
            control = await self._shows(origin, submission)
        except Refused:
            control = False
        return Sighting(tuple(jobs), control)

    async def revoke(self, origin: Origin, submission: Submission) -> None:
        """Delete the input file, so that a create that is accepted late has nothing to run."""
        path = f"{self.listing.path}/{submission.staged['file']}"
        if not await gone(origin.request("DELETE", path)) and not await gone(origin.request("GET", path)):
            raise TryLater(f"/{path} is still there after its deletion")

    async def _staged(self, origin: Origin, part: PartFile) -> str | None:
        """Look for an upload of this very part. Not being allowed to look costs a second upload, no money."""
        try:
            async for page in self.listing.pages(origin):
                for file in page.records:
                    if _is_of(file.fields, part) and not await gone(origin.request("GET", self._path(file.id))):
                        return file.id  # a list may still show a file that was deleted a moment ago
        except Refused:
            return None
        return None

    async def _shows(self, origin: Origin, submission: Submission) -> bool:
        file = submission.staged.get("file")
        if file is None:
            return False
        reply = await patiently(lambda: origin.request("GET", self._path(file)))
        return bool(reply.fields().get("filename") == filename(submission.part))

    def _path(self, file: str) -> str:
        return f"{self.listing.path}/{file}"


def filename(part: PartFile) -> str:
    """Return the name under which a part is uploaded."""
    return f"pp-{part.mark}.jsonl"


def named_results(
    ids: Mapping[str, str | None], end: JobEnd | None, completed: int | None, failed: int | None, *, suffix: str = ""
) -> tuple[dict[str, str], bool]:
    """Return which of the files `output` and `error` a job names, and whether it must name one more.

    A job may be over before its files are there; one without rows is never named. `suffix` goes into our names.
    """
    found = {f"{name}{suffix}": id_ for name, id_ in ids.items() if id_ is not None}
    nothing = not found and end is JobEnd.COMPLETED
    missing = (completed and ids.get("output") is None) or (failed and ids.get("error") is None)
    return found, bool(nothing or missing)


async def bring(origin: Origin, file: str, to: Path, status: JobStatus) -> None:
    """Make `to` hold a result file whole. Each call that has succeeded is not made again in the same reading."""
    facts: dict[str, Any] = {"file": file, "reading": status.reading}
    found = await asyncio.to_thread(noted, to)
    if not facts.items() <= found.items():
        path = f"files/{file}"
        facts["bytes"] = (await known(origin.request("GET", path), path)).fields().get("bytes")
        keep = found.get("file") == file and await asyncio.to_thread(_has_size, to, facts["bytes"])
        await asyncio.to_thread(note, to, facts, keep=keep)
        found = facts
    if not await asyncio.to_thread(to.exists):
        size = found.get("bytes") if not status.last else None
        await origin.download(f"files/{file}/content", to, size if isinstance(size, int) else None)


def _has_size(path: Path, size: object) -> bool:
    return path.exists() and path.stat().st_size == size


def _is_of(file: Mapping[str, Any], part: PartFile) -> bool:
    """Whether a listed file is an upload of this very part, and usable."""
    same = file.get("filename") == filename(part) and file.get("bytes") == part.bytes
    return same and file.get("status") != "error"
