"""Bedrock's model invocation jobs and its OpenAI batches, and the S3 that both read and write, under /bedrock.

Written from the project's reference page of Bedrock with its updates of 2026-11-29 (botocore 1.44.8), never from what
an adapter of ours sends. In no document, so guesses: the words of a job that fails its validation, what the answer to
a repeated token holds (`repeated`), the ids of OpenAI batches and whether they show metadata.
"""

import asyncio
import json
import re
import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from aiohttp import web

from proxy_plugin.providers.sandbox.bedrock import stores
from proxy_plugin.providers.sandbox.bedrock.calls import Calls
from proxy_plugin.providers.sandbox.bedrock.lines import CHAT, OpenLines, Records
from proxy_plugin.providers.sandbox.bedrock.outputs import words_of, write_outputs
from proxy_plugin.providers.sandbox.bedrock.signed import REGION, SignedWire
from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.kit.files import File
from proxy_plugin.providers.sandbox.kit.jobs import Job, Jobs, Options
from proxy_plugin.providers.sandbox.kit.lines import JSON, Ran
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

OWNER = "111122223333"
ROLE = f"arn:aws:iam::{OWNER}:role/BedrockBatch"
JOB = "/model-invocation-job"
ORDER = {
    *("jobName", "clientRequestToken", "roleArn", "modelId", "modelInvocationType", "inputDataConfig"),
    *("outputDataConfig", "timeoutDurationInHours", "tags", "vpcConfig"),
}
NEEDED = ("jobName", "roleArn", "modelId", "inputDataConfig", "outputDataConfig")
LIST = (
    *("submitTimeAfter", "submitTimeBefore", "statusEquals", "nameContains", "maxResults", "nextToken"),
    *("sortBy", "sortOrder"),
)
RULES = {  # patterns of botocore
    "jobName": r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}",
    "clientRequestToken": r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}",
    "roleArn": r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+",
    "modelInvocationType": r"InvokeModel|Converse",
}
S3_URI = re.compile(r"s3://[a-z0-9][\.\-a-z0-9]{1,61}[a-z0-9](/[-!_*'().a-zA-Z0-9/]*)?")
FEW = "The number of records in the input is below the minimum of {least} records for batch inference with this model."


class Bedrocks(Options, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """See `kit.jobs.Options`."""

    min_records: int = 1  # at AWS a quota, of most models 100
    manifest: dict[str, int] = msgspec.field(default_factory=dict)  # members of the manifest in place of the true ones
    repeated: Literal["first", "conflict"] = "first"  # what a repeated token is answered with
    shared_buckets: bool = False  # do all accounts see the same ones?
    quotas: dict[str, int] = msgspec.field(default_factory=dict)  # the fewest records of a job, by a model's title
    expired_tokens: bool = False  # the sessions of all keys are over
    shows_metadata: bool = True  # do OpenAI batches show theirs?


class _Invocations(Jobs):
    def find(self, account: str, job_id: str) -> Job | None:
        """A job by its id or its whole ARN."""
        return super().find(account, job_id.rpartition("/")[2])

    async def _examined(self, job: Job) -> tuple[list[Ran], str | None]:
        """Count the records too."""
        rows, problem = await super()._examined(job)
        least = job.options.min_records if isinstance(job.options, Bedrocks) else 0
        return rows, problem or (FEW.format(least=least) if len(rows) < least else None)


class Bedrock(SignedWire):
    """See `dialect.Dialect`."""

    form = Records()
    options_type = Bedrocks

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        self.store = stores.Store(services.directory, self.check)
        super().__init__(services, options)
        self.prefix = f"/{services.name}"
        self.jobs_ = _Invocations(services, self.form, self.new_job_id, self.problem, self.publish)
        self.open = Jobs(services, OpenLines(), self.new_batch_id, self.problem, self.publish)
        self._tokens: dict[tuple[str, str], tuple[JSON, Job]] = {}

    def own_routes(self) -> list[Route]:
        one, batch = f"{JOB}/{{batch_id}}", "/openai/v1/batches"
        return [
            Route("POST", JOB, "batches.create", self._create),
            Route("GET", f"{JOB}s", "batches.list", self._list),
            Route("GET", one, "batches.retrieve", self.about_job(self._retrieve)),
            Route("POST", f"{one}/stop", "batches.cancel", self.about_job(self._stop)),
            Route("POST", batch, "openai.create", self._create_open),
            Route("GET", batch, "openai.list", self._list_open),
            Route("GET", f"{batch}/{{open_id}}", "openai.retrieve", self._about_open(stop=False)),
            Route("POST", f"{batch}/{{open_id}}/cancel", "openai.cancel", self._about_open(stop=True)),
            Route("POST", "/quotas/", "quotas.list", self._quotas),
            *Calls(self._body, self.refused, lambda: self.current).routes(),
            *self.store.routes(),
        ]

    def new_job_id(self) -> str:
        return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(12))

    def new_batch_id(self) -> str:
        return f"batch-{secrets.token_hex(10)}"

    def strangers_line(self, model: str) -> JSON:
        said = [{"role": "user", "content": f"stranger {secrets.token_hex(4)} for {model}"}]
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99, "messages": said}
        return {"recordId": secrets.token_hex(9), "modelInput": body}

    def strangers_order(self, file: File, model: str) -> JSON:
        own = f"s3://{stores.BUCKET}/{stores.STRANGERS}{file.id}/"
        return {
            "jobName": f"nightly-{secrets.token_hex(4)}",
            "roleArn": ROLE,
            "modelId": model,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"{own}in.jsonl"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{own}out/"}},
        }

    def labels(self, job: Job) -> dict[str, Any]:
        return {"mark": _mark(job.order)}

    def options(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        found = super().options(changes)
        self.store.shared = self.current.shared_buckets
        return found

    def jobs(self) -> list[dict[str, Any]]:
        now = self.services.clock.now()
        return [
            *super().jobs(),
            *(
                {**job.facts(now, errors_paid=self.form.errors_paid), **self.labels(job)}
                for job in self.open.all.values()
            ),
        ]

    def reset(self) -> None:
        super().reset()
        self.open.all.clear()
        self._tokens.clear()
        self.store.reset()

    def left(self) -> list[str]:
        return self.store.left()

    async def publish(self, job: Job) -> None:
        if not job.options.results_late:
            await self._drop(job)

    # Jobs

    async def _create(self, request: web.Request, account: str) -> Act:
        order = self._order(await self._body(request, ORDER))
        token = (account, str(order.get("clientRequestToken") or secrets.token_hex(8)))

        async def act() -> Reply:
            if token in self._tokens:
                same, job = self._tokens[token]
                if same != order or self.current.repeated == "conflict":
                    raise self.refused(400, "The client request token was used before.", "ConflictException")
                return json_reply({"jobArn": _arn(job)}, subject=job.id)
            path = self.store.path(account, order["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
            entry = {"mark": _mark(order), "lines": await asyncio.to_thread(_lines_of, path)}
            job = await self.jobs_.accept(account, order, path, self.current, entry)
            self._tokens[token] = order, job
            return json_reply({"jobArn": _arn(job)}, subject=job.id)

        return act

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        for name in NEEDED:
            if name not in order:
                raise self.refused(400, f"1 validation error detected: Value at '{name}' must not be null")
        for name, rule in RULES.items():
            if name in order and not re.fullmatch(rule, str(order[name])):
                raise self.refused(400, f"1 validation error detected: Value at '{name}' must satisfy {rule}")
        for way in ("input", "output"):
            place = order[f"{way}DataConfig"].get(f"s3{way.title()}DataConfig", {}).get("s3Uri", "")
            if not S3_URI.fullmatch(place) or len(place) > 1024:
                raise self.refused(400, f"1 validation error detected: Value at '{way}DataConfig' is no S3 URI")
        self.number(order, "timeoutDurationInHours", 24, 24, 168)
        if order["modelId"] == "no-such-model" or order["modelId"] in self.current.unknown_models:
            raise self.refused(400, "The provided model identifier is invalid.")
        if order["roleArn"] != ROLE:
            raise self.refused(403, f"User is not authorized to perform: iam:PassRole on resource: {order['roleArn']}")
        return order

    async def _list(self, request: web.Request, account: str) -> Act:
        query = self.query(request, LIST)
        size = self.number(query, "maxResults", 100, 1, 1000)

        async def act() -> Reply:
            found = [self._facts(job) for job in self.jobs_.of(account)]
            found = [job for job in found if query.get("nameContains", "") in job["jobName"]]
            found = [job for job in found if query.get("statusEquals") in {None, job["status"]}]
            if query.get("sortOrder", "Descending") == "Ascending":
                found.reverse()
            start = self.number(query, "nextToken", 0, 0, 10**9)
            more = {"nextToken": str(start + size)} if start + size < len(found) else {}
            return json_reply({"invocationJobSummaries": found[start : start + size], **more})

        return act

    def _retrieve(self, job: Job, _: Mapping[str, str]) -> Reply:
        facts = self._facts(job)
        return self._looked(job, facts)

    def _looked(self, job: Job, facts: JSON) -> Reply:
        """Write late results when a job has been looked at often enough."""
        if job.ended and job.looks == job.options.results_late and job.looks:
            self._written(job)
        job.looks += job.ended
        return json_reply(facts, subject=job.id)

    def _stop(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not self.jobs_.cancel(job):
            raise self.refused(400, f"The job {job.id} has ended and cannot be stopped", "ConflictException")
        return Reply(200, subject=job.id)

    def _facts(self, job: Job) -> dict[str, Any]:
        now, order = self.services.clock.now(), job.order
        well, failed = job.counts(now)
        counts = {
            "totalRecordCount": len(job.rows) if job.state != "validating" else 0,
            "processedRecordCount": well + failed,
            "successRecordCount": well,
            "errorRecordCount": failed,
            **(job.options.told_counts if job.ended else {}),
        }
        ended = {"endTime": _time(job.ended_at)} if job.ended_at else {}
        said = {"message": job.problem} if job.problem else {}
        kept = {name: order[name] for name in ORDER - {"tags"} if name in order}
        times = {"submitTime": _time(job.created), "lastModifiedTime": _time(now), **ended}
        return {"jobArn": _arn(job), "status": words_of(job, now), **kept, **times, **said, **counts}

    async def _quotas(self, request: web.Request, account: str) -> Act:  # noqa: ARG002
        asked = json.loads(await request.read())
        if not request.headers.get("x-amz-target", "").endswith(".ListServiceQuotas") or "ServiceCode" not in asked:
            raise self.refused(400, "unknown operation", "UnknownOperationException")

        async def act() -> Reply:
            name = "Minimum number of records per batch inference job for"
            found = [{"QuotaName": f"{name} {title}", "Value": float(n)} for title, n in self.current.quotas.items()]
            start = int(asked.get("NextToken", 0))
            more = {"NextToken": str(start + 1)} if start + 1 < len(found) else {}
            return json_reply({"Quotas": found[start : start + 1], **more})

        return act

    # OpenAI batches

    async def _create_open(self, request: web.Request, account: str) -> Act:
        order = await self._body(request, {"input_file_id", "endpoint", "completion_window", "metadata"})
        role, model = (request.headers.get(f"x-amzn-bedrock-{name}") for name in ("rolearn", "modelid"))
        path = self.store.path(account, str(order.get("input_file_id")))
        if order.get("endpoint") != CHAT or order.get("completion_window") != "24h" or path is None:
            raise self.refused(400, "endpoint, completion_window or input_file_id is not supported")
        if role != ROLE or not model or not model.startswith("openai."):
            raise self.refused(400, "X-Amzn-Bedrock-RoleArn and X-Amzn-Bedrock-ModelId must name role and open model")

        async def act() -> Reply:
            whole = {**order, "model": model}
            entry = {"mark": _mark(whole), "lines": await asyncio.to_thread(_lines_of, path)}
            job = await self.open.accept(account, whole, path, self.current, entry)
            return json_reply(self._open_facts(job), subject=job.id)

        return act

    async def _list_open(self, request: web.Request, account: str) -> Act:
        query = self.query(request, ("after", "limit"))
        limit = self.number(query, "limit", 20, 1, 100)

        async def act() -> Reply:
            found = [self._open_facts(job) for job in self.open.of(account)]
            places = {job["id"]: number + 1 for number, job in enumerate(found)}
            start = places.get(query.get("after", ""), 0)
            return json_reply({"data": found[start : start + limit], "has_more": start + limit < len(found)})

        return act

    def _about_open(self, *, stop: bool) -> Any:
        async def prepare(request: web.Request, account: str) -> Act:
            async def act() -> Reply:
                job = self.open.find(account, request.match_info["open_id"])
                if job is None:
                    raise self.refused(404, "No such batch")
                if stop and not self.open.cancel(job):
                    raise self.refused(409, "The batch has ended")
                return self._looked(job, self._open_facts(job))

            return act

        return prepare

    def _open_facts(self, job: Job) -> dict[str, Any]:
        well, failed = job.counts(self.services.clock.now())
        kept = {name: job.order.get(name) for name in ("input_file_id", "endpoint", "completion_window")}
        errors = {"data": [{"message": job.problem, "line": None}]} if job.problem else None
        metadata = job.order.get("metadata") if job.options.shows_metadata else None
        counts = {"total": len(job.rows), "completed": well, "failed": failed}
        told = {"id": job.id, "object": "batch", "status": job.state, "created_at": int(job.created)}
        return {**told, **kept, "metadata": metadata, "errors": errors, "request_counts": counts}

    # Results

    async def _drop(self, job: Job) -> None:
        await asyncio.to_thread(self._written, job)

    def _written(self, job: Job) -> None:
        form = OpenLines() if "endpoint" in job.order else self.form
        write_outputs(job, form, self.store)


def _arn(job: Job) -> str:
    return f"arn:aws:bedrock:{REGION}:{OWNER}:model-invocation-job/{job.id}"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _mark(order: JSON) -> str | None:
    found = re.search(r"(?:^|/)pp-([a-z0-9]{10})[-/]", str(order.get("jobName") or order.get("input_file_id")))
    return found and found[1]


def _lines_of(path: Path | None) -> int:
    if path is None or not path.is_file():
        return 0
    with path.open("rb") as lines:
        return sum(1 for _ in lines)
