"""The legal steps of files, batches, parts and submissions. Nothing else changes a state.

batch       validating > splitting > running > merging > completed | expired | cancelled
            validating > failed, splitting > failed, merging > failed (no part was ever accepted)
part        planned > staging > staged > creating > running > ended > stored > collected
            stored > ended (the results were too few and are looked for again)
            and aside: refused (the provider said no for good), dropped (cancelled or expired before it was accepted)
            cutting > replaced (a job of it was refused with nothing run, and parts of its own lines take its place)
            planned > answering > stored (ordinary calls instead of a job)
            rescuing > collected | refused (its job has ended, or there will be none; failed lines go on to other parts)
submission  intent > sent > accepted | refused | unknown;  unknown > accepted | absent
            unknown > refused (its sender, who was stopped, tells late that the provider took nothing)
            accepted > refused (no quota), accepted > unknown (a job taken for ours showed another's mark)
clearing    held > due > left; the row goes when nothing is left, and stays where that was given up
"""

from __future__ import annotations

FILE: dict[str, frozenset[str]] = {
    "uploaded": frozenset({"processed", "error"}),
    "processed": frozenset(),
    "error": frozenset(),
}
BATCH: dict[str, frozenset[str]] = {
    "validating": frozenset({"splitting", "failed"}),
    "splitting": frozenset({"running", "failed"}),
    "running": frozenset({"merging"}),
    "merging": frozenset({"completed", "failed", "expired", "cancelled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "expired": frozenset(),
    "cancelled": frozenset(),
}
PART: dict[str, frozenset[str]] = {
    "planned": frozenset({"staging", "answering", "rescuing", "dropped"}),
    "answering": frozenset({"planned", "stored", "rescuing", "refused", "dropped"}),
    "staging": frozenset({"staged", "rescuing", "refused", "dropped", "cutting"}),
    "staged": frozenset({"creating", "dropped", "staging"}),
    "creating": frozenset({"running", "staged", "staging", "rescuing", "refused", "dropped", "cutting"}),
    "running": frozenset({"ended", "planned", "creating", "rescuing", "refused", "dropped", "cutting"}),
    "ended": frozenset({"stored", "rescuing", "refused"}),
    "stored": frozenset({"collected", "rescuing", "ended"}),
    "rescuing": frozenset({"collected", "refused"}),
    "collected": frozenset(),
    "cutting": frozenset({"replaced", "rescuing", "refused", "dropped"}),
    "replaced": frozenset(),
    "refused": frozenset(),
    "dropped": frozenset(),
}
SUBMISSION: dict[str, frozenset[str]] = {
    "intent": frozenset({"sent", "absent"}),
    "sent": frozenset({"accepted", "refused", "unknown"}),
    "unknown": frozenset({"accepted", "absent", "refused"}),
    "accepted": frozenset({"refused", "unknown"}),
    "refused": frozenset(),
    "absent": frozenset(),
}
CLEARING: dict[str, frozenset[str]] = {
    "held": frozenset({"due"}),
    "due": frozenset({"left"}),
    "left": frozenset(),
}
TABLES = {"file": FILE, "batch": BATCH, "part": PART, "submission": SUBMISSION, "clearing": CLEARING}

BATCH_ENDS = frozenset(state for state, after in BATCH.items() if not after)
PART_ENDS = frozenset(state for state, after in PART.items() if not after)
PART_OPEN = frozenset(PART) - PART_ENDS
PART_FAILED = frozenset({"refused", "dropped"})  # ends in which no line of the part has an answer
IN_FLIGHT = frozenset({"staging", "staged", "creating", "running"})  # what admission counts

STATUSES = ("validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
SQL_STATUS = """CASE WHEN state IN ('completed', 'failed', 'expired', 'cancelled') THEN state
    WHEN cancelling_at IS NOT NULL THEN 'cancelling' WHEN state IN ('validating', 'splitting') THEN 'validating'
    WHEN state = 'running' THEN 'in_progress' ELSE 'finalizing' END"""  # what `public_status` says of a row


class IllegalStep(Exception):
    """A defect in the gateway, never a user's fault."""


def check(kind: str, state: str, new: str) -> None:
    """Raise IllegalStep unless `new` may follow `state`."""
    if new not in TABLES[kind][state]:
        raise IllegalStep(f"{kind}: {state} -> {new} is not a legal step")


def public_status(state: str, *, cancelling: bool) -> str:
    """Return OpenAI's status word for a batch state."""
    if state in BATCH_ENDS:
        return state
    if cancelling:
        return "cancelling"
    return {"validating": "validating", "splitting": "validating", "running": "in_progress"}.get(state, "finalizing")
