"""The document of a part in a provider's file store, and the files that hold its results: shared by lanes.

FileStore   stages a part as `pp-<mark>.jsonl`, finds the upload of an interrupted run, takes it away again; and
            looks for a lost create, with the file as the control: the same key must show it under its name
named_results, bring   which result files a job names; one of them stored whole
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.base import JobEnd, JobStatus, PartFile, Refused, Sighting, Submission, TryLater
from proxy_plugin.providers.calls import gone, known, none_if_gone, patiently
from proxy_plugin.providers.kept import begin
from proxy_plugin.providers.listing import Listed, Listing, Page

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin


@dataclass(frozen=True, slots=True)
class FileStore:
    """How a provider keeps files. `listing` is newest first; `fields` are those of the form beside the file."""

    listing: Listing
    fields: Mapping[str, str] = field(default_factory=dict)

    async def stage(self, origin: Origin, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload a part, or find the upload of an interrupted run. Raises like `BatchProvider.stage`."""
        stored = await self._staged(origin, part) if again else None
        stored = await self.put(origin, part) if stored is None else stored
        file, (_, size) = self.listing.read(stored)[0], self.told(stored)
        if file is None or size not in (None, part.bytes):
            raise TryLater(f"upload of {filename(part)}: the reply names no file of {part.bytes} bytes")
        self.check(origin, stored)
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
        path = self._path(submission.staged["file"])
        if not await self.absent(origin.request("DELETE", path)) and not await self.absent(origin.request("GET", path)):
            raise TryLater(f"/{path} is still there after its deletion")

    # What a provider may have of its own.

    async def put(self, origin: Origin, part: PartFile) -> Mapping[str, Any]:
        """Upload a part; return the record of its file."""
        return (await origin.upload(self.listing.path, self.fields, part.path, filename(part))).fields()

    def told(self, file: Mapping[str, Any]) -> tuple[object, object]:
        """Return under which name a file was uploaded, and its size in bytes; None where its record does not tell."""
        return file.get("filename"), file.get("bytes")

    def usable(self, file: Mapping[str, Any]) -> bool:
        """Tell whether an upload that was found may be used."""
        return file.get("status") != "error"

    def check(self, origin: Origin, file: Mapping[str, Any]) -> None:
        """Raise TryLater while a file cannot be read by a job yet, Refused where it never will be."""

    async def absent(self, call: Awaitable[object]) -> bool:
        """Return whether a call about a file is answered with "not found"."""
        return await gone(call)

    async def _staged(self, origin: Origin, part: PartFile) -> Mapping[str, Any] | None:
        """Look for an upload of this very part. Not being allowed to look costs a second upload, no money."""
        try:
            async for page in self.listing.pages(origin):
                for file in page.records:
                    if self.told(file.fields) != (filename(part), part.bytes):
                        continue
                    # a list may still show a file that was deleted a moment ago
                    found = await none_if_gone(patiently(partial(origin.request, "GET", self._path(file.id))))
                    if found is not None and self.usable(fields := {**file.fields, **found.fields()}):
                        return fields
        except Refused:
            return None
        return None

    async def _shows(self, origin: Origin, submission: Submission) -> bool:
        file = submission.staged.get("file")
        if file is None:
            return False
        reply = await patiently(lambda: origin.request("GET", self._path(file)))
        return self.told(reply.fields())[0] == filename(submission.part)

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

    async def look() -> object:
        path = f"files/{file}"
        return (await known(origin.request("GET", path), path)).fields().get("bytes")

    size = await begin(to, {"file": file, "reading": status.reading}, look)
    if not await asyncio.to_thread(to.exists):
        await origin.download(f"files/{file}/content", to, None if status.last else size)
