"""Credentials of Azure, as `accounts` has those of the other clouds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from proxy_plugin.providers.keys import HostCredentials, Key
from proxy_plugin.providers.signing import entra
from proxy_plugin.providers.signing.accounts import Name, Proof, Url, bearer, clear, from_file
from proxy_plugin.providers.signing.tokens import Bearer, TokenSource

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http

_WORKLOAD = {
    "azure_federated_token_file": "AZURE_FEDERATED_TOKEN_FILE",
    "azure_entra_tenant_id": "AZURE_TENANT_ID",
    "azure_workload_client_id": "AZURE_CLIENT_ID",
}
_ENTRA = ("azure_entra_client_secret", "azure_entra_client_certificate")  # what a client proves itself with


def _pem(text: SecretStr) -> SecretStr:
    told = text.get_secret_value().strip()
    if not told.startswith("-----BEGIN "):
        told = from_file(told, "is neither PEM nor the path of a file that can be read")
    if not all(f"{what}-----" in told for what in ("BEGIN CERTIFICATE", "PRIVATE KEY")):
        raise ValueError("must hold a certificate and its private key, as PEM")
    return SecretStr(told)


class EntraCredentials(HostCredentials):
    """An account of Azure: one key, one token, or one way to get tokens from Microsoft Entra."""

    operators: ClassVar[frozenset[str]] = frozenset({"azure_entra_client_certificate"})  # which may name a file

    api_key: Key | None = None
    """A key of the resource. Example: os.environ/AZURE_API_KEY"""
    azure_auth_mode: Literal["default", "apiKey", "entra", "managed", "workload"] | None = (
        None  # None: by what is there
    )
    """How the account proves itself; none: by what is given. Example: managed"""
    azure_ad_token: Key | None = None
    """A token of Entra that somebody else renews. Example: os.environ/AZURE_AD_TOKEN"""
    azure_entra_tenant_id: Name | None = None
    """The tenant of the application. Example: os.environ/AZURE_TENANT_ID"""
    azure_entra_client_id: Name | None = None
    """The application's id. Example: os.environ/AZURE_CLIENT_ID"""
    azure_entra_client_secret: Key | None = None
    """The application's secret. Example: os.environ/AZURE_CLIENT_SECRET"""
    azure_entra_client_certificate: Annotated[SecretStr, AfterValidator(_pem)] | None = None
    """Its certificate and private key: PEM, or the path of one. Example: /etc/proxy-plugin/entra.pem"""
    azure_entra_scope: str = Field(entra.COGNITIVE_SERVICES, pattern=r"^[!-~]{1,256}$")
    """What tokens are asked for."""
    azure_managed_client_id: Name | None = None
    """The user-assigned identity, where the machine has several. Example: 11111111-2222-3333-4444-555555555555"""
    azure_workload_client_id: Name | None = None
    """The client of a workload identity; else AZURE_CLIENT_ID. Example: 11111111-2222-3333-4444-555555555555"""
    azure_federated_token_file: str | None = None
    """The workload's token; else AZURE_FEDERATED_TOKEN_FILE. Example:
    /var/run/secrets/azure/tokens/azure-identity-token
    """
    azure_authority_url: Url | None = None
    """Who gives tokens, where it is not Entra's public cloud. Example: https://login.microsoftonline.us"""
    azure_identity_url: Url = entra.IDENTITY
    """The machine's metadata service, which gives tokens of managed identities."""

    @model_validator(mode="before")
    @classmethod
    def _workload(cls, given: Any) -> Any:
        """Azure's platform names what a workload is in its environment."""
        if not isinstance(given, dict) or given.get("azure_auth_mode") != "workload":
            return given
        found = {name: os.environ.get(variable, "").strip() for name, variable in _WORKLOAD.items()}
        return {name: value for name, value in found.items() if value} | given

    @model_validator(mode="after")
    def _one_proof(self) -> EntraCredentials:
        given = {"api_key": self.api_key, "azure_ad_token": self.azure_ad_token}
        given |= {name: getattr(self, name) for name in _ENTRA}
        found = [name for name, value in given.items() if value is not None]
        if self.azure_auth_mode in {"managed", "workload"}:
            if found:
                raise ValueError(f"{found[0]} does not go with azure_auth_mode {self.azure_auth_mode}")
        elif len(found) != 1:
            raise ValueError(f"give one of {', '.join(given)}, or azure_auth_mode managed or workload")
        elif self.azure_auth_mode == "entra" and found == ["api_key"]:
            raise ValueError(f"azure_auth_mode entra needs {' or '.join(_ENTRA)}")
        if found and found[0] in _ENTRA and not (self.azure_entra_client_id and self.azure_entra_tenant_id):
            raise ValueError(f"{found[0]} needs azure_entra_tenant_id and azure_entra_client_id")
        workload = self.azure_federated_token_file and self.azure_entra_tenant_id and self.azure_workload_client_id
        if self.azure_auth_mode == "workload" and not workload:
            names = "azure_federated_token_file, azure_entra_tenant_id and azure_workload_client_id"
            raise ValueError(f"azure_auth_mode workload needs {names}, or {', '.join(_WORKLOAD.values())} to be set")
        return self

    def borrowed(self) -> str | None:
        """Name the setting for which the machine lends what proves the account."""
        return "azure_auth_mode" if self.azure_auth_mode in {"managed", "workload"} else None

    def identity(self) -> tuple[str, ...]:
        """Return texts that are equal for equal accounts; they hold secrets."""
        secrets = (self.api_key, self.azure_ad_token, *(getattr(self, name) for name in _ENTRA))
        own = (self.azure_entra_tenant_id, self.azure_entra_client_id, self.azure_managed_client_id)
        told = (self.azure_auth_mode, *own, self.azure_workload_client_id, self.azure_federated_token_file)
        return tuple(clear(each) for each in secrets) + tuple(each or "" for each in told)

    def prove(self, http: Http) -> Proof:
        """Return what proves the account: the key, or a token."""
        if self.api_key is not None:
            return {"api-key": self.api_key.get_secret_value()}, None
        if self.azure_ad_token is not None:
            return bearer(self.azure_ad_token)
        return {}, Bearer(http, self._source())

    def _source(self) -> TokenSource:
        if self.azure_auth_mode == "managed":
            return entra.ManagedIdentity(self.azure_managed_client_id, self.azure_entra_scope, self.azure_identity_url)
        if self.azure_entra_client_secret is not None:
            secret = self.azure_entra_client_secret.get_secret_value()
            return entra.ClientSecret(self._client(self.azure_entra_client_id), secret)
        if self.azure_entra_client_certificate is not None:
            pem = self.azure_entra_client_certificate.get_secret_value()
            return entra.ClientCertificate(self._client(self.azure_entra_client_id), pem)
        return entra.FederatedFile(self._client(self.azure_workload_client_id), self.azure_federated_token_file or "")

    def _client(self, name: str | None) -> entra.Client:
        authority = self.azure_authority_url or entra.AUTHORITY
        return entra.Client(self.azure_entra_tenant_id or "", name or "", self.azure_entra_scope, authority)
