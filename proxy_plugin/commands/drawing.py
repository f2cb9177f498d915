"""Batches, their jobs and their plans as tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from proxy_plugin.commands.display import Display, Row
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.watching import counts, ended, unresolved, waits_for
from proxy_plugin.commands.wording import (
    JSON,
    Cell,
    ago,
    clean,
    count,
    counted,
    dated,
    mapping,
    moment,
    money,
    objects,
    plural,
    priced,
    sized,
    timed,
    whole,
)

ERRORS_SHOWN = 50
_JOBS = (
    *("part", "provider", "virtual key", "model", "state", "lines", "done", "failed", "native id", "tries"),
    *("tokens in", "tokens out", "cost"),
)
_TARGETS = ("virtual key", "provider", "model", "endpoint", "lines", "jobs", "size", "tokens in", "tokens out", "cost")
_BATCHES = (
    *("batch", "status", "file", "virtual key", "model", "lines", "completed", "failed", "cost", "jobs"),
    *("unresolved", "waits for", "created", "age"),
)
_ENDED_AT = ("completed_at", "failed_at", "expired_at", "cancelled_at")


def draw_batch(session: Session, batch: JSON) -> None:
    """Show one batch: its facts, its jobs, what is wrong with it, and what can be done now."""
    display = session.display
    display.facts(_facts(batch))
    jobs = objects(batch.get("jobs"))
    if jobs:
        display.table("jobs", _JOBS, (_job_row(job) for job in jobs))
    _draw_unresolved(session, [batch])
    for job in jobs:
        _draw_job_words(display, job)
    draw_errors(display, batch.get("errors"))
    _draw_next(session, batch)


def _facts(batch: JSON) -> Iterator[tuple[str, object]]:
    total, completed, failed = counts(batch)
    now = time.time()
    yield "batch", batch["id"]
    yield "status", batch.get("status")
    yield "endpoint", batch.get("endpoint")
    yield "lines", f"{count(total)}: {count(completed)} completed, {count(failed)} failed" if total else None
    yield "created", dated(batch.get("created_at"), now)
    yield "ended", next((dated(batch[name], now) for name in _ENDED_AT if batch.get(name)), None)
    yield "expires", timed(batch.get("expires_at")) if not ended(batch) else None
    yield from _wait_facts(batch, now)
    tokens = _tokens(batch)
    yield "tokens", f"{tokens[0]} in, {tokens[1]} out" if tokens[0] else None
    yield "cost", priced(batch.get("cost"))
    unknown = whole(batch.get("cost_unknown_lines"))
    yield "lines without a price", counted(unknown) if unknown else None
    yield "input file", batch.get("input_file_id")
    yield "output file", batch.get("output_file_id")
    yield "error file", batch.get("error_file_id")
    for name, value in mapping(batch.get("metadata")).items():
        yield f"metadata {name}", value


def _wait_facts(batch: JSON, now: float) -> Iterator[tuple[str, object]]:
    """Yield what the batch waits for, since when, and when it is tried again."""
    wait = mapping(batch.get("x_status"))
    yield "waits for", waits_for(batch) or None
    yield "waits since", dated(wait.get("since"), now)
    yield "next try", timed(wait.get("next_try_at"))
    yield "gives up", timed(wait.get("gives_up_at"))
    yield "why", wait.get("message")


def _when(value: object, now: float) -> str | None:
    return f"{moment(value)} ({ago(value, now)} ago)" if moment(value) else None


def _since(job: JSON) -> Cell:
    return dated(job.get("unresolved_since"), time.time())


def _tokens(found: JSON) -> tuple[str, str]:
    """Return the tokens in and out of a batch or a job; nothing while they are not known."""
    usage = mapping(found.get("usage"))
    if not usage:
        return "", ""
    return count(whole(usage.get("input_tokens"))), count(whole(usage.get("output_tokens")))


def _token_cells(found: JSON) -> list[Cell]:
    usage = mapping(found.get("usage"))
    numbers = [usage.get("input_tokens"), usage.get("output_tokens")]
    return [Cell(shown, number) for shown, number in zip(_tokens(found), numbers, strict=True)]


def _cost_cell(found: JSON) -> Cell:
    return Cell(_cost(found), priced(found.get("cost")).plain)


def _cost(found: JSON) -> str:
    """Return what a batch or a job cost, and of how many of its lines that is not known."""
    known, unknown = money(found.get("cost")), whole(found.get("cost_unknown_lines"))
    if not unknown:
        return known
    return f"{known or 'unknown'} ({plural(unknown, 'line')} without a price)"


def _job_row(job: JSON) -> Row:
    found = mapping(job.get("request_counts"))
    state = "OUTCOME UNKNOWN" if unresolved({"jobs": [job]}) else job.get("status")
    numbers = [counted(whole(found.get(name))) for name in ("total", "completed", "failed")]
    named = [job.get(name) for name in ("part", "provider", "virtual_key", "model")]
    cells = [*named, state, *numbers, job.get("job"), job.get("attempts"), *_token_cells(job), _cost_cell(job)]
    return Row(cells, alarms=bool(unresolved({"jobs": [job]})))


def _draw_job_words(display: Display, job: JSON) -> None:
    """Print why a job waits or failed, and what a second sending has cost."""
    error = mapping(job.get("error"))
    if error:
        said = ": ".join(text for text in (clean(error.get("code")), clean(error.get("message"))) if text)
        display.print(f"job {clean(job.get('part'))} {clean(job.get('status'))}: {said}")
    elif wait := mapping(job.get("x_status")):
        since, later = _when(wait.get("since"), time.time()), moment(wait.get("next_try_at"))
        display.print(
            f"job {clean(job.get('part'))} waits for {waits_for(job)} since {since}, tried again {later}: "
            f"{clean(wait.get('message'))}"
        )
    elif job.get("note") and not unresolved({"jobs": [job]}):
        display.print(f"job {clean(job.get('part'))} waits: {clean(job.get('note'))}")
    _draw_guess(display, job)


def _draw_guess(display: Display, job: JSON) -> None:
    """Print that a create was repeated on a guess, and what came of it."""
    part, doubled = clean(job.get("part")), job.get("doubled_jobs")
    if isinstance(doubled, list) and doubled:
        names = ", ".join(clean(name) for name in doubled)
        display.print(f"job {part} IS DOUBLED: {names} runs the same lines; cancel it at the provider")
    elif job.get("sent_again_on_a_guess"):
        display.print(f"job {part} was sent again on a guess (on_unknown: resend); no doubled job has been seen")


def _draw_unresolved(session: Session, batches: Sequence[JSON]) -> None:
    """Say of every create whose answer was lost since when, what happens, and what the operator can do."""
    rows = [
        Row(
            (
                batch["id"],
                job.get("part"),
                job.get("virtual_key"),
                _since(job),
                job.get("note"),
            ),
            alarms=True,
        )
        for batch in batches
        for job in unresolved(batch)
    ]
    if not rows:
        return
    display = session.display
    display.table(
        "UNRESOLVED: did the provider accept these jobs?", ("batch", "part", "virtual key", "since", "note"), rows
    )
    display.print(
        "The answer to their create was lost. The gateway looks each one up at its provider and sends nothing again "
        "until lookups prove that there is no job."
    )
    display.print(
        "Where a provider cannot prove that, `on_unknown` of the virtual key decides: `wait` (the default) waits until "
        "the job shows up or the batch expires or is cancelled; `resend` sends it again, which may be paid twice."
    )
    display.print(
        "To act: look at the provider's own list of jobs; to give these lines up, cancel the batch; to run them again, "
        "set on_unknown: resend in the gateway's configuration."
    )


def draw_errors(display: Display, errors: object) -> None:
    """Show what is wrong with the lines of a file, as far as a person reads on."""
    found = objects(mapping(errors).get("data"))
    if not found:
        return
    rows = (Row([one.get(name) for name in ("line", "code", "param", "message")]) for one in found[:ERRORS_SHOWN])
    display.table("errors", ("line", "code", "param", "message"), rows)
    if len(found) > ERRORS_SHOWN or mapping(errors).get("truncated"):
        more = count(len(found) - ERRORS_SHOWN) if len(found) > ERRORS_SHOWN else "some"
        display.print(f"and {more} more, as far as the gateway lists them: --json shows them all")


def _draw_next(session: Session, batch: JSON) -> None:
    display, batch_id = session.display, batch["id"]
    if not ended(batch):
        display.print(f"follow it:   {session.command('status', batch_id, '--watch')}")
        return
    fetched = session.options.output is not None  # it is written after this
    if not fetched and (batch.get("output_file_id") or batch.get("error_file_id")):
        display.print(f"get the output:   {session.command('output', batch_id, '--output', 'results.jsonl')}")
    if counts(batch)[2] and session.gateway.ours:
        display.print(f"see what failed:  {session.command('lines', batch_id, '--failed')}")
        display.print(f"run that again:   {session.command('retry', batch_id, '--watch')}")


def draw_batches(session: Session, batches: Sequence[JSON], *, empty: str) -> None:
    """Show many batches, one in a row, and what is unresolved of them. `x_file`: the name of the input file."""
    display = session.display
    display.listing(_BATCHES, [_batch_row(batch) for batch in batches], empty=empty)
    if display.terminal:
        _draw_unresolved(session, batches)
    elif unknown := sum(len(unresolved(batch)) for batch in batches):
        display.say(f"UNRESOLVED: of {plural(unknown, 'job')} it is not known whether the provider accepted them")


def _batch_row(batch: JSON) -> Row:
    unknown = len(unresolved(batch))
    cells: list[Any] = [batch["id"], batch.get("status"), batch.get("x_file"), *_targets(batch)]
    cells += [*map(counted, counts(batch)), _cost_cell(batch)]
    cells += [len(objects(batch.get("jobs"))) or None, unknown or None, waits_for(batch), *_made(batch)]
    return Row(cells, alarms=unknown > 0)


def _targets(batch: JSON) -> tuple[str, str]:
    """Return by which accounts, and with which models, a batch runs."""
    jobs = objects(batch.get("jobs"))
    accounts = dict.fromkeys(clean(job.get("virtual_key")) for job in jobs if job.get("virtual_key"))
    models = dict.fromkeys([clean(job.get("model")) for job in jobs if job.get("model")] or [clean(batch.get("model"))])
    return ", ".join(accounts), ", ".join(models)


def _made(batch: JSON) -> tuple[Cell, Cell]:
    """Return when a batch was made, and how long ago."""
    at, now = batch.get("created_at"), time.time()
    age = ago(at, now)
    return timed(at), Cell(age, max(0, int(now - at)) if age and at else None)


def draw_plan(display: Display, plan: JSON) -> None:
    """Show what a batch would become: jobs and cost per target, what is refused or dropped, every bad line."""
    targets = objects(plan.get("targets"))
    if targets:
        display.table("jobs that would be made", _TARGETS, (_target_row(target) for target in targets))
    refused = objects(plan.get("refused"))
    if refused:
        rows = (Row((one.get("code"), one.get("param"), counted(whole(one.get("lines"))))) for one in refused)
        display.table("why lines would be rejected", ("code", "param", "lines"), rows)
        if any(one.get("code") == "unsupported_parameter" for one in refused):
            display.print("--drop-params runs lines without the parameters that may be left out, and records them")
    dropped = objects(plan.get("dropped"))
    if dropped:
        rows = (Row((one.get("param"), counted(whole(one.get("lines"))))) for one in dropped)
        display.table("parameters that would be left out or changed", ("param", "lines"), rows)
    draw_errors(display, plan.get("errors"))
    for one in objects(plan.get("warnings")):
        lines = f"{plural(whole(one.get('lines')), 'line')}, the first is line {whole(one.get('line'))}"
        display.print(f"warning: {clean(one.get('message'))} ({lines})")
    for caveat in plan.get("caveats") or ():
        display.print(f"note: {clean(caveat)}")
    if plan.get("would_fail"):
        display.print("this batch would fail as a whole: none of its lines would be sent")
    found = mapping(plan.get("request_counts"))
    total, rejected = whole(found.get("total")), whole(found.get("rejected"))
    cost, worst = money(plan.get("estimated_cost")), money(plan.get("worst_case_cost"))
    cached = whole(plan.get("cached"))
    display.print(
        f"{plural(total, 'line')}, {count(rejected)} rejected, "
        + (f"{count(cached)} with a kept answer, " if cached else "")
        + f"{plural(whole(plan.get('jobs')), 'native job')}"
        + (f", about {cost}" if cost else "")
        + (f", {worst} if every line fails wherever it could come" if worst else "")
        + "; nothing was spent"
    )


def _target_row(target: JSON) -> Row:
    usage = mapping(target.get("estimated_usage"))
    named = [target.get(name) for name in ("virtual_key", "provider", "model", "endpoint")]
    numbers = [counted(whole(target.get(name))) for name in ("lines", "jobs")]
    tokens = [
        counted(usage[name]) if type(usage.get(name)) is int else None for name in ("input_tokens", "output_tokens")
    ]
    return Row([*named, *numbers, sized(whole(target.get("bytes"))), *tokens, priced(target.get("estimated_cost"))])
