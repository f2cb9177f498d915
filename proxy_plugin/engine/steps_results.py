"""Steps of a part whose job has ended: fetch its results, collect their rows, and read again what is too little.

A provider may say that a job is over before its files are named, or show results that are empty or cut. While the
counts promise more than the results hold they are looked for again: an hour long where they are not named, a bounded
number of times with growing pauses where they are. Only then the lines without a row are told to be missing.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from proxy_plugin.access.kept_answers import keeping
from proxy_plugin.engine import space, tasks, waiting
from proxy_plugin.engine.desk import AccountMissing, Desk, backoff
from proxy_plugin.engine.polls import poll_pause
from proxy_plugin.engine.ranges.collecting import collect_ranges
from proxy_plugin.engine.sharing import at_hand, results
from proxy_plugin.engine.steps_part import account_or_end, check_mark, counted
from proxy_plugin.engine.waiting import GONE, Cause
from proxy_plugin.engine.worker_jobs import collect_bytes, heirs_of
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.durable import empty_folder, sync_folder
from proxy_plugin.ground.masking import secrets_in
from proxy_plugin.ground.workers import OutOfBudget
from proxy_plugin.lines.collect import EXPIRED, LONGEST_ROW_BYTES, MISSING, CollectFacts, CollectJob, collect
from proxy_plugin.lines.collecting.ranges import ranges_of
from proxy_plugin.lines.ways import DIRECT
from proxy_plugin.providers.base import Account, JobEnd, JobState, JobStatus, Refused, Short, TooLarge, TryLater
from proxy_plugin.storage.batch_folders import RESULTS as STORED
from proxy_plugin.storage.batch_folders import ROWS, WEIGHTS, size_of
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.room import ENDING, RESULTS
from proxy_plugin.storage.tables import batches, cuts, parts, rescues, submissions, waits, webhooks
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal, StoredResults, results_of

LOG = logging.getLogger("proxy_plugin.engine")
GONE_AFTER = 3600.0  # seconds of 404 after which results are taken to be deleted
NAMED_WITHIN = 3600.0  # seconds since the job was seen to be over in which its results may yet be named
LEAST = 3  # readings, however late it is
READINGS = 10  # of named results that are too few: within 20 minutes where polls are 5 to 300 s apart
GROWTH = 2.0  # of the pause between readings
EMBEDDINGS = "/v1/embeddings"
NO_RESULTS = "the results are not there"
NOT_NAMED = "the provider says that the job is over, and does not name all of its results yet"
RESULTS_EXPIRED = Refused(
    "The provider no longer has the results of this job: they were deleted there or expired.", code="results_expired"
)

UNREADABLE = StoredRefusal.of(
    Refused(
        "The results of this job take longer to read than their size allows (engine.task_seconds and"
        " engine.task_seconds_per_mb). This line may have been paid for.",
        code=tasks.TOO_MUCH.code,
    )
).text()
TOO_LARGE = StoredRefusal.of(
    Refused(
        "The results of this job are packed, and unpack to more than is taken. This line may have been paid for.",
        code="results_too_large",
    )
).text()
NOTHING = CollectFacts(rows=0, ok=0, failed=0, foreign=0, corrupt=0)


async def fetch(desk: Desk, part: PartRow) -> None:
    """Store the native results here before they expire there. Of a reading that was too little, ask first what is new.

    What is stored whole stays: the folder is written down before its first file, and every retry gets it.
    """
    batch = await desk.batch(part.batch_id)
    account = await account_or_end(desk, part, batch)
    if account is None:
        return
    known = results_of(part)
    if known.ask:
        await _ask(desk, part, batch, account, known)
    else:
        await _read(desk, part, account, known)


async def _ask(desk: Desk, part: PartRow, batch: BatchRow, account: Account, known: StoredResults) -> None:
    """Look at the ended job again: it may name more results now, or have corrected its counts."""
    lane = desk.lane(part)
    assert part.job is not None
    try:
        status = await lane.status(account, part.job, desk.document(part, batch))
    except (Refused, TryLater) as error:
        passes = isinstance(error, TryLater) and error.status not in GONE
        if passes or not _late(known, desk.now()):
            raise TryLater(f"the ended job cannot be read: {error}", after=getattr(error, "after", None)) from error
        status = JobStatus(JobState.ENDED, mark=part.mark)
    check_mark(lane, part, status)
    await desk.write(
        _note_answer, desk, part, _updated(part, known, status), poll_pause(desk, known.ended_at, lane, status)
    )


def _updated(part: PartRow, known: StoredResults, status: JobStatus) -> StoredResults:
    if status.state is not JobState.ENDED:
        return known
    told = counted(status, part.records) or known.told
    return structs.replace(
        known, native=known.native | dict(status.results), told=told, unnamed=status.unnamed, ask=False
    )


def _note_answer(conn: Connection, desk: Desk, part: PartRow, fresh: StoredResults, pause: float) -> None:
    """Read the results if there is something new to read, or if no more time is left to wait for it."""
    now = desk.now()
    nothing_new = fresh.ask or (fresh.unnamed and fresh.native == results_of(part).native)
    if nothing_new and not _over(fresh, now):
        due_at, fresh = now + pause, structs.replace(fresh, ask=True)
    else:
        due_at, fresh = 0.0, structs.replace(fresh, ask=False)
    completed, failed = part.in_lines(fresh.told) if fresh.told else (part.completed, part.failed)
    parts.change(conn, part, results=fresh.text(), due_at=due_at, tries=0, completed=completed, failed=failed)
    parts.counts_changed(conn, part.batch_id)
    if fresh.ask:
        _late_results(conn, desk, part, fresh, NOT_NAMED, due_at)


def _over(known: StoredResults, now: float) -> bool:
    """Tell whether nothing more is waited for."""
    return _late(known, now) if known.unnamed else _last(known, now)


def _late(known: StoredResults, now: float) -> bool:
    return known.ended_at is not None and now > known.ended_at + NAMED_WITHIN


def _last(known: StoredResults, now: float) -> bool:
    """Tell whether this reading takes what comes. A gateway that was down for the hour has a few of them left, too."""
    return known.readings >= (LEAST if _late(known, now) else READINGS) - 1


async def _read(desk: Desk, part: PartRow, account: Account, known: StoredResults) -> None:
    known, folder = await _folder(desk, part, known)
    await results.restore(desk, part, known, folder)
    last = _last(known, desk.now())
    status = JobStatus(JobState.ENDED, results=known.native, reading=known.readings, last=last)
    refusal = None
    try:
        names = await _fetched(desk, part, account, status, folder)
    except TooLarge:
        names, refusal = await asyncio.to_thread(results.whole, folder), TOO_LARGE
    except Short as error:
        if not last:
            await desk.write(_read_again, desk, part, structs.replace(known, readings=known.readings + 1), str(error))
            return
        names = await asyncio.to_thread(results.whole, folder)
    except (Refused, TryLater) as error:
        part, known = await results.save(desk, part, known, folder)
        if not await _results_gone(desk, part, error):
            raise TryLater(f"the results cannot be read: {error}", after=getattr(error, "after", None)) from error
        names, refusal = await asyncio.to_thread(results.whole, folder), _expired(part, known)
    known = structs.replace(await results.publish(desk, part, known, folder, names), names=names)
    failpoints.passing("fetch.acted")
    await desk.write(parts.move, part, "stored", results=known.text(), refusal=refusal)


async def _fetched(desk: Desk, part: PartRow, account: Account, status: JobStatus, folder: Path) -> tuple[str, ...]:
    """Read the results into the folder, as far as there is room for them and no further than is likely. Raises Full."""
    assert part.job is not None
    batch = await desk.batch(part.batch_id)
    with space.claiming(desk, batch, RESULTS, WEIGHTS[STORED]) as claim:
        intake = space.Results(claim, most_results(part, desk.gateway.config.limits.max_line_bytes), status.last)
        bounded = replace(account, http=account.http.storing(intake))
        return await desk.lane(part).fetch(bounded, part.job, status, folder)


def most_results(part: PartRow, max_line_bytes: int) -> int:
    """Return how many bytes one file of results may have: a line for each record, each as long as a line may be.

    Answers can be longer than what was asked, those with many vectors above all, so there is always room for one of the
    longest that is read; a part of embeddings has that for each of them.
    """
    each = LONGEST_ROW_BYTES if part.endpoint == EMBEDDINGS else max_line_bytes
    return max(part.records * each, LONGEST_ROW_BYTES)


async def _folder(desk: Desk, part: PartRow, known: StoredResults) -> tuple[StoredResults, Path]:
    """Return the folder of the results, which is the same at every try."""
    what = f"results-{part.n:05d}"
    if known.folder is None:
        name, since = desk.folders.new(part.batch_id, what).name, known.ended_at or desk.now()
        known = structs.replace(known, folder=name, ended_at=since)
        await desk.write(parts.change, part, results=known.text())
    assert known.folder is not None
    folder = desk.folder(part) / known.folder
    await asyncio.to_thread(_make, folder)
    await asyncio.to_thread(desk.folders.clear_others, folder, what)
    return known, folder


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)


def _expired(part: PartRow, known: StoredResults) -> str:
    told = sum(known.told or ())
    said = f" It had reported an answer for {told} of its {'requests' if part.requests else 'lines'}." if told else ""
    return StoredRefusal.of(Refused(RESULTS_EXPIRED.message + said, code=RESULTS_EXPIRED.code)).text()


async def _results_gone(desk: Desk, part: PartRow, error: Refused | TryLater) -> bool:
    """Tell whether the provider has said for an hour that there is no such file."""
    now, since = desk.now(), part.missing_since if part.note == NO_RESULTS else None
    if error.status not in GONE:
        return False
    if since is None:
        await desk.write(parts.change, part, missing_since=now, note=NO_RESULTS)
    return since is not None and now > since + GONE_AFTER


def _read_again(conn: Connection, desk: Desk, part: PartRow, known: StoredResults, why: str) -> None:
    """Let the results rest and look for more of them later; each pause is longer than the one before."""
    engine = desk.gateway.config.engine
    pause = backoff(max(known.readings - 1, 0), engine.poll_seconds_first, engine.poll_seconds_max, GROWTH)
    pause = max(pause, desk.lane(part).capabilities.min_poll_seconds)
    due_at = desk.now() + pause
    changes = {"results": known.text(), "due_at": due_at, "tries": 0, "note": why[:200]}
    if part.state == "ended":
        parts.change(conn, part, **changes)
    else:
        parts.move(conn, part, "ended", **changes)
    _late_results(conn, desk, part, known, why, due_at)
    logs.event(LOG, "results_too_few", slug=part.slug, reading=known.readings, why=why[:200], pause=round(pause, 2))


def _late_results(conn: Connection, desk: Desk, part: PartRow, known: StoredResults, why: str, due_at: float) -> None:
    """Say that results are waited for, since the job is over: a reading between interrupts the wait and begins none."""
    wait = waiting.of_part(desk, part, Cause(waits.RESULTS_LATE, detail=why), due_at)
    wait = structs.replace(wait, since=known.ended_at or wait.since)
    waiting.store(conn, wait, goes_on=known.readings > 1)


def _answered_as(desk: Desk, part: PartRow, batch: BatchRow) -> str:
    """Return the endpoint whose shape the answers get: bodies in a lane's own shape are answered in OpenAI's."""
    own = desk.lane(part).capabilities.native.get(part.endpoint)
    return part.endpoint if own is None or desk.route(batch).native_answers is True else own


async def collect_job(
    desk: Desk, part: PartRow, batch: BatchRow, results: Path, names: tuple[str, ...], folder: Path
) -> CollectJob:
    """Return what makes rows in `folder` of the files `names` in `results`."""
    return CollectJob(
        provider=part.provider,
        endpoint=_answered_as(desk, part, batch),
        part=part.n,
        mark=part.mark,
        results=str(results),
        names=names,
        assignment=str(desk.assignment(part, batch)),
        folder=str(folder),
        missing_as=_missing_as(part, batch),
        secrets=_secrets(desk, part, batch),
        heirs=heirs_of(await desk.read(cuts.of_batch, part.batch_id)),
        cancelled_as="batch_expired" if batch.stopping == "batch_expired" else None,
        way=part.way,
        allowance=desk.gateway.config.engine.allowance,
        keeping=keeping(desk.gateway.config, desk.route(batch), desk.assignment(part, batch), desk.now()),
    )


async def collect_rows(desk: Desk, part: PartRow) -> None:
    """Turn native results into rows by ordinal. Rows that do not carry our mark are not counted."""
    known, home, what = results_of(part), desk.folder(part), f"rows-{part.n:05d}"
    batch = await desk.batch(part.batch_id)
    assert known.folder is not None
    assert known.names is not None
    folder, fetched = desk.folders.new(part.batch_id, what), home / known.folder
    await at_hand.results_of_part(desk, part, batch)
    job = await collect_job(desk, part, batch, home / (known.stored or known.folder), known.names, folder)
    facts = await _collected(desk, part, batch, job)
    if facts is None:
        await _give_up(desk, part, batch, folder)
        return
    failpoints.passing("collect.acted")
    if _promises_more(part, known, facts) and part.refusal is None and not _over(known, desk.now()):
        readings = known.readings if known.unnamed else known.readings + 1
        known = structs.replace(known, ask=True, readings=readings, ended_at=known.ended_at or desk.now())
        await desk.write(_read_again, desk, part, known, _too_few(known, facts))
    else:
        held = (facts.lines, facts.ran)
        await desk.folders.share(folder)
        known = structs.replace(known, rows=folder.name, stopping=batch.stopping, usage=facts.usage, held=held)
        await desk.write(_commit_rows, desk, part, known.text(), facts)
        await _forget_results(desk, part, batch, fetched)
        if known.stored is not None:
            await desk.folders.drop(home / known.stored)
    await asyncio.to_thread(desk.folders.clear_others, folder, what)


async def _give_up(desk: Desk, part: PartRow, batch: BatchRow, folder: Path) -> None:
    """Tell every line that the results take too long to read."""
    await asyncio.to_thread(empty_folder, folder)
    await desk.folders.share(folder)
    known = structs.replace(results_of(part), rows=folder.name, stopping=batch.stopping, held=(0, 0))
    await desk.write(_commit_rows, desk, part, known.text(), NOTHING, UNREADABLE)


def _missing_as(part: PartRow, batch: BatchRow) -> str:
    """Return the code of requests without a row, of lines of which others have one; see `worker_jobs._cut_by`."""
    stopping = batch.stopping if part.end_reason == JobEnd.CANCELLED.value else None
    return EXPIRED if part.end_reason == JobEnd.EXPIRED.value else stopping or MISSING


def _secrets(desk: Desk, part: PartRow, batch: BatchRow) -> tuple[str, ...]:
    """Return those of the account; none where its caller's key is gone since a restart."""
    try:
        return tuple(secrets_in(desk.account(part, batch).credentials))
    except AccountMissing:
        return ()


async def _forget_results(desk: Desk, part: PartRow, batch: BatchRow, folder: Path) -> None:
    """Remove what has become rows; until then it counts to the workspace as if it were still to be written twice."""
    size = await asyncio.to_thread(size_of, folder)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if part.way == DIRECT:
        await desk.answers.drop(desk.gateway.blobs.tree, folder)
    desk.gateway.room.working.add(batch.workspace, part.batch_id, -size * WEIGHTS[STORED])


async def _collected(desk: Desk, part: PartRow, batch: BatchRow, job: CollectJob) -> CollectFacts | None:
    """Have the rows written; None where they take too long. What is paid for has twice the time at each of a few tries.

    Raises OutOfBudget where there is a further one.
    """
    size = await asyncio.to_thread(tasks.bytes_in, [job.results])
    terms = desk.gateway.terms(batch.workspace, size, times=2.0 ** min(part.tries, tasks.MORE_TRIES))
    try:
        ranges = [] if part.requests or job.keeping else await asyncio.to_thread(ranges_of, job)
        if len(ranges) > 1 and desk.gateway.workers.each > 1:
            try:
                return await collect_ranges(desk, batch, terms, job, ranges)
            except (space.Full, OSError) as error:
                logs.event(LOG, "collected_in_one_go", slug=part.slug, error=error, level=logging.WARNING)
        expected = await asyncio.to_thread(collect_bytes, job, part.records)
        return await space.run(desk, batch, ENDING, expected, terms, collect, job, weight=WEIGHTS[ROWS])
    except OutOfBudget as error:
        logs.event(LOG, "out_of_budget", slug=part.slug, error=error, level=logging.WARNING)
        if part.tries < tasks.MORE_TRIES:
            raise
        return None


def _promises_more(part: PartRow, known: StoredResults, facts: CollectFacts) -> bool:
    """Tell whether the provider has announced rows that its results do not hold.

    Of a job that ran to its end and tells no counts every line has a row. What it counted as done is looked for among
    rows of lines that ran: rows of cancelled lines, which some providers do not count, stand for nothing else.
    """
    if part.way == DIRECT:
        return False  # what was answered is here
    if not any(known.told or ()):
        return part.end_reason == JobEnd.COMPLETED.value and facts.lines < part.records
    return parts.unheld(known.told, (facts.lines, facts.ran)) > 0


def _too_few(known: StoredResults, facts: CollectFacts) -> str:
    said = f"the provider announces {sum(known.told)} results" if known.told else "the provider calls the job done"
    return f"{said}, and shows {facts.lines} so far; they are looked for again"


def _commit_rows(
    conn: Connection, desk: Desk, part: PartRow, text: str, facts: CollectFacts, refusal: str | None = None
) -> None:
    audit_at = desk.now() if submissions.guessed(conn, part) else None
    counts = {"completed": facts.answered, "failed": part.lines - facts.answered}
    changes = {"results": text, "due_at": audit_at, "refusal": refusal or part.refusal}
    rescues.end(conn, part, "collected", **changes, **counts)
    webhooks.book_progress(conn, part.batch_id, desk.now())
    if facts.foreign or facts.corrupt:
        detail = f"{facts.foreign} foreign, {facts.corrupt} unreadable"
        batches.event(conn, part.batch_id, part.n, desk.now(), "rows not counted", detail)
        logs.event(LOG, "rows_not_counted", foreign=facts.foreign, corrupt=facts.corrupt, level=logging.WARNING)
