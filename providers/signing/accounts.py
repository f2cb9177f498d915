"""Credentials of the clouds, shared by their lanes: each model says who it is and how it proves that.

Field names are Portkey's headers without `x-portkey-`, per the project's reference page, section 3. What is the
machine's own (a managed identity, a federated token file, keys of the environment) goes with no secret beside it, so
that no caller who brings credentials can act as the machine: the gateway takes only what holds a secret. The
environment is read with the settings, for the gateway takes secrets out of it afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from proxy_plugin.providers.keys import HostCredentials, Key, plain
from proxy_plugin.providers.signing import aws, entra, google
from proxy_plugin.providers.signing.tokens import Bearer, TokenSource

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http
    from proxy_plugin.providers.signing.signer import Signer

Url = Annotated[str, AfterValidator(plain)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]  # of what stands in a host or a path
_WORKLOAD = {
    "azure_federated_token_file": "AZURE_FEDERATED_TOKEN_FILE",
    "azure_entra_tenant_id": "AZURE_TENANT_ID",
    "azure_workload_client_id": "AZURE_CLIENT_ID",
}
_AWS_KEY = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
Proof = tuple[Mapping[str, str], "Signer | None"]  # secret headers, and a signer where they are not enough


def bearer(token: SecretStr) -> Proof:
    """Return the proof of an account by a token that it was given."""
    return {"Authorization": f"Bearer {token.get_secret_value()}"}, None


class EntraCredentials(HostCredentials):
    """An account of Azure: one key, one token, or one way to get tokens from Microsoft Entra."""

    api_key: Key | None = None
    azure_auth_mode: Literal["default", "apiKey", "entra", "managed", "workload"] | None = (
        None  # None: by what is there
    )
    azure_ad_token: Key | None = None
    azure_entra_tenant_id: Name | None = None
    azure_entra_client_id: Name | None = None
    azure_entra_client_secret: Key | None = None
    azure_entra_scope: str = Field(entra.COGNITIVE_SERVICES, pattern=r"^[!-~]{1,256}$")
    azure_managed_client_id: Name | None = None
    azure_workload_client_id: Name | None = None
    azure_federated_token_file: str | None = None
    azure_authority_url: Url | None = None
    azure_identity_url: Url = entra.IDENTITY

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
        given["azure_entra_client_secret"] = self.azure_entra_client_secret
        found = [name for name, value in given.items() if value is not None]
        if self.azure_auth_mode in {"managed", "workload"}:
            if found:
                raise ValueError(f"{found[0]} does not go with azure_auth_mode {self.azure_auth_mode}")
        elif len(found) != 1:
            what = "one of api_key, azure_ad_token, azure_entra_client_secret, or azure_auth_mode managed or workload"
            raise ValueError(f"give {what}")
        elif self.azure_auth_mode == "entra" and found == ["api_key"]:
            raise ValueError("azure_auth_mode entra needs azure_entra_client_secret")
        client = self.azure_entra_client_secret and self.azure_entra_client_id and self.azure_entra_tenant_id
        if self.azure_entra_client_secret and not client:
            raise ValueError("azure_entra_client_secret needs azure_entra_tenant_id and azure_entra_client_id")
        workload = self.azure_federated_token_file and self.azure_entra_tenant_id and self.azure_workload_client_id
        if self.azure_auth_mode == "workload" and not workload:
            names = "azure_federated_token_file, azure_entra_tenant_id and azure_workload_client_id"
            raise ValueError(f"azure_auth_mode workload needs {names}, or {', '.join(_WORKLOAD.values())} to be set")
        return self

    def identity(self) -> tuple[str, ...]:
        """Return texts that are equal for equal accounts; they hold secrets."""
        secrets = (self.api_key, self.azure_ad_token, self.azure_entra_client_secret)
        own = (self.azure_entra_tenant_id, self.azure_entra_client_id, self.azure_managed_client_id)
        told = (self.azure_auth_mode, *own, self.azure_workload_client_id, self.azure_federated_token_file)
        return tuple(_clear(each) for each in secrets) + tuple(each or "" for each in told)

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
        return entra.FederatedFile(self._client(self.azure_workload_client_id), self.azure_federated_token_file or "")

    def _client(self, name: str | None) -> entra.Client:
        authority = self.azure_authority_url or entra.AUTHORITY
        return entra.Client(self.azure_entra_tenant_id or "", name or "", self.azure_entra_scope, authority)


class AwsCredentials(HostCredentials):
    """An account of AWS: an access key, that of a session, or that of the environment."""

    aws_auth_type: Literal["accessKey"] | None = None
    aws_access_key_id: Name | None = None
    aws_secret_access_key: Key | None = None
    aws_session_token: Key | None = None
    aws_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] = "us-east-1"  # Portkey's default

    @model_validator(mode="before")
    @classmethod
    def _environment(cls, given: Any) -> Any:
        """Without any key that of the environment counts."""
        if not isinstance(given, dict) or any(given.get(name) for name in (*_AWS_KEY, "api_key")):
            return given
        found = {name: os.environ.get(name.upper(), "").strip() for name in _AWS_KEY}
        return given | {name: value for name, value in found.items() if value}

    @model_validator(mode="after")
    def _whole_key(self) -> AwsCredentials:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("aws_access_key_id and aws_secret_access_key go together")
        if self.aws_session_token is not None and self.aws_access_key_id is None:
            raise ValueError("aws_session_token goes with aws_access_key_id and aws_secret_access_key")
        return self

    def identity(self) -> tuple[str, ...]:
        """Return texts that are equal for equal accounts; they hold secrets. A session's token is not among them."""
        return (self.aws_region, self.aws_access_key_id or "", _clear(self.aws_secret_access_key))

    def sign(self, service: str) -> Proof:
        """Return a signer for one service."""
        secret, token = _clear(self.aws_secret_access_key), _clear(self.aws_session_token) or None
        return {}, aws.SigV4(aws.Keys(self.aws_access_key_id or "", secret, token), service, self.aws_region)


def _service_account(text: SecretStr) -> SecretStr:
    """Return the JSON of a service account, given as text or as the path of a file."""
    clear = text.get_secret_value().strip()
    if not clear.startswith("{"):
        try:
            clear = Path(clear).read_text()
        except (OSError, ValueError):
            raise ValueError("is neither JSON nor the path of a file that can be read") from None
    google.read_key(clear)
    return SecretStr(clear)


class GoogleCredentials(HostCredentials):
    """An account of Google Cloud: a service account, or an access token that somebody else renews."""

    api_key: Key | None = None  # an access token
    vertex_project_id: Name
    vertex_region: Name = "global"
    vertex_service_account_json: Annotated[SecretStr, AfterValidator(_service_account)] | None = None
    google_token_url: Url = google.TOKENS

    @model_validator(mode="after")
    def _one_proof(self) -> GoogleCredentials:
        if (self.api_key is None) == (self.vertex_service_account_json is None):
            raise ValueError("give one of vertex_service_account_json and api_key, which is an access token")
        return self

    def identity(self) -> tuple[str, ...]:
        """Return texts that are equal for equal accounts; they hold secrets."""
        proof = self.api_key or self.vertex_service_account_json
        return (self.vertex_project_id, self.vertex_region, _clear(proof))

    def prove(self, http: Http) -> Proof:
        """Return what proves the account: a token."""
        if self.vertex_service_account_json is None:
            assert self.api_key is not None
            return bearer(self.api_key)
        key = self.vertex_service_account_json.get_secret_value()
        return {}, Bearer(http, google.ServiceAccount(key, tokens=self.google_token_url))


def _clear(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
