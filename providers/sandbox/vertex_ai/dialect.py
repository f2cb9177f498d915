"""Vertex AI's batch prediction jobs and their bucket under /vertex-ai, behind bearer tokens.

Written from the project's reference page (protos of google-cloud-aiplatform 2.7, google-genai 3.6.1, Google Cloud docs)
and not from what an adapter of ours sends. A key of the sandbox is taken as a token, too. In no document, so a guess:
the answer to a cancel of a job that has ended (400), and the words of refusals.
"""

import asyncio
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.kit.files import File
from proxy_plugin.providers.sandbox.kit.jobs import Job
from proxy_plugin.providers.sandbox.kit.lines import JSON, dumps
from proxy_plugin.providers.sandbox.kit.wire import Wire
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply
from proxy_plugin.providers.sandbox.tokens import TokenDesk
from proxy_plugin.providers.sandbox.vertex_ai.lines import Lines
from proxy_plugin.providers.sandbox.vertex_ai.objects import Objects
from proxy_plugin.providers.sandbox.vertex_ai.options import Options
from proxy_plugin.providers.sandbox.vertex_ai.stand_in import BUCKET, PLACE

STATES = {"validating": "PENDING", "in_progress": "RUNNING", "completed": "SUCCEEDED"}  # others are in capitals
RPC = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
ORDER = frozenset(
    {
        *("displayName", "model", "inputConfig", "outputConfig", "labels", "instanceConfig", "modelParameters"),
        *("encryptionSpec", "serviceAccount", "name", "manualBatchTuningParameters", "dedicatedResources"),
    }
)
SHARDS = {
    "predictions": "predictions_{:04}.jsonl",
    "numbers": "{:012}.jsonl",
    "results": "prediction.results-{:05}-of-00009",
}
_MODEL = re.compile(r"publishers/[\w-]+/models/[\w.@-]+|projects/[\w/.@-]+")
_TERM = re.compile(r'\s*(?:labels\.([a-z0-9_-]+)|(display_name))\s*=\s*"?([^"]*)"?\s*')
_ADDRESS = re.compile(r"gs://[\w.-]+/.+")


class VertexAI(Wire):
    """See `dialect.Dialect`."""

    form, options_type = Lines(), Options

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        self._desk = TokenDesk(services, lambda: self.current.token_seconds)
        self.objects = Objects(services, f"/{services.name}", lambda: self.current, self.refused)
        super().__init__(services, options)
        self.prefix = f"/{services.name}"

    def own_routes(self) -> list[Route]:
        jobs = f"/v1/{PLACE}/batchPredictionJobs"
        one = jobs + "/{batch_id:[0-9]+}"
        return [
            *self._desk.google(),
            *self.objects.routes(),
            Route("POST", jobs, "batches.create", self._create),
            Route("GET", jobs, "batches.list", self._list),
            Route("GET", one, "batches.retrieve", self.about_job(self._retrieve)),
            Route("POST", f"{one}:cancel", "batches.cancel", self.about_job(self._cancel)),
            Route("DELETE", one, "batches.delete", self.about_job(self._delete)),
        ]

    def account(self, request: web.Request) -> str | None:
        return super().account(request) or self._desk.of_bearer(request)

    def admit(self, request: web.Request) -> str:
        return "" if self._desk.serves(request, self.prefix) else super().admit(request)

    def error(self, status: int, message: str) -> JSON:
        return {"error": {"code": status, "message": message, "status": RPC.get(status, "UNKNOWN")}}

    def refused(self, status: int, message: str) -> Refused:
        """Google has no 422."""
        return super().refused(400 if status == 422 else status, message)

    def unauthorized(self, *, given: bool) -> Refused:  # noqa: ARG002
        return self.refused(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")

    def not_found(self, request: web.Request) -> Reply:
        if re.match(rf"{self.prefix}/v1/projects/(?!sandbox/)", request.path):
            return self.refusal(403, "Permission 'aiplatform.batchPredictionJobs' denied on the project.", None)
        return self.refusal(404, "The requested location or URL was not found on this server.", None)

    def new_job_id(self) -> str:
        return str(secrets.randbelow(9 * 10**18) + 10**18)

    def left(self) -> list[str]:
        return self.objects.left()

    def labels(self, job: Job) -> dict[str, Any]:
        return {"mark": str(job.order["displayName"]).removeprefix("pp-")}

    def reset(self) -> None:
        super().reset()
        self.objects.reset()
        self._desk.reset()

    def strangers_line(self, model: str) -> JSON:  # noqa: ARG002
        said = [{"role": "user", "parts": [{"text": f"stranger {secrets.token_hex(4)}"}]}]
        return {"key": secrets.token_hex(9), "request": {"contents": said}}

    def strangers_order(self, file: File, model: str) -> JSON:
        source = {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{BUCKET}/{file.id}"]}}
        target = {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/theirs/"}}
        name = {"displayName": "pp-stranger", "model": f"publishers/google/models/{model}", "labels": {"pp": "theirs"}}
        return {**name, "inputConfig": source, "outputConfig": target}

    # Jobs

    async def _create(self, request: web.Request, account: str) -> Act:
        order = self._order(await self.body(request, ORDER))
        address, options = order["inputConfig"]["gcsSource"]["uris"][0], self.current

        async def act() -> Reply:
            source = None if options.job_error else self.objects.at(account, address)
            lines = source.read_bytes().count(b"\n") if source else 0
            entry = {"mark": order["displayName"].removeprefix("pp-"), "lines": lines}
            job = await self.jobs_.accept(account, order, source, options, entry)
            return json_reply(self._facts(job), subject=job.id)

        return act

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        """Check a create. An input that is not there fails the job, and not the create."""
        model, labels = order.get("model"), order.get("labels", {})
        if not isinstance(order.get("displayName"), str) or not 0 < len(order["displayName"]) <= 128:
            raise self.refused(400, "display_name is required")
        if not isinstance(model, str) or not _MODEL.fullmatch(model):
            raise self.refused(400, f"Invalid model name: {model}")
        if (name := model.rpartition("/")[2]) == "no-such-model" or name in self.current.unknown_models:
            raise self.refused(404, f"Publisher Model `{model}` was not found or your project has no access to it.")
        source, target = order.get("inputConfig", {}), order.get("outputConfig", {})
        uris = source.get("gcsSource", {}).get("uris")
        if not isinstance(uris, list) or len(uris) != 1 or not _ADDRESS.fullmatch(str(uris[0])):
            raise self.refused(400, "input_config.gcs_source.uris must be one gs:// address")
        folder = str(target.get("gcsDestination", {}).get("outputUriPrefix"))
        if (source.get("instancesFormat"), target.get("predictionsFormat")) != ("jsonl", "jsonl"):
            raise self.refused(400, "instances_format and predictions_format must be jsonl")
        if not _ADDRESS.fullmatch(folder) or not all(isinstance(each, str) for each in labels.values()):
            raise self.refused(400, "output_uri_prefix must be a gs:// address, and labels texts")
        return order

    async def _list(self, request: web.Request, account: str) -> Act:
        query = self.query(request, ("pageSize", "pageToken", "filter", "readMask", "$alt"))
        size, start = self.number(query, "pageSize", 50, 1, 100), self.number(query, "pageToken", 0, 0, 10**9)
        wanted = self._wanted(query.get("filter", ""))

        async def act() -> Reply:
            found = [self._facts(job) for job in self.jobs_.of(account)]
            for label, value in wanted:
                found = [job for job in found if value == (job["labels"].get(label) if label else job["displayName"])]
            if wanted and self.current.searches == "blind":
                found = []
            page = {"batchPredictionJobs": found[start : start + size]} if found[start : start + size] else {}
            return json_reply(page | ({"nextPageToken": str(start + size)} if start + size < len(found) else {}))

        return act

    def _wanted(self, words: str) -> list[tuple[str | None, str]]:
        """Read a filter: labels and display names, joined by AND."""
        terms = [_TERM.fullmatch(term) for term in words.split(" AND ")] if words else []
        can = self.current.searches
        known = [term for term in terms if term and can != "none" and not (term[1] and can == "name")]
        if len(known) < len(terms):
            raise self.refused(400, f"Invalid filter: {words}")
        return [(term[1], term[3]) for term in known]

    def _retrieve(self, job: Job, _: Mapping[str, str]) -> Reply:
        late = job.ended and job.looks < job.options.results_late
        if job.ended and not late and job.state != "failed" and "out" not in job.files:
            self._write(job)
        facts = self._facts(job)
        job.looks += job.ended
        return json_reply(facts, subject=job.id)

    def _cancel(self, job: Job, _: Mapping[str, str]) -> Reply:
        if job.options.deaf and not job.ended:
            return json_reply({}, subject=job.id)
        if not self.jobs_.cancel(job):
            raise self.refused(400, f"The job {job.id} is in a final state and cannot be cancelled.")
        return json_reply({}, subject=job.id)

    def _delete(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not job.ended:
            raise self.refused(400, "Only a job that has ended can be deleted.")
        job.deleted = True
        return json_reply({"name": f"{PLACE}/operations/{job.id}", "done": True}, subject=job.id)

    def _facts(self, job: Job) -> dict[str, Any]:
        options: Any = job.options
        well, failed = job.counts(self.services.clock.now())
        told = {"successfulCount": well, "failedCount": failed, "incompleteCount": len(job.rows) - well - failed}
        word = STATES.get(job.state, job.state.upper())
        found = {
            **{name: value for name, value in job.order.items() if name != "labels"},
            "name": f"{PLACE}/batchPredictionJobs/{job.id}",
            "labels": job.order.get("labels", {}),
            "state": f"JOB_STATE_{'PARTIALLY_' if options.partly and word == 'SUCCEEDED' else ''}{word}",
            "createTime": _moment(job.created),
            "startTime": _moment(job.validated) if job.rows else None,
            "endTime": None if job.ended_at is None else _moment(job.ended_at),
            "updateTime": _moment(job.ended_at or job.created),
            "error": _error(job, options.job_error),
            "outputInfo": {"gcsOutputDirectory": job.files["out"]} if "out" in job.files else None,
            "completionStats": {name: str(n) for name, n in (told | options.told_counts).items()}
            if job.ended and job.state != "failed"
            else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    async def publish(self, job: Job) -> None:
        """Write the answers, unless so many looks at the ended job must not find them yet."""
        if not job.options.results_late:
            await asyncio.to_thread(self._write, job)

    def _write(self, job: Job) -> None:
        """Write the answers into a fresh folder: in shards, and half of them once more, as a running job does."""
        options: Any = job.options
        prefix = job.order["outputConfig"]["gcsDestination"]["outputUriPrefix"].rstrip("/")
        out = f"{prefix}/prediction-model-{_moment(job.created)}"
        rows = [_shown(text, n, options) for n, (_, text) in enumerate(job.results(self.form), 1)]
        if not rows:
            return
        part = rows if not options.whole else rows[: len(rows) // 2]
        self.objects.write(job.account, f"{out}/incremental_predictions/predictions.jsonl", b"".join(part))
        for n in range(options.shards if options.whole else 0):
            shard = f"{out}/{SHARDS[options.names].format(n)}"
            self.objects.write(job.account, shard, b"".join(rows[n :: options.shards]))
        job.files["out"] = out


def _shown(text: bytes, number: int, options: Options) -> bytes:
    """A row as it comes back: with its ids or without."""
    row = json.loads(text)
    lost = bool(options.lost_ids) and number % options.lost_ids == 0
    request = row.get("request", {})
    if "contents" in request and not options.keys_back:
        row.pop("key", None)
    if lost:
        for place in (row, row.get("instance", {})):
            place.pop("key", None)
            place.pop("custom_id", None)
        request.pop("labels", None)
    return dumps(row) + b"\n"


def _error(job: Job, chosen: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if job.state == "cancelled":
        return {"code": 1, "message": "CANCELED"}
    if job.state != "failed":
        return None
    return dict(chosen or {"code": 3, "message": job.problem})


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
