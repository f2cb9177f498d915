"""What the stand-in remembers about its callers: accepted creates, requests, and what should not have been sent."""

import asyncio
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiohttp import web

MOST_REQUESTS = 500_000

# Headers and query parameters that carry a credential at one provider or another.
CREDENTIALS = frozenset({
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "x-litellm-api-key",
})  # fmt: skip
_TOKENS = frozenset({"x-amz-security-token"})  # parts of a credential, not one of their own
_CREDENTIAL_QUERY = frozenset({"key", "api_key", "api-key", "access_token", "sig"})


class AcceptedCreates:
    """A JSONL file with one line per accepted batch, durable before the create is answered or a fault can act."""

    def __init__(self, provider: str, path: Path) -> None:
        self._provider, self._path = provider, path
        self._order = asyncio.Lock()
        self.entries: list[dict[str, Any]] = []

    def reset(self) -> None:
        self.entries = []
        self._path.write_bytes(b"")

    async def append(self, entry: dict[str, Any]) -> None:
        entry = {"provider": self._provider, **entry}
        async with self._order:
            await asyncio.to_thread(_append_durably, self._path, json.dumps(entry).encode() + b"\n")
            self.entries.append(entry)


def _append_durably(path: Path, line: bytes) -> None:
    with path.open("ab") as log:
        log.write(line)
        log.flush()
        os.fsync(log.fileno())


class Requests:
    """Every request in order. `at` is monotonic and real: jumps of the sandbox clock do not show in it."""

    def __init__(self) -> None:
        self.entries: deque[dict[str, Any]] = deque(maxlen=MOST_REQUESTS)

    def open(self, provider: str, operation: str, account: str | None, subject: str | None) -> dict[str, Any]:
        """A new entry; `status` stays 0 when no answer is sent."""
        entry = {
            "at": time.monotonic(),
            "provider": provider,
            "op": operation,
            "status": 0,
            "account": account,
            "id": subject,
            "fault": None,
        }
        self.entries.append(entry)
        return entry


def violations_of(request: web.Request, own: Iterable[str]) -> list[str]:
    """What in `request` must never reach a provider: gateway headers, and credentials beside the provider's `own`.

    Names only, never values.
    """
    names = [name.lower() for name in request.headers]
    allowed = frozenset(own)
    found = [name for name in names if name.startswith("x-portkey-") or name in CREDENTIALS - allowed]
    found += [f"{name} (repeated)" for name in sorted(allowed) if names.count(name) > 1]
    keys = sorted((CREDENTIALS & allowed & set(names)) - _TOKENS)
    found += [f"{name} (beside {keys[0]})" for name in keys[1:]]
    found += [f"?{name}" for name in request.query if name.lower() in _CREDENTIAL_QUERY - allowed]
    return found


def extension_headers(request: web.Request) -> dict[str, str]:
    """The `x-` headers of `request` that are no credentials."""
    names = {name.lower(): value for name, value in request.headers.items()}
    return {name: value for name, value in names.items() if name.startswith("x-") and name not in CREDENTIALS}


class Accounts:
    """Which account a key belongs to. `NAME=KEY` puts a key into a named account; a bare key has one of its own."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.replace(keys)

    def replace(self, keys: Iterable[str]) -> None:
        self._of: dict[str, str] = dict(_account_and_key(text) for text in keys)

    def of(self, key: str | None) -> str | None:
        return None if key is None else self._of.get(key)

    def keys(self) -> list[str]:
        """All keys, the first one first."""
        return list(self._of)

    def names(self) -> list[str]:
        return sorted(set(self._of.values()))


def _account_and_key(text: str) -> tuple[str, str]:
    name, separator, key = text.partition("=")
    return (key, name) if separator else (text, account_of(text))


def account_of(key: str) -> str:
    """The account name of a bare key: a short hash, so that no log holds the key."""
    return "acct_" + hashlib.sha256(key.encode()).hexdigest()[:12]
