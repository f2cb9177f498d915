"""`webhooks`: the endpoints of a workspace, their secrets, and what was sent to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from proxy_plugin.commands.display import Row
from proxy_plugin.commands.gateway import quoted
from proxy_plugin.commands.problems import OK, Refused
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.wording import JSON, clean, dated, timed

ROUTE = "/webhooks"
_ENDPOINTS = ("endpoint", "url", "events", "name", "source", "created")
_DELIVERIES = ("delivery", "event", "batch", "status", "tries", "answer", "error", "created", "next try")


def webhooks(session: Session) -> int:
    """Do what was asked with webhooks. Raises Declined for a gateway that has none."""
    acts = {
        "list": _list,
        "add": _add,
        "delete": _delete,
        "rotate": _rotate,
        "secret": _secret,
        "test": _test,
        "deliveries": _deliveries,
        "replay": _replay,
    }
    try:
        return acts[session.options.act](session)
    except Refused as refusal:
        raise session.gateway.needs("webhooks", refusal) from None


def _list(session: Session) -> int:
    found = session.gateway.pages(ROUTE, None, {})
    return _listed(session, found, _ENDPOINTS, _endpoint, "no endpoint is told of this workspace's batches")


def _add(session: Session) -> int:
    options = session.options
    said = {"event_types": options.events, "name": options.name}
    wanted = {"url": options.url} | {name: value for name, value in said.items() if value}
    return _with_secret(session, session.gateway.call("POST", ROUTE, wanted))


def _rotate(session: Session) -> int:
    body = {"keep_old_secret_active_for_24_hours": True} if session.options.keep else {}
    return _with_secret(session, session.gateway.call("POST", f"{_of(session)}/rotate_secret", body))


def _secret(session: Session) -> int:
    return _with_secret(session, session.gateway.call("GET", f"{ROUTE}/secret"))


def _with_secret(session: Session, answer: JSON) -> int:
    display = session.display
    if not display.documents([answer]):
        display.facts((name, value) for name, value in answer.items() if name != "object")
        if answer.get("signing_secret"):
            display.say("the receiver verifies with the signing secret: keep it where no one else can read it")
    return OK


def _delete(session: Session) -> int:
    return _answered(session, session.gateway.call("DELETE", _of(session)), f"deleted {session.options.id}")


def _test(session: Session) -> int:
    body = {"event_type": session.options.event} if session.options.event else {}
    answer = session.gateway.call("POST", f"{_of(session)}/test", body)
    return _answered(session, answer, f"{session.options.id} answered {clean(answer.get('status_code'))}")


def _deliveries(session: Session) -> int:
    options = session.options
    path = f"{ROUTE}/deliveries" if options.id is None else f"{_of(session)}/deliveries"
    query = {"batch_id": options.batch} if options.batch else {}
    found = session.gateway.pages(path, None if options.all else options.limit, query)
    return _listed(session, found, _DELIVERIES, _delivery, "nothing was sent yet")


def _replay(session: Session) -> int:
    for delivery in session.options.ids:
        answer = session.gateway.call("POST", f"{ROUTE}/deliveries/{quoted(delivery)}/replay", {})
        _answered(session, answer, f"{delivery} is sent again")
    return OK


def _of(session: Session) -> str:
    return f"{ROUTE}/{quoted(session.options.id)}"


def _answered(session: Session, answer: JSON, said: str) -> int:
    if not session.display.documents([answer]):
        session.display.say(said)
    return OK


def _listed(
    session: Session, found: Iterable[JSON], heads: Sequence[str], row: Callable[[JSON], Row], empty: str
) -> int:
    if not session.display.documents(found):
        session.display.listing(heads, list(map(row, found)), empty=empty)
    return OK


def _endpoint(one: JSON) -> Row:
    events = one.get("event_types")
    told = ", ".join(map(str, events)) if isinstance(events, list) else events
    named = [one.get("name"), one.get("source"), dated(one.get("created_at"), time.time())]
    return Row([one.get("id"), one.get("url"), told, *named])


def _delivery(one: JSON) -> Row:
    now = time.time()
    named = [one.get(name) for name in ("id", "event_type", "batch_id", "status", "attempts")]
    named += [one.get("last_status_code"), one.get("last_error")]
    return Row([*named, dated(one.get("created_at"), now), timed(one.get("next_attempt_at"))])
