"""Bring your own key: a batch on a provider account that only its caller knows.

The registry keeps the provider's name, the fields that are no secret, and a keyed hash of everything the caller sent.
The secrets themselves are in the vault. After a restart they are gone unless they were sealed; the next request for the
batch that carries the same ones gives them back.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from multidict import MultiMapping
from pydantic import ValidationError

from proxy_plugin import hosts, logs
from proxy_plugin.access.callers import API_KEY, Caller, provider_key
from proxy_plugin.access.headers import CONFIG, PREFIX, PROVIDER
from proxy_plugin.config import OWN_KEY_PREFIX, VirtualKey
from proxy_plugin.errors import BadRequest, GatewayError
from proxy_plugin.gateway import Gateway
from proxy_plugin.masking import Masker, keyed_hash, secrets_in
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider, Credentials
from proxy_plugin.routing.config_tree import OwnAccount
from proxy_plugin.routing.portkey_config import read_header
from proxy_plugin.routing.route import Own, StoredTarget, own_target
from proxy_plugin.storage import states
from proxy_plugin.storage.errors import RegistryFull
from proxy_plugin.storage.tables import batches
from proxy_plugin.storage.tables.batches import BatchRow

LOG = logging.getLogger("proxy_plugin.batches")
KEY_FIELD = "api_key"  # the one field that is not read from a header of its own name
KEY_HEADER = "Authorization"
NEEDED = (
    "The gateway was restarted and no longer has the provider key of this batch. Retrieve the batch once with the "
    f"same key, `{KEY_HEADER}: Bearer KEY` and the other credential headers of its create, and it goes on."
)


class Brought(NamedTuple):
    """Credentials that came with a request. `account` is the target to store; only `own` may be written down."""

    account: VirtualKey
    own: Own
    secrets: Mapping[str, str]

    def __repr__(self) -> str:
        """Show the account alone."""
        return f"Brought({self.account.slug})"


@dataclass(frozen=True, slots=True)
class _Source:
    """Where credentials were sent, in the words of a refusal: in headers, or at a path of a config."""

    caller: Caller
    path: str | None = None

    def name(self, field: str) -> str:
        if self.path is None:
            return _header(field)
        return f"{CONFIG}: {self.path}.{field}" if self.path else f"{CONFIG}: {field}"

    def param(self, field: str | None) -> str:
        if self.path is not None:
            return CONFIG
        return PROVIDER if field is None else _header(field)

    def no_key(self) -> BadRequest:
        """Say what is missing, also when what is there is a key of this gateway or a client's placeholder."""
        if self.path is not None:
            message = (
                f"{self.name(KEY_FIELD)} is missing: a target with a plain provider needs the provider's own key. To"
                " use a virtual key write `virtual_key: slug` or `provider: @slug`."
            )
            return BadRequest(message, param=CONFIG, code="provider_key_missing")
        held = "authorization" in self.caller.private_headers
        not_it = f" What {KEY_HEADER} holds is not one: it names the caller, or is a placeholder." if held else ""
        return BadRequest(
            f"`{PROVIDER}: NAME` needs the provider's own key as `{KEY_HEADER}: Bearer KEY`, beside the key of this "
            f"gateway in `{API_KEY}`.{not_it} To use a virtual key send `{PROVIDER}: @slug`.",
            param=KEY_HEADER,
            code="provider_key_missing",
        )


async def choose(gateway: Gateway, sent: MultiMapping[str], provider: str, caller: Caller) -> Brought:
    """Return the provider account that a create's headers describe.

    Raises BadRequest that names the header at fault, never its value.
    """
    name, source = catalog.canonical(provider), _Source(caller)
    adapter = await _adapter(name, source)
    return await _brought(gateway, name, adapter, _texts(adapter, sent, caller), source)


async def choose_in_config(gateway: Gateway, account: OwnAccount, caller: Caller) -> Brought:
    """Return the provider account that a target of a config describes.

    Raises BadRequest that names the path at fault, never its value.
    """
    name, source = catalog.canonical(account.provider), _Source(caller, account.path)
    adapter = await _adapter(name, source)
    texts = _config_texts(adapter, account)
    for field, text in texts.items():
        _check_printable(text, field, source)
    return await _brought(gateway, name, adapter, texts, source)


def _config_texts(adapter: BatchProvider, account: OwnAccount) -> dict[str, str]:
    return {field: account.fields[field] for field in adapter.credentials.model_fields if field in account.fields}


async def _brought(
    gateway: Gateway, name: str, adapter: BatchProvider, texts: dict[str, str], source: _Source
) -> Brought:
    for field, text in texts.items():
        if field == "custom_host" or field.endswith("_url"):  # all of these say where a credential is sent
            await hosts.check(text, gateway.config.server.custom_hosts, param=source.param(field))
        if field.endswith("_json") and not text.startswith("{"):
            raise BadRequest(f"{source.name(field)} must hold the JSON text itself.", param=source.param(field))
    credentials = _validated(adapter, texts, source)
    secrets = {field: text for field, text in texts.items() if _is_secret(credentials, field)}
    if not secrets:  # never the identity of the machine that the gateway runs on
        raise source.no_key()
    slug = OWN_KEY_PREFIX + gateway.fingerprint(adapter.account_key(credentials))[:12]
    fields = {field: text for field, text in texts.items() if field not in secrets}
    own = Own(fields, tuple(sorted(secrets)), _hash(gateway, name, texts))
    return Brought(VirtualKey(slug=slug, provider=name, credentials=credentials), own, secrets)


async def _adapter(name: str, source: _Source) -> BatchProvider:
    try:
        return await asyncio.to_thread(catalog.load, name)  # the first use imports it
    except (catalog.UnknownProvider, ImportError, AttributeError):
        known = ", ".join(catalog.names())
        where = PROVIDER if source.path is None else source.name("provider")
        raise BadRequest(
            f"{where} names no provider that is served. Known: {known}; virtual keys are `@slug`.",
            param=source.param(None),
        ) from None


def _texts(adapter: BatchProvider, sent: MultiMapping[str], caller: Caller) -> dict[str, str]:
    """Return {credential field: text} of all headers that the adapter's model knows."""
    texts: dict[str, str] = {}
    for field in adapter.credentials.model_fields:
        values = {value.strip() for value in sent.getall(_header(field), [])} - {""}
        if field == KEY_FIELD:
            key = provider_key(sent, caller.private_headers)
            values = set() if key is None else {key}
        if len(values) > 1:
            raise BadRequest(f"{_header(field)} was sent with more than one value.", param=_header(field))
        for text in values:
            _check_printable(text, field, _Source(caller))
            texts[field] = text
    return texts


def _check_printable(text: str, field: str, source: _Source) -> None:
    if not text.isprintable():  # also bytes that are no UTF-8, which reach us as lone surrogates
        raise BadRequest(f"{source.name(field)} must be printable text.", param=source.param(field))


def _header(field: str) -> str:
    return KEY_HEADER if field == KEY_FIELD else PREFIX + field.replace("_", "-")


def _validated(adapter: BatchProvider, texts: Mapping[str, str], source: _Source) -> Credentials:
    try:
        return adapter.credentials.model_validate(texts)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
    fault = faults[0]
    field = str(fault["loc"][0]) if fault["loc"] else None
    if field == KEY_FIELD and fault["type"] == "missing":
        raise source.no_key()
    name, param = source.name(field or ""), source.param(field)
    if fault["type"] == "missing":
        raise BadRequest(f"{name} is missing: {adapter.capabilities.title} needs it.", param=param)
    reason = Masker(texts.values()).mask(fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, "))
    about = name if field is not None else f"The credentials for {adapter.capabilities.title}"
    raise BadRequest(f"{about}: {reason}.", param=param)


def _is_secret(credentials: Credentials, field: str) -> bool:
    return any(True for _ in secrets_in(getattr(credentials, field), field))


def _hash(gateway: Gateway, provider: str, texts: Mapping[str, str]) -> str:
    sent = msgspec.json.encode([provider, sorted(texts.items())]).decode()
    return keyed_hash(gateway.secret, f"credentials\0{sent}")


async def storing(gateway: Gateway, row: BatchRow, brought: Brought | None, store: Awaitable[BatchRow]) -> BatchRow:
    """Await the insert of a batch with its credentials at hand from the first moment; not at all if it fails.

    A create that repeats an earlier one gives the earlier batch its key.
    """
    if brought is None:
        return await store
    stored = None
    gateway.vault.put(row.id, brought.account.credentials)
    try:
        stored = await store
    finally:
        if stored is None or stored.id != row.id:
            gateway.vault.forget(row.id)
    if needed(gateway, stored):
        await _arm(gateway, stored, brought.account.credentials, brought.secrets)
    return stored


def stored_target(row: BatchRow) -> StoredTarget | None:
    """Return the target whose credentials the caller brought, None for a batch on virtual keys alone."""
    return own_target(row.route)


def credentials(gateway: Gateway, row: BatchRow) -> Credentials | None:
    """Return the credentials of a batch whose caller brought them; None until they are brought again."""
    held = gateway.vault.get(row.id)
    if held is not None or row.sealed is None:
        return held
    target, secrets = stored_target(row), gateway.vault.unseal(row.id, row.sealed)
    found = None if target is None or secrets is None else _same(gateway, target, secrets)
    if found is not None:
        gateway.vault.put(row.id, found)
    return found


def _same(gateway: Gateway, target: StoredTarget, secrets: Mapping[str, str]) -> Credentials | None:
    """Return the credentials if these secrets are the ones that the batch was created with."""
    assert isinstance(target.byok, Own)
    texts = {**target.byok.fields, **secrets}
    if not hmac.compare_digest(_hash(gateway, target.provider, texts), target.byok.key):
        return None
    try:
        return catalog.load(target.provider).credentials.model_validate(texts)
    except (catalog.UnknownProvider, ImportError, AttributeError, ValidationError):
        return None  # another version of the gateway


def needed(gateway: Gateway, row: BatchRow) -> bool:
    """Tell whether the batch waits for its caller's key."""
    if row.state in states.BATCH_ENDS or row.state == "merging" or gateway.vault.get(row.id) is not None:
        return False
    return stored_target(row) is not None and credentials(gateway, row) is None


async def offered(gateway: Gateway, sent: MultiMapping[str], caller: Caller, row: BatchRow) -> None:
    """Take the credentials of a request for a batch that waits for them. Others than its own change nothing."""
    if row.state in states.BATCH_ENDS:
        gateway.vault.forget(row.id)
    if not needed(gateway, row):
        return
    target = stored_target(row)
    assert target is not None
    assert isinstance(target.byok, Own)
    for texts in _offers(gateway, target, sent, caller):
        secrets = {field: texts[field] for field in target.byok.secrets if field in texts}
        found = _same(gateway, target, secrets)
        if found is not None:
            await _arm(gateway, row, found, secrets)
            return


def _offers(
    gateway: Gateway, target: StoredTarget, sent: MultiMapping[str], caller: Caller
) -> Iterator[dict[str, str]]:
    """Yield the credentials that a request carries: in headers of their own, and in its config."""
    try:
        adapter = catalog.load(target.provider)
    except (catalog.UnknownProvider, ImportError, AttributeError):
        return
    with suppress(GatewayError):
        yield _texts(adapter, sent, caller)
    text = sent.get(CONFIG)
    if not text:
        return
    with suppress(GatewayError):
        for node in read_header(text, gateway.config.configs, CONFIG).targets():
            account = node.settings.account
            if isinstance(account, OwnAccount):
                yield _config_texts(adapter, account)


async def _arm(gateway: Gateway, row: BatchRow, found: Credentials, secrets: Mapping[str, str]) -> None:
    gateway.vault.put(row.id, found)
    sealed = gateway.vault.seal(row.id, secrets)
    try:
        await gateway.registry.write(lambda conn: batches.armed(conn, row.id, sealed, gateway.clock.now()))
    except RegistryFull as error:  # armed all the same; its parts look again within minutes
        logs.event(LOG, "wake_not_stored", level=logging.WARNING, error=error)
    logs.event(LOG, "credentials_given_again", batch=row.id)
    gateway.engine.wake()


async def forget_ended(gateway: Gateway) -> None:
    """Let go of the credentials of batches that have ended."""
    held = gateway.vault.held()
    ended = await gateway.registry.scan(lambda conn: batches.ended(conn, held)) if held else ()
    for batch_id in ended:
        gateway.vault.forget(batch_id)
