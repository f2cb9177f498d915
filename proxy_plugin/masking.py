"""Secrets: hidden in texts, compared without a timing trace, and the gateway's own key for fingerprints."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, SecretStr

from proxy_plugin.durable import sync_folder
from proxy_plugin.errors import ConfigError

HIDDEN = "***"
REFERENCE = "os.environ/"  # a value that starts like this names an environment variable, as in LiteLLM
SECRET_BYTES = 32
_WHOLE_WORD_BELOW = 8  # shorter secrets are hidden as whole words only, or "dev" would eat half of "device"
_SECRET_NAME = re.compile(
    r"api_?key$|secret|token$|passw|private_key|credential|authorization|service_account_json", re.IGNORECASE
)
_LOOKS_SECRET = (
    (re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(?:-----END \1PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"\b([Bb]earer|BEARER|Basic)\s+[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\bsk-[\w-]{8,}"), HIDDEN),
    (re.compile(r"(?<=://)[^/\s@?#]+@"), f"{HIDDEN}@"),
    (re.compile(r"\?[^\s\"'<>?]*=[^\s\"'<>]*"), f"?{HIDDEN}"),  # query strings: signed URLs, keys, user text
)


def mask(text: str) -> str:
    """Hide what has the form of a credential: bearer tokens, `sk-` keys, PEM keys, URL passwords, query strings."""
    for pattern, instead in _LOOKS_SECRET:
        text = pattern.sub(instead, text)
    return text


class Masker:
    """Hides the secrets it was made with, in any text, whether written plainly, JSON-escaped or percent-encoded."""

    __slots__ = ("_known",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        ordered = sorted(forms, key=len, reverse=True)  # a secret that holds another one is hidden whole
        self._known = re.compile("|".join(map(_alternative, ordered))) if ordered else None

    def mask(self, text: str) -> str:
        """Return the text without the known secrets and without what looks like one."""
        return mask(self._known.sub(HIDDEN, text) if self._known else text)


def _alternative(secret: str) -> str:
    whole_word = len(secret) < _WHOLE_WORD_BELOW
    return rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])" if whole_word else re.escape(secret)


def _forms(secret: str) -> Iterator[str]:
    for part in (secret, *_inside_json(secret)):
        stripped = part.strip()
        if stripped:
            yield stripped
            yield json.dumps(stripped)[1:-1]
            yield quote(stripped, safe="", errors="replace")


def _inside_json(secret: str) -> Iterator[str]:
    """A service account is a JSON text: its private key can leak without the rest."""
    if not secret.lstrip().startswith("{"):
        return
    try:
        document = json.loads(secret)
    except ValueError:
        return
    yield from secrets_in(document)


def secrets_in(value: object, name: str = "") -> Iterator[str]:
    """Yield every `SecretStr` reachable in models, dataclasses and containers, and every text with a secret's name.

    The second kind is for what is kept as written: saved configs and LiteLLM's model list.
    """
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str):
        if _SECRET_NAME.search(name) and not value.startswith(REFERENCE):
            yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from secrets_in(item, name)
    else:
        for key, item in _members(value):
            yield from secrets_in(item, key)


def _members(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    elif isinstance(value, BaseModel):
        yield from value
    elif is_dataclass(value):
        yield from ((each.name, getattr(value, each.name)) for each in fields(value))


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
        raise ConfigError(f"{path}: {error.strerror}") from error
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
