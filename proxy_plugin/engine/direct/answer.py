"""The step of a part that is answered by ordinary calls: a worker makes them, this looks after it each second.

Nothing here has to be remembered: the worker keeps every answer before it counts, so a step that begins again goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from proxy_plugin.access.outgoing import outgoing_of
from proxy_plugin.direct.answers import NAME, Busy
from proxy_plugin.direct.job import STOP, AnswerFacts, AnswerJob
from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.direct.runner import answer
from proxy_plugin.engine import space
from proxy_plugin.engine.desk import AccountMissing, Desk, backoff
from proxy_plugin.engine.direct import outcome, turns
from proxy_plugin.engine.direct.watch import Watch
from proxy_plugin.engine.waiting import cause_of
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.durable import sync_folder
from proxy_plugin.ground.workers import Terms
from proxy_plugin.providers.base import Account, TryLater
from proxy_plugin.routing.route import forwarded_headers
from proxy_plugin.storage.batch_folders import RESULTS as STORED
from proxy_plugin.storage.batch_folders import WEIGHTS, size_of
from proxy_plugin.storage.room import RESULTS
from proxy_plugin.storage.tables import parts
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow, results_of

CPU_SECONDS = 7200.0  # of one turn, which ends long before: a worker waits most of the time
_LOCKED = 5.0  # seconds until the answers of a process that is about to end are looked at again


async def answer_part(desk: Desk, part: PartRow) -> None:
    """Have the lines answered, or as many of them as one turn takes."""
    batch = await desk.batch(part.batch_id)
    part, folder = await _folder(desk, part)
    if batch.stopping:
        answered = await asyncio.to_thread(size_of, folder / NAME)
        await desk.write(outcome.stopped, desk, part, answered=answered > 0)
        return
    try:
        account = desk.account(part, batch)
    except AccountMissing as error:
        await desk.write(turns.rest, desk, part, cause_of(error, "answer", frozenset()), _pause(desk, part, error))
        return
    try:
        facts = await _answered(desk, part, batch, account, folder)
    except Busy as busy:
        raise TryLater(str(busy), after=_LOCKED) from None
    failpoints.passing("answer.acted")
    await desk.write(outcome.settle, desk, part, facts)


def _pause(desk: Desk, part: PartRow, error: TryLater) -> float:
    engine = desk.gateway.config.engine
    return max(error.after or 0.0, backoff(part.tries, engine.poll_seconds_first, engine.poll_seconds_max))


async def _folder(desk: Desk, part: PartRow) -> tuple[PartRow, Path]:
    """Return the folder of the answers, which is the same at every turn and in every life."""
    known = results_of(part)
    if known.folder is None:
        name = desk.folders.new(part.batch_id, f"{STORED}-{part.n:05d}").name
        known = structs.replace(known, folder=name, names=(NAME,))
        part = await desk.write(parts.change, part, results=known.text())
    assert known.folder is not None
    folder = desk.folder(part) / known.folder
    await asyncio.to_thread(_prepared, folder)
    return part, folder


def _prepared(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    with suppress(FileNotFoundError):
        (folder / STOP).unlink()


async def _answered(desk: Desk, part: PartRow, batch: BatchRow, account: Account, folder: Path) -> AnswerFacts:
    """Run the task in a worker. Raises Full where there is no room for more answers, and what the worker raises."""
    job = _job(desk, part, batch, account, folder)
    with space.claiming(desk, batch, RESULTS, WEIGHTS[STORED]) as claim:
        terms = Terms(batch.workspace, CPU_SECONDS)
        work = asyncio.create_task(desk.gateway.answerers.run(terms, answer, job, account.credentials))
        try:
            return await Watch(desk, part, batch, job, claim).until_done(work)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _job(desk: Desk, part: PartRow, batch: BatchRow, account: Account, folder: Path) -> AnswerJob:
    found, config = desk.virtual_key(part.slug).direct_limits, desk.gateway.config
    key = hashlib.sha256(f"{part.slug}\x1f{account.fingerprint}".encode()).hexdigest()[:32]
    return AnswerJob(
        provider=part.provider,
        endpoint=part.endpoint,
        document=str(desk.document(part, batch).path),
        folder=str(folder),
        pace=str(desk.gateway.data_dir / "direct" / f"{key}.pace"),
        host=desk.lane(part).capabilities.host(account.credentials),
        limits=CallLimits(
            concurrency=found.concurrency,
            requests_per_minute=found.requests_per_minute,
            tokens_per_minute=found.tokens_per_minute,
            retries=found.retries,
            timeout=found.timeout_seconds,
        ),
        outgoing=outgoing_of(config, forwarded_headers(batch.route) or {}, found.concurrency),
    )
