"""Tokens of Google: a service account signs an assertion, which is exchanged for a bearer token.

Source: "Using OAuth 2.0 for server to server applications", per the project's reference page of Vertex AI, section 1.
The token is always asked for at
Google or where the account's settings say: a key's own `token_uri` could name any host. The audience is Google's,
whichever host is asked, as google-auth has it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy_plugin.providers.errors import NoToken
from proxy_plugin.providers.signing.assertions import assertion
from proxy_plugin.providers.signing.tokens import Asked, Token, ask

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http

TOKENS = "https://oauth2.googleapis.com/token"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIVES = 3600  # seconds, the most there is


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account's key, as the JSON text that Google gives out. See `tokens.TokenSource`."""

    key: str = field(repr=False)
    scope: str = CLOUD_PLATFORM
    tokens: str = TOKENS

    async def fetch(self, http: Http) -> Token:
        """Sign an assertion and exchange it."""
        try:
            proof = await asyncio.to_thread(self._assertion, int(http.now()))
        except (ValueError, TypeError, KeyError):
            raise NoToken("no token: the service account's private key cannot be used; check its JSON") from None
        form = {"grant_type": _GRANT, "assertion": proof}
        remedy = "check that the service account and its key exist and are enabled, and the clock of this machine"
        return await ask(http, Asked(self.tokens, remedy, form, secrets=(proof,)))

    def _assertion(self, now: int) -> str:
        account = read_key(self.key)
        head = {"typ": "JWT", "kid": account.get("private_key_id", "")}
        claims = {"iss": account["client_email"], "scope": self.scope, "aud": TOKENS, "iat": now, "exp": now + _LIVES}
        return assertion(account["private_key"], head, claims)


def read_key(text: str) -> dict[str, str]:
    """Read a service account's JSON. Raises ValueError, which shows nothing of it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None
    names = ("client_email", "private_key")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) and found[name] for name in names):
        raise ValueError("has no client_email or no private_key: it is no key of a service account")
    return {name: value for name, value in found.items() if isinstance(value, str)}
