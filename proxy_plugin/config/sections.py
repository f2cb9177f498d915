"""The configuration as typed sections. `read` reads them from a file; what stands here is checked and frozen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FilePath, SecretStr, model_validator

from proxy_plugin.config.bounds import (
    SHARE_OF_ONE,
    SHARE_OF_SEVERAL,
    AloneSettings,
    CacheSettings,
    Connections,
    DirectLimits,
    EngineSettings,
    Limits,
)
from proxy_plugin.config.kinds import BaseUrl, Folder, HostEntry, Positive, Settings, Slug, VirtualKeyGlobs, base_url
from proxy_plugin.config.stores.kinds import BlobUrl, DatabaseUrl, OptionName, OptionValue, hidden
from proxy_plugin.config.webhooks import Webhook
from proxy_plugin.ground.fingerprints import digest
from proxy_plugin.providers.base import Credentials

OWN_KEY_PREFIX = "byok-"  # slugs of accounts that callers bring themselves
KEYS: Literal["keys"] = "keys"  # whose keys callers have: `auth`
LITELLM: Literal["litellm"] = "litellm"
Auth = Literal["keys", "litellm"]
UNNAMED = "(other)"  # no workspace and no virtual key can be called so


class Server(Settings):
    """Where the gateway listens and how it reaches other hosts."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address to listen on. Without any key of callers it must be one of loopback. Example: 0.0.0.0"""
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    """The port to listen on; 0 takes any free one, which the log names."""
    upstream: BaseUrl | None = None
    """Base URL of the proxy that gets every request which is not ours. Example: http://127.0.0.1:4000"""
    upstream_host: Literal["client", "upstream"] = "client"
    """Whose name the upstream is asked by in `Host`: the one that the client sent, or its own."""
    custom_hosts: tuple[HostEntry, ...] = ()
    """Private hosts that accounts which callers bring may name: `host`, `host:port`, `*.domain`. Example:
    [llm.corp.example]
    """
    media_hosts: tuple[HostEntry, ...] = ()
    """Private hosts that pictures may be fetched from; every caller can then read them. Example:
    ["*.pictures.example"]
    """
    webhooks_hosts: tuple[HostEntry, ...] = ()
    """Private hosts that webhooks may go to: `host`, `host:port`, `*.domain`. Example: [hooks.corp.example]"""
    metrics_key: Annotated[SecretStr, Field(min_length=1)] | None = None
    """What `/metrics` asks for as a bearer token; without one it names no tenant. Example: os.environ/METRICS_KEY"""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """A port of its own for `/metrics`, `/healthz` and `/readyz` of `proxy-plugin serve`. Example: 9787"""
    outgoing_proxy: SecretStr | None = None
    """The proxy through which providers are called; its URL may hold a password. Example: http://proxy.example:3128"""
    ca_bundle: FilePath | None = None
    """A PEM file with the authorities to trust, in the place of the system's. Example:
    /etc/ssl/certs/ca-certificates.crt
    """


class Storage(Settings):
    """Where durable things are: all in `data_dir`, or in a database and an object store that replicas share."""

    data_dir: Folder = Path("./var")
    """The folder that holds everything; one gateway owns it. With a `database_url` it is scratch. A relative one starts
    at the working directory.
    """
    database_url: DatabaseUrl | None = None
    """PostgreSQL, for any number of equal gateways; none: SQLite in `data_dir`. Example:
    postgresql://gateway@db.internal/gateway
    """
    blob_url: BlobUrl | None = None
    """Where files are, with a `database_url`: `s3://`, `gs://` or `az://` with bucket and prefix, or `file:///` on one
    machine. Example: s3://batches/gateway
    """
    blob_options: Annotated[Mapping[OptionName, OptionValue], BeforeValidator(hidden)] = {}
    """What the store wants beside its URL: keys, region, endpoint, encryption. Example: {region: eu-central-1}"""
    cache_bytes: Positive = 16 * 2**30
    """Of copies of the store's files in `data_dir`, which workers work on; the oldest go first."""
    replica: Slug | None = None
    """How this gateway is called among its equals, with a random end; none: by the host's name. Example:
    os.environ/POD_NAME
    """

    @property
    def shared(self) -> bool:
        """Whether this is the form with replicas: state in a database that they share."""
        return self.database_url is not None

    @property
    def database(self) -> str | None:
        """The URL of the database in the clear, None for SQLite in `data_dir`."""
        return None if self.database_url is None else self.database_url.get_secret_value()

    def store_options(self) -> dict[str, str]:
        """Return `blob_options` as texts, secrets in the clear."""
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in self.blob_options.items()
        }


def _without_at(value: object) -> object:
    return value.removeprefix("@") if isinstance(value, str) else value


class ApiKey(Settings):
    """One key of this gateway, given clear or as the hex SHA-256 of it."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """How logs call whoever has this key. Example: dev"""
    key: Annotated[SecretStr, Field(min_length=1)] | None = None
    """The key itself; give this one or `key_sha256`. Example: os.environ/PORTKEY_API_KEY"""
    key_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-fA-F]{64}$", repr=False)] = None
    """The SHA-256 of the key in hex. Example: f2d81a260dea8a100dd517984e53c56a7523d96942a834b9cdc249bd4e8c7aa9"""
    workspace: Slug = "default"
    """Whose files and batches this key sees: those of one workspace alone. Example: research"""
    virtual_keys: VirtualKeyGlobs = ("*",)
    """Globs of the virtual keys that it may use. Example: ["openai-*"]"""
    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Globs of the models that it may use, as names or as `@slug/model`; none: all. Example: ["gpt-4.1-*"]"""
    operator: bool = False
    """Whether it may see what all workspaces have, in sums: the dashboard's operator view, `GET /v1/operator`."""
    forward: bool = False
    """Whether the upstream knows this key, too, so that it is passed on."""
    upstream_key: Annotated[SecretStr, Field(min_length=1)] | None = None
    """The upstream's key of whoever has this one: what is passed on has it. Example: os.environ/UPSTREAM_KEY"""
    default: Annotated[Slug | None, BeforeValidator(_without_at)] = None
    """A virtual key or a saved config, for work that neither headers nor lines place. Example: openai-prod"""

    def digest(self) -> bytes:
        """Return the SHA-256 of the key."""
        return digest(self.key.get_secret_value()) if self.key else bytes.fromhex(self.key_sha256 or "")

    @model_validator(mode="after")
    def _one_key(self) -> ApiKey:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("set either key or key_sha256")
        if self.forward and self.upstream_key is not None:
            raise ValueError("set either forward or upstream_key")
        return self


class KeyOfLiteLLM(Settings):
    """What the keys of one team of LiteLLM's, or one key of it, may do here."""

    workspace: Slug | None = None
    """Whose files and batches these keys see; none: `team-ID`, or one of the key's own. Example: research"""
    virtual_keys: VirtualKeyGlobs = ("*",)
    """Globs of the virtual keys that they may use. Example: ["openai-*"]"""
    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Globs of models; none: those that LiteLLM allows the key. Example: ["gpt-4.1-*"]"""
    default: Annotated[Slug | None, BeforeValidator(_without_at)] = None
    """A virtual key or a saved config, for work that neither headers nor lines place. Example: openai-prod"""


class LiteLLMKeys(Settings):
    """Whom LiteLLM's keys name here: `keys` by alias or SHA-256, else `teams` by id or alias, else `default`."""

    cache_seconds: Annotated[float, Field(ge=0, le=3600)] = 30
    """For how long counts what the upstream said of a key."""
    refused_seconds: Annotated[float, Field(ge=0, le=3600)] = 5
    """For how long a refusal counts."""
    stale_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300
    """For how much longer a known key goes on while the upstream does not answer."""
    at_once: Annotated[int, Field(ge=1, le=1_000)] = 16
    """Questions that the upstream is asked at the same time."""
    teams: Mapping[str, KeyOfLiteLLM] = {}
    """By a team's id or alias: what its keys may do. Example: {research: {workspace: research}}"""
    keys: Mapping[str, KeyOfLiteLLM] = {}
    """By a key's alias or SHA-256: what it may do. Example: {nightly: {default: openai-prod}}"""
    default: KeyOfLiteLLM = KeyOfLiteLLM()
    """What all other keys may do. Example: {virtual_keys: ["openai-*"]}"""

    def entries(self) -> Iterator[tuple[str, KeyOfLiteLLM]]:
        """Yield (path, entry) of all that is said of keys."""
        yield from ((f"teams.{name}", each) for name, each in self.teams.items())
        yield from ((f"keys.{name}", each) for name, each in self.keys.items())
        yield "default", self.default


class Options(Settings):
    """What the operator says about a virtual key beyond its credentials. None: the lane's own value."""

    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Globs of the models that this account runs; none: all. Example: ["gpt-4.1-*"]"""
    max_lines_per_job: Positive | None = None
    """Lines of one native job, where less than the lane's own limit is wanted. Example: 10000"""
    max_bytes_per_job: Positive | None = None
    """Bytes of one native job, where less than the lane's own limit is wanted. Example: 100000000"""
    min_lines_per_job: Positive | None = None
    """A job of fewer lines is not sent: its rows have the code `too_few_lines`. Example: 100"""
    max_jobs_in_flight: Positive | None = None
    """Native jobs of this account at the same time; parts wait for a place. Example: 20"""
    max_lines_queued: Positive | None = None
    """Lines in native jobs of this account at the same time. Example: 500000"""
    settle_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """For how long a job that is not in the provider's list is doubted; none: as the lane says. Example: 1800"""
    on_unknown: Literal["wait", "resend"] = "wait"
    """On a lane without labels: wait for a create in doubt, or send it again at the risk of paying twice."""
    drop_params: bool | None = None
    """Leave out what the lane cannot honour, and record it, where the config of a batch says nothing. Example: true"""
    strict_params: bool | None = None
    """Refuse even parameters that only hint, where the lane has no place for them. Example: true"""
    direct_calls: Literal["never", "allowed", "always"] | None = None
    """Ordinary calls at full price: where no native job can be, or always; `never` overrides any config. Example:
    allowed
    """
    direct_limits: DirectLimits = DirectLimits()
    """What these calls may be. Example: {concurrency: 8, requests_per_minute: 500}"""
    retired: bool = False
    """No new batches; those that it has are finished."""

    @model_validator(mode="after")
    def _ordered(self) -> Options:
        if self.min_lines_per_job and self.max_lines_per_job and self.min_lines_per_job > self.max_lines_per_job:
            raise ValueError("min_lines_per_job is above max_lines_per_job")
        return self


class VirtualKey(Options):
    """A named provider account. `provider` is Portkey's name, `credentials` the adapter's own model."""

    slug: str
    provider: str
    credentials: Credentials = Field(repr=False)
    mock_response: Any = Field(default=None, repr=False)  # LiteLLM's, of an entry of the list: ordinary calls get it


class Secrets(Settings):
    """Keys of the gateway itself."""

    seal_key: SecretStr | None = None
    """Seals provider keys that callers bring, so that their batches outlive a restart. Example: os.environ/SEAL_KEY"""


def credential_problems(credentials: Credentials) -> Iterator[tuple[str, str]]:
    """Yield (field, what is wrong): no empty secret, and base URLs that may be shown, whatever the adapter checks."""
    for name, value in credentials:
        if isinstance(value, SecretStr) and not value.get_secret_value().strip():
            yield name, "is empty"
        elif isinstance(value, str) and (name == "custom_host" or name.endswith("_endpoint_url")):
            try:
                base_url(value)
            except ValueError as error:
                yield name, str(error)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One entry of LiteLLM's `model_list`. `slug` is the virtual key it makes; `closed` the error code of one that
    cannot be used. A `*` in `model` stands for what the one in `name` stands for.
    """

    name: str
    model: str
    provider: str | None = None
    slug: str | None = None
    weight: float = 1.0
    closed: str | None = None
    alias: bool = False  # another name, `router_settings.model_group_alias`
    hidden: bool = False  # from lists of models
    of: str | None = None  # the name in the list that this one is a part of: a lone `*` has many


@dataclass(frozen=True, slots=True)
class Config:
    """A valid configuration. `disabled` says for every virtual key that cannot be used why.

    `virtual_keys` and `disabled` hold those of `models`, too.
    """

    server: Server = field(default_factory=Server)
    storage: Storage = field(default_factory=Storage)
    api_keys: tuple[ApiKey, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    auth: Auth = KEYS
    litellm_keys: LiteLLMKeys = field(default_factory=LiteLLMKeys)
    virtual_keys: Mapping[str, VirtualKey] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    engine: EngineSettings = field(default_factory=EngineSettings)
    limits: Limits = field(default_factory=Limits)
    secrets: Secrets = field(default_factory=Secrets)
    cache: CacheSettings = field(default_factory=CacheSettings)
    connections: Connections = field(default_factory=Connections)
    alone: AloneSettings = field(default_factory=AloneSettings)
    model_list: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)  # as it was written
    models: tuple[ModelEntry, ...] = ()
    drop_params: bool = False  # of all accounts that say nothing themselves: `litellm_settings.drop_params`
    all_batches: bool = False  # of LiteLLM's plugin: it takes files and batches without our headers, too
    inside: bool = False  # LiteLLM's `callbacks` name the plugin
    vouched: bool = False  # LiteLLM says who calls, over a private socket
    warnings: tuple[str, ...] = ()
    master_key: SecretStr | None = field(default=None, repr=False)  # LiteLLM's: `general_settings.master_key`
    spend: tuple[str, ...] = ()  # what `check` says of the way that costs take to LiteLLM
    unread: tuple[str, ...] = ()  # what LiteLLM's sections say and this gateway does not read
    files: tuple[Path, ...] = ()  # that it was read from

    @property
    def shared(self) -> bool:
        """Whether there may be several workspaces; without keys of the gateway's own, every caller is one."""
        return self.vouched or self.auth == LITELLM or len({key.workspace for key in self.api_keys}) != 1

    def label(self, workspace: str) -> str:
        """Return how figures name a workspace: one that is not configured is made of a caller's key."""
        of_litellm = (entry.workspace for _, entry in self.litellm_keys.entries())
        named = {"default", *(key.workspace for key in self.api_keys), *of_litellm}
        return workspace if workspace in named else UNNAMED

    @property
    def workspace_share(self) -> float:
        """The part of the disk that one workspace may fill; a store has no size, and `data_dir` is scratch then."""
        if self.storage.blob_url is not None:
            return math.inf
        return self.limits.max_workspace_share or (SHARE_OF_SEVERAL if self.shared else SHARE_OF_ONE)
