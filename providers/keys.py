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


class KeyCredentials(Credentials):
    """One API key, and a base URL that holds nothing secret."""

    api_key: Annotated[SecretStr, AfterValidator(_trimmed)]

    @field_validator("custom_host")
    @classmethod
    def _plain_host(cls, host: str | None) -> str | None:
        # Workers read credentials' models too, and aiohttp costs each of them 12 MB and 0.15 s [measured, Python 3.11].
        from proxy_plugin.providers.http import plain_url  # noqa: PLC0415

        return None if host is None else plain_url(host)


def key_of(credentials: Credentials) -> str:
    """Return the key of `KeyCredentials`, in clear."""
    return cast("KeyCredentials", credentials).api_key.get_secret_value()
