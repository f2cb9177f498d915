"""Cohere's datasets and batches under /cohere/v1/datasets and /cohere/v2/batches.

Written from the project's reference page (types of the SDK 7.3.1, the notebook on batches) and not from what an adapter
of ours sends. Not told by any page, so a guess: all of chat, records of failed lines, and what a create answers for a
dataset that is not there (400).
"""

import io
import json
import secrets
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.kit.files import File
from proxy_plugin.providers.sandbox.kit.jobs import Job, Options
from proxy_plugin.providers.sandbox.kit.lines import EMPTY, JSON, Bad, Form, Outcome, dumps, own_line
from proxy_plugin.providers.sandbox.kit.wire import Wire, shown, stamp
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

EMBED, OPENAI_CHAT = "batch-embed-v2-input", "batch-openai-chat-input"
TYPES = {EMBED: "/v1/embeddings", OPENAI_CHAT: "/v1/chat/completions", "batch-chat-v2-input": "/v1/chat/completions"}
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
SYNC = b"0123456789abcdef"
OPTIONAL = ["null", "string"]
"""Of the output dataset; `body` is an object where an embedding is, a text where a completion is."""


class CohereOptions(Options, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """See `kit.jobs.Options`."""

    bomb: bool = False  # behind its first record an output holds a block of a megabyte that unpacks to a gigabyte


class Lines(Form):
    """A record is `{"custom_id", "body"}`; the batch has the model."""

    unique, halves, empty = True, True, EMPTY

    def check(self, line: JSON, order: JSON) -> None:  # noqa: ARG002
        body = own_line(line)
        if "model" in body:
            raise Bad("the batch has the model")
        if "messages" not in body and not {"inputs", "input_type", "embedding_types"} <= set(body):
            raise Bad("a record has messages, or inputs, input_type and embedding_types")

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        body = line["body"]
        if "inputs" not in body:
            return order["endpoint"], {"model": order["model"], **body}
        texts = [part["text"] for each in body["inputs"] for part in each["content"] if part["type"] == "text"]
        return order["endpoint"], {"input": texts, "dimensions": body.get("output_dimension")}

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        if not outcome.status:
            return b""
        made: JSON | None = outcome.body or None
        if made and made["object"] == "list":
            made = {"id": identity, "embeddings": {"float": [each["embedding"] for each in made["data"]]}}
        return dumps({"custom_id": custom_id, "body": made, "error": outcome.words or None})


class Cohere(Wire):
    """See `dialect.Dialect`."""

    form = Lines()
    options_type = CohereOptions
    invalid = 400

    def prefix_of(self, services: Services) -> str:
        return f"/{services.name}"

    def own_routes(self) -> list[Route]:
        datasets, batches = "/v1/datasets", "/v2/batches"
        one = datasets + "/{file_id}"
        return [
            Route("POST", datasets, "datasets.create", self._new_dataset),
            Route("GET", datasets, "datasets.list", self._datasets),
            Route("GET", one, "datasets.retrieve", self._dataset),
            Route("DELETE", one, "datasets.delete", self.about_file(self._delete)),
            Route("POST", batches, "batches.create", self._create),
            Route("GET", batches, "batches.list", self._list),
            Route("POST", batches + "/{batch_id}:cancel", "batches.cancel", self.about_job(self._cancel)),
            Route("GET", batches + "/{batch_id}", "batches.retrieve", self.about_job(self._retrieve)),
        ]

    def error(self, status: int, message: str) -> JSON:  # noqa: ARG002
        return {"message": message}

    def labels(self, job: Job) -> dict[str, Any]:
        return {"mark": job.order["mark"]}

    def strangers_line(self, model: str) -> JSON:  # noqa: ARG002
        return {"custom_id": secrets.token_hex(9), "body": {"messages": [{"role": "user", "content": "stranger"}]}}

    def strangers_order(self, file: File, model: str) -> JSON:
        order = {"name": "a stranger's", "input_dataset_id": file.id, "model": model}
        return {**order, "endpoint": TYPES[OPENAI_CHAT], "mark": None, "lines": file.lines}

    def problem(self, job: Job) -> str | None:
        model = job.order["model"]
        unknown = model in {"no-such-model", *job.options.unknown_models}
        return f"Unable to access model {model}" if unknown else None

    # Datasets

    async def _new_dataset(self, request: web.Request, account: str) -> Act:
        known = ("name", "type", "keep_original_file", "skip_malformed_input", "keep_fields")
        query = self.query(request, known)
        name, kind = query.get("name"), query.get("type")
        if not name or kind not in TYPES:
            raise self.refused(400, "name, or a type of datasets that is known, is missing")
        file = await self.files.receive(request, account, (), self.refused, document="data")
        file.filename, file.fields["type"] = name, kind
        return shown({"id": self.files.add(file).id}, subject=file.id)

    async def _datasets(self, request: web.Request, account: str) -> Act:
        query = self.query(request, ("datasetType", "before", "after", "limit", "offset", "validationStatus"))
        limit, start = self.number(query, "limit", 100, 1, 1000), self.number(query, "offset", 0, 0, 10**9)
        found = [file for file in self.files.of(account) if file.fields.get("type") in TYPES]
        return shown({"datasets": [self._told(request, file) for file in found[start : start + limit]]})

    async def _dataset(self, request: web.Request, account: str) -> Act:
        return shown({"dataset": self._told(request, self.stored(account, request.match_info["file_id"]))})

    def _told(self, request: web.Request, file: File) -> dict[str, Any]:
        url = self.links.sign(request, file)
        return {
            "id": file.id,
            "name": file.filename,
            "created_at": stamp(file.created),
            "updated_at": stamp(file.created),
            "dataset_type": file.fields.get("type", "output"),
            "validation_status": "validated",
            "dataset_parts": [{"id": file.id, "name": file.filename, "url": url, "index": 0, "size_bytes": file.size}],
        }

    def _delete(self, file: File) -> Reply:
        self.files.delete(file)
        return json_reply({})

    # Batches

    async def _create(self, request: web.Request, account: str) -> Act:
        known = ("name", "input_dataset_id", "model")
        order = await self.body(request, known, known)
        file = self.files.find(account, order["input_dataset_id"])
        if file is None or file.fields.get("type") not in TYPES:
            raise self.refused(400, "input_dataset_id names no dataset for batches")
        more = {"endpoint": TYPES[file.fields["type"]], "mark": await self.mark(file), "lines": file.lines}

        async def act() -> Reply:
            if not file.path.exists():
                raise self.refused(400, "input_dataset_id names no dataset for batches")
            entry = {"mark": more["mark"], "lines": file.lines}
            job = await self.jobs_.accept(account, {**order, **more}, file.path, self.current, entry)
            return json_reply({"batch": self._facts(job)}, subject=job.id)

        return act

    async def _list(self, request: web.Request, account: str) -> Act:
        query = self.query(request, ("page_size", "page_token", "order_by"))
        start = self.number({"page_token": query.get("page_token") or 0}, "page_token", 0, 0, 10**9)
        jobs, size = self.jobs_.of(account), min(self.number(query, "page_size", 50, 1, 10**9), 1000)
        more = str(start + size) if start + size < len(jobs) else ""
        return shown({"batches": [self._facts(job) for job in jobs[start : start + size]], "next_page_token": more})

    def _retrieve(self, job: Job, _: Mapping[str, str]) -> Reply:
        facts = self._facts(job)
        job.looks += job.ended
        return json_reply({"batch": facts}, subject=job.id)

    def _cancel(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not self.jobs_.cancel(job):
            raise self.refused(400, "only a batch that is queued or in progress can be cancelled")
        return json_reply({}, subject=job.id)

    def _facts(self, job: Job) -> dict[str, Any]:
        good, bad = job.counts(self.services.clock.now())
        late = job.looks < job.options.results_late
        return {
            "id": job.id,
            "name": job.order["name"],
            "status": f"BATCH_STATUS_{WORDS.get(job.state, job.state.upper())}",
            "status_reason": job.problem or "",
            "created_at": stamp(job.created),
            "updated_at": stamp(job.ended_at or job.created),
            "input_dataset_id": job.order["input_dataset_id"],
            "output_dataset_id": None if late else job.files.get("output"),
            "model": job.order["model"],
            "num_records": job.order["lines"],
            "num_successful_records": good,
            "num_failed_records": bad,
            "input_tokens": "0",
            "output_tokens": "0",
            **(job.options.told_counts if job.ended else {}),
        }

    async def publish(self, job: Job) -> None:
        rows = [text for _, text in job.results(self.form)]
        if rows and job.done:
            embeds = job.order["endpoint"] == TYPES[EMBED]
            file = self.files.new(job.account, job.order["name"])
            rows, more = (rows[:1], bomb()) if job.options.bomb else (rows, b"")
            file.path.write_bytes(written(rows, embeds=embeds) + more)
            file.fields["type"] = "batch-embed-v2-output" if embeds else "output"
            job.files["output"] = self.files.add(file).id


def written(lines: Sequence[bytes], *, embeds: bool) -> bytes:
    """Rows as an Avro file."""
    from fastavro import writer  # noqa: PLC0415 - by whoever asks for this stand-in alone

    body = ["null", EMBEDDED] if embeds else OPTIONAL
    types = {"custom_id": "string", "body": body, "error": OPTIONAL}
    fields = [{"name": name, "type": kind, "default": None} for name, kind in types.items() if name != "custom_id"]
    schema = {"type": "record", "name": "row", "fields": [{"name": "custom_id", "type": "string"}, *fields]}
    rows = [json.loads(line) for line in lines]
    if not embeds:
        rows = [{**row, "body": row["body"] and dumps(row["body"]).decode()} for row in rows]
    target = io.BytesIO()
    writer(target, schema, rows, codec="deflate", sync_marker=SYNC)
    return target.getvalue()


def bomb() -> bytes:
    """A block of one record that unpacks to a gigabyte of zeros."""
    pack = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = pack.compress(bytes(1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    block = piece * 1024 + pack.flush()
    size, digits = len(block) << 1, b""
    while size > 0x7F:
        digits += bytes([size & 0x7F | 0x80])
        size >>= 7
    return b"\x02" + digits + bytes([size]) + block + SYNC
