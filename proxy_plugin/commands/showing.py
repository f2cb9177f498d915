"""`status`, `watch`, `list` and `cancel`: what there is, how it is, and the end of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, takewhile

from proxy_plugin.commands.drawing import draw_batch, draw_batches
from proxy_plugin.commands.gateway import quoted
from proxy_plugin.commands.problems import OK, UNFINISHED, Refused
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.watching import ended, exit_code, unresolved, watch, watch_all
from proxy_plugin.commands.wording import JSON

MOST_NAMED = 10_000  # files that are asked for at once, the most that a list of files gives
NAMED_ONE_BY_ONE = 50
NAME = "x_file"  # of the input file, beside what the gateway tells of a batch
_NONE = "there is no batch yet"


def status(session: Session) -> int:
    """Show one batch and its jobs; without an id the caller's batches that have not ended, the unresolved first."""
    options = session.options
    if options.id is None:
        return _followed(session, _unfinished(session)) if options.watch else _overview(session)
    batch = session.gateway.batch(options.id)
    if options.watch:
        batch = watch(session, batch)
    show(session, batch)
    return exit_code(batch)


def watch_batches(session: Session) -> int:
    """Follow batches, by default all that have not ended, to their ends."""
    named = [session.gateway.batch(each) for each in dict.fromkeys(session.options.ids)]
    return _followed(session, named if session.options.ids else _unfinished(session))


def _followed(session: Session, batches: list[JSON]) -> int:
    display = session.display
    if not batches:
        display.say("no batch is unfinished")
        return OK
    found = watch_all(session, batches)
    if len(found) == 1:
        show(session, found[0])
    elif not display.documents(found):
        draw_batches(session, with_names(session, found), empty="")
    return max(map(exit_code, found))


def list_batches(session: Session) -> int:
    """List batches, newest first: those with a status, and made since a moment, where it is asked for."""
    options, display = session.options, session.display
    found = _chosen(session)
    if display.as_json and NAME not in display.fields:  # as the gateway tells them, page by page
        display.documents(found)
        return OK
    batches = with_names(session, list(found))
    if not display.documents(batches):
        draw_batches(session, batches, empty="no batch is like that" if options.status or options.since else _NONE)
    return OK


def _chosen(session: Session) -> Iterator[JSON]:
    """Yield what `list` was asked for; pages behind the last of it are not read."""
    options = session.options
    most = None if options.all else options.limit
    chooses = bool(options.status) or options.since is not None
    found = session.gateway.batches(None if chooses else most, with_jobs=True)
    if options.since is not None:
        found = takewhile(lambda batch: _made(batch) >= options.since, found)
    if options.status:
        found = (batch for batch in found if batch.get("status") in options.status)
    return islice(found, most)


def _made(batch: JSON) -> float:
    at = batch.get("created_at")
    return float(at) if isinstance(at, int | float) else 0.0


def with_names(session: Session, batches: list[JSON]) -> list[JSON]:
    """Return batches with the names of their input files as `x_file`, as far as the gateway still knows them."""
    wanted = {batch["input_file_id"] for batch in batches if isinstance(batch.get("input_file_id"), str)}
    names = _names(session, wanted)
    return [batch | {NAME: names.get(batch.get("input_file_id") or "")} for batch in batches]


def _names(session: Session, wanted: set[str]) -> dict[str, str]:
    gateway, found = session.gateway, list[JSON]()
    with suppress(Refused):
        if len(wanted) > NAMED_ONE_BY_ONE:
            found = list(gateway.pages("/files", MOST_NAMED, {"purpose": "batch"}, MOST_NAMED))
            wanted = set()
    for file_id in wanted:
        with suppress(Refused):  # a file that was deleted, or has expired
            found.append(gateway.call("GET", f"/files/{quoted(file_id)}"))
    return {file["id"]: file["filename"] for file in found if file.get("id") and file.get("filename")}


def cancel(session: Session) -> int:
    """Ask for a cancellation; with --wait return when the batch has ended."""
    batch = session.gateway.cancel(session.options.id)
    session.display.say("the cancellation is asked for; what has run is kept and can be fetched")
    if session.options.wait:
        batch = watch(session, batch)
    show(session, batch)
    return UNFINISHED if ended(batch) and batch.get("status") != "cancelled" else OK


def _unfinished(session: Session) -> list[JSON]:
    gateway = session.gateway
    found = [gateway.batch(batch["id"]) for batch in gateway.batches(None) if not ended(batch)]
    return sorted(found, key=lambda batch: (not unresolved(batch), batch.get("created_at") or 0))


def _overview(session: Session) -> int:
    found = _unfinished(session)
    if not session.display.documents(found):
        draw_batches(session, with_names(session, found), empty="no batch is unfinished")
    return OK


def show(session: Session, batch: JSON) -> None:
    """Show one batch."""
    if not session.display.documents([batch]):
        draw_batch(session, batch)
