"""Google's batches: long-running operations that live by the sandbox clock. What they are is worked out when asked."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.google.errors import check_query, json_object, members, page, refused
from proxy_plugin.providers.sandbox.google.files import File, Files, stamp
from proxy_plugin.providers.sandbox.google.lines import Assignment, Line, Row, answer_all
from proxy_plugin.providers.sandbox.google.options import Options, Settings
from proxy_plugin.providers.sandbox.replies import Reply, json_reply

VERBS = {"batchGenerateContent": False, "asyncBatchEmbedContent": True}  # whether it embeds
KIND = "type.googleapis.com/google.ai.generativelanguage.v1main."
NOT_RUN = {"code": 1, "message": "The batch was cancelled."}
NAMES = {
    "PENDING": "validating",
    "RUNNING": "in_progress",
    "SUCCEEDED": "completed",
}  # as `/_sandbox/jobs` has them


@dataclass(slots=True)
class Batch:
    """One batch. Moments are Unix seconds of the sandbox clock."""

    id: str
    account: str
    model: str
    embeds: bool
    display: str
    source: str  # id of the input file, "" for requests in the create
    options: Options
    created: float
    stranger: bool
    problem: str
    rows: list[Row]
    cancelled: float | None = None
    looks: int = 0  # at the batch once it has succeeded
    output: File | None = None
    deleted: bool = False
    lines: int = field(default=0)

    def end(self) -> tuple[str, float]:
        """How and when it ends, as far as is known."""
        started = self.created + self.options.pending_seconds
        if self.cancelled is not None:
            return "CANCELLED", self.cancelled + self.options.cancel_seconds
        if self.problem or self.options.no_quota:
            return "FAILED", started
        run, expires = started + self.options.run_seconds, self.created + self.options.window_seconds
        return ("SUCCEEDED", run) if run <= expires else ("EXPIRED", expires)

    def state(self, now: float) -> str:
        word, moment = self.end()
        if now >= moment:
            return word
        return "PENDING" if now < self.created + self.options.pending_seconds else "RUNNING"

    def done(self, now: float) -> list[Row]:
        """The lines that have run, as far as anybody is told."""
        word, moment = self.end()
        lost = word == "EXPIRED" or (word == "CANCELLED" and not self.options.keeps)
        if word == "FAILED" or (lost and now >= moment):
            return []
        now = now if self.cancelled is None else min(now, self.cancelled)
        since, seconds = now - self.created - self.options.pending_seconds, self.options.run_seconds
        share = 1.0 if since >= seconds else max(since, 0.0) / seconds
        return self.rows[: int(len(self.rows) * share)]

    def results(self, now: float) -> list[dict[str, Any]]:
        """Those of the lines that ran, and of a cancelled batch those that did not."""
        done = self.done(now)
        first = [each for row in done for each in (row.found if row.copies else None, row.stranger) if each]
        rest = [{"key": row.found["key"], "error": NOT_RUN} for row in self.rows[len(done) :]]
        return first + [row.found for row in done if row.copies > 1] + rest

    def counts(self, now: float) -> dict[str, int]:
        done = self.done(now)
        well = sum(row.ok for row in done)
        return {"completed": well, "failed": len(done) - well, "total": self.lines}


class Batches:
    """The batches of all accounts, and their routes."""

    def __init__(self, services: Services, settings: Settings, files: Files) -> None:
        self._services, self._settings, self._files = services, settings, files
        self.reset()

    def reset(self) -> None:
        self._batches: dict[str, Batch] = {}

    def routes(self, version: str) -> list[Route]:
        one = f"/{version}/batches/{{batch_id:[a-z0-9]+}}"
        return [
            Route("POST", f"/{version}/models/{{model}}:{{verb}}", "batches.create", self._create),
            Route("GET", f"/{version}/batches", "batches.list", self._list),
            Route("GET", one, "batches.retrieve", self._retrieve),
            Route("POST", f"{one}:cancel", "batches.cancel", self._cancel),
            Route("DELETE", one, "batches.delete", self._delete),
        ]

    def jobs(self) -> list[dict[str, Any]]:
        """All batches; `lines_run` counts the lines that somebody pays for."""
        now = self._services.clock.now()
        return [
            {
                "id": batch.id,
                "account": batch.account,
                "status": NAMES.get(word := batch.state(now), word.lower()),
                "counts": batch.counts(now),
                "lines": batch.lines,
                "lines_run": len(batch.done(now)),
                "mark": batch.display.removeprefix("pp-"),
                "input_file_id": batch.source,
                "output_file_id": batch.output.id if self._output(batch, now) and batch.output else None,
                "created_at": batch.created,
                "stranger": batch.stranger,
            }
            for batch in self._batches.values()
        ]

    # POST models/{model}:{verb}

    async def _create(self, request: web.Request, account: str) -> Act:
        check_query(request)
        model, verb = request.match_info["model"], request.match_info["verb"]
        if verb not in VERBS or model == "no-such-model" or model in self._settings.current.unknown_models:
            raise refused(404, f"models/{model} is not found, or is not supported for {verb}.")
        order = await json_object(request)
        display, source, inline = _read_order(order, self._settings.current)

        async def act() -> Reply:
            now = self._services.clock.now()
            busy = sum(each.account == account and now < each.end()[1] for each in self._batches.values())
            if busy >= self._settings.current.max_batches:
                raise refused(429, "Too many batches are running.")
            lines = inline if inline is not None else await self._input(account, source, now)
            batch = await self.start(account, model, lines, display, embeds=VERBS[verb], source=source)
            await self._services.accepted.append({
                "at": time.monotonic(),
                "account": account,
                "batch_id": batch.id,
                "mark": display.removeprefix("pp-"),
                "lines": batch.lines,
            })  # fmt: skip
            self._batches[batch.id] = batch
            return self._reply(batch)

        return act

    async def _input(self, account: str, source: str, now: float) -> bytes:
        file = self._files.wanted(account, source)
        if file.made or file.failed or now < file.ready:
            raise refused(400, f"The File {source} is not in an ACTIVE state and usage is not allowed.")
        return await asyncio.to_thread(file.path.read_bytes)

    async def start(
        self, account: str, model: str, lines: bytes | list[Line], display: str, *, embeds: bool, source: str = ""
    ) -> Batch:
        """Make a batch, which nobody sees yet."""
        options, batch_id = self._settings.current, secrets.token_hex(12)
        identity = hashlib.sha256(batch_id.encode()).hexdigest()[:16]
        seed = options.seed * 1_000_003 + len(self._batches)
        task = Assignment(lines, model, embeds, options.answers, seed, identity)
        problem, rows = await self._services.work.run(len(lines), answer_all, task)
        count = lines.count(b"\n") if isinstance(lines, bytes) else len(lines)
        now = self._services.clock.now()
        batch = Batch(batch_id, account, model, embeds, display, source, options, now, False, problem, rows)
        batch.lines = count
        return batch

    def add_stranger(self, batch: Batch, seconds: float | None) -> None:
        """Let a batch be seen as somebody else's: it is in no log of accepted creates."""
        batch.stranger = True
        if seconds is not None:
            around = {} if seconds else {"pending_seconds": 0.0}
            batch.options = msgspec.structs.replace(batch.options, run_seconds=seconds, **around)
        self._batches[batch.id] = batch

    # The other routes

    async def _list(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            mine = [each for each in self._batches.values() if each.account == account and not each.deleted]
            mine = mine[::-1] if self._settings.current.newest_first else mine
            start, end = page(request, len(mine), 10)
            found = {"operations": [self._facts(each, listed=True) for each in mine[start:end]]} if mine else {}
            return json_reply(found | ({"nextPageToken": f"page-{end}"} if end < len(mine) else {}))

        return act

    def _about(self, request: web.Request, account: str, deed: Callable[[Batch], Awaitable[Reply]]) -> Act:
        check_query(request)

        async def act() -> Reply:
            batch = self._batches.get(request.match_info["batch_id"])
            if batch is None or batch.account != account or batch.deleted:
                raise refused(404, "Requested entity was not found.")
            return await deed(batch)

        return act

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        async def shown(batch: Batch) -> Reply:
            reply = self._reply(batch)
            batch.looks += batch.state(self._services.clock.now()) == "SUCCEEDED"
            return reply

        return self._about(request, account, shown)

    async def _cancel(self, request: web.Request, account: str) -> Act:
        async def cancelled(batch: Batch) -> Reply:
            now = self._services.clock.now()
            if now >= batch.end()[1]:
                raise refused(400, f"A batch in state {batch.state(now)} cannot be cancelled.")
            batch.cancelled = now if batch.cancelled is None else batch.cancelled
            return json_reply({}, subject=batch.id)

        return self._about(request, account, cancelled)

    async def _delete(self, request: web.Request, account: str) -> Act:
        async def deleted(batch: Batch) -> Reply:
            batch.deleted = True
            return json_reply({}, subject=batch.id)

        return self._about(request, account, deleted)

    def _reply(self, batch: Batch) -> Reply:
        return json_reply(self._facts(batch), subject=batch.id)

    def _facts(self, batch: Batch, *, listed: bool = False) -> dict[str, Any]:
        """The operation. Counts are texts, and those of 0 are left out; a list shows no results of inline jobs."""
        now = self._services.clock.now()
        word, counts, over = batch.state(now), batch.counts(now), now >= batch.end()[1]
        told = {
            "requestCount": counts["total"],
            "pendingRequestCount": counts["total"] - counts["completed"] - counts["failed"],
            "successfulRequestCount": counts["completed"],
            "failedRequestCount": counts["failed"],
        } | (batch.options.told_counts if over else {})
        metadata: dict[str, Any] = {
            "@type": f"{KIND}{'EmbedContentBatch' if batch.embeds else 'GenerateContentBatch'}",
            "model": f"models/{batch.model}",
            "name": f"batches/{batch.id}",
            "displayName": batch.display,
            "inputConfig": {"fileName": f"files/{batch.source}"} if batch.source else {},
            "createTime": stamp(batch.created),
            "updateTime": stamp(min(now, batch.end()[1])),
            "batchStats": {name: str(count) for name, count in told.items() if count},
            "state": batch.options.words + word,
        }
        facts: dict[str, Any] = {"name": f"batches/{batch.id}", "metadata": metadata}
        if over:
            metadata["endTime"], facts["done"] = stamp(batch.end()[1]), True
        if word == "FAILED":
            quota = {"code": 8, "message": "You exceeded your current quota of enqueued tokens."}
            facts["error"] = quota if batch.options.no_quota else {"code": 3, "message": batch.problem}
        elif over and (output := self._output(batch, now, listed=listed)):
            if batch.options.output_in != "response":
                metadata["output"] = output
            if batch.options.output_in != "metadata":
                facts["response"] = {"@type": f"{metadata['@type']}Output", **output}
        return facts

    def _output(self, batch: Batch, now: float, *, listed: bool = False) -> dict[str, Any]:
        late = batch.state(now) == "SUCCEEDED" and batch.looks < batch.options.output_late
        if late or now < batch.end()[1] or not batch.done(now) or (listed and not batch.source):
            return {}
        results = batch.results(now)
        if not batch.source:
            name = "inlinedEmbedContentResponses" if batch.embeds else "inlinedResponses"
            return {name: {"inlinedResponses": [_inlined(each) for each in results]}}
        if batch.output is None:
            data, path = b"".join(json.dumps(each).encode() + b"\n" for each in results), self._files.new_path()
            path.write_bytes(data)
            name = f"batch-{batch.id}"
            file = File(name, batch.account, "", "application/jsonl", len(data), path, made=True)
            batch.output = self._files.add(file)
        return {"responsesFile": f"files/{batch.output.id}"}


def _inlined(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in row.items() if name != "key"}, "metadata": {"key": row["key"]}}


def _read_order(body: Mapping[str, Any], options: Options) -> tuple[str, str, list[Line] | None]:
    """Display name, id of the input file, requests of an inline job. Raises `Refused`."""
    batch = members(body, ("batch",), "request").get("batch", {})
    batch = members(batch, ("displayName", "inputConfig", "priority", "webhookConfig", "model", "name"), "batch")
    display, config = batch.get("displayName"), batch.get("inputConfig", {})
    config = members(config, ("fileName", "requests"), "batch.input_config")
    if not isinstance(display, str) or not display:
        raise refused(400, "batch.display_name is required.")
    if ("fileName" in config) == ("requests" in config):
        raise refused(400, "batch.input_config names one source.")
    if "fileName" in config:
        return display, str(config["fileName"]).removeprefix("files/"), None
    if len(json.dumps(config)) > options.max_inline_bytes:
        raise refused(400, "Inline requests are larger than 20 MB in all.")
    given = config["requests"].get("requests", [])
    keys = [(each.get("metadata") or {}).get("key", f"request-{number}") for number, each in enumerate(given)]
    return display, "", [{"key": key, "request": each.get("request")} for key, each in zip(keys, given, strict=True)]
