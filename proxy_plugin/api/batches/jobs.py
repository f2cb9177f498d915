"""`?include=jobs`: the native jobs of a batch, from the registry alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from proxy_plugin.api.batches.waits import x_status
from proxy_plugin.costs.tally import Spent, total, usage_object
from proxy_plugin.lines.collect import WHY_NOT_RUN
from proxy_plugin.lines.ways import half
from proxy_plugin.providers.catalog import UnknownProvider
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.states import PART_FAILED
from proxy_plugin.storage.tables import jobs
from proxy_plugin.storage.tables.cuts import cut_of
from proxy_plugin.storage.tables.jobs import Job
from proxy_plugin.storage.tables.parts import PartRow, refusal_of, results_of
from proxy_plugin.storage.tables.rescues import rescue_of
from proxy_plugin.web.queries import one_of

INCLUDE = ("include", "include[]")  # the second is how SDKs write a list
JOBS = "jobs"
STATUS = {"staged": "staging", "ended": "collecting", "stored": "collecting"}  # the other states are shown as they are


def wanted(request: web.Request) -> bool:
    """Tell whether the caller asks for the jobs too. Raises BadRequest for anything else that is to be included."""
    asked = [name for key in INCLUDE for text in request.query.getall(key, []) for name in text.split(",")]
    for name in asked:
        one_of("include", name, (JOBS,))
    return bool(asked)


def of_batches(conn: Connection, batch_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what is added to each batch: `jobs` by the order of their parts, and what all of them `cost`.

    The cost, US dollars at batch prices, is that of the answered lines whose price is known, and absent where none is;
    `cost_unknown_lines` says of how many answered lines it is not; `live_cost` is what ordinary calls would have
    cost. A Batch without `include` has none of them, because OpenAI's has no such fields and a client may be strict.
    """
    found = jobs.of_batches(conn, batch_ids)
    return {
        batch_id: {"jobs": [job_object(job) for job in mine]}
        | _cost([each for job in mine for each in job.spent])
        | _live_of_all(mine)
        for batch_id, mine in found.items()
    }


def job_object(job: Job) -> dict[str, Any]:
    """Return one native job as it is shown. What is absent is left out."""
    part, newest = job.part, job.submissions[-1] if job.submissions else None
    rescue = rescue_of(part)
    doubted = part.state == "creating" and newest is not None and newest.state == "unknown"
    fields = {
        "part": part.n,
        "cut_from": None if (cut := cut_of(part)) is None else cut.parent,
        "rescued_from": list(rescue.of) or None,
        "went_on": rescue.went or None,
        "way": None if part.way == "native" else part.way,
        "provider": part.provider,
        "virtual_key": part.slug,
        "model": part.model,
        "endpoint": part.endpoint,
        "status": "unknown" if doubted else STATUS.get(part.state, part.state),
        "job": part.job,
        "attempts": len(job.submissions),
        "request_counts": _counts(job),
        "requests": part.requests,
        "note": part.note,
        "x_status": None if job.wait is None else x_status(job.wait),
        "error": _error(part),
        "unresolved_since": _whole(newest.sent_at or newest.created_at) if newest and doubted else None,
        "sent_again_on_a_guess": any(each.guessed for each in job.submissions) or None,
        "doubled_jobs": [each.doubled_job for each in job.submissions if each.doubled_job] or None,
        "created_at": _whole(newest.created_at if newest else None),
        "accepted_at": _whole(part.accepted_at),
        "usage": _usage(job),
        "models": _models(job),
        **_cost(job.spent),
        "live_cost": _live_cost(job),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _live_cost(job: Job) -> float | None:
    """Return what the same tokens cost by ordinary calls: the cost without what the lane takes off the list's price."""
    cost = total(job.spent).cost
    if cost is None:
        return None
    try:
        return cost / (1 - half(job.part.provider, job.part.way).capabilities.discount)
    except (UnknownProvider, ImportError):  # the adapter was removed since
        return None


def _live_of_all(jobs_: list[Job]) -> dict[str, float]:
    """Return `live_cost` of a batch, absent where that of one of its jobs with a cost is not known."""
    found = [_live_cost(job) for job in jobs_ if total(job.spent).cost is not None]
    known = [each for each in found if each is not None]
    return {"live_cost": sum(known)} if known and len(known) == len(found) else {}


def _counts(job: Job) -> dict[str, int]:
    """Return the last known counts; every line of a part that ended without a job has failed."""
    part, completed, failed = job.part, job.part.completed, job.part.failed + rescue_of(job.part).went
    if part.state in PART_FAILED:  # an earlier version left what was counted last
        completed, failed = 0, part.lines
    elif job.spent:  # a line that was answered twice counts once
        completed = sum(each.lines for each in job.spent)
        failed = part.lines - completed
    return {"total": part.lines, "completed": completed, "failed": failed}


def _error(part: PartRow) -> dict[str, str] | None:
    """Return why a part has no answers of its own: refused, its results lost, or never accepted."""
    if part.state == "dropped" and part.end_reason in WHY_NOT_RUN:
        return {"code": part.end_reason, "message": WHY_NOT_RUN[part.end_reason]}
    refusal = refusal_of(part)
    return None if refusal is None else {"code": refusal.code, "message": refusal.message}


def _usage(job: Job) -> dict[str, Any] | None:
    """Return what the answered lines used, known from when the part's results were collected."""
    if job.spent:
        return usage_object(total(job.spent).usage)
    used = results_of(job.part).usage
    return None if used is None else usage_object(used)


def _cost(spent: list[Spent]) -> dict[str, float]:
    """Return `cost` in US dollars, and of how many answered lines it is not known; each where there is one."""
    found = total(spent)
    known = {} if found.cost is None else {"cost": found.cost}
    return known | ({"cost_unknown_lines": found.unpriced} if found.unpriced else {})


def _models(job: Job) -> list[dict[str, Any]] | None:
    """Return the same by model for a job of several; the last has no name if it stands for all beyond the first 100."""
    if job.part.model is not None or not job.spent:
        return None
    return [
        ({"model": each.model} if each.model else {})
        | {"completed": each.lines, "usage": usage_object(each.usage)}
        | _cost([each])
        for each in sorted(job.spent, key=lambda each: (not each.model, each.model))
    ]


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
