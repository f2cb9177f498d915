"""Provider keys that callers brought: in memory for as long as their batch runs, and sealed for the database.

Sealing is AES-256-GCM with a random nonce. The batch id is authenticated with the text, so that a sealed text which
was copied into the row of another batch does not open there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from pydantic import SecretStr

from proxy_plugin.providers.base import Credentials

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_CONTEXT = b"proxy_plugin: seal provider keys of batches, version 1\0"


class Vault:
    """The credentials of one gateway's running batches, by batch id. Without a seal key nothing is ever sealed."""

    def __init__(self, seal_key: SecretStr | None = None) -> None:
        self._held: dict[str, Credentials] = {}
        self._cipher = None if seal_key is None else _cipher(seal_key)

    def put(self, batch_id: str, credentials: Credentials) -> None:
        """Keep credentials until they are forgotten or the process ends."""
        self._held[batch_id] = credentials

    def get(self, batch_id: str) -> Credentials | None:
        """Return the credentials of a batch, None if they are not here."""
        return self._held.get(batch_id)

    def forget(self, batch_id: str) -> None:
        """Let go of the credentials of a batch."""
        self._held.pop(batch_id, None)

    def held(self) -> frozenset[str]:
        """Return the ids of the batches whose credentials are here."""
        return frozenset(self._held)

    def seal(self, batch_id: str, secrets: Mapping[str, str]) -> str | None:
        """Return the secrets as a text that only this seal key opens, None where sealing is off."""
        if self._cipher is None:
            return None
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.json.encode(dict(secrets)), batch_id.encode())
        return base64.b64encode(nonce + sealed).decode()

    def unseal(self, batch_id: str, sealed: str) -> dict[str, str] | None:
        """Return what was sealed for this batch, None if it was sealed with another key or is damaged."""
        if self._cipher is None:
            return None
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see _cipher

        try:
            raw = base64.b64decode(sealed, validate=True)
            text = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], batch_id.encode())
            return msgspec.json.decode(text, type=dict[str, str])
        except (InvalidTag, ValueError, binascii.Error, msgspec.MsgspecError):
            return None


def _cipher(seal_key: SecretStr) -> AESGCM:
    """Return the cipher. Imported at the start of gateways that seal: 8.5 MB that others need not carry."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    text = seal_key.get_secret_value().encode("utf-8", "surrogateescape")
    return AESGCM(hashlib.sha256(_CONTEXT + text).digest())
