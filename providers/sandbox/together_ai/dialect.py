"""Together's Files and Batches API under /together-ai/v1.

Written from the project's reference page (types of the SDK 3.1.1, captures of 2026-09) and not from what an adapter of
ours sends. Not told by any page, so a guess: that lines with further members are refused, that results named `null`
stay so where they would be empty, and the order of the list.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route
from proxy_plugin.providers.sandbox.kit.files import File, content
from proxy_plugin.providers.sandbox.kit.jobs import Job
from proxy_plugin.providers.sandbox.kit.lines import EMPTY, JSON, Bad, Form, Outcome, dumps, own_line
from proxy_plugin.providers.sandbox.kit.wire import Wire, shown, stamp
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

ENDPOINTS = ("/v1/chat/completions", "/v1/audio/transcriptions", "/v1/audio/translations")
PURPOSES = ("fine-tune", "calibration", "eval", "batch-api")
WORDS = {"cancelling": "CANCELING", "finalizing": "IN_PROGRESS"}  # the first undocumented, seen live 2026-09
FIELDS = ("purpose", "file_name", "file_type", "checksum")


class Lines(Form):
    """A line is `{"custom_id", "body"}`."""

    unique, halves, empty = True, True, EMPTY
    errors_paid = False  # "Error rows not billed"
    gone = "Failed to download input file: HTTP 404"

    def check(self, line: JSON, order: JSON) -> None:  # noqa: ARG002
        model = own_line(line).get("model")
        if not isinstance(model, str):
            raise Bad("missing 'model' field in body or not a string")
        if model == "no-such-model":
            raise Bad("Unable to access non-serverless model no-such-model")

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        return order["endpoint"], line["body"]

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        """Lines that did not run are in neither file: no page shows such rows."""
        head: JSON = {"id": f"br_{identity}", "custom_id": custom_id}
        if not outcome.status:
            return b""
        if outcome.well:
            status = 0 if outcome == EMPTY else outcome.status
            return dumps({**head, "response": {"status_code": status, "body": outcome.body}})
        return dumps({**head, "error": {"code": "batch_client_error", "message": outcome.words}})


class Together(Wire):
    """See `dialect.Dialect`."""

    form = Lines()
    invalid = 400

    def own_routes(self) -> list[Route]:
        file, batch = "/files/{file_id}", "/batches/{batch_id}"
        return [
            Route("POST", "/files/upload", "files.upload", self._upload),
            Route("POST", "/files", "files.create", self._link),
            Route("GET", "/files", "files.list", self._files),
            Route("POST", f"{file}/preprocess", "files.preprocess", self.about_file(self._preprocess)),
            Route("GET", f"{file}/content", "files.content", self.about_file(content)),
            Route("GET", file, "files.retrieve", self.about_file(lambda found: json_reply(facts_of(found)))),
            Route("DELETE", file, "files.delete", self.about_file(self._delete)),
            Route("POST", "/batches", "batches.create", self._create),
            Route("GET", "/batches", "batches.list", self._list),
            Route("GET", batch, "batches.retrieve", self.about_job(self._retrieve)),
            Route("POST", f"{batch}/cancel", "batches.cancel", self.about_job(self._cancel)),
        ]

    def error(self, status: int, message: str) -> JSON:  # noqa: ARG002
        """The form that batches have; files have OpenAI's [captured]."""
        return {"error": message, "request_id": uuid.uuid4().hex}

    def new_job_id(self) -> str:
        return str(uuid.uuid4())

    def labels(self, job: Job) -> dict[str, Any]:
        return {"mark": job.order["mark"]}

    def strangers_line(self, model: str) -> JSON:
        said = {"model": model, "messages": [{"role": "user", "content": "stranger"}]}
        return {"custom_id": uuid.uuid4().hex, "body": said}

    def strangers_order(self, file: File, model: str) -> JSON:  # noqa: ARG002
        return {"input_file_id": file.id, "endpoint": ENDPOINTS[0], "mark": None, "size": file.size}

    def problem(self, job: Job) -> str | None:
        return f"Unable to access model {job.order['model_id']}" if self._unknown(job) else None

    def _unknown(self, job: Job) -> bool:
        return job.order.get("model_id") in {"no-such-model", *job.options.unknown_models}

    async def publish(self, job: Job) -> None:
        await self.two_files(job)

    # Files

    async def _upload(self, request: web.Request, account: str) -> Act:
        """The direct way: one form."""
        file = self._described(await self.files.receive(request, account, FIELDS, self.refused))
        return shown(facts_of(self.files.add(file)), subject=file.id)

    async def _link(self, request: web.Request, account: str) -> Act:
        """The way of the SDK: a form without the file, answered with where to PUT it."""
        file = self._described(await self.files.receive(request, account, FIELDS, self.refused, document=None))

        async def act() -> Reply:
            headers = {"location": self.links.sign(request, self.files.add(file)), "x-together-file-id": file.id}
            return Reply(302, headers=headers, subject=file.id)

        return act

    def _described(self, file: File) -> File:
        if file.fields.get("purpose") not in PURPOSES:
            raise self.refused(400, f"purpose must be one of {', '.join(PURPOSES)}")
        file.filename = file.fields.get("file_name", file.filename)
        if not file.filename.endswith(".jsonl"):
            raise self.refused(400, "file_name must end with .jsonl")
        return file

    async def _files(self, request: web.Request, account: str) -> Act:
        self.query(request, ())
        return shown({"data": [facts_of(file) for file in self.files.of(account)]})

    def _preprocess(self, file: File) -> Reply:
        if not file.path.exists():
            raise self.refused(400, "the file has not been uploaded")
        return json_reply(facts_of(file))

    def _delete(self, file: File) -> Reply:
        self.files.delete(file)
        return json_reply({"id": file.id, "deleted": True})

    # Batches

    async def _create(self, request: web.Request, account: str) -> Act:
        """Nothing is validated: a wrong file is a job that fails [captured]."""
        known = ("input_file_id", "endpoint", "completion_window", "model_id", "priority")
        order = await self.body(request, known, known[:2])
        if order["endpoint"] not in ENDPOINTS or order.get("completion_window", "24h") != "24h":
            raise self.refused(400, "unknown endpoint or completion_window")
        file = self.files.find(account, order["input_file_id"])
        mark = await self.mark(file) if file else None

        async def act() -> Reply:
            entry = {"mark": mark, "lines": file.lines if file else 0}
            whole = {**order, "mark": mark, "size": file.size if file else 0}
            job = await self.jobs_.accept(account, whole, file.path if file else None, self.current, entry)
            return json_reply({"job": self._facts(job)}, 201, subject=job.id)

        return act

    async def _list(self, request: web.Request, account: str) -> Act:
        self.query(request, ("limit",))  # which changes nothing: there are no pages
        return shown([self._facts(job) for job in self.jobs_.of(account)])

    def _retrieve(self, job: Job, _: Mapping[str, str]) -> Reply:
        facts = self._facts(job)
        job.looks += job.ended
        return json_reply(facts, subject=job.id)

    def _cancel(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not self.jobs_.cancel(job):
            raise self.refused(409, f"Cannot cancel job - already in terminal state: {job.state.upper()}")
        return json_reply(self._facts(job), subject=job.id)

    def _facts(self, job: Job) -> dict[str, Any]:
        """A BatchJob; what is absent is left out."""
        now, files = self.services.clock.now(), job.files if job.looks >= job.options.results_late else {}
        share = job.progress(now) * 100 / len(job.rows) if job.rows else 0
        found = {
            "id": job.id,
            "user_id": job.account,
            "input_file_id": job.order["input_file_id"],
            "file_size_bytes": job.order["size"],
            "status": WORDS.get(job.state, job.state.upper()),
            "job_deadline": stamp(job.expires),
            "created_at": stamp(job.created),
            "completed_at": stamp(job.ended_at),
            "endpoint": job.order["endpoint"],
            "progress": job.options.told_counts.get("progress", share),
            "model_id": job.order.get("model_id", ""),
            "error": job.problem,
            **{f"{name}_file_id": file_id for name, file_id in files.items()},
        }
        return {name: value for name, value in found.items() if value is not None}


def facts_of(file: File) -> dict[str, Any]:
    whole = file.path.exists()
    return {
        "id": file.id,
        "object": "file",
        "purpose": file.fields.get("purpose", "batch-api"),
        "filename": file.filename,
        "bytes": file.size,
        "created_at": int(file.created),
        "FileType": "jsonl",
        "LineCount": file.lines,
        "Processed": whole,
        "processing_status": "COMPLETED" if whole else "PENDING",
    }
