"""What keeps a part or a batch waiting, for its caller, the log and the metrics; and when to wait no longer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from msgspec import structs

from proxy_plugin.engine.desk import AccountMissing, CredentialsMissing, Desk, Key
from proxy_plugin.engine.space import Full
from proxy_plugin.ground import logs
from proxy_plugin.ground.masking import mask
from proxy_plugin.ground.workers import OutOfBudget
from proxy_plugin.providers.base import AtWork, ProviderError, Refused, TryLater
from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StoreAway
from proxy_plugin.storage.tables import submissions, waits
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.waits import WaitRow

LOG = logging.getLogger("proxy_plugin.engine")
GONE = frozenset({404, 410})
QUOTABLE = frozenset({waits.BILLING, waits.RATE_LIMITED})  # such answers are about an account, not about what was sent
IN_DOUBT = frozenset({"doubt", "look_up"})  # steps of a create whose outcome is unknown
PAYMENT_REQUIRED = 402  # says so whatever the code beside it
ABOUT_ACCOUNTS = frozenset(
    {PAYMENT_REQUIRED, 403}
)  # refusals that are not about what was sent; a 429 is none, it passes anyway
OF_A_JOB = frozenset({"poll", "fetch"})


class Cause(NamedTuple):
    """What is waited for; `code` and `said` are the provider's words, `detail` are ours."""

    reason: str
    code: str = ""
    said: str = ""
    detail: str = ""


def cause_of(error: BaseException, step: str, billing_codes: frozenset[str]) -> Cause:
    """Return what a step that is to be taken again waits for."""
    chain = list(_chain(error))
    account = next((each for each in chain if isinstance(each, AccountMissing)), None)
    if account is not None:
        missing = isinstance(account, CredentialsMissing)
        return Cause(waits.NEEDS_CREDENTIALS if missing else waits.KEY_MISSING, detail=str(account))
    full = next((each for each in chain if isinstance(each, Full)), None)
    if full is not None or any(each.disk_full for each in chain):
        return Cause(waits.DISK_FULL if full is None else full.reason)
    if not chain:
        return _cause_here(error, step)
    said = next((found for each in chain if (found := _said(each)) is not None), None)
    status = None if said is None else said.status
    if said is None:
        return Cause(_reason(chain[-1], status, step), detail=str(error))
    reason = waits.BILLING if _owing(said, billing_codes) else _reason(chain[-1], status, step)
    if step in IN_DOUBT:
        reason = waits.OUTCOME_UNKNOWN
    return Cause(reason, said.code, mask(said.message), str(error))


def _cause_here(error: BaseException, step: str) -> Cause:
    """Return what a step waits for that no provider holds up."""
    if isinstance(error, StoreAway):
        return Cause(waits.STORE_AWAY, detail=str(error))
    if isinstance(error, OutOfBudget):
        return Cause(waits.WORK_BUDGET, detail=f"{step}: {error}; the next try has more time")
    return Cause(waits.INTERNAL_ERROR, detail=f"{step} failed with {type(error).__name__}")  # its words may be users'


def _owing(said: Refused, billing_codes: frozenset[str]) -> bool:
    return said.code in billing_codes or said.status == PAYMENT_REQUIRED


def _reason(error: ProviderError, status: int | None, step: str) -> str:
    after = getattr(error, "after", None)
    status = getattr(error, "status", None) if status is None else status
    if step in IN_DOUBT:
        return waits.OUTCOME_UNKNOWN
    if status == 429:
        return waits.RATE_LIMITED
    if error.unreachable or (status is not None and status >= 500):
        return waits.PROVIDER_UNREACHABLE
    if isinstance(error, AtWork):
        return waits.PROVIDER_AT_WORK
    if step in OF_A_JOB and (status in GONE or isinstance(error, Refused)):
        return waits.JOB_UNREADABLE
    return waits.PROVIDER_PAUSE if status is None and after is not None else waits.PROVIDER_ERROR


def _chain(error: BaseException | None) -> Iterator[ProviderError]:
    """Yield the errors of a call from the one that was raised down to the one that it began with."""
    while isinstance(error, ProviderError):
        yield error
        error = error.__cause__ or error.__context__


def _said(error: ProviderError) -> Refused | None:
    return error if isinstance(error, Refused) else error.said


# ---- written down ----


def of_step(desk: Desk, key: Key, row: Any, step: str, error: BaseException, next_at: float) -> WaitRow | None:
    """Return the wait of a row whose step failed for now; None for files, and for parts that have ended."""
    if isinstance(row, BatchRow):
        return _row(desk, row.id, waits.WHOLE, "", cause_of(error, step, frozenset()), next_at)
    if not isinstance(row, PartRow) or row.state in states.PART_ENDS or key.kind != "part":
        return None
    cause = cause_of(error, step, desk.lane(row).capabilities.billing_codes)
    return _row(desk, row.batch_id, row.n, row.slug, cause, next_at)


def _row(desk: Desk, batch_id: str, part: int, slug: str, cause: Cause, next_at: float) -> WaitRow:
    return WaitRow(
        batch_id=batch_id,
        part=part,
        reason=cause.reason,
        since=desk.now(),
        next_at=next_at,
        slug=slug,
        code=cause.code,
        said=cause.said,
        detail=cause.detail,
    )


def of_part(desk: Desk, part: PartRow, cause: Cause, next_at: float) -> WaitRow:
    """Return the wait of a part that begins now."""
    return _row(desk, part.batch_id, part.n, part.slug, cause, next_at)


def of_batch(desk: Desk, batch: BatchRow, cause: Cause, next_at: float) -> WaitRow:
    """Return the wait of a whole batch that begins now."""
    return _row(desk, batch.id, waits.WHOLE, "", cause, next_at)


def store(conn: Connection, row: WaitRow, *, goes_on: bool = False) -> None:
    """Write a wait down, and log it where it is news. What is in doubt is so since it was sent."""
    if row.reason == waits.OUTCOME_UNKNOWN:
        row = structs.replace(row, since=submissions.last_sent(conn, row.batch_id, row.part) or row.since)
    if waits.note(conn, row, goes_on=goes_on):
        _log(row)


def _log(row: WaitRow) -> None:
    logs.event(
        LOG,
        "waiting",
        level=logging.WARNING,
        batch=row.batch_id,
        part=None if row.part == waits.WHOLE else row.part,
        virtual_key=row.slug,
        reason=row.reason,
        code=row.code,
        said=row.said if row.reason in QUOTABLE else "",
        detail=row.detail,
        since=logs.moment(row.since),
        next_try=logs.moment(row.next_at),
    )


# ---- billing ----


async def ending(desk: Desk, part: PartRow, error: Refused | TryLater) -> Refused:
    """Return why a part that is not accepted yet is given up. Raises TryLater where it is to wait.

    A refusal for want of money or of a higher limit passes when somebody acts, so it is borne for an hour; then it is
    told to the caller as any other. A 400 is about the request, whatever its code: it is final at once.
    """
    said, codes = _said(error), desk.lane(part).capabilities.billing_codes
    final = isinstance(error, Refused) and error.status not in ABOUT_ACCOUNTS
    if said is None or not _owing(said, codes) or final:
        if isinstance(error, Refused):
            return error
        raise error
    if desk.now() - await desk.read(owed_since, part, codes | {said.code}, desk.now()) >= waits.PATIENCE:
        return said
    if isinstance(error, TryLater):
        raise error
    raise TryLater(str(error), status=error.status) from error


def owed_since(conn: Connection, part: PartRow, codes: Iterable[str], now: float) -> float:
    """Return since when a part is refused for billing reasons."""
    wait = waits.get(conn, part.batch_id, part.n)
    known = wait.since if wait is not None and wait.reason == waits.BILLING else now
    return min(known, submissions.refused_since(conn, part, codes) or now)
