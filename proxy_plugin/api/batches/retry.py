"""`POST /batches/{id}/retry`: a new batch of only the lines that failed, or that `lines` names.

They go where the first batch went, or where the headers or `config` say: `config` of the body is the header of that
name, an object or the id of a saved one.

A worker copies those lines into a new file of the workspace; the file and the batch become rows in one transaction. A
kill before it leaves at most a blob that no row names, which the sweep at the start removes. A retry that repeats an
earlier one is told so before anything is copied, and once more inside the transaction.

What is known to be refused is not sent again to the same target: lines that were refused alone are left out, and lines
that were refused together are noted as suspects of the new batch, which never sends them together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson
from aiohttp import web
from msgspec import UNSET
from multidict import CIMultiDict, MultiMapping

from proxy_plugin.access import headers, steering
from proxy_plugin.access.callers import Caller
from proxy_plugin.access.forwarding import forwarded
from proxy_plugin.access.kept_answers import steered
from proxy_plugin.access.own_keys import stored_target
from proxy_plugin.access.resolve import Resolved
from proxy_plugin.answers.keys import REPEATS
from proxy_plugin.api import ids
from proxy_plugin.api.batches.create import conclude, new_row, resolved_route
from proxy_plugin.api.batches.keeping import Made, file_row, keep, told
from proxy_plugin.api.batches.lines import ledger_of, require_ended
from proxy_plugin.api.batches.retry_lines import ChosenLines, check, chosen_in
from proxy_plugin.api.batches.wanted import Wanted, expiry, metadata
from proxy_plugin.api.files.form import NAME_CHARACTERS
from proxy_plugin.api.files.room import Store
from proxy_plugin.api.files.routes import store_of
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import sentences
from proxy_plugin.ground.errors import BadRequest, Conflict, GatewayError, Unavailable
from proxy_plugin.ground.workers import OutOfBudget
from proxy_plugin.lines.sources.failed_lines import FailedLines, Together, copy, measure, repeats_of
from proxy_plugin.routing.route import EVERYTHING, Route, decode_route, encode_route
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.room import Claim
from proxy_plugin.storage.space import to_the_end
from proxy_plugin.storage.tables import batches, files, parts
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.cuts import Suspects
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.parts import refusal_of
from proxy_plugin.web.keys import CALLER, HEADERS
from proxy_plugin.web.request_body import json_object

CONFIG = "config"
_NAME = re.compile(r"(?P<stem>.*?)(?:\.retry(?P<count>[0-9]{0,4}))?(?P<suffix>\.[^.]*)?", re.DOTALL)


async def retry(request: web.Request) -> web.StreamResponse:
    """POST /batches/{batch_id}/retry: the new batch, or the one that an equal retry made before."""
    original = await ids.visible_batch(request)
    body = await json_object(request, optional=True)
    choice = chosen_in(body)
    _require_failures(original, choice)
    resolved = await _resolved(request, original, body)
    row = new_row(request, _wanted(original, body, choice), resolved)
    return await conclude(request, row, resolved, _store, request, original, row, choice)


def _require_failures(original: BatchRow, choice: ChosenLines) -> None:
    require_ended(original, "A batch is retried when it has ended")
    if original.output_file_id is None and original.error_file_id is None:
        raise BadRequest(
            "This batch failed before any line was sent; its 'errors' say why. Correct the file, upload it and create"
            " a new batch.",
            code="invalid_input_file",
        )
    if not original.failed and not choice:
        raise BadRequest("No line of this batch failed; there is nothing to retry.", code="nothing_to_retry")


async def _resolved(request: web.Request, original: BatchRow, body: dict[str, Any]) -> Resolved:
    """Return where the lines go: what the headers name, or else the route of the original.

    Raises BadRequest and Forbidden, as for a create, where this caller may not use all of that route now.
    """
    given: MultiMapping[str] = request.headers
    if (text := _config(request, body)) is not None:
        given = CIMultiDict([*given.items(), (headers.CONFIG, text)])
        request[HEADERS] = headers.read(given).of_trace(request[HEADERS].trace_id)
    with _named(text is not None):
        return await _resolved_by(request, original, {n: v for n, v in body.items() if n != CONFIG}, given)


async def _resolved_by(
    request: web.Request, original: BatchRow, body: dict[str, Any], given: MultiMapping[str]
) -> Resolved:
    found = steering.asked(request[HEADERS], given, body, request.query, retry=True)
    asked, sent, route = found.headers, found.sent, decode_route(original.route)
    chosen = any(each is not None for each in (*asked.target, found.provider))
    if chosen or route.is_open:  # what lines may name is as it is now
        return _with_places(await resolved_route(request, body, given), route)
    if stored_target(original) is not None:
        raise _key_needed()
    slugs = [target.slug for target in route.targets]
    config, caller = request.app[GATEWAY].config, request[CALLER]
    steering.check_headers(sent, [headers.find_virtual_key(slug, caller, config) for slug in slugs])
    kept = steered(_for(caller, sent, route), asked)
    same = [*(slugs if len(slugs) == 1 else ["stored route"]), *(["other cache"] if kept.cache != route.cache else [])]
    return Resolved(encode_route(kept), route.provider, same)


def _config(request: web.Request, body: dict[str, Any]) -> str | None:
    """Return the config of the body as its header has it. Raises BadRequest."""
    value = body.get(CONFIG)
    if value is None:
        return None
    if not isinstance(value, str | dict):
        raise sentences.wrong_type(CONFIG, "an object, or the id of a saved config", value).refusal()
    if not value:
        raise BadRequest(f"'{CONFIG}' is empty; leave it out for the route of the batch.", param=CONFIG)
    if request[HEADERS].config is not None:
        raise BadRequest(f"'{CONFIG}' and {headers.CONFIG} both say where the lines go; say it once.", param=CONFIG)
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@contextmanager
def _named(in_body: bool) -> Iterator[None]:
    """Call the config in refusals what the caller calls it."""
    try:
        yield
    except GatewayError as error:
        if in_body and error.param == headers.CONFIG:
            error.param, error.message = CONFIG, error.message.replace(headers.CONFIG, f"'{CONFIG}'")
        raise


def _with_places(resolved: Resolved, original: Route) -> Resolved:
    """Return a route with what the original create said of places that virtual keys leave open, unless it is said."""
    found = decode_route(resolved.route)
    said, slugs = original.places or {}, {target.slug for target in found.targets}
    kept = {slug: fields for slug, fields in said.items() if slug in slugs}
    if not kept:
        return resolved
    places = kept | {slug: kept.get(slug, {}) | fields for slug, fields in (found.places or {}).items()}
    return resolved._replace(route=encode_route(msgspec.structs.replace(found, places=places)))


def _for(caller: Caller, sent: MultiMapping[str], route: Route) -> Route:
    """Return the route with this caller's allow-list and headers; the original may have had another caller."""
    rules = msgspec.structs.replace(route.rules or EVERYTHING, models=caller.models)
    forward = dict(forwarded(sent)) or route.forward
    return msgspec.structs.replace(route, rules=UNSET if rules == EVERYTHING else rules, forward=forward)


def _key_needed() -> BadRequest:
    return BadRequest(
        "This batch ran with a provider key of its caller. Send the key again as its create did: "
        f"'{headers.PROVIDER}: NAME', 'Authorization: Bearer KEY' and the other credential headers, or the same "
        f"'{headers.CONFIG}'.",
        param=headers.PROVIDER,
        code="provider_key_missing",
    )


def _wanted(original: BatchRow, body: dict[str, Any], choice: ChosenLines) -> Wanted:
    """Return what is to be created; instead of a file, which is yet to be made, it names the batch."""
    given, seconds = metadata(body.get("metadata")), expiry(body.get("output_expires_after"))
    kept = None if original.metadata is None else orjson.loads(original.metadata)
    return Wanted(
        input_file_id=f"failed lines of {original.id}{choice.text()}",
        endpoint=original.endpoint,
        completion_window=original.completion_window,
        metadata=kept if given is None else given,
        output_expires_after=original.output_expires_after if seconds is None else seconds,
    )


async def _store(request: web.Request, original: BatchRow, row: BatchRow, choice: ChosenLines) -> BatchRow:
    gateway, is_retry = request.app[GATEWAY], request[HEADERS].retry_count > 0
    with told(), gateway.blobs.held():
        earlier = await gateway.registry.read(batches.earlier, row, is_retry=is_retry)
        return earlier or await _copied(gateway, original, row, choice, is_retry=is_retry)


async def _copied(
    gateway: Gateway, original: BatchRow, row: BatchRow, choice: ChosenLines, *, is_retry: bool
) -> BatchRow:
    """Copy the failed lines and store file and batch. Raises Conflict where they are gone, NoSpace."""
    store, temp, ledger = store_of(gateway), gateway.blobs.temp_path(), ledger_of(gateway.folders, original)
    source = await _source(store, original)
    failed = FailedLines(
        source=str(gateway.blobs.path(source.id)),
        index=str(gateway.blobs.index_path(source.id)),
        ledger=str(ledger),
        elsewhere=decode_route(row.route).targets != decode_route(original.route).targets,
        max_line_bytes=gateway.config.limits.max_line_bytes,
        numbers=choice.numbers,
        outcomes=choice.outcomes,
    )
    try:
        await gateway.blobs.present_with_index(source.id)
        await gateway.folders.present_file(ledger)
        terms = gateway.terms(row.workspace, source.bytes)
        size = await gateway.workers.run(terms, measure, failed)
        check(choice, size)
        with Claim(store.room, row.workspace) as claim:
            await claim.cover(size.bytes)
            copied = await gateway.workers.run(terms, copy, failed, str(temp))
            await claim.cover(copied.file.bytes)  # escapes may have made it longer
            claim.wrote(copied.file.bytes)
            file = file_row(source.workspace, retry_name(source.filename), copied.file, int(store.clock.now()))
            text = await gateway.registry.read(_suspects, original.id, copied.together)
            row = msgspec.structs.replace(row, suspects=text)
            made = Made(file, temp, "retry of", original.id)
            repeats = repeats_of(str(temp)) if copied.repeats else None
            return await to_the_end(_kept(gateway, store, made, row, repeats, is_retry=is_retry))
    except OutOfBudget:
        raise Unavailable("The failed lines could not be copied in time; ask for the retry again later.") from None
    except FileNotFoundError:
        raise _gone("The record of this batch's lines went with its output and error files") from None
    finally:
        for path in (temp, repeats_of(str(temp))):
            await gateway.blobs.write(path.unlink, missing_ok=True)


async def _kept(
    gateway: Gateway, store: Store, made: Made, row: BatchRow, repeats: Path | None, *, is_retry: bool
) -> BatchRow:
    """Keep the batch; before it what is known of equal lines is put into its folder, and goes if it is not kept."""
    stored, folders = None, gateway.folders
    if repeats is not None:
        await gateway.blobs.write(folders.adopt, row.id, repeats, REPEATS)
        await folders.share(folders.folder(row.id) / REPEATS)
    try:
        stored = await keep(store, made, row, is_retry=is_retry, place="retry")
    finally:
        if repeats is not None and (stored is None or stored.id != row.id):
            await gateway.blobs.write(folders.remove, row.id)
            await folders.drop_ended(row.id)
    return stored


def _suspects(conn: Connection, batch_id: str, together: Sequence[Together]) -> str | None:
    """Return what the new batch is told of lines that were refused together, None where there are none."""
    rows = ((each, parts.get(conn, batch_id, each.part)) for each in together)
    found = [
        Suspects(each.first, each.last, row.slug, row.model, refusal.code)
        for each, row in rows
        if row is not None and (refusal := refusal_of(row)) is not None
    ]
    return msgspec.json.encode(found).decode() if found else None


async def _source(store: Store, original: BatchRow) -> FileRow:
    now = store.clock.now()
    found = await store.registry.read(files.visible, original.workspace, original.input_file_id, now)
    if found is None:
        raise _gone(f"The input file of this batch, {original.input_file_id}, was deleted or has expired")
    return found


def _gone(what: str) -> Conflict:
    return Conflict(
        f"{what}, so its failed lines cannot be copied. Upload them again and create a new batch.",
        code="input_file_gone",
    )


def retry_name(filename: str) -> str:
    """Return `x.retry.jsonl` for `x.jsonl`, and `x.retry2.jsonl` for that."""
    parts = _NAME.fullmatch(filename)
    assert parts is not None
    count, suffix = parts["count"], (parts["suffix"] or "")[:20]
    tail = f".retry{'' if count is None else int(count or 1) + 1}{suffix}"
    return parts["stem"][: NAME_CHARACTERS - len(tail)] + tail
