"""OpenAI's Batches API: https://api.openai.com/v1/batches, per the OpenAPI description of 2026-08-21.

Each batch is one task that lives through the states by the sandbox clock. Moments are the planned ones (created +
validate_seconds, and so on), not those at which the task woke up, so a jump of the clock gives the same history as
waiting would.
"""

import asyncio
import hashlib
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.openai.batch import TERMINAL, Batch, Order, read_order
from proxy_plugin.providers.sandbox.openai.checks import (
    check_query,
    json_object,
    list_reply,
    page,
    query_limit,
    rate_limited,
    refused,
)
from proxy_plugin.providers.sandbox.openai.files import File, Files
from proxy_plugin.providers.sandbox.openai.lines import CANCELLED, EXPIRED, Examined, assemble, examine
from proxy_plugin.providers.sandbox.openai.options import Settings, Window
from proxy_plugin.providers.sandbox.openai.validation import Assignment, Problem, no_such_file
from proxy_plugin.providers.sandbox.replies import Reply, json_reply


class Batches:
    """The batches of all accounts, their routes and their lives."""

    def __init__(self, services: Services, settings: Settings, files: Files) -> None:
        self._services, self._settings, self._files = services, settings, files
        self.reset()

    def reset(self) -> None:
        self._batches: dict[str, Batch] = {}
        self._creates = Window(3600)
        self._first: dict[tuple[str, str], str] = {}  # account and Idempotency-Key -> batch

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/batches", "batches.create", self._create),
            Route("GET", "/batches", "batches.list", self._list),
            Route("GET", "/batches/{batch_id}", "batches.retrieve", self._retrieve),
            Route("POST", "/batches/{batch_id}/cancel", "batches.cancel", self._cancel),
        ]

    def jobs(self) -> list[dict[str, Any]]:
        """All batches; `lines_run` counts the lines that a model saw, which somebody pays for."""
        now = self._services.clock.now()
        return [
            {
                "id": batch.id,
                "account": batch.account,
                "status": batch.status,
                "counts": batch.counts(now),
                "lines_run": batch.examined.ran(batch.progress(now)),
                "metadata": batch.order.metadata,
                "input_file_id": batch.order.input_file_id,
                "input_filename": batch.input_filename,
                "output_file_id": batch.output_file_id,
                "error_file_id": batch.error_file_id,
                "created_at": batch.created,
                "ended_at": batch.stamps.get(f"{batch.status}_at") if batch.status in TERMINAL else None,
                "stranger": batch.stranger,
            }
            for batch in self._batches.values()
        ]

    # Routes

    async def _create(self, request: web.Request, account: str) -> Act:
        differs = self._settings.current.differs
        order = read_order(await json_object(request), differs)
        key = (account, request.headers.get("idempotency-key", "")) if differs.idempotency else (account, "")

        async def act() -> Reply:
            now = self._services.clock.now()
            if key[1] and key in self._first:
                return self._reply(request, self._batches[self._first[key]])
            if differs.needs_file and self._files.find(account, order.input_file_id) is None:
                raise refused(404, f"No such File object: {order.input_file_id}", None, "input_file_id")
            if (file := self._files.find(account, order.input_file_id)) and not file.ready(differs):
                raise refused(400, "The input file is not processed yet.", "invalid_request", "input_file_id")
            if not self._creates.admits(account, now, self._settings.current.creates_per_hour):
                raise rate_limited("batch creations per hour")
            batch = await self._accept(account, order)
            self._first[key] = batch.id
            return self._reply(request, batch)

        return act

    async def _accept(self, account: str, order: Order) -> Batch:
        batch = self._new(account, order, stranger=False)
        file = self._files.find(account, order.input_file_id)
        await self._services.accepted.append({
            "at": time.monotonic(),
            "account": account,
            "batch_id": batch.id,
            "input_file_id": order.input_file_id,
            "input_filename": batch.input_filename,
            "metadata": order.metadata,
            "lines": file.lines if file else None,
        })  # fmt: skip
        self.start(batch)
        return batch

    def _new(self, account: str, order: Order, *, stranger: bool) -> Batch:
        batch_id = f"batch_{secrets.token_hex(16)}"
        folder = self._services.directory / "batches" / batch_id
        now, options = self._services.clock.now(), self._settings.current
        file = self._files.find(account, order.input_file_id)
        name = file.filename if file else None
        return Batch(batch_id, account, order, options, len(self._batches), now, stranger, folder, name)

    def start(self, batch: Batch) -> asyncio.Task[None]:
        self._batches[batch.id] = batch
        return self._services.spawn(self._live(batch))

    def start_strangers(self, account: str, order: Order, seconds: float | None) -> tuple[str, asyncio.Task[None]]:
        """A batch of somebody else with the same account: visible, but in no log of accepted creates. Id and life."""
        batch = self._new(account, order, stranger=True)
        if seconds is not None:
            around = {} if seconds else {"validate_seconds": 0.0, "finalize_seconds": 0.0}
            batch.options = msgspec.structs.replace(batch.options, run_seconds=seconds, **around)
        return batch.id, self.start(batch)

    def _reply(self, request: web.Request, batch: Batch) -> Reply:
        return json_reply(self._facts(request, batch), subject=batch.id)

    def _facts(self, request: web.Request, batch: Batch) -> dict[str, Any]:
        facts = batch.facts(self._services.clock.now())
        for name in ("output_file_id", "error_file_id") if batch.options.differs.result_urls else ():
            facts[name] = facts[name] and self._files.signed_url(request, facts[name])
        return facts

    async def _list(self, request: web.Request, account: str) -> Act:
        cursors = self._settings.current.differs.cursors
        check_query(request, ("cursor", "id") if cursors else ("after", "limit"))
        limit = query_limit(request, 20, 100)

        async def act() -> Reply:
            mine = [batch for batch in reversed(self._batches.values()) if batch.account == account]
            shown, more = page(request, mine, limit, "cursor" if cursors else "after")
            data = [self._facts(request, batch) for batch in shown]
            if not cursors:
                return list_reply(data, more)
            following = {"next_cursor": data[-1]["id"]} if more else {}
            return json_reply({"object": "list", "data": data, "paging": following})

        return act

    def _wanted(self, request: web.Request, account: str) -> Batch:
        batch = self._batches.get(request.match_info["batch_id"])
        if batch is None or batch.account != account:
            raise refused(404, f"No batch found with id '{request.match_info['batch_id']}'.")
        return batch

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            batch = self._wanted(request, account)
            reply = self._reply(request, batch)
            batch.looks += batch.status in TERMINAL
            return reply

        return act

    async def _cancel(self, request: web.Request, account: str) -> Act:
        async def act() -> Reply:
            batch = self._wanted(request, account)
            if batch.settled or batch.status in TERMINAL:
                raise refused(409, f"Cannot cancel a batch with status '{batch.status}'.")
            if not batch.cancelled.is_set():
                batch.status = "cancelling"
                batch.stamps["cancelling_at"] = self._services.clock.now()
                batch.cancelled.set()
            return self._reply(request, batch)

        return act

    # Life

    async def _live(self, batch: Batch) -> None:
        clock = self._services.clock
        await clock.until(min(batch.validated, batch.expires), batch.cancelled)
        examined, problem = await self._examine(batch)
        if problem and not batch.cancelled.is_set():
            batch.settled = True
            await self._end(batch, "failed", batch.validated, problem)
            return
        if problem is None:
            batch.examined = examined
        if not batch.cancelled.is_set() and batch.validated < batch.expires:
            batch.status, batch.stamps["in_progress_at"] = "in_progress", batch.validated
        await clock.until(min(batch.run, batch.expires), batch.cancelled)
        if not batch.cancelled.is_set() and batch.run < batch.expires:
            batch.status, batch.stamps["finalizing_at"] = "finalizing", batch.run
            await clock.until(batch.run + batch.options.finalize_seconds, batch.cancelled)
        await self._finish(batch)

    async def _examine(self, batch: Batch) -> tuple[Examined, Problem | None]:
        """Validate and answer the lines. A file deleted while the batch is still validating fails it."""
        file = self._input(batch)
        if file is None:
            return Examined(), no_such_file()
        options = batch.options
        task = Assignment(
            source=file.path,
            folder=batch.folder,
            endpoint=options.differs.path(batch.order.endpoint) or "",
            url=batch.order.endpoint,
            identity=hashlib.sha256(batch.id.encode()).hexdigest()[:16],
            created=int(batch.validated),
            seed=options.seed * 1_000_003 + batch.number,
            max_lines=options.max_lines,
            max_embedding_inputs=options.max_embedding_inputs,
            unknown_models=frozenset(options.unknown_models),
            style=options.answers,
            differs=options.differs,
        )
        examined = await self._services.work.run(file.size, examine, task)
        gone = None if self._input(batch) else no_such_file()
        return examined, gone or examined.problem or _unpaid(batch) or self._too_many_tokens(batch, examined)

    def _input(self, batch: Batch) -> File | None:
        file = self._files.find(batch.account, batch.order.input_file_id, batch.validated)
        return file if file and file.purpose == "batch" else None

    def _too_many_tokens(self, batch: Batch, examined: Examined) -> Problem | None:
        if (cap := batch.options.enqueued_token_cap) is None:
            return None
        queued = sum(
            other.examined.input_tokens
            for other in self._batches.values()
            if other.account == batch.account
            and other.status not in TERMINAL
            and other.examined.model == examined.model
        )
        if queued + examined.input_tokens <= cap:
            return None
        message = (
            f"Enqueued token limit reached for {examined.model} in organization {batch.account}. Limit: {cap} "
            "enqueued tokens. Please try again once some in_progress batches have been completed."
        )
        return Problem("token_limit_exceeded", message)

    async def _finish(self, batch: Batch) -> None:
        """Decide how the batch ends, write its files, and only then show the end."""
        if batch.cancelled.is_set():
            moment = batch.stamps["cancelling_at"]
            batch.done = batch.progress(moment)
            moment += batch.options.cancel_seconds
            await self._services.clock.until(moment)
            await self._results(batch, moment, "cancelled")
        elif batch.run < batch.expires:
            batch.settled = True
            await self._results(batch, batch.run + batch.options.finalize_seconds, "completed")
        else:
            batch.settled = True
            await self._results(batch, batch.expires, "expired")

    async def _results(self, batch: Batch, moment: float, status: str) -> None:
        if not batch.examined.outcomes:  # cancelled before it was found that the input is no good
            await self._end(batch, status, moment)
            return
        batch.done = batch.progress(moment)
        lost = min(batch.options.cancel_loses, batch.done) if status == "cancelled" else 0
        reason = CANCELLED if status == "cancelled" else EXPIRED
        output, errors = self._result_paths(batch)
        size = sum(path.stat().st_size for path in batch.folder.iterdir())
        made = await self._services.work.run(size, assemble, batch.folder, batch.done, lost, reason, output, errors)
        batch.assembled = made
        answers = batch.done - batch.examined.failed(batch.done) - lost
        if answers and not made.output_bytes:  # all of them marked as missing: a file is named, and holds none
            await asyncio.to_thread(output.touch)
        if answers or made.output_bytes:
            batch.output_file_id = self._add_result(batch, "output", output, made.output_bytes, moment)
        if batch.options.differs.always_error_file and not made.error_bytes:
            await asyncio.to_thread(errors.touch)
        if made.error_bytes or batch.options.differs.always_error_file:
            batch.error_file_id = self._add_result(batch, "error", errors, made.error_bytes, moment)
        await self._end(batch, status, moment)

    def _result_paths(self, batch: Batch) -> tuple[Path, Path]:
        output, errors = self._files.new_path(), self._files.new_path()
        if batch.options.differs.always_error_file:
            return output.with_name(f"{batch.id}_output"), errors.with_name(f"{batch.id}_error")
        return output, errors

    def _add_result(self, batch: Batch, kind: str, path: Path, size: int, moment: float) -> str:
        name = f"{batch.id}_{kind}.jsonl"
        expires = moment + batch.order.output_expiry
        self._files.add(File(path.name, batch.account, name, "batch_output", size, moment, expires, path, 0))
        return path.name

    async def _end(self, batch: Batch, status: str, moment: float, problem: Problem | None = None) -> None:
        await asyncio.to_thread(shutil.rmtree, batch.folder, ignore_errors=True)
        if batch.order.deletes_input and (file := self._files.find(batch.account, batch.order.input_file_id)):
            self._files.delete(file)
        batch.status, batch.problem = status, problem
        batch.stamps[f"{status}_at"] = moment


def _unpaid(batch: Batch) -> Problem | None:
    if not batch.options.no_credit:
        return None
    return Problem("billing_hard_limit_reached", "Billing hard limit has been reached.")
