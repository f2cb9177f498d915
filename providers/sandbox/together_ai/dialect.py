"""Together's Files and Batches API under /together-ai/v1.

Written from the project's reference page (types of the SDK 3.1.1, captures of 2026-09) and not from what an adapter of
ours sends. Not told by any page, so a guess: that lines with further members are refused, that results named `null`
stay so where they would be empty, and the order of the list.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route
from proxy_plugin.providers.sandbox.replies import Reply, json_reply
from proxy_plugin.providers.sandbox.uploads.blobs import Blob
from proxy_plugin.providers.sandbox.uploads.dialect import Uploaded, acting, rows_of, shown
from proxy_plugin.providers.sandbox.uploads.lines import Answer, Bad, dumps
from proxy_plugin.providers.sandbox.uploads.lives import Job, stamp

ENDPOINTS = ("/v1/chat/completions", "/v1/audio/transcriptions", "/v1/audio/translations")
PURPOSES = ("fine-tune", "calibration", "eval", "batch-api")
WORDS = {"cancelling": "CANCELING", "finalizing": "IN_PROGRESS"}  # the first undocumented, seen live 2026-09
FIELDS = ("purpose", "file_name", "file_type", "checksum")


class Together(Uploaded):
    """See `dialect.Dialect`."""

    errors_paid = False  # "Error rows not billed"

    def own_routes(self) -> Sequence[Route]:
        file, batch = "/files/{file_id}", "/batches/{batch_id}"
        return [
            Route("POST", "/files/upload", "files.upload", self._upload),
            Route("POST", "/files", "files.create", self._link),
            Route("GET", "/files", "files.list", self._files),
            Route("POST", f"{file}/preprocess", "files.preprocess", self._preprocess),
            Route("GET", f"{file}/content", "files.content", self._content),
            Route("GET", file, "files.retrieve", self._file),
            Route("DELETE", file, "files.delete", self._delete),
            Route("POST", "/batches", "batches.create", self._create),
            Route("GET", "/batches", "batches.list", self._list),
            Route("GET", batch, "batches.retrieve", self._retrieve),
            Route("POST", f"{batch}/cancel", "batches.cancel", self._cancel),
        ]

    def checker(self) -> Any:
        return check

    def order(self, blob: Blob, model: str, endpoint: str) -> dict[str, Any]:  # noqa: ARG002 - lines have it
        return {"input_file_id": blob.id, "endpoint": endpoint}

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def refusal(self, status: int, message: str, code: str | None) -> Reply:  # noqa: ARG002 - there are none
        """The form that batches have; files have OpenAI's [captured]."""
        return json_reply({"error": message, "request_id": uuid.uuid4().hex}, status)

    # Files

    async def _upload(self, request: web.Request, account: str) -> Act:
        """The direct way: one form."""
        fields, blob = await self.blobs.form(request, FIELDS, "file", lambda: self.blobs.new(account, "", shown=False))
        assert blob is not None
        self._describe(blob, fields)
        return shown(facts_of(blob), subject=blob.id)

    async def _link(self, request: web.Request, account: str) -> Act:
        """The way of the SDK: a form without the file, answered with where to PUT it."""
        fields, _ = await self.blobs.form(request, FIELDS, None, lambda: self.blobs.new(account, ""))

        async def act() -> Reply:
            blob = self.blobs.new(account, "")
            self._describe(blob, fields)
            headers = {"location": self.blobs.sign(request, blob), "x-together-file-id": blob.id}
            return Reply(302, headers=headers, subject=blob.id)

        return act

    def _describe(self, blob: Blob, fields: Mapping[str, str]) -> None:
        if fields.get("purpose") not in PURPOSES:
            raise self.complain(400, f"purpose must be one of {', '.join(PURPOSES)}")
        if not fields.get("file_name", blob.name).endswith(".jsonl"):
            raise self.complain(400, "file_name must end with .jsonl")
        blob.name, blob.kind = fields.get("file_name", blob.name), fields["purpose"]

    def _stored(self, request: web.Request, account: str) -> Blob:
        blob = self.blobs.find(account, request.match_info["file_id"])
        if blob is None:
            raise self.complain(404, "File not found")
        return blob

    async def _files(self, request: web.Request, account: str) -> Act:
        self.known(request)
        return shown({"data": [facts_of(blob) for blob in self.blobs.of(account)]})

    async def _preprocess(self, request: web.Request, account: str) -> Act:
        blob = self._stored(request, account)
        if not blob.whole:
            raise self.complain(400, "the file has not been uploaded")
        return shown(facts_of(blob))

    async def _file(self, request: web.Request, account: str) -> Act:
        return shown(facts_of(self._stored(request, account)))

    async def _content(self, request: web.Request, account: str) -> Act:
        return acting(self.blobs.content(self._stored(request, account)))

    async def _delete(self, request: web.Request, account: str) -> Act:
        blob = self._stored(request, account)

        async def act() -> Reply:
            self.blobs.delete(blob)
            return json_reply({"id": blob.id, "deleted": True})

        return act

    # Batches

    async def _create(self, request: web.Request, account: str) -> Act:
        """Nothing is validated: a wrong file is a job that fails [captured]."""
        known = ("input_file_id", "endpoint", "completion_window", "model_id", "priority")
        order = await self.blobs.body(request, known, known[:2])
        if order["endpoint"] not in ENDPOINTS or order.get("completion_window", "24h") != "24h":
            raise self.complain(400, "unknown endpoint or completion_window")

        async def act() -> Reply:
            job = self.lives.new(self.new_id(), account, order, self.blobs.find(account, str(order["input_file_id"])))
            await self.lives.accept(job)
            return json_reply({"job": self._facts(job)}, 201, subject=job.id)

        return act

    async def _list(self, request: web.Request, account: str) -> Act:
        self.known(request, "limit")  # which changes nothing: there are no pages
        return shown([self._facts(job) for job in self.lives.newest(account)])

    def _job(self, request: web.Request, account: str) -> Job:
        job = self.lives.find(account, request.match_info["batch_id"])
        if job is None:
            raise self.complain(404, "Job not found")
        return job

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        job = self._job(request, account)
        job.looks += job.ended is not None
        return shown(self._facts(job))

    async def _cancel(self, request: web.Request, account: str) -> Act:
        job = self._job(request, account)

        async def act() -> Reply:
            if not self.lives.cancel(job):
                raise self.complain(409, f"Cannot cancel job - already in terminal state: {job.status.upper()}")
            return json_reply(self._facts(job), subject=job.id)

        return act

    def _facts(self, job: Job) -> dict[str, Any]:
        """A BatchJob; what is absent is left out."""
        now, files = self._services.clock.now(), job.shown()
        share = job.progress(now) * 100 / len(job.answers) if job.answers else 0
        found = {
            "id": job.id,
            "user_id": job.account,
            "input_file_id": job.order["input_file_id"],
            "file_size_bytes": job.source.size if job.source else 0,
            "status": WORDS.get(job.status, job.status.upper()),
            "job_deadline": stamp(job.expires),
            "created_at": stamp(job.created),
            "completed_at": stamp(job.ended),
            "endpoint": job.order["endpoint"],
            "progress": job.options.told_counts.get("progress", share),
            "model_id": job.order.get("model_id", ""),
            "error": job.problem,
            **{f"{name}_file_id": blob.id for name, blob in files.items()},
        }
        return {name: value for name, value in found.items() if value is not None}

    async def finish(self, job: Job, moment: float) -> None:  # noqa: ARG002
        """Lines that did not run are in neither file: no page shows such rows."""
        done = job.answers[: job.done]
        for name in ("output", "error"):
            some = [each for each in done if (each.status in {0, 200}) == (name == "output")]
            if any(each.rows or each.foreign for each in some):
                blob = self.blobs.new(job.account, f"{job.id}_{name}.jsonl", kind="batch-api")
                job.results[name] = self.blobs.write(blob, rows_of(some, row))
                job.output = blob.id if name == "output" else job.output


def check(line: Mapping[str, Any]) -> None:
    """Judge what the reference page says of a line."""
    if set(line) != {"custom_id", "body"}:
        raise Bad("a line has custom_id and body")
    model = line["body"].get("model")
    if not isinstance(model, str):
        raise Bad("missing 'model' field in body or not a string")
    if model == "no-such-model":
        raise Bad("Unable to access non-serverless model no-such-model")


def row(custom_id: str, answer: Answer) -> bytes:
    head = {"id": f"br_{uuid.uuid4().hex}", "custom_id": custom_id}
    if answer.ok:
        inside = dumps({"status_code": 200})[:-1] + b',"body":' + answer.body + b"}"
        return dumps(head)[:-1] + b',"response":' + inside + b"}\n"
    if answer.status == 0:
        return dumps({**head, "response": {"status_code": 0, "body": {}}}) + b"\n"
    return dumps({**head, "error": {"code": "batch_client_error", "message": answer.message}}) + b"\n"


def facts_of(blob: Blob) -> dict[str, Any]:
    return {
        "id": blob.id,
        "object": "file",
        "purpose": blob.kind,
        "filename": blob.name,
        "bytes": blob.size,
        "created_at": int(blob.created),
        "FileType": "jsonl",
        "LineCount": blob.lines,
        "Processed": blob.whole,
        "processing_status": "COMPLETED" if blob.whole else "PENDING",
    }
