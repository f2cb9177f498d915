"""Cohere's datasets and batches under /cohere/v1/datasets and /cohere/v2/batches.

Written from the project's reference page (types of the SDK 7.3.1, the notebook on batches) and not from what an adapter
of ours sends. Not told by any page, so a guess: all of chat, records of failed lines, and what a create answers for a
dataset that is not there (400).
"""

import io
import json
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.replies import Reply, json_reply
from proxy_plugin.providers.sandbox.uploads.blobs import Blob
from proxy_plugin.providers.sandbox.uploads.dialect import Uploaded, rows_of, shown
from proxy_plugin.providers.sandbox.uploads.lines import Answer, Bad, dumps
from proxy_plugin.providers.sandbox.uploads.lives import Job, stamp

EMBED, OPENAI_CHAT = "batch-embed-v2-input", "batch-openai-chat-input"
TYPES = {EMBED: "/v1/embeddings", OPENAI_CHAT: "/v1/chat/completions"}
WORDS = {
    "validating": "QUEUED",
    "finalizing": "IN_PROGRESS",
    "cancelling": "CANCELING",
    "cancelled": "CANCELED",
    "expired": "FAILED",
}
FLOATS = {"type": "array", "items": {"type": "array", "items": "float"}}
KINDS = {"type": "record", "name": "kinds", "fields": [{"name": "float", "type": FLOATS}]}
EMBEDDED = {
    "type": "record",
    "name": "body",
    "fields": [{"name": "id", "type": "string"}, {"name": "embeddings", "type": KINDS}],
}
OPTIONAL = ["null", "string"]
"""Of the output dataset; `body` is an object where an embedding is, a text where a completion is."""


class Cohere(Uploaded):
    """See `dialect.Dialect`."""

    model_in_lines = False

    def prefix_of(self, services: Services) -> str:
        return f"/{services.name}"

    def own_routes(self) -> Sequence[Route]:
        datasets, batches = "/v1/datasets", "/v2/batches"
        return [
            Route("POST", datasets, "datasets.create", self._new_dataset),
            Route("GET", datasets, "datasets.list", self._datasets),
            Route("GET", datasets + "/{dataset_id}", "datasets.retrieve", self._dataset),
            Route("DELETE", datasets + "/{dataset_id}", "datasets.delete", self._delete),
            Route("POST", batches, "batches.create", self._create),
            Route("GET", batches, "batches.list", self._list),
            Route("POST", batches + "/{batch_id}:cancel", "batches.cancel", self._cancel),
            Route("GET", batches + "/{batch_id}", "batches.retrieve", self._retrieve),
        ]

    def checker(self) -> Any:
        return check

    def order(self, blob: Blob, model: str, endpoint: str) -> dict[str, Any]:
        return {"name": "a stranger's", "input_dataset_id": blob.id, "model": model, "endpoint": endpoint}

    def refusal(self, status: int, message: str, code: str | None) -> Reply:  # noqa: ARG002 - there are none
        return json_reply({"message": message}, status)

    # Datasets

    async def _new_dataset(self, request: web.Request, account: str) -> Act:
        self.known(request, "name", "type", "keep_original_file", "skip_malformed_input", "keep_fields")
        name, kind = request.query.get("name"), request.query.get("type")
        if not name or kind not in TYPES:
            raise self.complain(400, "name, or a type of datasets that is known, is missing")
        new = partial(self.blobs.new, account, name, kind=kind, shown=False)
        _, blob = await self.blobs.form(request, (), "data", new)
        assert blob is not None
        return shown({"id": blob.id}, subject=blob.id)

    def _stored(self, request: web.Request, account: str) -> Blob:
        blob = self.blobs.find(account, request.match_info["dataset_id"])
        if blob is None:
            raise self.complain(404, "dataset not found")
        return blob

    async def _datasets(self, request: web.Request, account: str) -> Act:
        self.known(request, "datasetType", "before", "after", "limit", "offset", "validationStatus")
        limit, offset = int(request.query.get("limit", "100")), int(request.query.get("offset", "0"))
        found = [blob for blob in self.blobs.of(account) if blob.kind in TYPES]
        return shown({"datasets": [self._told(request, blob) for blob in found[offset : offset + limit]]})

    async def _dataset(self, request: web.Request, account: str) -> Act:
        return shown({"dataset": self._told(request, self._stored(request, account))})

    def _told(self, request: web.Request, blob: Blob) -> dict[str, Any]:
        url = self.blobs.sign(request, blob)
        return {
            "id": blob.id,
            "name": blob.name,
            "created_at": stamp(blob.created),
            "updated_at": stamp(blob.created),
            "dataset_type": blob.kind,
            "validation_status": "validated" if blob.whole else "processing",
            "dataset_parts": [{"id": blob.id, "name": blob.name, "url": url, "index": 0, "size_bytes": blob.size}],
        }

    async def _delete(self, request: web.Request, account: str) -> Act:
        blob = self._stored(request, account)

        async def act() -> Reply:
            self.blobs.delete(blob)
            return json_reply({})

        return act

    # Batches

    async def _create(self, request: web.Request, account: str) -> Act:
        known = ("name", "input_dataset_id", "model")
        order = await self.blobs.body(request, known, known)

        async def act() -> Reply:
            blob = self.blobs.find(account, str(order["input_dataset_id"]))
            if blob is None or blob.kind not in TYPES:
                raise self.complain(400, "input_dataset_id names no dataset for batches")
            job = self.lives.new(self.new_id(), account, {**order, "endpoint": TYPES[blob.kind]}, blob)
            await self.lives.accept(job)
            return json_reply({"batch": self._facts(job)}, subject=job.id)

        return act

    async def _list(self, request: web.Request, account: str) -> Act:
        self.known(request, "page_size", "page_token", "order_by")
        jobs, start = self.lives.newest(account), int(request.query.get("page_token", "0"))
        size = min(int(request.query.get("page_size", "50")), 1000)
        more = str(start + size) if start + size < len(jobs) else ""
        return shown({"batches": [self._facts(job) for job in jobs[start : start + size]], "next_page_token": more})

    def _job(self, request: web.Request, account: str) -> Job:
        job = self.lives.find(account, request.match_info["batch_id"])
        if job is None:
            raise self.complain(404, "batch not found")
        return job

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        job = self._job(request, account)
        job.looks += job.ended is not None
        return shown({"batch": self._facts(job)})

    async def _cancel(self, request: web.Request, account: str) -> Act:
        job = self._job(request, account)

        async def act() -> Reply:
            if not self.lives.cancel(job):
                raise self.complain(400, "only a batch that is queued or in progress can be cancelled")
            return json_reply({}, subject=job.id)

        return act

    def _facts(self, job: Job) -> dict[str, Any]:
        good, bad = job.counts(self._services.clock.now())
        output = job.shown().get("output")
        return {
            "id": job.id,
            "name": job.order["name"],
            "status": f"BATCH_STATUS_{WORDS.get(job.status, job.status.upper())}",
            "status_reason": job.problem or "",
            "created_at": stamp(job.created),
            "updated_at": stamp(job.ended or job.created),
            "input_dataset_id": job.order["input_dataset_id"],
            "output_dataset_id": output.id if output else None,
            "model": job.order["model"],
            "num_records": job.lines,
            "num_successful_records": good,
            "num_failed_records": bad,
            "input_tokens": "0",
            "output_tokens": "0",
            **job.options.told_counts,
        }

    async def finish(self, job: Job, moment: float) -> None:  # noqa: ARG002
        done = job.answers[: job.done]
        if done:
            embeds = job.order["endpoint"] == TYPES[EMBED]
            blob = self.blobs.new(job.account, job.order["name"], kind="batch-embed-v2-output" if embeds else "output")
            job.output = blob.id
            job.results["output"] = self.blobs.write(blob, written(rows_of(done, row), embeds=embeds))


def written(lines: bytes, *, embeds: bool) -> bytes:
    """Rows as an Avro file."""
    from fastavro import writer  # noqa: PLC0415 - by whoever asks for this stand-in alone

    body = ["null", EMBEDDED] if embeds else OPTIONAL
    types = {"custom_id": "string", "body": body, "error": OPTIONAL}
    fields = [{"name": name, "type": kind, "default": None} for name, kind in types.items() if name != "custom_id"]
    schema = {"type": "record", "name": "row", "fields": [{"name": "custom_id", "type": "string"}, *fields]}
    rows = [json.loads(line) for line in lines.splitlines()]
    if not embeds:
        rows = [{**row, "body": row["body"] and dumps(row["body"]).decode()} for row in rows]
    target = io.BytesIO()
    writer(target, schema, rows)
    return target.getvalue()


def check(line: Mapping[str, Any]) -> None:
    """Judge what the reference page says of a record."""
    if set(line) != {"custom_id", "body"}:
        raise Bad("a record has custom_id and body")
    body = line["body"]
    if "model" in body:
        raise Bad("the batch has the model")
    if "messages" not in body and not {"inputs", "input_type", "embedding_types"} <= set(body):
        raise Bad("a record has messages, or inputs, input_type and embedding_types")


def row(custom_id: str, answer: Answer) -> bytes:
    made = json.loads(answer.body) if answer.ok else None
    if made and made["object"] == "list":
        vectors = [each["embedding"] for each in made["data"]]
        made = {"id": secrets.token_hex(8), "embeddings": {"float": vectors}}
    if answer.status == 0:
        return dumps({"custom_id": custom_id, "body": None, "error": None}) + b"\n"
    return dumps({"custom_id": custom_id, "body": made, "error": answer.message or None}) + b"\n"
