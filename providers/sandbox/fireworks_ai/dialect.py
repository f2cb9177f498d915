"""Fireworks' datasets and batch inference jobs under /fireworks-ai/v1/accounts/sandbox.

Written from the project's reference page (types of the SDK 1.2.30, its upload by signed URLs, captures of 2026-08) and
not from what an adapter of ours sends. Not told by any page, so a guess: the status of a taken id (409), the lines of
`error-data`, that lines of a job name no model, and that a dataset may be deleted while its job runs.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.replies import Reply, json_reply
from proxy_plugin.providers.sandbox.uploads.blobs import Blob
from proxy_plugin.providers.sandbox.uploads.dialect import Uploaded, rows_of, shown
from proxy_plugin.providers.sandbox.uploads.lines import Answer, Bad, dumps
from proxy_plugin.providers.sandbox.uploads.lives import Job, stamp

ACCOUNT = "accounts/sandbox"
GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14}
WORDS = {"in_progress": "RUNNING", "finalizing": "WRITING_RESULTS", "cancelling": "DELETING_CLEANING_UP"}
ORDER = (
    *("model", "inputDatasetId", "outputDatasetId", "displayName", "inferenceParameters", "precision"),
    "continuedFromJobName",
)


class Fireworks(Uploaded):
    """See `dialect.Dialect`. A job that was deleted is forgotten, though not by `/_sandbox/jobs`."""

    model_in_lines = False

    def prefix_of(self, services: Services) -> str:
        return f"/{services.name}"

    def own_routes(self) -> Sequence[Route]:
        root, job = f"/v1/{ACCOUNT}/datasets", f"/v1/{ACCOUNT}/batchInferenceJobs"
        one = root + "/{dataset_id}"
        return [
            Route("POST", root, "datasets.create", self._new_dataset),
            Route("POST", f"{one}:getUploadEndpoint", "datasets.upload_link", self._upload_link),
            Route("POST", f"{one}:validateUpload", "datasets.validate", self._validate),
            Route("POST", f"{one}:upload", "datasets.upload", self._upload),
            Route("GET", f"{one}:getDownloadEndpoint", "datasets.download_link", self._download_link),
            Route("GET", one, "datasets.retrieve", self._dataset),
            Route("DELETE", one, "datasets.delete", self._delete_dataset),
            Route("POST", job, "batches.create", self._create),
            Route("GET", job, "batches.list", self._list),
            Route("GET", job + "/{job_id}", "batches.retrieve", self._retrieve),
            Route("DELETE", job + "/{job_id}", "batches.cancel", self._delete),
        ]

    def checker(self) -> Any:
        return check

    def order(self, blob: Blob, model: str, endpoint: str) -> dict[str, Any]:  # noqa: ARG002 - there is one
        return {"model": model, "inputDatasetId": f"{ACCOUNT}/datasets/{blob.id}"}

    def refusal(self, status: int, message: str, code: str | None) -> Reply:
        if status in {401, 403}:  # of the gateway in front [captured]
            error = {"message": message, "code": code or "UNAUTHORIZED", "type": "error", "param": None}
            return json_reply({"error": error, "request_id": secrets.token_hex(8)}, 403)
        return json_reply({"code": GRPC.get(status, 2), "message": message, "details": []}, status)

    # Datasets

    def _stored(self, request: web.Request, account: str) -> Blob:
        blob = self.blobs.find(account, request.match_info["dataset_id"])
        if blob is None:
            raise self.complain(404, "resource not found")
        return blob

    async def _new_dataset(self, request: web.Request, account: str) -> Act:
        wish = await self.blobs.body(request, ("datasetId", "dataset", "sourceDatasetId"), ("datasetId", "dataset"))
        name, dataset = wish["datasetId"], wish["dataset"]
        if not is_id(name) or not isinstance(dataset, dict) or not str(dataset.get("exampleCount", "")).isdigit():
            raise self.complain(400, "datasetId, or dataset.exampleCount, is missing or wrong")

        async def act() -> Reply:
            if name in self.blobs.all and not self.blobs.all[name].deleted:
                raise self.complain(409, f"dataset {name} already exists")
            blob = self.blobs.new(account, "", blob_id=name, kind=str(dataset["exampleCount"]))
            return json_reply(facts_of(blob), subject=name)

        return act

    async def _upload_link(self, request: web.Request, account: str) -> Act:
        blob = self._stored(request, account)
        sizes = (await self.blobs.body(request, ("filenameToSize", "readMask"), ("filenameToSize",)))["filenameToSize"]
        if not isinstance(sizes, dict) or len(sizes) != 1 or not all(str(size).isdigit() for size in sizes.values()):
            raise self.complain(400, "filenameToSize must map one name to a size")
        ((name, size),) = sizes.items()
        signed = {"content-type": "application/octet-stream", "x-goog-content-length-range": f"{size},{size}"}
        blob.name = name
        return shown({"filenameToSignedUrls": {name: self.blobs.sign(request, blob, signed)}})

    async def _validate(self, request: web.Request, account: str) -> Act:
        await self.blobs.body(request, (), ())
        blob = self._stored(request, account)
        if not blob.whole or not blob.size:
            raise self.complain(400, "the dataset has no files")
        blob.ready = True
        return shown({})

    async def _upload(self, request: web.Request, account: str) -> Act:
        """The direct way, up to 150 MB."""
        blob = self._stored(request, account)
        await self.blobs.form(request, (), "file", lambda: blob)
        blob.ready = True
        return shown({"id": blob.id, "object": "file", "bytes": blob.size, "filename": blob.name})

    async def _dataset(self, request: web.Request, account: str) -> Act:
        return shown(facts_of(self._stored(request, account)))

    async def _download_link(self, request: web.Request, account: str) -> Act:
        if await request.read():
            raise self.complain(400, "a plain GET has no body")
        blob = self._stored(request, account)
        files = [(name, self.blobs.all.get(key.format(blob.id))) for name, key in RESULTS.items()]
        links = {
            f"dataset/{blob.id}/{name}": self.blobs.sign(request, file, beside=name == "error-data")
            for name, file in files
            if file
        }
        return shown({"filenameToSignedUrls": links})

    async def _delete_dataset(self, request: web.Request, account: str) -> Act:
        blob = self._stored(request, account)

        async def act() -> Reply:
            self.blobs.delete(blob)
            return json_reply({})

        return act

    # Jobs

    async def _create(self, request: web.Request, account: str) -> Act:
        self.known(request, "batchInferenceJobId")
        order = await self.blobs.body(request, ORDER, ("model", "inputDatasetId"))
        name = request.query.get("batchInferenceJobId", f"job-{secrets.token_hex(6)}")
        root = f"{ACCOUNT}/datasets/"
        if not is_id(name) or not str(order["inputDatasetId"]).startswith(root):
            raise self.complain(400, "batchInferenceJobId or inputDatasetId is no valid name")

        async def act() -> Reply:
            if name in self.lives.jobs:
                raise self.complain(409, f"batch inference job {name} already exists")
            blob = self.blobs.find(account, str(order["inputDatasetId"]).removeprefix(root))
            if blob is None or not blob.ready:
                raise self.complain(400, "the input dataset is not there or not READY")
            job = self.lives.new(name, account, order, blob)
            await self.lives.accept(job)
            return json_reply(self._facts(job), subject=name)

        return act

    async def _list(self, request: web.Request, account: str) -> Act:
        self.known(request, "pageSize", "pageToken", "filter", "orderBy", "readMask")
        jobs = [job for job in self.lives.newest(account) if job.status != "cancelled"]
        size, start = int(request.query.get("pageSize", "50")), int(request.query.get("pageToken", "0") or 0)
        more = str(start + size) if start + size < len(jobs) else ""
        page = [self._facts(job) for job in jobs[start : start + size]]
        return shown({"batchInferenceJobs": page, "nextPageToken": more, "totalSize": len(jobs)})

    def _job(self, request: web.Request, account: str) -> Job:
        job = self.lives.find(account, request.match_info["job_id"])
        if job is None or job.status == "cancelled":
            raise self.complain(404, "resource not found")
        return job

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        self.known(request, "readMask")
        job = self._job(request, account)
        job.looks += job.ended is not None
        return shown(self._facts(job))

    async def _delete(self, request: web.Request, account: str) -> Act:
        job = self._job(request, account)

        async def act() -> Reply:
            if not self.lives.cancel(job):
                job.status = "cancelled"  # one that has ended vanishes, too
            return json_reply({}, subject=job.id)

        return act

    def _facts(self, job: Job) -> dict[str, Any]:
        good, bad = job.counts(self._services.clock.now())
        progress = {
            "totalInputRequests": job.source.kind if job.source else "0",  # what was declared [captured]
            "totalProcessedRequests": good + bad,
            "successfullyProcessedRequests": good,
            "failedRequests": bad,
            **job.options.told_counts,
        }
        named = job.ended is None or job.shown() or not job.results
        found = {
            "name": f"{ACCOUNT}/batchInferenceJobs/{job.id}",
            "state": f"JOB_STATE_{WORDS.get(job.status, job.status.upper())}",
            "status": {"code": "INVALID_ARGUMENT", "message": job.problem} if job.problem else {"code": "OK"},
            "model": job.order["model"],
            "displayName": job.order.get("displayName", ""),
            "inputDatasetId": job.order["inputDatasetId"],
            "outputDatasetId": f"{ACCOUNT}/datasets/{output_of(job)}" if named else "",
            "jobProgress": None if job.status == "validating" else progress,
            "createTime": stamp(job.created),
            "updateTime": stamp(job.ended or job.created),
            "expireTime": stamp(job.expires),
        }
        return {name: value for name, value in found.items() if value is not None}

    async def finish(self, job: Job, moment: float) -> None:  # noqa: ARG002
        """Answers of a job that was deleted are gone with it."""
        if job.cancelled.is_set():
            job.answers, job.done = (), 0
            return
        done, blob = job.answers[: job.done], self.blobs.new(job.account, "", blob_id=output_of(job))
        blob.ready, job.output = True, blob.id
        for name, key in RESULTS.items():
            some = [each for each in done if (each.status in {0, 200}) == name.endswith(".jsonl")]
            job.results[name] = self.blobs.new(job.account, name, blob_id=key.format(blob.id))
            self.blobs.write(job.results[name], rows_of(some, row))


RESULTS = {"BIJOutputSet.jsonl": "{}/output", "error-data": "{}/errors"}


def output_of(job: Job) -> str:
    return str(job.order.get("outputDatasetId", f"bij-{job.id}-output")).rpartition("/")[2]


def is_id(name: object) -> bool:
    """Lowercase letters, digits and hyphens, up to 63."""
    return isinstance(name, str) and 0 < len(name) <= 63 and name.replace("-", "").isalnum() and name.lower() == name


def check(line: Mapping[str, Any]) -> None:
    """Judge what the reference page says of a line."""
    if set(line) != {"custom_id", "body"}:
        raise Bad("a line has custom_id and body")
    if "model" in line["body"]:
        raise Bad("the model belongs to the job")
    if not isinstance(line["body"].get("messages"), list):
        raise Bad("messages is missing")


def row(custom_id: str, answer: Answer) -> bytes:
    head = dumps({"custom_id": custom_id})[:-1]
    if answer.ok:
        return head + b',"response":' + answer.body + b"}\n"
    if answer.status == 0:
        return head + b',"response":{}}\n'
    return head + b',"error":' + dumps({"message": answer.message, "code": answer.status}) + b"}\n"


def facts_of(blob: Blob) -> dict[str, Any]:
    return {
        "name": f"{ACCOUNT}/datasets/{blob.id}",
        "state": "READY" if blob.ready else "UPLOADING",
        "exampleCount": blob.kind or str(blob.lines),
        "userUploaded": {},
        "createTime": stamp(blob.created),
    }
