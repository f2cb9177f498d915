"""`submit`, `plan` and `retry`: what makes a batch, or would."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from proxy_plugin.commands import results
from proxy_plugin.commands.drawing import draw_plan
from proxy_plugin.commands.input_file import FileForm, InputFile
from proxy_plugin.commands.problems import OK, UNFINISHED, CommandError, Declined, Misuse, Refused, interrupted_says
from proxy_plugin.commands.session import Session, header
from proxy_plugin.commands.showing import show
from proxy_plugin.commands.watching import exit_code, watch
from proxy_plugin.commands.wording import JSON, mapping, objects, size, whole

WINDOW = "24h"
NOTHING = "interrupted: nothing was submitted."


def submit(session: Session) -> int:
    """Upload a file, make a batch of it once, and follow it if asked."""
    options = session.options
    results.check_target(options.output)
    if options.output is not None and not options.watch:
        raise Misuse(
            "--output goes with --watch: without it, fetch the results later with `proxy-plugin batch output`."
        )
    key = _key(options.idempotency_key)
    with interrupted_says(NOTHING), InputFile(options.file) as file:
        body = _body(session, file)
        session.gateway.probe()
        body["input_file_id"] = upload(session, file)
    batch = _created(session, body, key)
    if _is_of_another_upload(session, batch, body["input_file_id"]):
        _discard(session, body["input_file_id"])
        session.display.say(f"an earlier submit with this --idempotency-key has made {batch['id']} of the same lines")
    else:
        session.display.say(f"submitted {file.name} as {batch['id']}")
    return _followed(session, batch, options.output)


def _is_of_another_upload(session: Session, batch: JSON, file_id: str) -> bool:
    """Tell whether the key was that of an earlier submit. Gateways of others may name a file in another way."""
    keyed = session.gateway.ours is True and session.options.idempotency_key is not None
    return keyed and batch.get("input_file_id") not in (None, file_id)


def retry(session: Session) -> int:
    """Make a new batch of the lines of one that failed, or of those that are named, and follow it if asked."""
    options = session.options
    key = _key(options.idempotency_key)
    session.gateway.batch(options.id)  # tells whether the gateway is ours, and so whether the key is honoured
    with interrupted_says(_perhaps(session)):
        batch = session.gateway.retry(options.id, key, options.lines or options.outcomes)
    which = "the lines" if options.lines or options.outcomes else "the failed lines"
    session.display.say(f"{which} of {options.id} are {batch['id']} now")
    return _followed(session, batch, None)


def plan(session: Session) -> int:
    """Show what a batch of a file would become. The upload is deleted afterwards, whatever happens."""
    options = session.options
    with interrupted_says("interrupted: nothing was spent."), InputFile(options.file) as file:
        body = _body(session, file)
        session.gateway.probe()
        if session.gateway.ours is not False:
            body["input_file_id"] = upload(session, file)
        try:
            planned = session.gateway.plan(body)
        finally:
            if not options.keep and "input_file_id" in body:
                _discard(session, body["input_file_id"])
    if options.keep:
        session.display.say(f"the upload is kept as {body['input_file_id']}")
    if not session.display.documents([planned]):
        draw_plan(session.display, planned)
    rejected = whole(mapping(planned.get("request_counts")).get("rejected"))
    return UNFINISHED if rejected or objects(mapping(planned.get("errors")).get("data")) else OK


def upload(session: Session, file: InputFile) -> str:
    """Upload a file, show how far it is, and return its id."""
    form, done = FileForm(file), 0
    with session.display.bar("upload") as show:

        def sent(count: int) -> None:
            nonlocal done
            done += count
            show(done, form.length, f"{size(done)} of {size(form.length)}")

        return session.gateway.upload(form, sent)


def _body(session: Session, file: InputFile) -> JSON:
    options = session.options
    metadata = _metadata(options.metadata)
    body = {"endpoint": options.endpoint or file.endpoint(), "completion_window": options.completion_window or WINDOW}
    return body | ({"metadata": metadata} if metadata else {})


def _metadata(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Misuse("--metadata takes NAME=VALUE, as in --metadata team=search.")
        if name in found:
            raise Misuse(f"--metadata names {name} twice: give each name once.")
        found[name] = value
    return found


def _key(given: str | None) -> str:
    return secrets.token_hex(16) if given is None else header(given, "--idempotency-key")


def _created(session: Session, body: JSON, key: str) -> JSON:
    try:
        with interrupted_says(_perhaps(session)):
            return session.gateway.create(body, key)
    except Refused as refusal:
        _discard(session, body["input_file_id"])
        if refusal.status == 422 and session.options.idempotency_key is not None:
            raise Declined(
                f"{refusal} An earlier submit with this --idempotency-key had other lines or options, and has made its "
                f"batch: `{session.command('list')}` shows it."
            ) from None
        raise


def _perhaps(session: Session) -> str:
    return f"interrupted: the batch may have been made; {session.command('list')} shows it."


def _discard(session: Session, file_id: str) -> None:
    """Delete an upload that nothing needs; if that fails it expires by itself."""
    with suppress(CommandError):
        session.gateway.delete_file(file_id)


def _followed(session: Session, batch: JSON, output: Path | None) -> int:
    if session.options.watch:
        batch = watch(session, batch)
    show(session, batch)
    if output is not None:
        results.write(session, session.gateway.output(batch["id"]), output, "the batch keeps its output.")
    return exit_code(batch)
