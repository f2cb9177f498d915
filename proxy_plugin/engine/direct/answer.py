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
from proxy_plugin.direct.job import LEASE, STOP, AnswerFacts, AnswerJob
from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.direct.runner import answer
from proxy_plugin.engine import space
from proxy_plugin.engine.desk import AccountMissing, Desk, backoff
from proxy_plugin.engine.direct import outcome, turns
from proxy_plugin.engine.direct.watch import Watch, bound, calls_of
from proxy_plugin.engine.sharing import at_hand
from proxy_plugin.engine.sharing.answers import Risk
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


async def answer_part(desk: Desk, part: PartRow) -> None:
    """Have the lines answered, or as many of them as one turn takes."""
    batch = await desk.batch(part.batch_id)
    part, folder = await _folder(desk, part)
    if batch.stopping:
        await at_hand.answers_in(desk, folder)
        answered = await asyncio.to_thread(size_of, folder / NAME)
        await desk.write(outcome.stopped, desk, part, answered=answered > 0)
        return
    try:
        account = desk.account(part, batch)
        async with desk.claims.calling(part.slug):
            facts = await _answered(desk, part, batch, account, folder)
    except Busy as busy:
        raise TryLater(str(busy), after=at_hand.LOCKED) from None
    except (AccountMissing, space.Full) as error:  # others can go on, so they get the place
        await desk.write(turns.rest, desk, part, cause_of(error, "answer", frozenset()), _pause(desk, part, error))
        return
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
    for name in (STOP, LEASE):
        with suppress(FileNotFoundError):
            (folder / name).unlink()


async def _answered(desk: Desk, part: PartRow, batch: BatchRow, account: Account, folder: Path) -> AnswerFacts:
    """Run the task in a worker. Raises Full where there is no room for more answers, and what the worker raises."""
    key = hashlib.sha256(f"{part.slug}\x1f{account.fingerprint}".encode()).hexdigest()[:32]
    job = _job(desk, part, batch, account, folder, key)
    await at_hand.answers_in(desk, folder)
    await desk.folders.present(part.batch_id, job.document)
    stored = await asyncio.to_thread(size_of, folder / NAME)
    with space.claiming(desk, batch, RESULTS, WEIGHTS[STORED]) as claim:
        await claim.cover(space.LEAST)
        terms = Terms(batch.workspace, CPU_SECONDS)
        await bound(desk, folder)
        work = asyncio.create_task(desk.gateway.answerers.run(terms, answer, job, dict(account.credentials)))
        risk = Risk(desk.answers, desk.gateway.blobs.tree, folder)
        try:
            return await Watch(desk, part, batch, job, key, claim, risk, stored=stored).until_done(work)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await risk.end()
            await desk.answers.publish(desk.gateway.blobs.tree, folder)  # no row may say that what is not there is


def _job(desk: Desk, part: PartRow, batch: BatchRow, account: Account, folder: Path, key: str) -> AnswerJob:
    found, config = desk.virtual_key(part.slug).direct_limits, desk.gateway.config
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
        held=desk.gateway.clock.monotonic() + desk.gateway.http.held(calls_of(key)),
    )
