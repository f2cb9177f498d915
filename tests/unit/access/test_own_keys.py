"""Keys that callers bring, where any replica may take the next step."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest
from pydantic import SecretStr

from proxy_plugin.access.brought import Brought
from proxy_plugin.access.own_keys import OwnKeys
from proxy_plugin.access.vault import Vault
from proxy_plugin.config.sections import Config, Secrets, Storage
from proxy_plugin.ground.errors import Forbidden

SHARED = Storage(database_url=SecretStr("postgresql://h/d"))
BROUGHT = Brought(cast("Any", None), cast("Any", None), {"api_key": "sk-of-the-caller"})


def keys(storage: Storage, seal_key: str | None) -> OwnKeys:
    secrets = Secrets(seal_key=None if seal_key is None else SecretStr(seal_key))
    config, nobody = Config(storage=storage, secrets=secrets), cast("Any", None)
    return OwnKeys(config, Vault(secrets.seal_key), nobody, os.urandom(32), nobody, wake=nobody)


def test_without_a_seal_replicas_take_no_key_of_a_caller() -> None:
    with pytest.raises(Forbidden, match=r"'secrets\.seal_key'") as caught:
        keys(SHARED, None).sealed("batch_1", BROUGHT)
    assert caught.value.code == "own_key_not_shared"
    assert keys(SHARED, None).sealed("batch_1", None) is None


def test_with_a_seal_any_of_them_can_read_it() -> None:
    sealed = keys(SHARED, "k" * 40).sealed("batch_1", BROUGHT)
    assert sealed is not None
    assert Vault(SecretStr("k" * 40)).unseal("batch_1", sealed) == BROUGHT.secrets


def test_a_gateway_of_its_own_keeps_it_in_memory() -> None:
    assert keys(Storage(), None).sealed("batch_1", BROUGHT) is None
