"""`status`, `list` and `cancel`: what there is, how it is, and the end of it."""

from __future__ import annotations

from proxy_plugin.commands.drawing import draw_batch, draw_batches
from proxy_plugin.commands.problems import OK, UNFINISHED, Misuse
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.watching import ended, exit_code, unresolved, watch
from proxy_plugin.commands.wording import JSON


def status(session: Session) -> int:
    """Show one batch and its jobs; without an id the caller's batches that have not ended, the unresolved first."""
    options = session.options
    if options.id is None:
        if options.watch:
            raise Misuse("--watch follows one batch: name its id.")
        return _unfinished(session)
    batch = session.gateway.batch(options.id)
    if options.watch:
        batch = watch(session, batch)
    _show(session, batch)
    return exit_code(batch)


def list_batches(session: Session) -> int:
    """List batches, newest first, as a table or as JSON lines."""
    options = session.options
    found = session.gateway.batches(None if options.all else options.limit)
    if session.display.as_json:
        for batch in found:
            session.display.document(batch)
        return OK
    draw_batches(session, list(found), empty="there is no batch yet")
    return OK


def cancel(session: Session) -> int:
    """Ask for a cancellation; with --wait return when the batch has ended."""
    batch = session.gateway.cancel(session.options.id)
    session.display.say("the cancellation is asked for; what has run is kept and can be fetched")
    if session.options.wait:
        batch = watch(session, batch)
    _show(session, batch)
    return UNFINISHED if ended(batch) and batch.get("status") != "cancelled" else OK


def _unfinished(session: Session) -> int:
    gateway = session.gateway
    found = [gateway.batch(batch["id"]) for batch in gateway.batches(None) if not ended(batch)]
    found.sort(key=lambda batch: (not unresolved(batch), batch.get("created_at") or 0))
    if session.display.as_json:
        session.display.document({"object": "list", "data": found})
    else:
        draw_batches(session, found, empty="no batch is unfinished")
    return OK


def _show(session: Session, batch: JSON) -> None:
    if session.display.as_json:
        session.display.document(batch)
    else:
        draw_batch(session, batch)
