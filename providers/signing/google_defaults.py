"""Accounts of Google beyond a service account's key: a person's, one of another cloud, one that is lent, a machine's.

Sources: "How Application Default Credentials works" (order of places, types of files), AIP-4110, AIP-4115 (metadata
server), AIP-4117 (external accounts); Security Token Service API, `token`; IAM Service Account Credentials API,
`generateAccessToken`; google-auth 2.63.0, `_default.py`, `external_account.py`, `identity_pool.py`. Files name hosts
that are asked and other files that are read, so only the operator's own are taken: see `GoogleCredentials.borrowed`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.errors import NoToken
from proxy_plugin.providers.signing import google_aws
from proxy_plugin.providers.signing.google import CLOUD_PLATFORM, TOKENS, ServiceAccount, read_key
from proxy_plugin.providers.signing.google_aws import Workload
from proxy_plugin.providers.signing.tokens import Asked, Token, TokenSource, ask, telling

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http

SERVICE_ACCOUNT = "service_account"
MACHINE = "http://metadata.google.internal"
LITELLMS = "VERTEXAI_CREDENTIALS"
FILE, FOLDER, HOST = "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "GCE_METADATA_HOST"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_HOUR = "3600s"
_NEEDED = {  # members of a file by its type, all text but `source_credentials` and `credential_source`
    SERVICE_ACCOUNT: ("client_email", "private_key"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url", "credential_source"),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has logged in with gcloud. See `tokens.TokenSource`."""

    client: str
    secret: str = field(repr=False)
    refresh: str = field(repr=False)
    tokens: str = TOKENS

    async def fetch(self, http: Http) -> Token:
        """Ask with the refresh token."""
        secrets = {"client_secret": self.secret, "refresh_token": self.refresh}
        form = {"grant_type": "refresh_token", "client_id": self.client, **secrets}
        remedy = "log in again: gcloud auth application-default login"
        return await ask(http, Asked(self.tokens, remedy, form, secrets=tuple(secrets.values())))


@dataclass(frozen=True, slots=True)
class Pool:
    """A workload of another cloud, whose own token stands in a file, is asked for, or is signed by keys of AWS.

    See `tokens.TokenSource`.
    """

    audience: str
    kind: str
    url: str
    source: str  # `credential_source`, as JSON
    workload: Workload | None = None

    async def fetch(self, http: Http) -> Token:
        """Read the workload's own token and exchange it."""
        proof = await self._proof(http)
        asked = {"audience": self.audience, "scope": CLOUD_PLATFORM, "requested_token_type": _ACCESS}
        form = {"grant_type": _EXCHANGE, **asked, "subject_token": proof, "subject_token_type": self.kind}
        remedy = "check the workload identity pool, its provider and the audience of the workload's token"
        return await ask(http, Asked(self.url, remedy, form, secrets=(proof,)))

    async def _proof(self, http: Http) -> str:
        source: dict[str, Any] = json.loads(self.source)
        shape: dict[str, Any] = source.get("format") or {}
        if self.workload is not None:
            return await self.workload.proof(http, source, self.audience)
        text = await (_from_file(source["file"]) if "file" in source else _from_url(http, source))
        if shape.get("type") == "json":
            try:
                text = json.loads(text)[shape["subject_token_field_name"]]
            except (ValueError, KeyError, TypeError):
                raise NoToken("no token: credential_source has no JSON with subject_token_field_name") from None
        found = str(text).strip()
        if not found.isascii() or not found.isprintable() or not found:
            raise NoToken("no token: what credential_source leads to is no token")
        return found


@dataclass(frozen=True, slots=True)
class Lent:
    """A service account that another account may act as. See `tokens.TokenSource`."""

    base: TokenSource
    url: str
    delegates: tuple[str, ...] = ()
    lifetime: str = _HOUR

    async def fetch(self, http: Http) -> Token:
        """Ask with the other account's token."""
        token = await http.tokens.of(http, self.base)
        body = {"scope": [CLOUD_PLATFORM], "lifetime": self.lifetime, "delegates": list(self.delegates)}
        remedy = "grant roles/iam.serviceAccountTokenCreator on the impersonated account"
        proof = {"Authorization": f"Bearer {token}"}
        return await ask(http, Asked(self.url, remedy, json=body, headers=proof, secrets=(token,)))


@dataclass(frozen=True, slots=True)
class Machine:
    """The service account of a machine, by its metadata server. See `tokens.TokenSource`."""

    url: str = MACHINE

    async def fetch(self, http: Http) -> Token:
        """Ask the machine."""
        url = f"{self.url}/computeMetadata/v1/instance/service-accounts/default/token"
        remedy = "no account is set, so the machine's was asked for: set vertex_service_account_json, or give it one"
        flavor = {"Metadata-Flavor": "Google"}
        return await ask(http, Asked(url, remedy, params={"scopes": CLOUD_PLATFORM}, headers=flavor))


def found(environ: Mapping[str, str]) -> str | None:
    """Return the JSON text of the application default credentials, or its path; None where a machine is to be asked.

    LiteLLM's variable counts first. Raises ValueError for a file that is named and cannot be read.
    """
    if said := environ.get(LITELLMS, "").strip():
        return said
    named = environ.get(FILE, "").strip()
    folder = environ.get(FOLDER, "").strip() or "~/.config/gcloud"
    try:
        return Path(named or f"{folder}/application_default_credentials.json").expanduser().read_text()
    except (OSError, UnicodeError, RuntimeError):  # the last for no home
        if named:
            raise ValueError(f"{FILE} names no file that can be read") from None
        return None


def machine(environ: Mapping[str, str]) -> str:
    """Return the base URL of the metadata server."""
    host = environ.get(HOST, "").strip()
    return f"http://{host}" if host else MACHINE


def read(text: str) -> dict[str, Any]:
    """Read the JSON of an account of any type. Raises ValueError, which shows nothing of it."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None
    kind = given.get("type", SERVICE_ACCOUNT) if isinstance(given, dict) else None
    if kind == SERVICE_ACCOUNT:
        read_key(text)
    elif kind not in _NEEDED:
        raise ValueError(f"is of none of the types {', '.join(_NEEDED)}")
    if missing := [name for name in _NEEDED[kind] if not given.get(name)]:
        raise ValueError(f"has no {missing[0]}, which an account of type {kind} has")
    if kind == "external_account":
        _check_source(given["credential_source"])
    if kind == "impersonated_service_account":
        read(json.dumps(given["source_credentials"]))
    return dict(given)


def _check_source(source: object) -> None:
    names = set(source if isinstance(source, dict) else ())
    if "executable" in names:
        raise ValueError("has a credential_source with an executable, and no program is run: give file, url or AWS")
    if "environment_id" in names and (missing := [name for name in google_aws.NEEDED if name not in names]):
        raise ValueError(f"has a credential_source of AWS without {missing[0]}")
    if not {"file", "url", "environment_id"} & names:
        raise ValueError("has a credential_source of none of the kinds file, url and environment_id")


def source_on_aws(text: str) -> dict[str, Any] | None:
    """Return the `credential_source` that keys of AWS sign, of JSON that `read` has taken; None for another one."""
    given = json.loads(text)
    if given.get("type") == "impersonated_service_account":
        return source_on_aws(json.dumps(given["source_credentials"]))
    source = given.get("credential_source")
    return source if isinstance(source, dict) and "environment_id" in source else None


def kind_of(text: str) -> str:
    """Return the type of an account that `read` has taken."""
    return str(json.loads(text).get("type", SERVICE_ACCOUNT))


def source_of(text: str, tokens: str = TOKENS, workload: Workload | None = None) -> TokenSource:
    """Return where the tokens of an account come from, of JSON that `read` has taken.

    `workload` signs for one of AWS.
    """
    given = json.loads(text)
    kind = given.get("type", SERVICE_ACCOUNT)
    if kind == SERVICE_ACCOUNT:
        return ServiceAccount(text, tokens=tokens)
    if kind == "authorized_user":
        return Person(given["client_id"], given["client_secret"], given["refresh_token"], tokens)
    url, lives = given.get("service_account_impersonation_url"), given.get("service_account_impersonation") or {}
    if kind == "impersonated_service_account":
        base = source_of(json.dumps(given["source_credentials"]), tokens, workload)
        return Lent(base, url, tuple(given.get("delegates") or ()))
    source = json.dumps(given["credential_source"], sort_keys=True)
    pool = Pool(given["audience"], given["subject_token_type"], given["token_url"], source, workload)
    return Lent(pool, url, lifetime=f"{lives.get('token_lifetime_seconds', 3600)}s") if url else pool


async def _from_file(path: str) -> str:
    try:
        return await asyncio.to_thread(Path(path).read_text, "utf-8")
    except (OSError, UnicodeError) as error:
        what = f"the file {path} of credential_source cannot be read ({type(error).__name__})"
        raise NoToken(f"no token: {what}; check its mount") from None


async def _from_url(http: Http, source: Mapping[str, Any]) -> str:
    url, headers = str(source["url"]), {str(name): str(value) for name, value in (source.get("headers") or {}).items()}
    base, _, path = url.partition("?")[0].rpartition("/")
    params = dict(pair.partition("=")[::2] for pair in url.partition("?")[2].split("&") if pair)
    async with telling(url, "check the url of credential_source", tuple(headers.values())):
        origin = http.carrying({}).origin(f"token\x1f{url}", base, headers)
        return (await origin.text("GET", path, params=params)).decode("utf-8", "replace")
