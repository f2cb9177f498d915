"""Anthropic's Message Batches API, per the Claude Platform documentation of 2026-09-26 and the SDK's types (2.11).

Each batch is one task that lives by the sandbox clock. Moments are the planned ones, not those at which the task woke
up, so a jump of the clock gives the same history as waiting would.

Not in any document, so a guess: the answers to a cancel of an ended batch, to an unknown cursor and to both cursors at
once (400 each), and that `results_url` is null again once the batch is archived.
"""

import asyncio
import hashlib
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from proxy_plugin.providers.sandbox.anthropic.batch import Batch
from proxy_plugin.providers.sandbox.anthropic.errors import (
    OLD,
    check_json_body,
    check_query,
    list_reply,
    page,
    query_limit,
    refused,
)
from proxy_plugin.providers.sandbox.anthropic.lines import (
    CANCELED,
    EXPIRED,
    Assignment,
    Examined,
    answer_all,
    assemble,
    body_path,
    examine,
    results_path,
)
from proxy_plugin.providers.sandbox.anthropic.options import Options, Settings
from proxy_plugin.providers.sandbox.anthropic.params import Rules
from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.replies import Reply, json_reply


class Batches:
    """The batches of all accounts, their routes and their lives."""

    def __init__(self, services: Services, settings: Settings, base: str) -> None:
        """`base` is the path below which the batches are, in the addresses of results too."""
        self._services, self._settings, self._path = services, settings, base
        self._folder = services.directory / "batches"
        self.reset()

    def reset(self) -> None:
        self._batches: dict[str, Batch] = {}
        shutil.rmtree(self._folder, ignore_errors=True)

    def routes(self) -> list[Route]:
        one = "/messages/batches/{batch_id}"
        return [
            Route("POST", "/messages/batches", "batches.create", self._create),
            Route("GET", "/messages/batches", "batches.list", self._list),
            Route("GET", one, "batches.retrieve", self._retrieve),
            Route("POST", f"{one}/cancel", "batches.cancel", self._cancel),
            Route("GET", f"{one}/results", "batches.results", self._results),
            Route("DELETE", one, "batches.delete", self._delete),
        ]

    def jobs(self) -> list[dict[str, Any]]:
        """All batches, deleted ones too; `lines_run` counts what succeeded, which somebody pays for."""
        now = self._services.clock.now()
        return [
            {
                "id": batch.id,
                "account": batch.account,
                "status": batch.status,
                "counts": batch.counts(),
                "lines": batch.lines,
                "lines_run": batch.paid(now),
                "mark": batch.mark,
                "created_at": batch.created,
                "ended_at": batch.ended,
                "stranger": batch.stranger,
                "deleted": batch.deleted,
            }
            for batch in self._batches.values()
        ]

    # POST /messages/batches

    async def _create(self, request: web.Request, account: str) -> Act:
        check_json_body(request)
        batch_id, rules = new_id(), self._rules(request)
        folder = self.new_folder(batch_id)
        try:
            await self._receive(request, body_path(folder))
            examined = await self.examine(folder)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise

        async def act() -> Reply:
            try:
                batch = self._new(batch_id, account, examined, rules, folder)
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                raise
            await self._services.accepted.append({
                "at": time.monotonic(),
                "account": account,
                "batch_id": batch_id,
                "mark": batch.mark,
                "lines": batch.lines,
            })  # fmt: skip
            self._start(batch)
            return self._reply(request, batch)

        return act

    def new_folder(self, batch_id: str) -> Path:
        folder = self._folder / batch_id
        folder.mkdir(parents=True)
        return folder

    async def _receive(self, request: web.Request, path: Path) -> None:
        """Spool the body. Memory holds one chunk."""
        size, limit = 0, self._settings.current.max_body_bytes
        handle = await asyncio.to_thread(path.open, "wb")
        with handle:
            async for piece in request.content.iter_any():
                size += handle.write(piece)
                if size > limit:
                    raise refused(413, f"Request exceeds the maximum size of {limit} bytes")

    async def examine(self, folder: Path) -> Examined:
        """Raises `Refused`."""
        size = body_path(folder).stat().st_size
        examined = await self._services.work.run(size, examine, folder, self._settings.current.max_requests)
        if examined.problem:
            raise refused(*examined.problem)
        return examined

    def _rules(self, request: web.Request | None) -> Rules:
        options, headers = self._settings.current, request.headers if request else {}
        return Rules(
            version=headers.get("anthropic-version", OLD),
            betas=frozenset(beta.strip() for beta in headers.get("anthropic-beta", "").split(",")),
            max_output_tokens=options.max_output_tokens,
            model_output_tokens=options.model_output_tokens,
            unknown_models=frozenset(options.unknown_models),
        )

    def _new(self, batch_id: str, account: str, examined: Examined, rules: Rules, folder: Path) -> Batch:
        options, now = self._settings.current, self._services.clock.now()
        waiting = [batch.lines for batch in self._batches.values() if batch.account == account and batch.ended is None]
        if sum(waiting) + examined.lines > options.max_queued:
            message = f"This would exceed the limit of {options.max_queued} batch requests in the processing queue"
            raise refused(429, message, {"retry-after": "10"})
        number, mark = len(self._batches), examined.mark
        return Batch(
            batch_id, account, examined.lines, mark, rules, options, number, now, stranger=False, folder=folder
        )

    def _start(self, batch: Batch) -> asyncio.Task[None]:
        self._batches[batch.id] = batch
        return self._services.spawn(self._live(batch))

    def start_strangers(
        self, batch_id: str, account: str, examined: Examined, folder: Path, seconds: float | None
    ) -> asyncio.Task[None]:
        """A batch of somebody else with the same account: visible, but in no log of accepted creates. Its life."""
        batch = self._new(batch_id, account, examined, self._rules(None), folder)
        batch.stranger = True
        if seconds is not None:
            batch.options = msgspec.structs.replace(batch.options, run_seconds=seconds)
        return self._start(batch)

    # The other routes

    def _base(self, request: web.Request, options: Options) -> str:
        host = options.results_url_host or f"{request.scheme}://{request.host}"
        return host.rstrip("/") + self._path

    def _reply(self, request: web.Request, batch: Batch) -> Reply:
        headers = {}
        if batch.ended is None and batch.options.poll_retry_after is not None and request.method == "GET":
            headers["retry-after"] = str(batch.options.poll_retry_after)
        facts = batch.facts(self._services.clock.now(), self._base(request, batch.options))
        return json_reply(facts, headers=headers, subject=batch.id)

    async def _list(self, request: web.Request, account: str) -> Act:
        check_query(request, ("after_id", "before_id", "limit"))
        limit = query_limit(request, 20, 1000)

        async def act() -> Reply:
            mine = [
                batch for batch in reversed(self._batches.values()) if batch.account == account and not batch.deleted
            ]
            shown, more = page(request, mine, limit)
            now = self._services.clock.now()
            return list_reply([batch.facts(now, self._base(request, batch.options)) for batch in shown], more)

        return act

    async def _retrieve(self, request: web.Request, account: str) -> Act:
        return self._about(request, account, self._shown)

    async def _cancel(self, request: web.Request, account: str) -> Act:
        return self._about(request, account, self._cancelled)

    async def _results(self, request: web.Request, account: str) -> Act:
        return self._about(request, account, self._read)

    async def _delete(self, request: web.Request, account: str) -> Act:
        return self._about(request, account, self._deleted)

    def _about(self, request: web.Request, account: str, deed: Callable[[web.Request, Batch], Awaitable[Reply]]) -> Act:
        check_query(request, ())

        async def act() -> Reply:
            batch = self._batches.get(request.match_info["batch_id"])
            if batch is None or batch.account != account or batch.deleted:
                raise refused(404, f"Message batch {request.match_info['batch_id']} not found")
            return await deed(request, batch)

        return act

    async def _shown(self, request: web.Request, batch: Batch) -> Reply:
        return self._reply(request, batch)

    async def _cancelled(self, request: web.Request, batch: Batch) -> Reply:
        if batch.settled or batch.ended is not None:
            raise refused(400, f"Message batch {batch.id} has ended and cannot be canceled")
        if not batch.cancelled.is_set():
            batch.status, batch.cancel_initiated = "canceling", self._services.clock.now()
            batch.cancelled.set()
        return self._reply(request, batch)

    async def _read(self, _: web.Request, batch: Batch) -> Reply:
        if batch.ended is None or batch.archived(self._services.clock.now()) is not None:
            raise refused(404, f"Message batch {batch.id} has no available results")
        if batch.readings < batch.options.results_late:
            batch.readings += 1
            raise refused(404, f"Message batch {batch.id} has no available results")
        headers = {"content-type": "application/x-jsonl"}
        return Reply(200, headers=headers, path=results_path(batch.folder), size=batch.results_size, streamed=True)

    async def _deleted(self, _: web.Request, batch: Batch) -> Reply:
        if batch.ended is None:
            raise refused(400, f"Message batch {batch.id} is still processing and cannot be deleted")
        batch.deleted = True
        await asyncio.to_thread(shutil.rmtree, batch.folder, ignore_errors=True)
        return json_reply({"id": batch.id, "type": "message_batch_deleted"})

    # Life

    async def _live(self, batch: Batch) -> None:
        task = Assignment(
            folder=batch.folder,
            identity=hashlib.sha256(batch.id.encode()).hexdigest()[:20],
            seed=batch.options.seed * 1_000_003 + batch.number,
            style=batch.options.answers,
            rules=batch.rules,
        )
        batch.outcomes = await self._services.work.run(body_path(batch.folder).stat().st_size, answer_all, task)
        await self._services.clock.until(min(batch.run, batch.expires), batch.cancelled)
        await self._end(batch, await self._ending(batch))

    async def _ending(self, batch: Batch) -> float:
        """Decide how the batch ends, and when."""
        if batch.cancel_initiated is not None:
            batch.done = batch.lines if not batch.options.cancel_interrupts else batch.progress(batch.cancel_initiated)
            batch.rest = CANCELED
            moment = batch.cancel_initiated + batch.options.cancel_seconds
            await self._services.clock.until(moment)
            return moment
        batch.settled = True
        moment = min(batch.run, batch.expires)
        batch.done, batch.rest = batch.progress(moment), EXPIRED
        return moment

    async def _end(self, batch: Batch, moment: float) -> None:
        size = sum(path.stat().st_size for path in batch.folder.iterdir())
        done = batch.done or 0
        batch.results_size = await self._services.work.run(size, assemble, batch.folder, done, batch.rest)
        batch.status, batch.ended = "ended", moment


def new_id() -> str:
    return f"msgbatch_{secrets.token_hex(12)}"
