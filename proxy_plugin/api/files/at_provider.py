"""Files for other purposes than batches: kept by the provider that the caller names, owned by a row of ours.

An upload is spooled to a temp file first, since a form may name its purpose after the file; from there it goes to the
provider with its length, and nothing but the row stays. The row says who may see the file: its workspace, and there
the callers that may use its virtual key. Files that a caller's own key stored are their workspace's; for their bytes
and their end the key has to be brought again.

A lost reply is not looked up: a file has no field for a mark of ours, and another upload of the same name and size in
the provider's list may be somebody else's. The caller is told, and no client repeats the upload by itself.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from aiohttp import hdrs, web

from proxy_plugin.access import headers, one_account
from proxy_plugin.access.brought import KEY_HEADER, Brought
from proxy_plugin.access.forwarding import forwarded
from proxy_plugin.access.own_keys import OwnKeys
from proxy_plugin.api.files.content import disposition
from proxy_plugin.api.files.provider_answers import ProviderFailed, as_answer
from proxy_plugin.api.files.room import Store
from proxy_plugin.api.ids import could_be_ours
from proxy_plugin.config import OWN_KEY_PREFIX, Config, VirtualKey
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import BadRequest, Conflict
from proxy_plugin.ground.fingerprints import fingerprint
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Account, BatchProvider, Content, NewFile, ProviderError, StoredFile, StoresFiles
from proxy_plugin.providers.http import Http
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.tables import provider_files
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.provider_files import Place
from proxy_plugin.web.keys import CALLER, HEADERS

LOG = logging.getLogger("proxy_plugin.files")
PURPOSES = ("assistants", "evals", "fine-tune", "user_data", "vision")  # OpenAI's description, 2026-08-21, beside batch
LOST_UPLOAD = (
    "It may have stored the file, this gateway has not: look at the files of the account at the provider before you "
    "send it again."
)
LOST_CALL = "Ask again."
_PASSED_ON = ("Range", "If-Range")


class Upload(NamedTuple):
    """A spooled upload. `lifetime` is in seconds, None for the provider's default."""

    path: Path
    size: int
    sha256: str
    purpose: str
    filename: str
    lifetime: int | None


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts that a request can name or bring, and what calling a provider takes. `secret` hashes accounts."""

    config: Config
    own_keys: OwnKeys
    http: Http
    secret: bytes = field(repr=False)


class _Reach(NamedTuple):
    """A provider that stores files, and the account to use there."""

    stores: StoresFiles
    account: Account
    title: str


def precheck(request: web.Request, asked: headers.RequestHeaders, config: Config, purpose: str | None) -> None:
    """Refuse by the headers alone what would be refused after the upload. Raises GatewayError.

    Own keys are looked at later: that may take a name lookup. So are large configs, whose reading takes a thread.
    """
    if purpose not in PURPOSES or asked.has_large_config:
        return
    account = one_account.named(config, asked, request[CALLER])
    if account is None:
        raise _no_target(purpose)
    if isinstance(account, VirtualKey):
        _stores(account.provider, purpose)


async def store(request: web.Request, kept: Store, accounts: Accounts, upload: Upload) -> FileRow:
    """Give a spooled upload to the provider that the request names and return its row. Raises GatewayError."""
    key = await _target(request, accounts, upload.purpose)
    await asyncio.to_thread(_stores, key.provider, upload.purpose)  # the first use imports the provider
    reach = _reach(request, accounts, key)
    try:
        file = NewFile(upload.path, upload.filename, upload.purpose, upload.lifetime)
        stored = await reach.stores.store_file(reach.account, file)
    except ProviderError as error:
        logs.event(LOG, "provider_file_not_stored", level=logging.WARNING, error=error, virtual_key=key.slug)
        raise as_answer(error, reach.title, lost=LOST_UPLOAD) from error
    row = _row(request[CALLER].workspace, int(kept.clock.now()), upload, stored)
    row = await _keep(kept.registry, reach, key, row, stored)
    logs.event(LOG, "provider_file_stored", virtual_key=key.slug, bytes=row.bytes, kept_id=row.id == stored.id)
    return row


async def delete(request: web.Request, accounts: Accounts, where: Place) -> None:
    """Delete a file at its provider; one that is gone there is deleted. Raises GatewayError."""
    reach = await _reach_of(request, accounts, where)
    try:
        await reach.stores.delete_file(reach.account, where.provider_id)
    except ProviderError as error:
        raise as_answer(error, reach.title, lost=LOST_CALL) from error


async def content(request: web.Request, accounts: Accounts, row: FileRow, where: Place) -> web.StreamResponse:
    """Stream a file from its provider, with `Range` as the provider serves it. HEAD is answered from the row."""
    response = web.StreamResponse(
        headers={hdrs.CONTENT_DISPOSITION: disposition(row.filename), "X-Content-Type-Options": "nosniff"}
    )
    response.content_type = "application/octet-stream"
    if request.method == hdrs.METH_HEAD:
        response.content_length = row.bytes
        await response.prepare(request)
        return response
    reach = await _reach_of(request, accounts, where)
    asked = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    try:
        async with reach.stores.read_file(reach.account, where.provider_id, asked) as found:
            response.set_status(found.status)
            response.headers.update(found.headers)
            taken = await _copy(request, response, found, row.bytes)
    except ProviderError as error:
        raise as_answer(error, reach.title, lost=LOST_CALL) from error
    if not taken:
        raise ConnectionResetError("the client has gone")
    return response


# ---- on the way in ----


def _no_target(purpose: str) -> BadRequest:
    return BadRequest(
        f"A file with the purpose '{purpose}' is kept by a provider: send '{headers.PROVIDER}: @slug' or "
        f"'{headers.VIRTUAL_KEY}: slug', or '{headers.PROVIDER}: NAME' with the provider's own key in Authorization. "
        "Only files with the purpose 'batch' are stored by this gateway itself.",
        param=headers.PROVIDER,
    )


async def _target(request: web.Request, accounts: Accounts, purpose: str) -> VirtualKey:
    account = await _chosen(request, accounts)
    if account is None:
        raise _no_target(purpose)
    return account.account if isinstance(account, Brought) else account


def _stores(provider: str, purpose: str) -> None:
    """Raise BadRequest unless the provider keeps files of this purpose."""
    adapter = catalog.load(provider)
    offered = adapter.file_purposes if isinstance(adapter, StoresFiles) else frozenset()
    if purpose not in offered:
        known = ", ".join(f"'{each}'" for each in ("batch", *sorted(offered)))
        title = adapter.capabilities.title
        raise BadRequest(
            f"{title} keeps no files with the purpose '{purpose}' here; with it there are: {known}.",
            param="purpose",
            code="purpose_not_offered",
        )


def _row(workspace: str, now: int, upload: Upload, stored: StoredFile) -> FileRow:
    return FileRow(
        id=stored.id if could_be_ours(stored.id) else _own_id(),
        workspace=workspace,
        purpose=upload.purpose,
        filename=upload.filename,
        bytes=upload.size if stored.bytes is None else stored.bytes,
        sha256=upload.sha256,
        created_at=now if stored.created_at is None else stored.created_at,
        expires_at=stored.expires_at,
        state="processed",
        removed_at=now,
    )


def _own_id() -> str:
    return f"file-{secrets.token_hex(12)}"


async def _keep(registry: Registry, reach: _Reach, key: VirtualKey, row: FileRow, stored: StoredFile) -> FileRow:
    """Insert the row. If that fails nobody could ever reach the file, so it is taken back."""
    where = Place(slug=key.slug, provider=key.provider, provider_id=stored.id)
    try:
        return await registry.write(provider_files.insert, row, where, spare_id=_own_id())
    except Exception:
        with suppress(ProviderError):
            await reach.stores.delete_file(reach.account, stored.id)
        raise


# ---- the account ----


async def _chosen(request: web.Request, accounts: Accounts) -> VirtualKey | Brought | None:
    asked, caller = request[HEADERS], request[CALLER]
    return await one_account.chosen(accounts.config, accounts.own_keys, asked, caller, request.headers)


def _reach(request: web.Request, accounts: Accounts, key: VirtualKey) -> _Reach:
    adapter: BatchProvider = catalog.load(key.provider)
    assert isinstance(adapter, StoresFiles)
    known_as = fingerprint(accounts.secret, adapter.account_key(key.credentials))
    http = accounts.http.carrying(forwarded(request.headers))
    account = Account(key.slug, key.credentials, http, known_as)
    return _Reach(adapter, account, adapter.capabilities.title)


async def _reach_of(request: web.Request, accounts: Accounts, where: Place) -> _Reach:
    """Return the account that has a file. Raises Conflict if the gateway has it no more, BadRequest for own keys."""
    if where.slug.startswith(OWN_KEY_PREFIX):
        return _reach(request, accounts, await _brought(request, accounts, where))
    key = accounts.config.virtual_keys.get(where.slug)
    if key is None or key.provider != where.provider:
        raise Conflict(f"The virtual key {where.slug}, which stored this file, is not configured any more.")
    return _reach(request, accounts, key)


async def _brought(request: web.Request, accounts: Accounts, where: Place) -> VirtualKey:
    found = await _chosen(request, accounts)
    if not isinstance(found, Brought):
        raise BadRequest(
            f"A provider key of your own stored this file. Send '{headers.PROVIDER}: {where.provider}' and that key in "
            "Authorization again, with the other credential headers of the upload.",
            param=KEY_HEADER,
            code="provider_key_missing",
        )
    key = found.account
    if key.slug != where.slug:
        raise BadRequest(
            "Another provider key, or the same one for another host, stored this file; send that one.",
            param=KEY_HEADER,
            code="provider_key_mismatch",
        )
    return key


# ---- on the way out ----


async def _copy(request: web.Request, response: web.StreamResponse, found: Content, size: int) -> bool:
    """Write the answer as it comes; tell whether the client took it all. Raises what reading raises, ProviderFailed.

    What breaks on the client's side must not look like the provider's failure, so it does not leave as an error.
    """
    if not await _sent(response.prepare(request)):
        return False
    total = 0
    async for chunk in found.chunks:
        total += len(chunk)
        if not await _sent(response.write(chunk)):
            return False
    if found.status == 200 and total < size:  # an answer without a length may end early without a sign
        raise ProviderFailed("The provider's answer ended early.")
    return await _sent(response.write_eof())


async def _sent(step: Awaitable[object]) -> bool:
    try:
        await step
    except ConnectionError:
        return False
    return True
