"""Tokens of Microsoft Entra: a client's secret or certificate, a federated token file (workload identity), a managed
identity.

Sources: Microsoft identity platform, "OAuth 2.0 client credentials flow" (v2.0 endpoint; "First case: access token
request with a shared secret", "Second case: ... with a certificate",
"Third case: ... with a federated credential"); "Microsoft identity platform application authentication certificate
credentials" (`x5t#S256`, claims); "How to use managed identities for Azure
resources on an Azure VM to acquire an access token" (IMDS, api-version 2018-02-01, header `Metadata: true`).
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from proxy_plugin.providers.errors import NoToken
from proxy_plugin.providers.signing.assertions import assertion, thumbprint
from proxy_plugin.providers.signing.tokens import Asked, Token, ask

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http

AUTHORITY = "https://login.microsoftonline.com"
IDENTITY = "http://169.254.169.254"
COGNITIVE_SERVICES = "https://cognitiveservices.azure.com/.default"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIVES = 600  # seconds, of which the page advises 5 to 10 minutes
_EVERYTHING = "/.default"  # ends a scope that names a whole resource


@dataclass(frozen=True, slots=True)
class Client:
    """An application of a tenant, and what it asks for."""

    tenant: str
    id: str
    scope: str = COGNITIVE_SERVICES
    authority: str = AUTHORITY

    def asked(self, remedy: str, secret: str, **proof: str) -> Asked:
        """Return the request of a token with this proof."""
        form = {"grant_type": "client_credentials", "client_id": self.id, "scope": self.scope, **proof}
        return Asked(f"{self.authority}/{self.tenant}/oauth2/v2.0/token", remedy, form, secrets=(secret,))


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A client that proves itself with a secret. See `tokens.TokenSource`."""

    client: Client
    secret: str = field(repr=False)

    async def fetch(self, http: Http) -> Token:
        """Ask with the secret."""
        remedy = "check tenant, client and client secret"
        return await ask(http, self.client.asked(remedy, self.secret, client_secret=self.secret))


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client that proves itself with a certificate; `pem` holds its private key, too. See `tokens.TokenSource`."""

    client: Client
    pem: str = field(repr=False)

    async def fetch(self, http: Http) -> Token:
        """Sign an assertion and ask."""
        try:
            proof = await asyncio.to_thread(self._assertion, int(http.now()))
        except (ValueError, TypeError):
            what = "azure_entra_client_certificate has no certificate, or no RSA key without a password"
            raise NoToken(f"no token: {what}; check its PEM") from None
        remedy = "check tenant, client and that the client has this certificate, and the clock of this machine"
        asked = self.client.asked(remedy, proof, client_assertion_type=_ASSERTION, client_assertion=proof)
        return await ask(http, asked)

    def _assertion(self, now: int) -> str:
        own, audience = self.client.id, f"{self.client.authority}/{self.client.tenant}/oauth2/v2.0/token"
        times = {"nbf": now, "iat": now, "exp": now + _LIVES, "jti": secrets.token_hex(16)}
        head = {"typ": "JWT", "x5t#S256": thumbprint(self.pem)}
        return assertion(self.pem, head, {"aud": audience, "iss": own, "sub": own, **times})


@dataclass(frozen=True, slots=True)
class FederatedFile:
    """A client whose proof stands in a file that the platform writes anew before it ends. See `tokens.TokenSource`."""

    client: Client
    path: str

    async def fetch(self, http: Http) -> Token:
        """Read the file, which is another one each hour, and ask."""
        try:
            proof = (await asyncio.to_thread(Path(self.path).read_text, "ascii")).strip()
        except (OSError, UnicodeError) as error:
            what = f"the federated token file {self.path} cannot be read ({type(error).__name__})"
            raise NoToken(f"no token: {what}; check the pod's service account and mount") from None
        remedy = "check tenant, client and the federated credential of the client"
        asked = self.client.asked(remedy, proof, client_assertion_type=_ASSERTION, client_assertion=proof)
        return await ask(http, asked)


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """The identity of the machine; `id` chooses one of several. See `tokens.TokenSource`."""

    id: str | None = None
    scope: str = COGNITIVE_SERVICES
    service: str = IDENTITY

    async def fetch(self, http: Http) -> Token:
        """Ask the machine's own metadata service."""
        params = {"api-version": "2018-02-01", "resource": self.scope.removesuffix(_EVERYTHING)}
        if self.id:
            params["client_id"] = self.id
        url = f"{self.service}/metadata/identity/oauth2/token"
        remedy = "check that this machine has the managed identity"
        return await ask(http, Asked(url, remedy, params=params, headers={"Metadata": "true"}))
