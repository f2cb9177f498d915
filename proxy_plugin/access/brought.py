"""Credentials that come with a request: found in its headers or its config, checked, and never shown in a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from multidict import MultiMapping
from pydantic import ValidationError

from proxy_plugin.access.callers import API_KEY, Caller, provider_key
from proxy_plugin.access.headers import CONFIG, PREFIX, PROVIDER
from proxy_plugin.config import OWN_KEY_PREFIX, VirtualKey
from proxy_plugin.ground import hosts
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.ground.fingerprints import fingerprint, keyed_hash
from proxy_plugin.ground.masking import Masker, secrets_in
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider, Credentials
from proxy_plugin.routing.config_tree import OwnAccount
from proxy_plugin.routing.route import Own

KEY_FIELD = "api_key"  # the one field that is not read from a header of its own name
KEY_HEADER = "Authorization"


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
                " use a virtual key write 'virtual_key: slug' or 'provider: @slug'."
            )
            return BadRequest(message, param=CONFIG, code="provider_key_missing")
        held = "authorization" in self.caller.private_headers
        not_it = f" What {KEY_HEADER} holds is not one: it names the caller, or is a placeholder." if held else ""
        return BadRequest(
            f"'{PROVIDER}: NAME' needs the provider's own key as '{KEY_HEADER}: Bearer KEY', beside the key of this "
            f"gateway in '{API_KEY}'.{not_it} To use a virtual key send '{PROVIDER}: @slug'.",
            param=KEY_HEADER,
            code="provider_key_missing",
        )


async def by_headers(
    sent: MultiMapping[str], provider: str, caller: Caller, *, custom_hosts: Sequence[str], secret: bytes
) -> Brought:
    """Return the provider account that a create's headers describe. `custom_hosts` are the operator's entries.

    Raises BadRequest that names the header at fault, never its value.
    """
    name, source = catalog.canonical(provider), _Source(caller)
    adapter = await _adapter(name, source)
    texts = in_headers(adapter, sent, caller)
    await _check_places(texts, custom_hosts, source)
    return _brought(name, adapter, texts, source, secret)


async def by_config(account: OwnAccount, caller: Caller, *, custom_hosts: Sequence[str], secret: bytes) -> Brought:
    """Return the provider account that a target of a config describes.

    Raises BadRequest that names the path at fault, never its value.
    """
    name, source = catalog.canonical(account.provider), _Source(caller, account.path)
    adapter = await _adapter(name, source)
    texts = in_config(adapter, account)
    for field, text in texts.items():
        _check_printable(text, field, source)
    await _check_places(texts, custom_hosts, source)
    return _brought(name, adapter, texts, source, secret)


def _brought(name: str, adapter: BatchProvider, texts: dict[str, str], source: _Source, secret: bytes) -> Brought:
    if lent := next((field for field in texts if field in adapter.credentials.operators), None):
        raise _not_theirs(adapter, source, lent)
    credentials = _validated(adapter, texts, source)
    secrets = {field: text for field, text in texts.items() if _is_secret(credentials, field)}
    if not secrets:  # never the identity of the machine that the gateway runs on
        raise source.no_key()
    if (setting := credentials.borrowed()) is not None:
        raise _not_theirs(adapter, source, setting)
    slug = OWN_KEY_PREFIX + fingerprint(secret, adapter.account_key(credentials))[:12]
    fields = {field: text for field, text in texts.items() if field not in secrets}
    own = Own(fields, tuple(sorted(secrets)), credentials_hash(secret, name, texts))
    return Brought(VirtualKey(slug=slug, provider=name, credentials=credentials), own, secrets)


def _not_theirs(adapter: BatchProvider, source: _Source, setting: str) -> BadRequest:
    name, title = source.name(setting), adapter.capabilities.title
    message = f"{name}: callers bring keys of their own for {title}; what acts as this machine, or leads to its files"
    return BadRequest(f"{message} and hosts, is for virtual keys of the operator.", param=source.param(setting))


def credentials_hash(secret: bytes, provider: str, texts: Mapping[str, str]) -> str:
    """Return what later credentials are compared with: a keyed hash of all {credential field: text}."""
    sent = msgspec.json.encode([provider, sorted(texts.items())]).decode()
    return keyed_hash(secret, f"credentials\0{sent}")


async def _adapter(name: str, source: _Source) -> BatchProvider:
    try:
        return await asyncio.to_thread(catalog.load, name)  # the first use imports it
    except (catalog.UnknownProvider, ImportError, AttributeError):
        known = ", ".join(catalog.names())
        where = PROVIDER if source.path is None else source.name("provider")
        advice = catalog.advice(name, _header("custom_host") if source.path is None else "custom_host")
        raise BadRequest(
            f"{where} names no provider that is served. Known: {known}; virtual keys are '@slug'.{advice}",
            param=source.param(None),
        ) from None


def in_headers(adapter: BatchProvider, sent: MultiMapping[str], caller: Caller) -> dict[str, str]:
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


def in_config(adapter: BatchProvider, account: OwnAccount) -> dict[str, str]:
    """Return {credential field: text} of a target's fields that the adapter's model knows."""
    return {field: account.fields[field] for field in adapter.credentials.model_fields if field in account.fields}


async def _check_places(texts: Mapping[str, str], custom_hosts: Sequence[str], source: _Source) -> None:
    for field, text in texts.items():
        if field == "custom_host" or field.endswith("_url"):  # all of these say where a credential is sent
            await hosts.check(text, custom_hosts, param=source.param(field))
        if field.endswith("_json") and not text.startswith("{"):
            raise BadRequest(f"{source.name(field)} must hold the JSON text itself.", param=source.param(field))


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


def _header(field: str) -> str:
    return KEY_HEADER if field == KEY_FIELD else PREFIX + field.replace("_", "-")


def _check_printable(text: str, field: str, source: _Source) -> None:
    if not text.isprintable():  # also bytes that are no UTF-8, which reach us as lone surrogates
        raise BadRequest(f"{source.name(field)} must be printable text.", param=source.param(field))
