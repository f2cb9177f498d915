"""`files list`, `files get` and `files delete`."""

from __future__ import annotations

import time

from proxy_plugin.commands import results
from proxy_plugin.commands.display import Row
from proxy_plugin.commands.gateway import quoted
from proxy_plugin.commands.problems import OK
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.wording import JSON, clean, dated, sized, timed, whole

PAGE = 1_000  # files that are asked for at once
_HEADS = ("file", "name", "purpose", "size", "created", "expires", "status")


def files(session: Session) -> int:
    """Do what was asked with files."""
    return {"list": _list, "get": _get, "delete": _delete}[session.options.act](session)


def _list(session: Session) -> int:
    options, display = session.options, session.display
    query = {"purpose": options.purpose} if options.purpose else {}
    found = session.gateway.pages("/files", None if options.all else options.limit, query, PAGE)
    if display.documents(found):
        return OK
    display.listing(_HEADS, list(map(_row, found)), empty="there is no file")
    return OK


def _row(file: JSON) -> Row:
    now = time.time()
    named = [file.get(name) for name in ("id", "filename", "purpose")]
    times = [dated(file.get("created_at"), now), timed(file.get("expires_at"))]
    return Row([*named, sized(whole(file.get("bytes"))), *times, file.get("status")])


def _get(session: Session) -> int:
    options, gateway = session.options, session.gateway
    results.check_target(options.output)
    if session.display.as_json or session.display.fields:
        session.display.documents([gateway.call("GET", f"/files/{quoted(options.id)}")])
        return OK
    results.write(session, gateway.content(options.id), options.output, f"{clean(options.id)} is kept.")
    return OK


def _delete(session: Session) -> int:
    for file_id in session.options.ids:
        answer = session.gateway.call("DELETE", f"/files/{quoted(file_id)}")
        if not session.display.documents([answer]):
            session.display.say(f"deleted {file_id}")
    return OK
