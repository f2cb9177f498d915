"""OpenAI's batch lane, and every lane that copies it: a `Service` row is all that a copy needs.

Sources: "Batch API" guide, developers.openai.com/api/docs/guides/batch, copy of 2026-06-27 (limits, statuses, files);
API reference, pages "Batch" and "Files", openapi.yaml of 2026-08-21 (fields, page sizes, purposes); captures of
2026-09-02 where marked. There is no idempotency key and no search: a job is found again by the mark in its metadata
together with the id of its input file, in the list, which is newest first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_plugin.providers.base import (
    Account,
    AtWork,
    Capabilities,
    Content,
    Credentials,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    Native,
    NewFile,
    OutcomeUnknown,
    PartFile,
    Refused,
    Row,
    Sighting,
    StoredFile,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.calls import ask_to_cancel, gone, known, none_if_gone, patiently
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.formats.openai.carried import require_one_answer
from proxy_plugin.providers.kept import begin
from proxy_plugin.providers.keys import key_of
from proxy_plugin.providers.lanes.openai import files as openai_files
from proxy_plugin.providers.lanes.openai import jobs, refusals
from proxy_plugin.providers.lanes.openai.loose import tightened
from proxy_plugin.providers.lanes.openai.rows import request_line, result_row
from proxy_plugin.providers.lanes.openai.service import Service
from proxy_plugin.providers.listing import Listing, identifier

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 11 MB
    from proxy_plugin.providers.http import Origin
    from proxy_plugin.providers.signing.accounts import Proof

__all__ = ["OpenAICompatible", "Service"]

ERRORS = "error.jsonl"
BROKEN, PROCESSED = frozenset({"error", "failed"}), frozenset({"processed", "succeeded", ""})  # states of a file


class OpenAICompatible:
    """The batch lane of one `Service`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.capabilities: Capabilities = service
        self.credentials: type[Credentials] = service.credentials
        self.file_purposes = service.file_purposes

    def account_key(self, credentials: Credentials) -> str:
        """Return host, key and what else the service is told of the account."""
        more = _told(self.service.headers, credentials).values()
        return "\x1f".join((self._host(credentials), key_of(credentials), *more))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Wrap the body as it is; only a target's model changes it."""
        self.capabilities.require(line.endpoint)
        service = self.service
        looks_inside = service.one_answer or service.stripped or target.model is not None
        translate = partial(self._line, target=target)
        return lightly(line, translate) if looks_inside else translate(line)

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:  # noqa: ARG002 - rows come as they must go
        """Read a row; its status alone tells whether it is an answer, not the file it was in."""
        return result_row(tightened(line) if self.service.loose_rows and line.strip() else line)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload the part as `pp-<mark>.jsonl`, or find the upload of an interrupted run."""
        origin, service = self._origin(account), self.service.of(account.credentials)
        if again and (found := await self._staged(origin, part, service)):
            if self.service.processed:
                path = f"files/{found}"
                _check_processed(origin, jobs.record(await patiently(lambda: origin.request("GET", path))), service)
            return {"file": found}
        fields = {"purpose": service.purpose} if service.purpose else {}
        fields |= service.upload
        try:
            stored = jobs.record(await origin.upload("files", fields, part.path, _filename(part)))
        except Refused as refused:
            raise refusals.of_upload(refused, first_line=self.service.first_line) from None
        file = identifier(stored)
        if file is None or stored.get("bytes") not in (None, part.bytes):
            raise TryLater(f"upload of {_filename(part)}: the reply names no file of {part.bytes} bytes")
        _check_processed(origin, stored, service)
        return {"file": file}

    async def fence(self, account: Account) -> str | None:
        """Return the newest batch of the account."""
        newest = await self.service.listing.newest(self._origin(account))
        return newest.records[0].id if newest.records else None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the batch. Its metadata carries our mark alone."""
        service, part, file = self.service.of(account.credentials), submission.part, submission.staged["file"]
        order: dict[str, object] = {"input_file_id": file, "endpoint": self._url(part.endpoint), **service.order}
        if service.window:
            order["completion_window"] = service.window
        if service.accepts_label and service.sends_label:
            order["metadata"] = {service.label: part.mark}
        more = {service.idempotency: _key(submission)} if service.idempotency else {}
        try:
            reply = await self._origin(account, more).create("batches", json=order)
        except Refused as refused:
            raise refusals.of_create(refused, first_line=self.service.first_line) from None
        job = identifier(jobs.record(reply))
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read the list down to the fence; the control is our input file, seen under its name by the same key.

        Where jobs are known by their input alone, all that are listed must show theirs.
        """
        origin, service, found = self._origin(account), self.service.of(account.credentials), list[str]()
        control = True
        try:
            async for page in service.listing.since(origin, submission.fence):
                found += [job.id for job in page.records if _is_ours(job.fields, submission, service)]
                control &= service.labelled or all(identifier(job.fields, "input_file_id") for job in page.records)
        except Refused:
            return Sighting(tuple(found), control=False, listed=False)
        try:
            control &= await self._shows_file(origin, submission)
        except Refused:
            control = False
        return Sighting(tuple(found), control)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin, service = self._origin(account), self.service.of(account.credentials)
        found = await _read(origin, f"batches/{job}")
        state, end = jobs.state(found, service.words)
        completed, failed = jobs.counts(found, part)
        if state is JobState.FAILED and jobs.ran(found, failed):
            state, end = JobState.ENDED, JobEnd.COMPLETED
        results = {name: file for name in ("output", "error") if (file := jobs.result(found, f"{name}_file_id"))}
        refusal = self._refusal(origin, found) if state is JobState.FAILED else None
        return JobStatus(
            state=state,
            mark=jobs.mark(found, service.label) or (None if service.labelled else part.mark),
            end=end,
            completed=completed,
            failed=failed,
            results=results,
            refusal=refusal,
            retryable=refusal is not None and refusal.code in jobs.QUOTA_CODES,
            poll_after=service.pause(self._host(account.credentials)),
            unnamed=state is JobState.ENDED and jobs.unnamed(results, end, completed, failed),
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Store `output.jsonl` and `error.jsonl`, whichever exist, verified against the size the service names.

        A later reading asks for the sizes alone: a file that has grown is read again.
        """
        origin, names = self._origin(account), []
        for name, file in status.results.items():
            if await self._bring(origin, file, folder / f"{name}.jsonl", status):
                names.append(f"{name}.jsonl")
        return tuple(names)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin = self._origin(account)

        async def look() -> JobState:
            return jobs.state(await _read(origin, f"batches/{job}"), self.service.words)[0]

        await ask_to_cancel(origin.request("POST", f"batches/{job}/cancel"), look)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the input file: a create that is accepted late then fails its validation and runs nothing."""
        origin, file = self._origin(account), submission.staged["file"]
        if not await gone(origin.request("DELETE", f"files/{file}")) and await self._shown(origin, file) is not None:
            raise TryLater(f"/files/{file} is still there after its deletion")

    async def store_file(self, account: Account, file: NewFile) -> StoredFile:
        """Upload a file for another purpose than a batch."""
        record = await openai_files.store(self._origin(account), file)
        return openai_files.stored(record)

    def read_file(self, account: Account, file: str, asked: Mapping[str, str]) -> AbstractAsyncContextManager[Content]:
        """Open a stored file's content."""
        return openai_files.content(self._origin(account), file, asked)

    async def delete_file(self, account: Account, file: str) -> None:
        """Delete a stored file."""
        await openai_files.delete(self._origin(account), file)

    def _origin(self, account: Account, more: Mapping[str, str] | None = None) -> Origin:
        credentials, service = account.credentials, self.service
        told = {name: value for name, value in _told(service.headers, credentials).items() if value}
        params = {name: value for name, value in _told(service.params, credentials).items() if value}
        secret, signer = self._proof(account)
        return account.origin(self._host(credentials), secret, {**told, **(more or {})}, params, signer=signer)

    def _proof(self, account: Account) -> Proof:
        header = self.service.of(account.credentials).key_header
        bearer = "Bearer " if header.lower() == "authorization" else ""
        return {header: f"{bearer}{key_of(account.credentials)}"}, None

    def _host(self, credentials: Credentials) -> str:
        return self.capabilities.host(credentials)

    def _url(self, endpoint: str) -> str:
        return self.service.urls.get(endpoint, endpoint)

    def _line(self, line: LineIn, target: Target) -> Native:
        if self.service.one_answer:
            require_one_answer(line.body, self.service.title)
        url = None if self.service.bare_lines else self._url(line.endpoint)
        return request_line(line, target, url, self.service.stripped)

    def _refusal(self, origin: Origin, job: Mapping[str, Any]) -> Refused:
        first_line, one_model = self.service.first_line, self.service.one_model_per_job
        return refusals.of_job(origin, job, first_line=first_line, one_model=one_model)

    async def _staged(self, origin: Origin, part: PartFile, service: Service) -> str | None:
        """Look for an upload of this very part. Not being allowed to look costs a second upload, no money."""
        try:
            async for page in self._files(service).pages(origin):
                for file in page.records:
                    if _is_of(file.fields, part, service) and await self._shown(origin, file.id) is not None:
                        return file.id  # a list may still show a file that was deleted a moment ago
        except Refused:
            return None
        return None

    async def _shows_file(self, origin: Origin, submission: Submission) -> bool:
        file = submission.staged.get("file")
        if file is None:
            return False
        shown, name = await self._shown(origin, file) or {}, _filename(submission.part)
        return bool(shown.get("id") == file and shown.get("filename", name) == name)

    async def _shown(self, origin: Origin, file: str) -> Mapping[str, Any] | None:
        """Return what the service shows of a file, None where it is gone."""
        if self.service.files_by_id:
            path = f"files/{file}"
            reply = await none_if_gone(patiently(lambda: origin.request("GET", path)))
            return None if reply is None else jobs.record(reply)
        async for page in self._files(self.service).pages(origin):
            for each in page.records:
                if each.id == file:
                    return each.fields
        return None

    def _files(self, service: Service) -> Listing:
        params = {"purpose": service.purpose} if service.files.params and service.purpose else {}
        return replace(service.files, params={**params, **service.files.params})

    async def _bring(self, origin: Origin, file: str, to: Path, status: JobStatus) -> bool:
        """Make `to` hold a file whole. Each call that has succeeded is not made again in the same reading.

        Tells whether it does: of errors a service may name a file that holds none.
        """

        async def look() -> object:
            known_size = self.service.files_by_id and not file.startswith(jobs.URLS)
            return (await _read(origin, f"files/{file}")).get("bytes") if known_size else None

        size = await begin(to, {"file": file, "reading": status.reading}, look)
        if to.name == ERRORS and size == 0:
            return False
        if not await asyncio.to_thread(to.exists):
            await self._download(origin, file, to, None if status.last else size)
        return True

    async def _download(self, origin: Origin, file: str, to: Path, size: int | None) -> None:
        """Store content, or what a signed URL leads to: two calls, each made again by itself."""
        path = f"files/{file}/content"
        url = file if file.startswith(jobs.URLS) else None
        if self.service.signed_content and url is None:
            url = await patiently(lambda: origin.linked(path))
        if url is None:
            await origin.download(path, to, size)
        else:
            link = origin.link(url)
            await patiently(lambda: link.get(to, size))


async def _read(origin: Origin, path: str) -> dict[str, Any]:
    return jobs.record(await known(origin.request("GET", path), path))


def _check_processed(origin: Origin, file: Mapping[str, Any], service: Service) -> None:
    """Raise AtWork while a file is worked on before a job may read it, Refused where that failed on a line or all."""
    word = str(file.get("status") or "").lower()
    if not service.processed or word in PROCESSED:
        return
    if word in BROKEN:
        said = origin.refusal(msgspec.json.encode(file.get("status_details")), 400)
        raise refusals.of_upload(said, first_line=service.first_line)
    raise AtWork(f"the uploaded file is {word if word.isidentifier() else 'not processed'}")


def _filename(part: PartFile) -> str:
    return f"pp-{part.mark}.jsonl"


def _is_of(file: Mapping[str, Any], part: PartFile, service: Service) -> bool:
    """Whether a listed file is an upload of this very part, and usable."""
    same = file.get("filename") == _filename(part) and file.get("bytes") == part.bytes
    return same and (service.processed or file.get("status") != "error")


def _is_ours(job: Mapping[str, Any], submission: Submission, service: Service) -> bool:
    """Whether a listed job is this submission's: by its input file, which no other part has, and by a mark it shows."""
    file, mark = submission.staged.get("file"), jobs.mark(job, service.label)
    if file is None:
        return mark == submission.part.mark
    return file == job.get("input_file_id") and mark in (None, submission.part.mark)


def _key(submission: Submission) -> str:
    """The text of one create; a part that is created again after a job that failed for want of quota has another."""
    told = f"{submission.staged['file']}\x1f{submission.fence}".encode()
    return f"{submission.part.mark}-{hashlib.sha256(told).hexdigest()[:22]}"


def _told(names: Mapping[str, str], credentials: Credentials) -> dict[str, str]:
    return {name: getattr(credentials, of) or "" for name, of in names.items()}
