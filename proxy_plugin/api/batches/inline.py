"""`POST /batches` with `requests` instead of `input_file_id`: they are kept as a file, and the batch is one of that.

The body is spooled to disk like an upload and counts as one; a worker takes it apart and writes the lines. File and
batch become rows in one transaction, as for a retry. What is wrong with a request is a 400 that names it, and nothing
is kept then.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from aiohttp import web

from proxy_plugin.access.resolve import Resolved
from proxy_plugin.api.batches.create import conclude, create_of, new_row, resolved_route
from proxy_plugin.api.batches.keeping import Made, file_row, keep, told
from proxy_plugin.api.batches.wanted import Wanted, endpoint_in, wanted_in
from proxy_plugin.api.files.routes import store_of
from proxy_plugin.api.files.spool import Bound, Spool, spooling
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import failpoints, sentences
from proxy_plugin.ground.durable import FileFacts
from proxy_plugin.ground.errors import BadRequest, TooLarge, Unavailable
from proxy_plugin.ground.workers import OutOfBudget
from proxy_plugin.lines.sources import inline
from proxy_plugin.lines.sources.inline import REQUESTS, InlineJob, Written, Wrong
from proxy_plugin.providers import catalog
from proxy_plugin.routing.endpoints import ENDPOINTS, NATIVE, is_mixed, served
from proxy_plugin.routing.route import Route, decode_route
from proxy_plugin.storage.room import Claim
from proxy_plugin.storage.space import to_the_end
from proxy_plugin.storage.tables import batches
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.web.keys import CALLER, HEADERS
from proxy_plugin.web.request_body import MAX_BODY, TOO_LARGE, Incoming, begin, parsed

P = ParamSpec("P")
T = TypeVar("T")
FILENAME = "requests.jsonl"
FILE = "input_file_id"


class Sent(NamedTuple):
    """An inline create that has come: its members without the requests, and where its body is."""

    members: dict[str, Any]
    spool: Spool


class Inline(NamedTuple):
    """An inline create whose requests are lines of a file that is nobody's yet: it goes with the stack it came with.

    In `wanted` a name of what is in the file stands for the file, by which a repetition is known.
    """

    resolved: Resolved
    wanted: Wanted
    file: FileFacts
    temp: Path


async def precheck(request: web.Request) -> None:
    """Refuse what the headers of a create alone show to be too long. Raises TooLarge."""
    _bound(request).check(request.content_length or 0)


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /batches`: a batch of an uploaded file, or of the requests that come with the create."""
    async with AsyncExitStack() as stack:
        found = await sent(request, stack)
        if isinstance(found, dict):
            return await create_of(request, found)
        made = await written(request, found, stack)
        row = new_row(request, made.wanted, made.resolved)
        kept = Made(file_row(row.workspace, FILENAME, made.file, row.created_at), made.temp, "requests came inline")
        return await conclude(request, row, made.resolved, _store, request, row, kept, stack)


async def sent(request: web.Request, stack: AsyncExitStack) -> dict[str, Any] | Sent:
    """Read the body of a create: an inline one, or the members of one without requests. Raises GatewayError."""
    await precheck(request)
    incoming = await begin(request)
    if incoming.more is None and f'"{REQUESTS}"'.encode() not in incoming.begun:
        body = parsed(incoming.begun)
        if body.get(REQUESTS) is None:  # a name may be spelled with escapes
            return body
    return await _spooled(request, incoming, stack)


async def _spooled(request: web.Request, incoming: Incoming, stack: AsyncExitStack) -> dict[str, Any] | Sent:
    """Return an inline create, or the body of one that turns out to have no requests. Raises GatewayError."""
    gateway, workspace = request.app[GATEWAY], request[CALLER].workspace
    spool = await stack.enter_async_context(
        spooling(store_of(gateway), workspace, _bound(request), len(incoming.begun))
    )
    await spool.add(memoryview(incoming.begun))
    while incoming.more is not None and (chunk := await incoming.more()):
        await spool.add(chunk)
    await spool.flush()
    failpoints.passing("inline.spooled")
    found = await _worked(gateway, workspace, spool, inline.others, str(spool.path))
    if found.problem is not None:
        raise BadRequest(found.problem)
    if len(found.text) > MAX_BODY:
        raise TooLarge(f"{TOO_LARGE[:-1]} beside its '{REQUESTS}'." if found.has_requests else TOO_LARGE)
    members = parsed(found.text)
    return Sent(members, spool) if found.has_requests else members


def _bound(request: web.Request) -> Bound:
    most = request.app[GATEWAY].config.limits.max_inline_bytes
    message = (
        f"A create may have at most {most} bytes with its '{REQUESTS}'. Upload them as a file (POST /files, purpose "
        f"'batch') and send its id as '{FILE}'."
    )
    return Bound(most, message, REQUESTS)


async def written(request: web.Request, sent: Sent, stack: AsyncExitStack) -> Inline:
    """Write the requests of an inline create as lines. Raises GatewayError."""
    if sent.members.get(FILE) is not None:
        raise BadRequest(f"'{FILE}' and '{REQUESTS}' do not go together; send one of them.", param=FILE)
    resolved = await resolved_route(request, sent.members)
    gateway, workspace = request.app[GATEWAY], request[CALLER].workspace
    claim, temp = stack.enter_context(Claim(gateway.room, workspace)), gateway.blobs.temp_path()
    stack.push_async_callback(gateway.blobs.write, temp.unlink, missing_ok=True)
    await claim.cover(sent.spool.size)
    job = _job(gateway, sent, decode_route(resolved.route), str(temp))
    found = await _worked(gateway, workspace, sent.spool, inline.write, job)
    if isinstance(found, Wrong):
        raise BadRequest(found.message, param=found.param, code=found.code)
    await claim.cover(found.file.bytes)  # what elements leave out makes lines longer
    claim.wrote(found.file.bytes)
    named = {FILE: f"{REQUESTS} {found.file.sha256}", "endpoint": _endpoint(sent.members, found)}
    return Inline(resolved, wanted_in(sent.members | named), found.file, temp)


def _job(gateway: Gateway, sent: Sent, route: Route, path: str) -> InlineJob:
    limits, given, known = gateway.config.limits, sent.members.get("endpoint"), _known(route)
    endpoint = None if given is None else endpoint_in(sent.members)
    return InlineJob(
        source=str(sent.spool.path),
        path=path,
        url=_url(known, endpoint),
        urls=None if endpoint is None else served(endpoint),
        native=_native(route),
        known=known,
        model=_model(route),
        max_line_bytes=limits.max_line_bytes,
        max_lines=limits.max_lines,
    )


def _url(known: tuple[str, ...], endpoint: str | None) -> str | None:
    """Return the url of requests that name none: that of the create, or else the only one that the lanes run."""
    if endpoint is not None and not is_mixed(endpoint):
        return endpoint
    return known[0] if len(known) == 1 else None


def _native(route: Route) -> dict[str, str]:
    """Return the urls of bodies in the own shapes of the route's lanes, by the members that hold one inline."""
    found = {url for name in route.providers for url in catalog.load(name).capabilities.native}
    return {NATIVE[url]: url for url in found}


def _known(route: Route) -> tuple[str, ...]:
    """Return the urls that some lane of the route runs."""
    found = {url for name in route.providers for url in catalog.load(name).capabilities.endpoints}
    return tuple(url for url in ENDPOINTS if url in found)


def _model(route: Route) -> str | None:
    """Return the model that all lines get, None where they have their own."""
    found = {target.model for target in route.targets}
    return found.pop() if len(found) == 1 else None


def _endpoint(members: dict[str, Any], written: Written) -> object:
    """Return the `endpoint` that was sent, or else the one url of all requests. Raises BadRequest."""
    if members.get("endpoint") is not None:
        return members["endpoint"]
    if len(written.urls) > 1:
        raise sentences.missing("endpoint").refusal("The requests have several urls: send a list of them, or 'auto'.")
    [url] = written.urls
    if url not in ENDPOINTS:
        raise sentences.wrong_value(f"{REQUESTS}[0].url", url, ENDPOINTS).refusal()
    return url


async def _store(request: web.Request, row: BatchRow, made: Made, stack: AsyncExitStack) -> BatchRow:
    gateway, is_retry = request.app[GATEWAY], request[HEADERS].retry_count > 0
    async with stack.pop_all():  # from here on the file is ours, whatever becomes of the request
        with told():
            earlier = await gateway.registry.read(batches.earlier, row, is_retry=is_retry)
            if earlier is not None:
                return earlier
            return await to_the_end(keep(store_of(gateway), made, row, is_retry=is_retry, place="inline"))


async def _worked(
    gateway: Gateway, workspace: str, spool: Spool, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    try:
        return await gateway.workers.run(gateway.terms(workspace, spool.size), function, *args, **kwargs)
    except OutOfBudget:
        raise Unavailable(f"The '{REQUESTS}' could not be read in time; send them again later.") from None
