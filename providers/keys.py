"""Credentials that are one API key, which is all that most providers ask for."""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import AfterValidator, SecretStr, field_validator

from proxy_plugin.providers.base import Credentials


def _trimmed(key: SecretStr) -> SecretStr:
    text = key.get_secret_value().strip()  # keys read from files end with a newline
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("a key is printable ASCII text")
    return SecretStr(text)


Key = Annotated[SecretStr, AfterValidator(_trimmed)]


class HostCredentials(Credentials):
    """A base URL that holds nothing secret, and whatever else proves an account."""

    @field_validator("custom_host")
    @classmethod
    def _plain_host(cls, host: str | None) -> str | None:
        return None if host is None else plain(host)


class KeyCredentials(HostCredentials):
    """One API key."""

    api_key: Key
    """The provider's API key. Example: os.environ/PROVIDER_API_KEY"""


def plain(url: str) -> str:
    """Return a base URL without its last slash. Raises ValueError, which does not show it."""
    # Workers read credentials' models too, and aiohttp costs each of them 12 MB and 0.15 s [measured, Python 3.11].
    from proxy_plugin.providers.http import plain_url  # noqa: PLC0415

    return plain_url(url)


def key_of(credentials: Credentials) -> str:
    """Return the key of `KeyCredentials`, in clear."""
    return cast("KeyCredentials", credentials).api_key.get_secret_value()
