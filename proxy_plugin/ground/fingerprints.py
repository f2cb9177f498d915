"""What may be kept or compared in place of a secret, and the gateway's own key that most of it is made with."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from proxy_plugin.ground.durable import sync_folder
from proxy_plugin.ground.errors import ConfigError

SECRET_BYTES = 32


def fingerprint(key: bytes, account: str) -> str:
    """Return 32 hex digits that change when the account behind a virtual key does."""
    return keyed_hash(key, account)[:32]


def keyed_hash(key: bytes, text: str) -> str:
    """Return 64 hex digits that are equal for equal texts and tell nothing of them without the key."""
    return hmac.new(key, _bytes(text), hashlib.sha256).hexdigest()


def digest(text: str) -> bytes:
    """Return the SHA-256 of a text: what keys are compared by, so that lengths do not show either."""
    return hashlib.sha256(_bytes(text)).digest()


def same(one: str, other: str) -> bool:
    """Tell whether two texts are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(digest(one), digest(other))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # aiohttp decodes odd header bytes into lone surrogates


def gateway_secret(data_dir: Path) -> bytes:
    """Return the 32 bytes in `data_dir/secret` that fingerprints are keyed with, making the file on the first start.

    The file has mode 0600 and is complete and durable before it has its name. Raises ConfigError if it cannot be
    read, cannot be made, or does not hold 32 bytes.
    """
    path = data_dir / "secret"
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _create_secret(path)
        secret = path.read_bytes()
        path.chmod(0o600)
    except OSError as error:
        remedy = "name a folder that this user can write"
        raise ConfigError(f"proxy_plugin.storage.data_dir: {path}: {error.strerror}; {remedy}") from error
    if len(secret) != SECRET_BYTES:
        raise ConfigError(
            f"{path}: must hold {SECRET_BYTES} bytes; restore it from a backup, or remove it while no job runs"
        )
    return secret


def _create_secret(path: Path) -> None:
    beside = path.with_name(f".secret-{os.urandom(6).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, os.urandom(SECRET_BYTES))
        os.fsync(descriptor)
        path.hardlink_to(beside)  # unlike a rename it never replaces the secret of a gateway that was faster
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        beside.unlink()
    sync_folder(path.parent)
