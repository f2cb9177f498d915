"""`.env`: lines of NAME=VALUE beside a configuration, as `proxy-plugin init` writes it; the environment comes first.

A client uses of it the gateway's key alone, and only for the gateway that the same file names, which has to be on this
machine: a `.env` that lies in some folder can have neither a file nor a key of the environment sent elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

NAME = ".env"
KEY, URL = "PORTKEY_API_KEY", "PROXY_PLUGIN_BASE_URL"
_URLS = (URL, "PORTKEY_BASE_URL")
MOST_BYTES = 256 * 1024


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file; none where it is not there or is no text."""
    with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as file:
        return dict(_pairs(file.read(MOST_BYTES)))
    return {}


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.strip().isidentifier():
            yield name.strip(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def with_file(env: Mapping[str, str], path: Path, base_url: str | None, api_key: str | None) -> Mapping[str, str]:
    """Return the environment of a client with the pair of a file, where nothing else names another gateway or key."""
    named = base_url or next((env[name] for name in _URLS if env.get(name)), None)
    if api_key or env.get(KEY):
        return env
    found = read(path)
    url, key = found.get(URL), found.get(KEY)
    if not url or not key or not _here(url) or (named is not None and named.rstrip("/") != url.rstrip("/")):
        return env
    return {**env, KEY: key} if named else {**env, URL: url, KEY: key}


def _here(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
