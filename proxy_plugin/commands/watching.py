"""Following a batch to its end by asking for its status, with growing pauses; and what its end means for scripts."""

from __future__ import annotations

import time

from proxy_plugin.commands.display import Show
from proxy_plugin.commands.gateway import ENDS
from proxy_plugin.commands.problems import OK, UNFINISHED, Interrupted, Misuse, Refused, Unreachable
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.wording import JSON, clean, count, mapping, moment, objects, plural, whole

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 1.0, 30.0, 1.3
PATIENCE = 300.0  # seconds without a usable answer: a gateway may be restarted meanwhile
JOB_ENDS = frozenset({"collected", "refused", "dropped", "replaced"})


def counts(batch: JSON) -> tuple[int, int, int]:
    """Return how many lines a batch has, and how many of them are completed and failed."""
    found = mapping(batch.get("request_counts"))
    return whole(found.get("total")), whole(found.get("completed")), whole(found.get("failed"))


def ended(batch: JSON) -> bool:
    """Tell whether the status of a batch is its last."""
    return batch.get("status") in ENDS


def unresolved(batch: JSON) -> list[JSON]:
    """Return the jobs of which it is not known whether the provider has accepted them."""
    return [job for job in objects(batch.get("jobs")) if job.get("status") == "unknown" or job.get("unresolved_since")]


def waits_for(found: JSON) -> str:
    """Return what a batch or a job waits for, with the provider's code; nothing where it does not wait."""
    wait = mapping(found.get("x_status"))
    code = clean(wait.get("code"))
    return clean(wait.get("waiting_for")) + (f" ({code})" if code else "")


def exit_code(batch: JSON) -> int:
    """Return 0 for a batch that runs or has completed without a failed line, else 1."""
    if not ended(batch):
        return OK
    return OK if batch.get("status") == "completed" and counts(batch)[2] == 0 else UNFINISHED


def watch(session: Session, batch: JSON) -> JSON:
    """Follow a batch and return it as it ended. Raises Interrupted, which says how to come back, and CommandError."""
    latest = batch
    try:
        with session.display.bar("batch") as show:
            following = _Following(session, show)
            while not ended(latest):
                latest = following.next(latest)
            following.show(latest)
    except KeyboardInterrupt:
        if session.display.as_json:
            session.display.document(latest)
        raise Interrupted(
            f"the batch {latest['id']} goes on without you; to come back: "
            f"{session.command('status', latest['id'], '--watch')}"
        ) from None
    return latest


class _Following:
    """Asks again and again; bears with a gateway that is away for a while."""

    def __init__(self, session: Session, show: Show) -> None:
        self._session, self._gateway, self._show = session, session.gateway, show
        self._pause = FIRST_PAUSE
        self._needs = self._waits = ""
        self._away_since: float | None = None

    def next(self, latest: JSON) -> JSON:
        """Wait, then return the batch as it is now, or as it was if there is no answer."""
        self.show(latest)
        time.sleep(self._pause)
        self._pause = min(self._pause * GROWTH, LONGEST_PAUSE)
        try:
            latest = self._gateway.batch(latest["id"])
        except (Unreachable, Refused) as problem:
            self._bear(problem, latest)
        else:
            self._away_since = None
        return latest

    def show(self, batch: JSON) -> None:
        """Show how far the batch is."""
        total, completed, failed = counts(batch)
        self._show(completed + failed, total, progress_note(batch))
        needs = "; ".join(clean(one.get("message")) for one in objects(mapping(batch.get("errors")).get("data"))[:1])
        if needs and needs != self._needs and not ended(batch):
            self._session.display.say(f"the batch needs you: {needs}")
            self._needs = needs
        waits = waits_for(batch)
        if waits and waits != self._waits:
            wait = mapping(batch["x_status"])
            again = moment(wait.get("next_try_at"))
            self._session.display.say(
                f"the batch waits for {waits} since {moment(wait.get('since'))}, tried again {again}: "
                f"{clean(wait.get('message'))}"
            )
        self._waits = waits

    def _bear(self, problem: Unreachable | Refused, batch: JSON) -> None:
        if isinstance(problem, Refused) and not problem.passing:
            raise problem
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._session.display.say(f"{problem} Asking again for {PATIENCE / 60:.0f} minutes.")
        if now - self._away_since > PATIENCE:
            back = self._session.command("status", batch["id"], "--watch")
            raise Misuse(f"{problem} The batch {batch['id']} does not need this command; to come back: {back}")


def progress_note(batch: JSON) -> str:
    """Return how far a batch is, in one line."""
    total, completed, failed = counts(batch)
    said = [clean(batch.get("status"))]
    if total:
        said.append(f"{count(completed)} completed, {count(failed)} failed of {plural(total, 'line')}")
    jobs = objects(batch.get("jobs"))
    if jobs:
        done = sum(job.get("status") in JOB_ENDS for job in jobs)
        said.append(f"{count(done)} of {plural(len(jobs), 'job')} done")
    if waits := waits_for(batch):
        said.append(f"waits for {waits}")
    if unknown := len(unresolved(batch)):
        said.append(f"{count(unknown)} UNRESOLVED")
    return ", ".join(said)
