"""`POST /batches/plan`: what a create with the same request would do, without doing it.

Nothing is stored and no provider is asked. A worker runs the split itself, which measures its documents and writes
none of them, so a kill leaves nothing behind. A plan ends when its client hangs up. Requests that come inline are lines
of a file that goes with the request; what a kill leaves of it the next start removes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from proxy_plugin.access import headers
from proxy_plugin.api import ids
from proxy_plugin.api.batches.create import resolved_route
from proxy_plugin.api.batches.inline import FILE, FILENAME, Inline, sent, written
from proxy_plugin.api.batches.keeping import file_row
from proxy_plugin.api.batches.plan_answer import Found, plan_object
from proxy_plugin.api.batches.wanted import Wanted, idempotency_key, in_time, wanted_in
from proxy_plugin.api.ids import no_input_file
from proxy_plugin.engine.tasks import TOO_MUCH
from proxy_plugin.engine.worker_jobs import scan_bytes, scan_limits, split_job
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground.clock import Clock
from proxy_plugin.ground.errors import BadRequest, GatewayError, TooManyRequests, Unavailable
from proxy_plugin.ground.turns import Turns
from proxy_plugin.ground.workers import OutOfBudget, WorkerDied, Workers
from proxy_plugin.lines.batch_faults import file_faults, lane_faults
from proxy_plugin.lines.plan_count import Figures, PlanJob, count
from proxy_plugin.lines.scan import Facts, scan
from proxy_plugin.lines.sources.inline import REQUESTS
from proxy_plugin.routing.endpoints import served
from proxy_plugin.routing.reach import attempts
from proxy_plugin.routing.route import Route, decode_route
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.room import Claim
from proxy_plugin.storage.tables import files
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER, HEADERS

T = TypeVar("T")
SCAN_SECONDS = 300.0  # that a plan waits for a file that has just been uploaded
TURN_SECONDS = 120.0  # and for other plans
TRY_AGAIN = 5.0  # seconds that a caller with too many plans is asked to wait
LOOK_SECONDS = 0.5  # between looks whether the client is still there
_FIRST_LOOK, _LAST_LOOK = 0.02, 0.5  # seconds between looks for the scan
REPEATED = "duplicate_custom_id"


class Plans:
    """Lets as many plans be made at once as there are workers, of one workspace one fewer: the engine needs the others.

    Workspaces take turns, and each may have so many plans at a time: what waits holds a connection.
    """

    def __init__(self, workers: Workers, most_each: int) -> None:
        self._turns, self._most = Turns(workers.count, max(1, workers.count - 1)), most_each
        self._asked: Counter[str] = Counter()  # by workspace

    @contextmanager
    def counted(self, workspace: str) -> Iterator[None]:
        """Count a plan while it waits and is made. Raises TooManyRequests."""
        if self._asked[workspace] >= self._most:
            message = (
                f"{self._most} plans of this workspace are waiting or being made (limits.max_plans); try again later."
            )
            raise TooManyRequests(message, after=TRY_AGAIN)
        self._asked[workspace] += 1
        try:
            yield
        finally:
            self._asked[workspace] -= 1
            if not self._asked[workspace]:
                del self._asked[workspace]

    @asynccontextmanager
    async def turn(self, workspace: str) -> AsyncIterator[None]:
        """Wait for a turn. Raises Unavailable."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await stack.enter_async_context(self._turns.turn(workspace))
            except TimeoutError:
                raise Unavailable("The gateway is busy with other plans; ask for this one again later.") from None
            yield


PLANS = web.AppKey("proxy_plugin.plans", Plans)


class _Asked(NamedTuple):
    """A request for a plan, checked."""

    wanted: Wanted
    route: Route
    workspace: str
    inline: Inline | None


class _Lines(NamedTuple):
    """What a plan is made of: an uploaded file, or inline requests, whose file and index are elsewhere."""

    row: FileRow
    facts: Facts | None
    source: Path | None = None
    offsets: Path | None = None


async def plan(request: web.Request) -> web.Response:
    """POST /batches/plan: the body, headers and refusals of `POST /batches`, and no batch."""
    workspace = request[CALLER].workspace
    async with AsyncExitStack() as stack:
        stack.enter_context(request.app[PLANS].counted(workspace))
        body = await sent(request, stack)
        inline = None
        if isinstance(body, dict):
            resolved, wanted = await resolved_route(request, body), wanted_in(body)
        else:
            inline = await written(request, body, stack)
            resolved, wanted = inline.resolved, inline.wanted
        idempotency_key(request[HEADERS])
        route = in_time(decode_route(resolved.route), wanted.completion_window)
        asked = _Asked(wanted, route, workspace, inline)
        found = await _while_there(request, _made(request.app, asked, stack))
    return json_answer(
        found, headers=headers.response_headers(resolved.provider, request[HEADERS].trace_id, resolved.option)
    )


async def plan_again(request: web.Request) -> web.Response:
    """GET /batches/{batch_id}/plan: what the file of a batch comes to by the route that is stored with it."""
    batch = await ids.visible_batch(request)
    wanted = Wanted(batch.input_file_id, batch.endpoint, batch.completion_window, None, None)
    asked = _Asked(wanted, decode_route(batch.route), batch.workspace, None)
    async with AsyncExitStack() as stack:
        stack.enter_context(request.app[PLANS].counted(batch.workspace))
        return json_answer(await _while_there(request, _made(request.app, asked, stack)))


async def _made(app: web.Application, asked: _Asked, stack: AsyncExitStack) -> dict[str, Any]:
    gateway, endpoint = app[GATEWAY], asked.wanted.endpoint
    if asked.inline is None:
        file = await _scanned(gateway.registry, gateway.clock, asked)
        lines = _Lines(file, None if file.facts is None else msgspec.json.decode(file.facts, type=Facts))
    else:
        lines = await _inline(gateway, asked.workspace, asked.inline, stack)
    facts = lines.facts
    faults = file_faults(facts, endpoint, asked.route)
    figures = None
    if facts is not None and facts.lines and not lane_faults(endpoint, asked.route):
        async with app[PLANS].turn(asked.workspace):
            with gateway.blobs.held():  # not by `stack`, which another task leaves
                if asked.inline is None:
                    await _at_hand(gateway, lines.row)
                figures = await _counted(gateway, asked, lines.row.bytes, _job(gateway, asked, lines, facts))
    return plan_object(Found(endpoint, facts, tuple(faults), figures))


async def _inline(gateway: Gateway, workspace: str, inline: Inline, stack: AsyncExitStack) -> _Lines:
    """Scan inline requests, as an upload of the same lines is. Raises Unavailable."""
    row = file_row(workspace, FILENAME, inline.file, int(gateway.clock.now()))
    claim, (index, scratch) = stack.enter_context(Claim(gateway.room, workspace)), _temps(gateway, stack)
    await claim.cover(scan_bytes(row, gateway.config.limits.max_lines))
    try:
        work = (str(inline.temp), str(index), str(scratch), scan_limits(gateway))
        facts = await gateway.workers.run(gateway.terms(workspace, row.bytes), scan, *work)
    except OutOfBudget:
        raise Unavailable("The 'requests' could not be checked in time; send them again later.") from None
    return _Lines(row, facts, inline.temp, index)


def _temps(gateway: Gateway, stack: AsyncExitStack) -> tuple[Path, Path]:
    paths = gateway.blobs.temp_path(), gateway.blobs.temp_path()
    for path in paths:
        stack.push_async_callback(gateway.blobs.write, path.unlink, missing_ok=True)
    return paths


async def _scanned(registry: Registry, clock: Clock, asked: _Asked) -> FileRow:
    """Return the file when its scan has ended. Raises NotFound, Unavailable."""
    pause, file = _FIRST_LOOK, await _visible(registry, clock, asked)
    with suppress(TimeoutError):
        async with asyncio.timeout(SCAN_SECONDS):
            while file.state == "uploaded":
                await asyncio.sleep(pause)
                pause, file = min(pause * 1.5, _LAST_LOOK), await _visible(registry, clock, asked)
            return file
    raise Unavailable("The file is still being checked; ask for the plan again later.", param="input_file_id")


async def _visible(registry: Registry, clock: Clock, asked: _Asked) -> FileRow:
    file_id = asked.wanted.input_file_id
    found = await registry.read(files.visible, asked.workspace, file_id, clock.now())
    if found is None or found.purpose != "batch":
        raise no_input_file(file_id)
    return found


def _job(gateway: Gateway, asked: _Asked, lines: _Lines, facts: Facts) -> PlanJob:
    limits = gateway.config.limits
    split = split_job(gateway, lines.row, asked.wanted.endpoint, asked.route, batch_id="plan", folder="")
    if lines.source is not None:
        split = msgspec.structs.replace(split, source=str(lines.source), index=str(lines.offsets))
    repeated = (fault.line for fault in facts.faults if fault.code == REPEATED and fault.line is not None)
    return PlanJob(
        split=split,
        urls=frozenset(served(asked.wanted.endpoint)),
        max_line_bytes=limits.max_line_bytes if facts.longest_line > limits.max_line_bytes else None,
        repeated=frozenset(repeated),
        attempts=attempts(asked.route),
    )


async def _at_hand(gateway: Gateway, row: FileRow) -> None:
    try:
        await gateway.blobs.present_with_index(row.id)
    except FileNotFoundError:  # deleted, or expired, since it was looked up
        raise no_input_file(row.id) from None


async def _counted(gateway: Gateway, asked: _Asked, size: int, job: PlanJob) -> Figures:
    try:
        return await gateway.workers.run(gateway.terms(asked.workspace, size), count, job)
    except FileNotFoundError:  # deleted, or expired, since it was looked up
        raise no_input_file(job.split.source.rpartition("/")[2]) from None
    except OutOfBudget:
        raise BadRequest(
            TOO_MUCH.message, code=TOO_MUCH.code, param=FILE if asked.inline is None else REQUESTS
        ) from None
    except WorkerDied:
        raise GatewayError("The plan could not be made: the process that translated the file died.") from None


async def _while_there(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what the work does, or stop it when nobody waits for it any more; a worker that runs it is ended then.

    Raises ConnectionResetError.
    """
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone")
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
