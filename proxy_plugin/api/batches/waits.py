"""`x_status`: what a batch or one of its jobs waits for, since when, in whose words, and when the next try is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_plugin.config import OWN_KEY_PREFIX
from proxy_plugin.storage.tables import waits
from proxy_plugin.storage.tables.waits import WaitRow

TEXTS: Mapping[str, str] = {  # {account}: whose provider account it is
    waits.BILLING: "{account} cannot pay for new work. What still waits at gives_up_at becomes error rows.",
    waits.NEEDS_CREDENTIALS: "The gateway no longer has the provider key of this batch. Retrieve it with the same key.",
    waits.KEY_MISSING: "{account} cannot be used.",
    waits.INTERNAL_ERROR: "A defect of the gateway holds this up; its log says more.",
    waits.WORK_BUDGET: "Its work takes longer than its bytes allow (engine.task_seconds, engine.task_seconds_per_mb);"
    " what is paid for is brought home with more time at each try.",
    waits.OUTCOME_UNKNOWN: "The answer to a create was lost. The provider is asked whether it made the job, and"
    " nothing is sent again before that is certain.",
    waits.JOB_UNREADABLE: "The provider does not show the job that it accepted, or its results.",
    waits.PROVIDER_QUOTA: "The provider has no quota left for another job; it frees itself as other jobs end.",
    waits.RATE_LIMITED: "The provider takes no more requests for now.",
    waits.PROVIDER_PAUSE: "The provider has asked for a pause.",
    waits.PROVIDER_AT_WORK: "The provider is still at work on what was uploaded; it is looked at like a job.",
    waits.PROVIDER_UNREACHABLE: "The provider cannot be reached, or answers with errors of its own.",
    waits.PROVIDER_ERROR: "What the provider answers cannot be used yet.",
    waits.RESULTS_LATE: "The job is over, and the provider has yet to show all results that it counts.",
    waits.NO_TURN: "Another create of {account} is in doubt, and one at a time can be told apart.",
    waits.NO_ROOM: "{account} has as many jobs or lines at its provider as it may have (max_jobs_in_flight,"
    " max_lines_queued); the first that waits goes on as one ends, each workspace in turn.",
    waits.NO_PLACE: "Others are answered by ordinary calls first (engine.direct_workers), in turns: workspaces, virtual"
    " keys, parts.",
    waits.PICTURES: "Pictures that its lines name are being fetched.",
    waits.WORKSPACE_FULL: "The workspace stores as much as it may; it goes on by itself when files are deleted.",
    waits.STORE_AWAY: "The gateway's object store cannot be reached, or takes nothing now; it goes on by itself.",
    waits.DISK_FULL: "The gateway's disk is full; it goes on by itself when there is space.",
}


def x_status(wait: WaitRow) -> dict[str, Any]:
    """Return one wait as it is shown; times are Unix seconds. What is absent is left out.

    `message` has the provider's own words where it gave some, with credentials masked.
    """
    fields = {
        "waiting_for": wait.reason,
        "message": _message(wait),
        "code": wait.code or None,
        "virtual_key": wait.slug or None,
        "since": int(wait.since),
        "next_try_at": int(wait.next_at),
        "gives_up_at": int(wait.since + waits.PATIENCE) if wait.reason == waits.BILLING else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def disk_full() -> dict[str, Any]:
    """Return what is shown while nothing can be written down, this wait included."""
    return {"waiting_for": waits.DISK_FULL, "message": TEXTS[waits.DISK_FULL]}


def _message(wait: WaitRow) -> str:
    own = wait.slug.startswith(OWN_KEY_PREFIX)
    text = TEXTS[wait.reason].format(account="The account of your own key" if own else f"Virtual key {wait.slug}")
    if wait.said:
        return f"{text} The provider says: {wait.said}"
    return f"{text} ({wait.detail})" if wait.detail else text
