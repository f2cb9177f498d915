"""Mistral's files and batch jobs under /mistral-ai/v1: lines in files or in the create, two result files.

Written from the project's reference page (its captures of 2026-09-02 and the types of the official SDK 3.7), never from
what an adapter of ours sends. In no document, so a guess: the answer to a cancel of a job that has ended (409).
"""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route
from proxy_plugin.providers.sandbox.kit.files import File, content
from proxy_plugin.providers.sandbox.kit.jobs import Job
from proxy_plugin.providers.sandbox.kit.lines import JSON, judge
from proxy_plugin.providers.sandbox.kit.wire import Wire
from proxy_plugin.providers.sandbox.mistral_ai.lines import CHAT, Lines
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

MOST_INLINE = 9_999
MOST_BYTES = 512 * 10**6
PURPOSES = frozenset({"fine-tune", "batch", "ocr", "agentic_safety"})
ENDPOINTS = frozenset(
    {
        *(CHAT, "/v1/embeddings", "/v1/fim/completions", "/v1/moderations", "/v1/chat/moderations", "/v1/ocr"),
        *("/v1/classifications", "/v1/chat/classifications", "/v1/conversations", "/v1/audio/transcriptions"),
    }
)
WORDS = {
    "validating": "QUEUED",
    "in_progress": "RUNNING",
    "cancelling": "CANCELLATION_REQUESTED",
    "completed": "SUCCESS",
    "failed": "FAILED",
    "expired": "TIMEOUT_EXCEEDED",
    "cancelled": "CANCELLED",
}
FILE_LIST = ("page", "page_size", "include_total", "sample_type", "source", "search", "purpose", "mimetypes")
JOB_LIST = (
    *("page", "page_size", "model", "agent_id", "metadata", "created_after", "created_by_me", "status", "order_by"),
)
ORDER = ("input_files", "requests", "endpoint", "model", "agent_id", "metadata", "timeout_hours")


class Mistral(Wire):
    """See `dialect.Dialect`."""

    form = Lines()

    def own_routes(self) -> list[Route]:
        one = "/batch/jobs/{batch_id}"
        return [
            Route("POST", "/files", "files.create", self._upload),
            Route("GET", "/files", "files.list", self._list_files),
            Route("GET", "/files/{file_id}", "files.retrieve", self.about_file(lambda file: json_reply(_file(file)))),
            Route("GET", "/files/{file_id}/content", "files.content", self.about_file(content)),
            Route("DELETE", "/files/{file_id}", "files.delete", self.about_file(self._delete_file)),
            Route("POST", "/batch/jobs", "batches.create", self._create),
            Route("GET", "/batch/jobs", "batches.list", self._list),
            Route("GET", one, "batches.retrieve", self.about_job(self._retrieve, ("inline",))),
            Route("POST", f"{one}/cancel", "batches.cancel", self.about_job(self._cancel)),
            Route("DELETE", one, "batches.delete", self.about_job(self._delete)),
        ]

    def error(self, status: int, message: str) -> JSON:
        """401s and validation errors have a `detail` alone, the others an error object."""
        if status in {401, 422}:
            return {"detail": message}
        kind = (
            "rate_limited" if status == 429 else "internal_server_error" if status >= 500 else "invalid_request_error"
        )
        whole = {"object": "error", "message": message, "type": kind, "param": None, "code": str(status * 10)}
        return {**whole, "raw_status_code": status}

    def new_file_id(self) -> str:
        return str(uuid.uuid4())

    new_job_id = new_file_id

    async def publish(self, job: Job) -> None:
        await self.two_files(job)

    def strangers_line(self, model: str) -> JSON:
        said = [{"role": "user", "content": f"stranger {secrets.token_hex(4)}"}]
        return {"custom_id": secrets.token_hex(9), "body": {"model": model, "messages": said}}

    def strangers_order(self, file: File, model: str) -> JSON:
        return {"input_files": [file.id], "endpoint": CHAT, "model": model, "metadata": None}

    # Files

    async def _upload(self, request: web.Request, account: str) -> Act:
        file = await self.files.receive(request, account, ("purpose", "expiry", "visibility"), self.refused)
        purpose = file.fields.get("purpose", "fine-tune")
        if file.path.stat().st_size > MOST_BYTES:
            file.path.unlink()
            raise self.refused(413, "The file is too large")
        if purpose not in PURPOSES:
            raise self.refused(422, "purpose: Input should be one of " + ", ".join(sorted(PURPOSES)))
        wrong = await self.services.work.run(file.path.stat().st_size, judge, file.path, self.form, {})
        if purpose == "batch" and wrong:
            file.path.unlink()
            raise self.refused(422, f"Invalid file format. {wrong}")

        async def act() -> Reply:
            return json_reply(_file(self.files.add(file)), subject=file.id)

        return act

    async def _list_files(self, request: web.Request, account: str) -> Act:
        query = self.query(request, FILE_LIST)

        async def act() -> Reply:
            found = [_file(file) for file in self.files.of(account)]
            for name in ("purpose", "sample_type"):
                found = [file for file in found if query.get(name) in {None, file[name]}]
            return self._page(query, found)

        return act

    def _page(self, query: Mapping[str, str], found: list[dict[str, Any]]) -> Reply:
        page, size = self.number(query, "page", 0, 0, 10**9), self.number(query, "page_size", 100, 1, 1000)
        return json_reply({"data": found[page * size : (page + 1) * size], "object": "list", "total": len(found)})

    def _delete_file(self, file: File) -> Reply:
        self.files.delete(file)
        return json_reply({"id": file.id, "object": "file", "deleted": True})

    # Jobs

    async def _create(self, request: web.Request, account: str) -> Act:
        order = self._order(await self.body(request, ORDER))
        ready = await self._inline(order, account) if order.get("requests") else None

        async def act() -> Reply:
            files = order.get("input_files") or []
            found = [self.files.find(account, each) for each in files]
            if None in found:
                raise self.refused(404, f"Unable to find input file {files[found.index(None)]}")
            source = ready or (found[0] if found else None)
            kept = {name: value for name, value in order.items() if name != "requests"}
            entry = {"input_file_id": (files or [None])[0], "metadata": order.get("metadata")}
            entry |= {"lines": source.lines if source else 0}
            job = await self.jobs_.accept(account, kept, source.path if source else None, self.current, entry)
            return json_reply({**self._facts(job), "total_requests": 0}, subject=job.id)

        return act

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        if order.get("endpoint") not in ENDPOINTS:
            raise self.refused(422, "endpoint: Input should be one of " + ", ".join(sorted(ENDPOINTS)))
        if bool(order.get("input_files")) == bool(order.get("requests")):
            raise self.refused(422, "Exactly one of input_files and requests must be given")
        if len(order.get("input_files") or ()) > 1:
            raise self.refused(422, "The sandbox takes one input file a job")
        self.metadata(order.get("metadata"))
        self.number(order, "timeout_hours", 24, 1, 168)
        model = order.get("model")
        if model == "no-such-model" or model in self.current.unknown_models:
            raise self.refused(422, f"Invalid model: {model}")
        return order

    async def _inline(self, order: JSON, account: str) -> File:
        """Keep the lines of a create as a file that nobody sees, judged as an upload is."""
        lines = order["requests"]
        if not isinstance(lines, list) or len(lines) > MOST_INLINE:
            raise self.refused(422, f"requests: List should have at most {MOST_INLINE} items")
        file = await self.hidden(account, lines)
        wrong = await self.services.work.run(file.path.stat().st_size, judge, file.path, self.form, order)
        if wrong:
            file.path.unlink()
            raise self.refused(422, f"Invalid requests. {wrong}")
        return file

    async def _list(self, request: web.Request, account: str) -> Act:
        wanted = set(request.query.getall("status", []))
        query = self.query(request, JOB_LIST, repeated=("status",))

        async def act() -> Reply:
            found = [self._facts(job) for job in self.jobs_.of(account)]
            if query.get("order_by", "-created") == "created":
                found.reverse()
            found = [job for job in found if not wanted or job["status"] in wanted]
            return self._page(query, [job for job in found if query.get("model") in {None, job["model"]}])

        return act

    def _retrieve(self, job: Job, query: Mapping[str, str]) -> Reply:
        facts = self._facts(job)
        job.looks += job.ended
        if query.get("inline", "false").lower() == "true" and job.ended:
            facts["outputs"] = [orjson.loads(text) for _, text in job.results(self.form)]
        return json_reply(facts, subject=job.id)

    def _cancel(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not self.jobs_.cancel(job):
            raise self.refused(409, f"The job {job.id} has ended and cannot be cancelled")
        return json_reply(self._facts(job), subject=job.id)

    def _delete(self, job: Job, _: Mapping[str, str]) -> Reply:
        job.deleted = True
        return json_reply({"id": job.id, "object": "batch", "deleted": True})

    def _facts(self, job: Job) -> dict[str, Any]:
        now = self.services.clock.now()
        well, failed = job.counts(now)
        shown = job.files if job.ended and job.looks >= job.options.results_late else {}
        told = job.options.told_counts if job.ended else {}
        return {
            "id": job.id,
            "object": "batch",
            "input_files": job.order.get("input_files") or [],
            "endpoint": job.order["endpoint"],
            "model": job.order.get("model"),
            "agent_id": job.order.get("agent_id"),
            "metadata": job.order.get("metadata"),
            "output_file": shown.get("output"),
            "error_file": shown.get("error"),
            "errors": [{"message": job.problem, "count": 1}] if job.problem else [],
            "status": WORDS[job.state],
            "created_at": int(job.created),
            "started_at": None if job.state in {"validating", "failed"} else int(job.validated),
            "completed_at": None if job.ended_at is None else int(job.ended_at),
            "total_requests": 0 if job.state == "validating" else len(job.rows),
            "completed_requests": well + failed,
            "succeeded_requests": well,
            "failed_requests": failed,
        } | told


def _file(file: File) -> dict[str, Any]:
    result = file.filename.endswith(("_output.jsonl", "_error.jsonl")) and "purpose" not in file.fields
    kind = "batch_request" if not result else "batch_result" if "_output" in file.filename else "batch_error"
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created),
        "filename": file.filename,
        "purpose": file.fields.get("purpose", "batch"),
        "sample_type": kind,
        "source": "mistral" if result else "upload",
        "num_lines": file.lines or None,
        "deleted": False,
    }
