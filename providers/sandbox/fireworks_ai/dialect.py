"""Fireworks' datasets and batch inference jobs under /fireworks-ai/v1/accounts/sandbox.

Written from the project's reference page (types of the SDK 1.2.30, its upload by signed URLs, captures of 2026-08) and
not from what an adapter of ours sends. Not told by any page, so a guess: the status of a taken id (409), the lines of
`error-data`, that lines of a job name no model, and that a dataset may be deleted while its job runs.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.kit.files import File
from proxy_plugin.providers.sandbox.kit.jobs import Job
from proxy_plugin.providers.sandbox.kit.lines import EMPTY, JSON, Bad, Form, Outcome, dumps, own_line
from proxy_plugin.providers.sandbox.kit.wire import Wire, shown, stamp
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

ACCOUNT, CHAT = "accounts/sandbox", "/v1/chat/completions"
GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14}
WORDS = {"in_progress": "RUNNING", "finalizing": "WRITING_RESULTS", "cancelling": "DELETING_CLEANING_UP"}
ORDER = (
    *("model", "inputDatasetId", "outputDatasetId", "displayName", "inferenceParameters", "precision"),
    "continuedFromJobName",
)


class Lines(Form):
    """A line is `{"custom_id", "body"}`; the job has the model."""

    unique, halves, empty = True, True, EMPTY

    def check(self, line: JSON, order: JSON) -> None:  # noqa: ARG002
        body = own_line(line)
        if "model" in body:
            raise Bad("the model belongs to the job")
        if not isinstance(body.get("messages"), list):
            raise Bad("messages is missing")

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        return CHAT, {**line["body"], "model": order["model"]}

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:  # noqa: ARG002
        if not outcome.status:
            return b""
        if outcome.well:
            return dumps({"custom_id": custom_id, "response": outcome.body})
        return dumps({"custom_id": custom_id, "error": {"message": outcome.words, "code": outcome.status}})


class Fireworks(Wire):
    """See `dialect.Dialect`. A job that was deleted is forgotten, though not by `/_sandbox/jobs`."""

    form = Lines()
    invalid = 400

    def prefix_of(self, services: Services) -> str:
        return f"/{services.name}"

    def own_routes(self) -> list[Route]:
        root, job = f"/v1/{ACCOUNT}/datasets", f"/v1/{ACCOUNT}/batchInferenceJobs"
        one, one_job = root + "/{file_id}", job + "/{batch_id}"
        return [
            Route("POST", root, "datasets.create", self._new_dataset),
            Route("POST", f"{one}:getUploadEndpoint", "datasets.upload_link", self._upload_link),
            Route("POST", f"{one}:validateUpload", "datasets.validate", self._validate),
            Route("POST", f"{one}:upload", "datasets.upload", self._upload),
            Route("GET", f"{one}:getDownloadEndpoint", "datasets.download_link", self._download_link),
            Route("GET", one, "datasets.retrieve", self.about_file(lambda found: json_reply(facts_of(found)))),
            Route("DELETE", one, "datasets.delete", self.about_file(self._delete_dataset)),
            Route("POST", job, "batches.create", self._create),
            Route("GET", job, "batches.list", self._list),
            Route("GET", one_job, "batches.retrieve", self.about_job(self._retrieve, ("readMask",))),
            Route("DELETE", one_job, "batches.cancel", self.about_job(self._delete)),
        ]

    def error(self, status: int, message: str) -> JSON:
        return {"code": GRPC.get(status, 2), "message": message, "details": []}

    def refusal(self, status: int, message: str, code: str | None) -> Reply:
        if status in {401, 403}:  # of the gateway in front [captured]
            error = {"message": message, "code": code or "UNAUTHORIZED", "type": "error", "param": None}
            return json_reply({"error": error, "request_id": secrets.token_hex(8)}, 403)
        return json_reply(self.error(status, message), status)

    def refused(self, status: int, message: str) -> Refused:
        return Refused(self.refusal(status, message, None))

    def labels(self, job: Job) -> dict[str, Any]:
        return {"mark": job.order["mark"]}

    def strangers_line(self, model: str) -> JSON:  # noqa: ARG002
        return {"custom_id": secrets.token_hex(9), "body": {"messages": [{"role": "user", "content": "stranger"}]}}

    def strangers_order(self, file: File, model: str) -> JSON:
        order = {"model": model, "inputDatasetId": f"{ACCOUNT}/datasets/{file.id}"}
        return {**order, "mark": None, "declared": str(file.lines)}

    def problem(self, job: Job) -> str | None:
        model = job.order["model"]
        unknown = model in {"no-such-model", *job.options.unknown_models}
        return f"Unable to access model {model}" if unknown else None

    # Datasets

    async def _new_dataset(self, request: web.Request, account: str) -> Act:
        known = ("datasetId", "dataset", "sourceDatasetId")
        wish = await self.body(request, known, known[:2])
        name, dataset = wish["datasetId"], wish["dataset"]
        if not is_id(name) or not isinstance(dataset, dict) or not str(dataset.get("exampleCount", "")).isdigit():
            raise self.refused(400, "datasetId, or dataset.exampleCount, is missing or wrong")

        async def act() -> Reply:
            if self.files.taken(name):
                raise self.refused(409, f"dataset {name} already exists")
            file = self.files.new(account, file_id=name)
            file.fields["declared"] = str(dataset["exampleCount"])
            return json_reply(facts_of(self.files.add(file)), subject=name)

        return act

    async def _upload_link(self, request: web.Request, account: str) -> Act:
        file, known = self.stored(account, request.match_info["file_id"]), ("filenameToSize", "readMask")
        sizes = (await self.body(request, known, known[:1]))["filenameToSize"]
        if not isinstance(sizes, dict) or len(sizes) != 1 or not all(str(size).isdigit() for size in sizes.values()):
            raise self.refused(400, "filenameToSize must map one name to a size")
        ((name, size),) = sizes.items()
        signed = {"content-type": "application/octet-stream", "x-goog-content-length-range": f"{size},{size}"}
        file.filename = name
        return shown({"filenameToSignedUrls": {name: self.links.sign(request, file, signed)}})

    async def _validate(self, request: web.Request, account: str) -> Act:
        await self.body(request, ())
        file = self.stored(account, request.match_info["file_id"])
        if not file.size:
            raise self.refused(400, "the dataset has no files")
        file.fields["ready"] = "yes"
        return shown({})

    async def _upload(self, request: web.Request, account: str) -> Act:
        """The direct way, up to 150 MB."""
        file = self.stored(account, request.match_info["file_id"])
        sent = await self.files.receive(request, account, (), self.refused)
        sent.path.replace(file.path)
        file.filename, file.size, file.lines, file.fields["ready"] = sent.filename, sent.size, sent.lines, "yes"
        return shown({"id": file.id, "object": "file", "bytes": file.size, "filename": file.filename})

    async def _download_link(self, request: web.Request, account: str) -> Act:
        if await request.read():
            raise self.refused(400, "a plain GET has no body")
        file = self.stored(account, request.match_info["file_id"])
        found = {name: self.files.find(account, key.format(file.id)) for name, key in RESULTS.items()}
        links = {
            f"dataset/{file.id}/{name}": self.links.sign(request, each, beside=name == "error-data")
            for name, each in found.items()
            if each
        }
        return shown({"filenameToSignedUrls": links})

    def _delete_dataset(self, file: File) -> Reply:
        self.files.delete(file)
        return json_reply({})

    # Jobs

    async def _create(self, request: web.Request, account: str) -> Act:
        self.query(request, ("batchInferenceJobId",))
        order = await self.body(request, ORDER, ORDER[:2])
        name = request.query.get("batchInferenceJobId", f"job-{secrets.token_hex(6)}")
        root = f"{ACCOUNT}/datasets/"
        if not is_id(name) or not str(order["inputDatasetId"]).startswith(root):
            raise self.refused(400, "batchInferenceJobId or inputDatasetId is no valid name")
        file = self.files.find(account, order["inputDatasetId"].removeprefix(root))
        mark = await self.mark(file) if file else None

        async def act() -> Reply:
            if name in self.jobs_.all:
                raise self.refused(409, f"batch inference job {name} already exists")
            if file is None or "ready" not in file.fields or not file.path.exists():
                raise self.refused(400, "the input dataset is not there or not READY")
            more = {"mark": mark, "declared": file.fields["declared"]}
            entry = {"mark": mark, "lines": file.lines}
            job = await self.jobs_.accept(account, {**order, **more}, file.path, self.current, entry, name)
            return json_reply(self._facts(job), subject=name)

        return act

    async def _list(self, request: web.Request, account: str) -> Act:
        query = self.query(request, ("pageSize", "pageToken", "filter", "orderBy", "readMask"))
        start = self.number({"pageToken": query.get("pageToken") or 0}, "pageToken", 0, 0, 10**9)
        jobs = [job for job in self.jobs_.of(account) if job.state != "cancelled"]
        size = self.number(query, "pageSize", 50, 1, 10**9)
        more = str(start + size) if start + size < len(jobs) else ""
        page = [self._facts(job) for job in jobs[start : start + size]]
        return shown({"batchInferenceJobs": page, "nextPageToken": more, "totalSize": len(jobs)})

    def _there(self, job: Job) -> Job:
        if job.state == "cancelled":
            raise self.refused(404, "resource not found")
        return job

    def _retrieve(self, job: Job, _: Mapping[str, str]) -> Reply:
        facts = self._facts(self._there(job))
        job.looks += job.ended
        return json_reply(facts, subject=job.id)

    def _delete(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not self.jobs_.cancel(self._there(job)):
            job.deleted = True  # one that has ended vanishes, too
        return json_reply({}, subject=job.id)

    def _facts(self, job: Job) -> dict[str, Any]:
        good, bad = job.counts(self.services.clock.now())
        progress = {
            "totalInputRequests": job.order["declared"],  # what was declared [captured]
            "totalProcessedRequests": good + bad,
            "successfullyProcessedRequests": good,
            "failedRequests": bad,
            **(job.options.told_counts if job.ended else {}),
        }
        named = not job.ended or job.looks >= job.options.results_late or not job.files
        found = {
            "name": f"{ACCOUNT}/batchInferenceJobs/{job.id}",
            "state": f"JOB_STATE_{WORDS.get(job.state, job.state.upper())}",
            "status": {"code": "INVALID_ARGUMENT", "message": job.problem} if job.problem else {"code": "OK"},
            "model": job.order["model"],
            "displayName": job.order.get("displayName", ""),
            "inputDatasetId": job.order["inputDatasetId"],
            "outputDatasetId": f"{ACCOUNT}/datasets/{output_of(job)}" if named else "",
            "jobProgress": None if job.state == "validating" else progress,
            "createTime": stamp(job.created),
            "updateTime": stamp(job.ended_at or job.created),
            "expireTime": stamp(job.expires),
        }
        return {name: value for name, value in found.items() if value is not None}

    async def publish(self, job: Job) -> None:
        """Answers of a job that was deleted are gone with it."""
        if job.ending == "cancelled":
            job.rows, job.done = [], 0
            return
        folder = self.files.new(job.account, file_id=output_of(job))
        folder.fields["ready"], job.files["output"] = "yes", self.files.add(folder).id
        rows = list(job.results(self.form))
        for name, key in RESULTS.items():
            kept = [text for well, text in rows if well is name.endswith(".jsonl")]
            await self.write(job, kept, name, key.format(folder.id))


RESULTS = {"BIJOutputSet.jsonl": "{}/output", "error-data": "{}/errors"}


def output_of(job: Job) -> str:
    return str(job.order.get("outputDatasetId", f"bij-{job.id}-output")).rpartition("/")[2]


def is_id(name: object) -> bool:
    """Lowercase letters, digits and hyphens, up to 63."""
    return isinstance(name, str) and 0 < len(name) <= 63 and name.replace("-", "").isalnum() and name.lower() == name


def facts_of(file: File) -> dict[str, Any]:
    return {
        "name": f"{ACCOUNT}/datasets/{file.id}",
        "state": "READY" if "ready" in file.fields else "UPLOADING",
        "exampleCount": file.fields.get("declared") or str(file.lines),
        "userUploaded": {},
        "createTime": stamp(file.created),
    }
