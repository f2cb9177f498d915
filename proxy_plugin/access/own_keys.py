"""Bring your own key: a batch on a provider account that only its caller knows.

The registry keeps the provider's name, the fields that are no secret, and a keyed hash of everything the caller sent.
The secrets themselves are in the vault. After a restart they are gone unless they were sealed; the next request for the
batch that carries the same ones gives them back.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress

from multidict import MultiMapping
from pydantic import ValidationError

from proxy_plugin.access.brought import (
    KEY_HEADER,
    Brought,
    by_config,
    by_headers,
    credentials_hash,
    in_config,
    in_headers,
)
from proxy_plugin.access.callers import Caller
from proxy_plugin.access.headers import CONFIG, config_node
from proxy_plugin.access.vault import Vault
from proxy_plugin.config import Config
from proxy_plugin.ground import logs
from proxy_plugin.ground.clock import Clock
from proxy_plugin.ground.errors import Forbidden, GatewayError
from proxy_plugin.ground.fingerprints import keyed_hash
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Credentials
from proxy_plugin.routing.config_tree import OwnAccount
from proxy_plugin.routing.route import Own, StoredTarget, own_target
from proxy_plugin.storage import states
from proxy_plugin.storage.errors import RegistryFull
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.tables import batches, clearings
from proxy_plugin.storage.tables.batches import BatchRow

LOG = logging.getLogger("proxy_plugin.batches")
NEEDED = (
    "The gateway was restarted and no longer has the provider key of this batch. Retrieve the batch once with the "
    f"same key, '{KEY_HEADER}: Bearer KEY' and the other credential headers of its create, and it goes on."
)
UNSHARED = (
    "This gateway is one of several, and a provider key that you bring must reach all of them: its operator has to set "
    "'secrets.seal_key'. Nothing was stored. Batches on virtual keys run."
)


class OwnKeys:
    """The provider keys that callers of one gateway brought. `wake` tells the engine of a key that has come."""

    def __init__(
        self, config: Config, vault: Vault, registry: Registry, secret: bytes, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._config, self._vault, self._registry = config, vault, registry
        self._secret, self._clock, self._wake = secret, clock, wake

    def learn(self, config: Config) -> None:
        """Go on with another configuration."""
        self._config = config

    async def choose(self, sent: MultiMapping[str], provider: str, caller: Caller) -> Brought:
        """Return the provider account that a create's headers describe. Raises BadRequest."""
        hosts = self._config.server.custom_hosts
        return await by_headers(sent, provider, caller, custom_hosts=hosts, secret=self._secret)

    async def choose_in_config(self, account: OwnAccount, caller: Caller) -> Brought:
        """Return the provider account that a target of a config describes. Raises BadRequest."""
        hosts = self._config.server.custom_hosts
        return await by_config(account, caller, custom_hosts=hosts, secret=self._secret)

    def hashed(self, sent: str) -> str:
        """Return a keyed hash of what a request sent and may not be stored, as it may hold keys."""
        return keyed_hash(self._secret, sent)

    async def storing(self, row: BatchRow, brought: Brought | None, store: Awaitable[BatchRow]) -> BatchRow:
        """Await the insert of a batch with its credentials at hand from the first moment; not at all if it fails.

        A create that repeats an earlier one gives the earlier batch its key.
        """
        if brought is None:
            return await store
        stored = None
        self._vault.put(row.id, brought.account.credentials)
        try:
            stored = await store
        finally:
            if stored is None or stored.id != row.id:
                self._vault.forget(row.id)
        if self.needed(stored):
            await self._arm(stored, brought.account.credentials, brought.secrets)
        return stored

    def sealed(self, batch_id: str, brought: Brought | None) -> str | None:
        """Return what the row of a batch keeps of its caller's secrets, None for none and where sealing is off.

        Raises Forbidden where replicas, of which any may take a step of the batch, could not read them.
        """
        if brought is None:
            return None
        if self._config.storage.shared and self._config.secrets.seal_key is None:
            raise Forbidden(UNSHARED, code="own_key_not_shared")
        return self._vault.seal(batch_id, brought.secrets)

    def credentials(self, row: BatchRow) -> Credentials | None:
        """Return the credentials of a batch whose caller brought them; None until they are brought again."""
        held = self._vault.get(row.id)
        if held is not None or row.sealed is None:
            return held
        target, secrets = stored_target(row), self._vault.unseal(row.id, row.sealed)
        found = None if target is None or secrets is None else self._same(target, secrets)
        if found is not None:
            self._vault.put(row.id, found)
        return found

    def needed(self, row: BatchRow) -> bool:
        """Tell whether the batch waits for its caller's key."""
        if row.state in states.BATCH_ENDS or row.state == "merging" or self._vault.get(row.id) is not None:
            return False
        return stored_target(row) is not None and self.credentials(row) is None

    async def offered(self, sent: MultiMapping[str], caller: Caller, row: BatchRow) -> None:
        """Take the credentials of a request for a batch that waits for them. Others than its own change nothing."""
        if not await self._wanted(row):
            return
        target = stored_target(row)
        assert target is not None
        assert isinstance(target.byok, Own)
        async for texts in self._offers(target, sent, caller):
            secrets = {field: texts[field] for field in target.byok.secrets if field in texts}
            found = self._same(target, secrets)
            if found is not None:
                await self._arm(row, found, secrets)
                return

    async def _wanted(self, row: BatchRow) -> bool:
        """Tell whether a batch waits for its caller's key. One that has ended may need it to clear up."""
        if row.state not in states.BATCH_ENDS:
            return self.needed(row)
        needed = frozenset() if stored_target(row) is None else await self._registry.read(clearings.pending, [row.id])
        if needed:
            return self._vault.get(row.id) is None
        self._vault.forget(row.id)
        return False

    async def forget_ended(self) -> None:
        """Let go of the credentials of batches that have ended and have left nothing to be cleared."""
        held = self._vault.held()
        if not held:
            return
        ended = await self._registry.scan(batches.ended, held)
        for batch_id in set(ended) - await self._registry.scan(clearings.pending, ended):
            self._vault.forget(batch_id)

    def _same(self, target: StoredTarget, secrets: Mapping[str, str]) -> Credentials | None:
        """Return the credentials if these secrets are the ones that the batch was created with."""
        assert isinstance(target.byok, Own)
        texts = {**target.byok.fields, **secrets}
        if not hmac.compare_digest(credentials_hash(self._secret, target.provider, texts), target.byok.key):
            return None
        try:
            return catalog.load(target.provider).credentials.model_validate(texts)
        except (catalog.UnknownProvider, ImportError, AttributeError, ValidationError):
            return None  # another version of the gateway

    async def _offers(
        self, target: StoredTarget, sent: MultiMapping[str], caller: Caller
    ) -> AsyncIterator[dict[str, str]]:
        """Yield the credentials that a request carries: in headers of their own, and in its config."""
        try:
            adapter = catalog.load(target.provider)
        except (catalog.UnknownProvider, ImportError, AttributeError):
            return
        with suppress(GatewayError):
            yield in_headers(adapter, sent, caller)
        text = sent.get(CONFIG)
        if not text:
            return
        with suppress(GatewayError):
            for node in (await config_node(text, self._config)).targets():
                account = node.settings.account
                if isinstance(account, OwnAccount):
                    yield in_config(adapter, account)

    async def _arm(self, row: BatchRow, found: Credentials, secrets: Mapping[str, str]) -> None:
        self._vault.put(row.id, found)
        sealed = self._vault.seal(row.id, secrets)
        try:
            await self._registry.write(batches.armed, row.id, sealed, self._clock.now())
        except RegistryFull as error:  # armed all the same; its parts look again within minutes
            logs.event(LOG, "wake_not_stored", level=logging.WARNING, error=error)
        logs.event(LOG, "credentials_given_again", batch=row.id)
        self._wake()


def stored_target(row: BatchRow) -> StoredTarget | None:
    """Return the target whose credentials the caller brought, None for a batch on virtual keys alone."""
    return own_target(row.route)
