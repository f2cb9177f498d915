"""What becomes of a part at the end of a turn, in one transaction each."""

from __future__ import annotations

from proxy_plugin.direct.job import AccountRefusal, AnswerFacts
from proxy_plugin.engine import waiting
from proxy_plugin.engine.desk import Desk, backoff
from proxy_plugin.engine.direct import turns
from proxy_plugin.engine.direct.watch import counts
from proxy_plugin.engine.waiting import Cause
from proxy_plugin.ground.masking import mask
from proxy_plugin.providers.base import JobEnd, Refused
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, waits
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal


def settle(conn: Connection, desk: Desk, part: PartRow, facts: AnswerFacts) -> None:
    """Let the answers be collected, the part have another turn, or be refused where its account is."""
    if facts.end == "completed":
        _stored(conn, desk, part, facts, JobEnd.COMPLETED)
    elif facts.end == "refused":
        assert facts.refusal is not None
        _refused(conn, desk, part, facts, facts.refusal)
    else:
        answered = facts.progress.completed + facts.progress.failed > 0
        stopped(conn, desk, part, answered=answered)


def stopped(conn: Connection, desk: Desk, part: PartRow, *, answered: bool) -> None:
    """Bring home what a stopping batch has; else the part goes on in its next turn."""
    batch = batches.get(conn, part.batch_id)
    if batch is None or not batch.stopping:
        turns.leave(conn, desk, part, "planned")
    elif answered:
        turns.leave(conn, desk, part, "stored", end_reason=JobEnd.CANCELLED.value)
    else:
        turns.leave(conn, desk, part, "dropped", end_reason=batch.stopping)


def _stored(conn: Connection, desk: Desk, part: PartRow, facts: AnswerFacts, end: JobEnd) -> None:
    turns.leave(conn, desk, part, "stored", end_reason=end.value, missing_since=None, **counts(part, facts.progress))


def _refused(conn: Connection, desk: Desk, part: PartRow, facts: AnswerFacts, said: AccountRefusal) -> None:
    """Give the part up, but for the answers it has. An account that cannot pay has an hour to do so."""
    now, codes = desk.now(), desk.lane(part).capabilities.billing_codes
    refusal = Refused(mask(said.message), code=said.code, status=said.status, param=said.param)
    since = part.missing_since or now
    if (said.status == waiting.PAYMENT_REQUIRED or said.code in codes) and now - since < waits.PATIENCE:
        engine = desk.gateway.config.engine
        pause = backoff(part.tries, engine.poll_seconds_first, engine.poll_seconds_max)
        cause = Cause(waits.BILLING, said.code, mask(said.message))
        turns.rest(conn, desk, part, cause, pause, missing_since=since, **counts(part, facts.progress))
    elif facts.progress.completed + facts.progress.failed:
        text = StoredRefusal.of(refusal).text()
        changes = {"end_reason": JobEnd.COMPLETED.value, "refusal": text, **counts(part, facts.progress)}
        turns.leave(conn, desk, part, "stored", **changes)
        batches.event(conn, part.batch_id, part.n, now, "refused", said.code)
    else:
        turns.leave(conn, desk, part, "refused", refusal=StoredRefusal.of(refusal).text())
        batches.event(conn, part.batch_id, part.n, now, "refused", said.code)
