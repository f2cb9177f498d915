"""Voyage's files and batches under /voyage/v1: lines of texts, all other parameters in the create.

Written from docs.voyageai.com, `reference/create-batch` (OpenAPI 1.1), as the project's reference page has it, never
from what an adapter of ours sends. In no document, so guesses: rows and `errors` are OpenAI's, an unknown input file is
a 404, the list is newest first, the answer to a cancel of a batch that has ended (400).
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route
from proxy_plugin.providers.sandbox.kit.files import File, content
from proxy_plugin.providers.sandbox.kit.jobs import Job
from proxy_plugin.providers.sandbox.kit.lines import JSON, Bad, Form, Outcome, dumps
from proxy_plugin.providers.sandbox.kit.wire import Wire
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

EMBEDDINGS = "/v1/embeddings"
ENDPOINTS = frozenset({EMBEDDINGS, "/v1/contextualizedembeddings", "/v1/rerank"})
MODELS = ("voyage-", "strangers-model")
PARAMS = frozenset({"model", "input_type", "truncation", "output_dimension", "output_dtype"})
ORDER = ("endpoint", "input_file_id", "completion_window", "request_params", "metadata")
MOST_LINES, MOST_BYTES = 100_000, 2**30
MOST_TEXTS, MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 1000, 16, 64, 512


class Lines(Form):
    """A line is `{"custom_id", "body": {"input"}}`: the model and the rest are the job's."""

    def check(self, line: JSON, order: JSON) -> None:  # noqa: ARG002
        body = line.get("body")
        if not isinstance(line.get("custom_id"), str) or not isinstance(body, dict):
            raise Bad("custom_id and body are required")
        if extra := (set(line) - {"custom_id", "body"}) | (set(body) - {"input"}):
            raise Bad(f"unexpected field {min(extra)}")
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not 0 < len(texts) <= MOST_TEXTS:
            raise Bad(f"input must be a text or a list of 1 to {MOST_TEXTS} texts")
        if not all(isinstance(text, str) and text for text in texts):
            raise Bad("input must not hold empty texts")

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        params = dict(order.get("request_params") or {})
        size = {"dimensions": params["output_dimension"]} if "output_dimension" in params else {}
        return EMBEDDINGS, {"model": params.get("model"), **size, **line["body"]}

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        if not outcome.status:
            return b""  # what did not run has no row: none is documented
        body: JSON = {"detail": outcome.words}
        if outcome.well:
            body = {**outcome.body, "usage": {"total_tokens": outcome.body["usage"]["total_tokens"]}}
        response = {"status_code": outcome.status, "request_id": f"req_{identity}", "body": body}
        return dumps({"id": f"batch_req_{identity}", "custom_id": custom_id, "response": response, "error": None})


class Voyage(Wire):
    """See `dialect.Dialect`."""

    form = Lines()

    def own_routes(self) -> list[Route]:
        one = "/batches/{batch_id}"
        return [
            Route("POST", "/files", "files.create", self._upload),
            Route("GET", "/files", "files.list", self._list_files),
            Route("GET", "/files/{file_id}", "files.retrieve", self.about_file(lambda file: json_reply(_file(file)))),
            Route("GET", "/files/{file_id}/content", "files.content", self.about_file(content)),
            Route("DELETE", "/files/{file_id}", "files.delete", self.about_file(self._delete_file)),
            Route("POST", "/batches", "batches.create", self._create),
            Route("GET", "/batches", "batches.list", self._list),
            Route("GET", one, "batches.retrieve", self.about_job(self._retrieve)),
            Route("POST", f"{one}/cancel", "batches.cancel", self.about_job(self._cancel)),
        ]

    def error(self, status: int, message: str) -> JSON:  # noqa: ARG002
        return {"detail": message}

    async def publish(self, job: Job) -> None:
        await self.two_files(job)

    def strangers_line(self, model: str) -> JSON:  # noqa: ARG002
        return {"custom_id": secrets.token_hex(9), "body": {"input": [f"stranger {secrets.token_hex(4)}"]}}

    def strangers_order(self, file: File, model: str) -> JSON:
        return {"input_file_id": file.id, "endpoint": EMBEDDINGS, "request_params": {"model": model}, "metadata": None}

    # Files

    async def _upload(self, request: web.Request, account: str) -> Act:
        file = await self.files.receive(request, account, ("purpose",), self.refused)
        if file.fields.get("purpose") != "batch":
            file.path.unlink()
            raise self.refused(400, "purpose must be 'batch'")

        async def act() -> Reply:
            return json_reply(_file(self.files.add(file)), subject=file.id)

        return act

    async def _list_files(self, request: web.Request, account: str) -> Act:
        query = self.query(request, ("purpose", "limit", "order"))
        limit = self.number(query, "limit", 10_000, 1, 10_000)

        async def act() -> Reply:
            found = [_file(file) for file in self.files.of(account)]
            found = found[::-1] if query.get("order") == "asc" else found
            return json_reply({"object": "list", "data": found[:limit]})

        return act

    def _delete_file(self, file: File) -> Reply:
        self.files.delete(file)
        return json_reply({"id": file.id, "object": "file", "deleted": True})

    # Batches

    async def _create(self, request: web.Request, account: str) -> Act:
        order = self._order(await self.body(request, ORDER))

        async def act() -> Reply:
            if (file := self.files.find(account, order["input_file_id"])) is None:
                raise self.refused(404, f"File {order['input_file_id']} not found")
            if file.size > MOST_BYTES or file.lines > MOST_LINES:
                raise self.refused(400, f"The file has more than {MOST_LINES} requests or {MOST_BYTES} bytes")
            entry = {"input_file_id": file.id, "metadata": order.get("metadata"), "lines": file.lines}
            job = await self.jobs_.accept(account, order, file.path, self.current, entry)
            return json_reply(self._facts(job), subject=job.id)

        return act

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        if missing := set(ORDER[:4]) - set(order):
            raise self.refused(422, f"{min(missing)}: Field required")
        if order["endpoint"] not in ENDPOINTS or order["completion_window"] != "12h":
            raise self.refused(400, "endpoint or completion_window is not supported")
        params, metadata = order["request_params"], order.get("metadata")
        if not isinstance(params, dict) or set(params) - PARAMS:
            raise self.refused(422, "request_params: Extra inputs are not permitted")
        model = params.get("model")
        if not isinstance(model, str) or not model.startswith(MODELS) or model in self.current.unknown_models:
            raise self.refused(400, f"Model {model} is not supported")
        self.metadata(metadata)
        pairs = (metadata or {}).items()
        if len(pairs) > MOST_PAIRS or any(len(key) > LONGEST_KEY or len(text) > LONGEST_VALUE for key, text in pairs):
            raise self.refused(400, "metadata is too large")
        return order

    async def _list(self, request: web.Request, account: str) -> Act:
        query = self.query(request, ("limit", "after"))
        limit = self.number(query, "limit", 20, 1, 100)

        async def act() -> Reply:
            found = [self._facts(job) for job in self.jobs_.of(account)]
            ids = [job["id"] for job in found]
            if query.get("after") not in {None, *ids}:
                raise self.refused(400, "after: no such batch")
            start = ids.index(query["after"]) + 1 if "after" in query else 0
            shown = found[start : start + limit]
            return json_reply({"object": "list", "data": shown, "has_more": start + limit < len(found)})

        return act

    def _retrieve(self, job: Job, _: Mapping[str, str]) -> Reply:
        facts = self._facts(job)
        job.looks += job.ended
        return json_reply(facts, subject=job.id)

    def _cancel(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not self.jobs_.cancel(job):
            raise self.refused(400, f"Batch {job.id} has ended and cannot be cancelled")
        return json_reply(self._facts(job), subject=job.id)

    def _facts(self, job: Job) -> dict[str, Any]:
        well, failed = job.counts(self.services.clock.now())
        shown = job.files if job.ended and job.looks >= job.options.results_late else {}
        total = 0 if job.state in {"validating", "failed"} else len(job.rows)
        told = job.options.told_counts if job.ended else {}
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": job.order["endpoint"],
            "model": job.order["request_params"]["model"],
            "request_params": job.order["request_params"],
            "input_file_id": job.order["input_file_id"],
            "completion_window": "12h",
            "status": job.state,
            "output_file_id": shown.get("output"),
            "error_file_id": shown.get("error"),
            "errors": {"data": [{"message": job.problem}]} if job.problem else None,
            "created_at": _time(job.created),
            "expected_completion_at": _time(job.created + 12 * 3600),
            f"{job.state}_at": None if job.ended_at is None else _time(job.ended_at),
            "request_counts": {"total": total, "completed": well, "failed": failed} | told,
            "metadata": job.order.get("metadata"),
        }


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _file(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": _time(file.created),
        "filename": file.filename,
        "purpose": file.fields.get("purpose", "batch-output"),
    }
