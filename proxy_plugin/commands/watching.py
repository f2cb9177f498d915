"""Following batches to their ends by asking for their status, with growing pauses; what an end means for scripts."""

from __future__ import annotations

import time
from collections.abc import Sequence

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
    """Follow one batch; see `watch_all`."""
    [found] = watch_all(session, [batch])
    return found


def watch_all(session: Session, batches: Sequence[JSON]) -> list[JSON]:
    """Follow batches and return them as they ended.

    Raises Interrupted, which says how to come back, and CommandError.
    """
    latest = list(batches)
    labels = ["batch"] if len(latest) == 1 else [clean(batch["id"])[:14] for batch in latest]
    try:
        with session.display.bars(labels) as shows:
            _follow(session, [_Following(session, show) for show in shows], latest)
    except KeyboardInterrupt:
        if session.display.as_json:
            session.display.documents(latest)
        raise Interrupted(_how_to_come_back(session, latest)) from None
    return latest


def _follow(session: Session, following: Sequence[_Following], latest: list[JSON]) -> None:
    """Ask for all that have not ended, with growing pauses, until all have."""
    pause, patience = FIRST_PAUSE, _Patience(session)
    for each, batch in zip(following, latest, strict=True):
        each.show(batch)
    while not all(map(ended, latest)):
        time.sleep(pause)
        pause = min(pause * GROWTH, LONGEST_PAUSE)
        for n, each in enumerate(following):
            if not ended(latest[n]):
                latest[n] = patience.asked(latest[n])
                each.show(latest[n])


def _how_to_come_back(session: Session, latest: Sequence[JSON]) -> str:
    left = [str(batch["id"]) for batch in latest if not ended(batch)]
    if len(latest) == 1:
        back = session.command("status", str(latest[0]["id"]), "--watch")
        return f"the batch {latest[0]['id']} goes on without you; to come back: {back}"
    goes = "goes" if len(left) == 1 else "go"
    back = session.command("watch", *left)
    return f"{plural(len(left), 'batch', 'batches')} {goes} on without you; to come back: {back}"


class _Patience:
    """Bears with a gateway that is away for a while."""

    def __init__(self, session: Session) -> None:
        self._session, self._gateway = session, session.gateway
        self._away_since: float | None = None

    def asked(self, batch: JSON) -> JSON:
        """Return the batch as it is now, or as it was if there is no answer. Raises Misuse after PATIENCE."""
        try:
            found = self._gateway.batch(batch["id"])
        except (Unreachable, Refused) as problem:
            self._bear(problem, batch)
            return batch
        self._away_since = None
        return found

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


class _Following:
    """Shows how far one batch is."""

    def __init__(self, session: Session, show: Show) -> None:
        self._session, self._show = session, show
        self._needs = self._waits = ""

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
