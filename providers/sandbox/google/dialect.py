"""The dialect of Google's Gemini API under /google, in its versions v1beta and v1.

Written from the project's reference page (with its updates of 2026-11-29, which calls most limits recalled, not read)
and the types of google-genai 3.6.1, never from what an adapter of ours sends.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.google.files import Uploads, members, stamp, told
from proxy_plugin.providers.sandbox.google.lines import Lines, word
from proxy_plugin.providers.sandbox.kit.files import File
from proxy_plugin.providers.sandbox.kit.jobs import Job, Options
from proxy_plugin.providers.sandbox.kit.lines import JSON
from proxy_plugin.providers.sandbox.kit.wire import Wire
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

VERBS = {"batchGenerateContent": False, "asyncBatchEmbedContent": True}  # whether it embeds
KIND = "type.googleapis.com/google.ai.generativelanguage.v1main."
STATES = {"validating": "PENDING", "in_progress": "RUNNING", "cancelling": "RUNNING", "completed": "SUCCEEDED"}
BATCH = ("displayName", "inputConfig", "priority", "webhookConfig", "model", "name")


class GoogleOptions(Options, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """See `kit.jobs.Options`."""

    window_seconds: float = 48 * 3600.0  # pending or running for longer, a batch expires without results
    processing_seconds: float = 0.05  # of an upload, before it can be used
    file_seconds: float = 48 * 3600.0
    upload_breaks: tuple[int, ...] = ()  # so many bytes of the first sends arrive, then the connection ends
    upload_fails: bool = False  # uploads end as FAILED
    keeps: bool = True  # the answers made before a cancel: no page tells for certain
    words: Literal["BATCH_STATE_", "JOB_STATE_"] = "BATCH_STATE_"
    newest_first: bool = True  # the list; no page says in which order it comes
    output_in: Literal["metadata", "response", "both"] = "both"
    gone_status: Literal[403, 404] = 404  # of a file that is not there
    max_file_bytes: int = 2 * 10**9
    max_inline_bytes: int = 20 * 10**6
    max_batches: int = 100  # that have not ended
    no_quota: bool = False  # a batch fails for want of quota before it runs


class Google(Wire):
    """See `dialect.Dialect`."""

    credentials = frozenset({"x-goog-api-key"})
    form = Lines()
    options_type = GoogleOptions
    invalid = 400
    everywhere = ("key", "$alt")

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        self._uploads = Uploads(self)
        super().__init__(services, options)

    def prefix_of(self, services: Services) -> str:
        return f"/{services.name}"

    def own_routes(self) -> list[Route]:
        return [route for version in ("v1", "v1beta") for route in self._of_version(version)]

    def _of_version(self, version: str) -> list[Route]:
        file, job = f"/{version}/files/{{file_id:[a-z0-9-]+}}", f"/{version}/batches/{{batch_id:[a-z0-9]+}}"
        content = self.about_file(self._content, ("alt",))
        return [
            Route("POST", f"/upload/{version}/files", "files.create", self._uploads.serve),
            Route("GET", f"/{version}/files", "files.list", self._list_files),
            Route("GET", f"{file}:download", "files.content", content),
            Route("GET", f"/download{file}:download", "files.content", content),
            Route("GET", file, "files.retrieve", self.about_file(self._file)),
            Route("DELETE", file, "files.delete", self.about_file(self._delete_file)),
            Route("POST", f"/{version}/models/{{model}}:{{verb}}", "batches.create", self._create),
            Route("GET", f"/{version}/batches", "batches.list", self._list),
            Route("GET", job, "batches.retrieve", self.about_job(self._retrieve)),
            Route("POST", f"{job}:cancel", "batches.cancel", self.about_job(self._cancel)),
            Route("DELETE", job, "batches.delete", self.about_job(self._delete)),
        ]

    def account(self, request: web.Request) -> str | None:
        if "x-goog-api-key" in request.headers:
            return self.services.accounts.of(request.headers["x-goog-api-key"])
        return self._uploads.account(request)

    def unauthorized(self, *, given: bool) -> Refused:
        if given:
            return Refused(self.refusal(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"))
        return self.refused(403, "Method doesn't allow unregistered callers. Please use an API key.")

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"code": status, "message": message, "status": word(status)[1]}}

    def refusal(self, status: int, message: str, code: str | None) -> Reply:
        """The error envelope; `code` is the reason of an ErrorInfo."""
        whole = self.error(status, message)
        if code:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            whole["error"]["details"] = [{"@type": kind, "reason": code, "domain": "googleapis.com"}]
        return json_reply(whole, status)

    def headers(self) -> Mapping[str, str]:
        return {"server-timing": "gfet4t7; dur=1"}

    def new_file_id(self) -> str:
        return secrets.token_hex(6)

    def new_job_id(self) -> str:
        return secrets.token_hex(12)

    def labels(self, job: Job) -> dict[str, Any]:
        return {"mark": job.order["displayName"].removeprefix("pp-"), "input_file_id": job.order["source"]}

    def reset(self) -> None:
        super().reset()
        self._uploads.reset()

    def strangers_line(self, model: str) -> JSON:  # noqa: ARG002
        said = {"contents": [{"role": "user", "parts": [{"text": "stranger"}]}]}
        return {"key": secrets.token_hex(9), "request": said}

    def strangers_order(self, file: File, model: str) -> JSON:
        return _order(f"job-{secrets.token_hex(4)}", file, file.id, model, embeds=False)

    # Files

    def keeps(self, file: File) -> bool:
        return bool(self.services.clock.now() < file.created + self.current.file_seconds)

    def no_file(self, file_id: object) -> Refused:
        words = f"You do not have permission to access the File {file_id} or it may not exist."
        return self.refused(self.current.gone_status, words)

    def _file(self, file: File) -> Reply:
        return json_reply(told(self, file), subject=file.id)

    async def _list_files(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            return self._page(request, "files", list(self.files.of(account)), lambda file: told(self, file))

        return act

    def _delete_file(self, file: File) -> Reply:
        self.files.delete(file)
        return json_reply({})

    def _content(self, file: File) -> Reply:
        if (facts := told(self, file))["source"] != "GENERATED":
            raise self.refused(400, "Only files that were generated can be downloaded.")
        kind = {"content-type": facts["mimeType"]}
        return Reply(200, headers=kind, path=file.path, size=file.size, subject=file.id)

    def _page(self, request: web.Request, name: str, found: Sequence[Any], tell: Callable[[Any], JSON]) -> Reply:
        """The page that is asked for; larger sizes are cut to 1,000. An empty list has no member."""
        query = self.query(request, ("pageSize", "pageToken"))
        size = self.number(query, "pageSize", 0, 0, 10**9) or 10
        start = self.number(
            {"pageToken": query.get("pageToken", "").removeprefix("page-") or 0}, "pageToken", 0, 0, 10**9
        )
        end = start + min(size, 1000)
        shown: dict[str, Any] = {name: [tell(each) for each in found[start:end]]} if found else {}
        return json_reply(shown | ({"nextPageToken": f"page-{end}"} if end < len(found) else {}))

    # Batches

    async def _create(self, request: web.Request, account: str) -> Act:
        self.query(request, ())
        model, verb = request.match_info["model"], request.match_info["verb"]
        if verb not in VERBS or model in {"no-such-model", *self.current.unknown_models}:
            raise self.refused(404, f"models/{model} is not found, or is not supported for {verb}.")
        display, source, lines = self._read_order(await self.read(request))
        inline = None if lines is None else await self.hidden(account, lines)

        async def act() -> Reply:
            if sum(not job.ended for job in self.jobs_.of(account)) >= self.current.max_batches:
                raise self.refused(429, "Too many batches are running.")
            file = inline or self._input(account, source)
            order = _order(display, file, source, model, embeds=VERBS[verb])
            entry = {"mark": display.removeprefix("pp-"), "lines": file.lines}
            return self._reply(await self.jobs_.accept(account, order, file.path, self.current, entry))

        return act

    def _read_order(self, body: JSON) -> tuple[str, str, list[JSON] | None]:
        """Display name, id of the input file, requests of an inline job."""
        batch = members(self, members(self, body, ("batch",), "request").get("batch", {}), BATCH, "batch")
        display = batch.get("displayName")
        config = members(self, batch.get("inputConfig", {}), ("fileName", "requests"), "batch.input_config")
        if not isinstance(display, str) or not display:
            raise self.refused(400, "batch.display_name is required.")
        if len(config) != 1:
            raise self.refused(400, "batch.input_config names one source.")
        if "fileName" in config:
            return display, str(config["fileName"]).removeprefix("files/"), None
        if len(json.dumps(config)) > self.current.max_inline_bytes:
            raise self.refused(400, "Inline requests are larger than 20 MB in all.")
        given = enumerate(config["requests"].get("requests", []))
        keyed = [((each.get("metadata") or {}).get("key", f"request-{number}"), each) for number, each in given]
        return display, "", [{"key": key, "request": each.get("request")} for key, each in keyed]

    def _input(self, account: str, source: str) -> File:
        file = self.stored(account, source)
        facts = told(self, file)
        if facts["source"] == "GENERATED" or facts["state"] != "ACTIVE":
            raise self.refused(400, f"The File {source} is not in an ACTIVE state and usage is not allowed.")
        return file

    def problem(self, job: Job) -> str | None:
        return "You exceeded your current quota of enqueued tokens." if job.options.no_quota else None

    async def publish(self, job: Job) -> None:
        """A file of results; those of an inline job stand in the job itself."""
        if job.ending == "expired" or (job.ending == "cancelled" and not job.options.keeps):
            job.done = 0
        elif job.done and job.order["source"]:
            rows = [text for _, text in job.results(self.form)]
            job.files["output"] = (await self.write(job, rows, file_id=f"batch-{job.id}")).id

    async def _list(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            mine = self.jobs_.of(account)
            mine = mine if self.current.newest_first else mine[::-1]
            return self._page(request, "operations", mine, lambda job: self._facts(job, listed=True))

        return act

    def _retrieve(self, job: Job, _: Mapping[str, str]) -> Reply:
        reply = self._reply(job)
        job.looks += job.state == "completed"
        return reply

    def _cancel(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not self.jobs_.cancel(job):
            raise self.refused(400, f"A batch in state {job.state} cannot be cancelled.")
        return json_reply({}, subject=job.id)

    def _delete(self, job: Job, _: Mapping[str, str]) -> Reply:
        job.deleted = True
        return json_reply({}, subject=job.id)

    def _reply(self, job: Job) -> Reply:
        return json_reply(self._facts(job), subject=job.id)

    def _facts(self, job: Job, *, listed: bool = False) -> dict[str, Any]:
        """The operation; a list shows no results of inline jobs."""
        source, kind = job.order["source"], "EmbedContentBatch" if job.order["embeds"] else "GenerateContentBatch"
        metadata: dict[str, Any] = {
            "@type": f"{KIND}{kind}",
            "model": f"models/{job.order['model']}",
            "name": f"batches/{job.id}",
            "displayName": job.order["displayName"],
            "inputConfig": {"fileName": f"files/{source}"} if source else {},
            "createTime": stamp(job.created),
            "updateTime": stamp(job.ended_at or job.created),
            "batchStats": self._stats(job),
            "state": job.options.words + STATES.get(job.state, job.state.upper()),
        }
        facts: dict[str, Any] = {"name": f"batches/{job.id}", "metadata": metadata}
        if job.ended_at is not None:
            metadata["endTime"], facts["done"] = stamp(job.ended_at), True
        if job.problem:
            facts["error"] = {"code": 8 if job.options.no_quota else 3, "message": job.problem}
        if output := {} if listed and not source else self._output(job):
            if job.options.output_in != "response":
                metadata["output"] = output
            if job.options.output_in != "metadata":
                facts["response"] = {"@type": f"{metadata['@type']}Output", **output}
        return facts

    def _stats(self, job: Job) -> dict[str, str]:
        """Counts are texts, and those of 0 are left out."""
        (well, failed), total = job.counts(self.services.clock.now()), job.order["lines"]
        told_counts = {
            "requestCount": total,
            "pendingRequestCount": total - well - failed,
            "successfulRequestCount": well,
            "failedRequestCount": failed,
        } | (job.options.told_counts if job.ended else {})
        return {name: str(count) for name, count in told_counts.items() if count}

    def _output(self, job: Job) -> JSON:
        late = job.state == "completed" and job.looks < job.options.results_late
        if late or not job.ended or not job.done:
            return {}
        if job.order["source"]:
            return {"responsesFile": f"files/{job.files['output']}"}
        name = "inlinedEmbedContentResponses" if job.order["embeds"] else "inlinedResponses"
        rows = [json.loads(text) for _, text in job.results(self.form)]
        return {name: {"inlinedResponses": [{"metadata": {"key": row.pop("key")}, **row} for row in rows]}}


def _order(display: str, file: File, source: str, model: str, *, embeds: bool) -> JSON:
    return {"displayName": display, "source": source, "model": model, "embeds": embeds, "lines": file.lines}
