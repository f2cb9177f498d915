"""xAI's files and batches under /x-ai/v1: counters in place of a status, results as pages of JSON.

Written from the project's reference page (captures of 2026-08-28, `batch.proto` of 2026-05-17), never from what an
adapter of ours sends. Batches without a file are not served. In no document, so guesses: an unknown file is a 404,
the list is newest first, a batch that has ended refuses its cancel (400).
"""

import base64
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route
from proxy_plugin.providers.sandbox.kit.files import File, content
from proxy_plugin.providers.sandbox.kit.jobs import Job, Options
from proxy_plugin.providers.sandbox.kit.lines import JSON, Bad, Form, Outcome, dumps
from proxy_plugin.providers.sandbox.kit.wire import Wire
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

CHAT = "/v1/chat/completions"
URLS = {CHAT: CHAT, "/v1/responses": CHAT, "/v1/images/generations": "/v1/images/generations"}  # what answers them
UNBATCHABLE = frozenset({"grok-4.5", "grok-4.6", "grok-3-mini", "no-such-model"})
CODES = {400: "Client specified an invalid argument", 404: "Some requested entity was not found"}
PAGED = ("limit", "pagination_token")
LINE = frozenset({"custom_id", "method", "url", "body"})
BATCH_LIFE = 30 * 86400
MOST_LINES, MOST_BYTES = 50_000, 200 * 10**6


class XAIOptions(Options, frozen=True, kw_only=True):
    """`recount_seconds`: how long after a cancel counters and rows call every line cancelled (20 s were captured)."""

    recount_seconds: float = 0.1
    date_only: bool = False  # times are told without the time of day, as REST does


class Lines(Form):
    """A line is OpenAI's. Results have no status: an answer, or a text."""

    def check(self, line: JSON, order: JSON) -> None:  # noqa: ARG002
        if missing := LINE - set(line):
            raise Bad(f"missing field `{min(missing)}`")
        body = line["body"]
        if line["method"] != "POST" or line["url"] not in URLS or not isinstance(body, dict):
            raise Bad("unsupported method, url or body")
        if body.get("stream"):
            raise Bad("stream is not supported in batches")
        if not isinstance(body.get("model"), str) or body["model"] in UNBATCHABLE:
            raise Bad(f"model {body.get('model')} is not supported in batches")

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:  # noqa: ARG002
        return URLS[line["url"]], line["body"]

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:  # noqa: ARG002
        if not outcome.well:
            words = {"cancelled": "Batch cancelled", "expired": "Batch expired"}.get(outcome.words, outcome.words)
            return dumps({"batch_request_id": custom_id, "batch_result": {"error": words}})
        name = "chat_get_completion" if outcome.endpoint == CHAT else "image_generate"
        return dumps({"batch_request_id": custom_id, "batch_result": {"response": {name: _answer(outcome)}}})


def _answer(outcome: Outcome) -> JSON:
    usage = outcome.body.get("usage", {})
    return {**outcome.body, **({"usage": {**usage, "cost_in_usd_ticks": 1000}} if usage else {})}


class XAI(Wire):
    """See `dialect.Dialect`."""

    form = Lines()
    options_type = XAIOptions

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
            Route("POST", "/batches/{batch_id}:cancel", "batches.cancel", self.about_job(self._cancel)),
            Route("POST", f"{one}/requests", "batches.add", self.about_job(self._add)),
            Route("GET", f"{one}/results", "batches.results", self.about_job(self._results, PAGED)),
            Route("GET", one, "batches.retrieve", self.about_job(self._retrieve)),
        ]

    def error(self, status: int, message: str) -> JSON:
        return {"code": CODES.get(status, "The service cannot do this now"), "error": message}

    def unauthorized(self, *, given: bool) -> Refused:  # noqa: ARG002
        """A bad key is a 400 (captured)."""
        return self.refused(400, "Incorrect API key provided. You can obtain an API key from https://console.x.ai.")

    def new_file_id(self) -> str:
        return f"file_{secrets.token_hex(16)}"

    def labels(self, job: Job) -> dict[str, Any]:
        return {"mark": str(job.order["name"])[-10:]}  # a client's label may stand at the end of a name

    def strangers_line(self, model: str) -> JSON:
        said = [{"role": "user", "content": f"stranger {secrets.token_hex(4)}"}]
        head = {"custom_id": secrets.token_hex(9), "method": "POST", "url": CHAT}
        return {**head, "body": {"model": model, "messages": said}}

    def strangers_order(self, file: File, model: str) -> JSON:  # noqa: ARG002
        return {"name": "a stranger's", "input_file_id": file.id}

    # Files

    async def _upload(self, request: web.Request, account: str) -> Act:
        file = await self.files.receive(request, account, ("purpose", "expires_after"), self.refused, last=True)
        if "expires_after" in file.fields:
            self.number(file.fields, "expires_after", 3600, 3600, 2_592_000)

        async def act() -> Reply:
            return json_reply(_file(self.files.add(file)), subject=file.id)

        return act

    async def _list_files(self, request: web.Request, account: str) -> Act:
        query = self.query(request, ("limit", "pagination_token", "order", "sort_by"))

        async def act() -> Reply:
            found = [_file(file) for file in self.files.of(account)]
            return self._page(query, "data", found[:: -1 if query.get("order") == "asc" else 1], 100)

        return act

    def _delete_file(self, file: File) -> Reply:
        self.files.delete(file)
        return json_reply({"id": file.id, "object": "file", "deleted": True})

    def _page(self, query: Mapping[str, str], name: str, found: list[Any], most: int) -> Reply:
        """A page of a list; a token is opaque."""
        limit, token = self.number(query, "limit", min(100, most), 1, most), query.get("pagination_token")
        try:
            start = int(base64.urlsafe_b64decode(token or "MA=="))
        except ValueError:
            raise self.refused(400, "Invalid pagination token.") from None
        end = start + limit
        after = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(found) else None
        return json_reply({name: found[start:end], "pagination_token": after})

    # Batches

    async def _create(self, request: web.Request, account: str) -> Act:
        order = await self.body(request, ("name", "input_file_id"))
        if not isinstance(order.get("name"), str) or not order["name"]:
            raise self.refused(400, "The batch name is required.")
        if not isinstance(order.get("input_file_id"), str):
            raise self.refused(400, "The sandbox serves batches of files only.")

        async def act() -> Reply:
            if (file := self.files.find(account, order["input_file_id"])) is None:
                raise self.refused(404, f"File {order['input_file_id']} not found.")
            if file.size > MOST_BYTES or file.lines > MOST_LINES:
                raise self.refused(400, f"The file has more than {MOST_LINES} lines or {MOST_BYTES} bytes.")
            entry = {"input_file_id": file.id, "mark": order["name"][-10:], "lines": file.lines}
            job = await self.jobs_.accept(account, order, file.path, self.current, entry)
            return json_reply(self._facts(job), subject=job.id)

        return act

    async def _list(self, request: web.Request, account: str) -> Act:
        query = self.query(request, PAGED)

        async def act() -> Reply:
            return self._page(query, "batches", [self._facts(job) for job in self.jobs_.of(account)], 100)

        return act

    def _retrieve(self, job: Job, _: Mapping[str, str]) -> Reply:
        return json_reply(self._facts(job), subject=job.id)

    def _cancel(self, job: Job, _: Mapping[str, str]) -> Reply:
        if not self.jobs_.cancel(job):
            raise self.refused(400, "The batch has ended and cannot be cancelled.")
        return json_reply(self._facts(job), subject=job.id)

    def _add(self, job: Job, _: Mapping[str, str]) -> Reply:
        """Requests are added to batches that were made without a file."""
        if job.cancelled_at is not None:
            raise self.refused(403, "The batch was cancelled.")
        raise self.refused(412, "The batch is sealed: it was made of a file.")

    def _results(self, job: Job, query: Mapping[str, str]) -> Reply:
        """Rows may be read before the end; they are sorted by id, not as they came in."""
        now = self.services.clock.now()
        if now > job.created + BATCH_LIFE:
            raise self.refused(404, "The batch has expired.")
        if self._recounts(job, now):
            rows = [self.form.result(row.custom_id, row.identity, Outcome(0, "cancelled")) for row in job.rows]
        elif job.ended:
            rows = [text for _, text in job.results(self.form)]
        else:
            rows = [row.row for row in job.rows[: job.progress(now)]]
        return self._page(query, "results", [orjson.Fragment(row) for row in sorted(rows)], 1000)

    def _recounts(self, job: Job, now: float) -> bool:
        """Whether a cancelled batch still calls all its lines cancelled."""
        options: Any = job.options
        return job.state == "cancelled" and job.ended_at is not None and now < job.ended_at + options.recount_seconds

    def _facts(self, job: Job) -> dict[str, Any]:
        now = self.services.clock.now()
        total = 0 if job.state in {"validating", "failed"} else len(job.rows)
        well, failed = job.counts(now)
        rest = total - well - failed
        over = job.state in {"cancelled", "expired"}
        if self._recounts(job, now):
            well, failed, rest, over = 0, 0, total, True
        counts = {"num_pending": 0 if over else rest, "num_cancelled": rest if over else 0}
        told = job.options.told_counts if job.ended else {}
        state = {"num_requests": total, "num_success": well, "num_error": failed, **counts, **told}
        problem = {"cancel_by_xai_message": f"JSONL file validation failed: {job.problem}"} if job.problem else {}
        cancelled = {} if job.cancelled_at is None else {"cancel_time": self._time(job, job.cancelled_at)}
        return {
            "batch_id": job.id,
            "name": job.order["name"],
            "create_time": self._time(job, job.created),
            "expire_time": self._time(job, job.created + BATCH_LIFE),
            "create_api_key_id": "00000000-0000-4000-8000-000000000000",
            "state": state,
            "cost_breakdown": {"total_cost_usd_ticks": 0},
            "input_file_id": job.order["input_file_id"],
            **cancelled,
            **problem,
        }

    def _time(self, job: Job, moment: float) -> str:
        options: Any = job.options
        text = datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
        return text[:10] if options.date_only else text


def _file(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created),
        "expires_at": int(file.created) + int(file.fields["expires_after"]) if "expires_after" in file.fields else None,
        "filename": file.filename,
        "purpose": "",
    }
