"""The configuration as typed sections. `read` reads them from a file; what stands here is checked and frozen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FilePath, SecretStr, model_validator

from proxy_plugin.ground.fingerprints import digest
from proxy_plugin.ground.meter import Allowance
from proxy_plugin.providers.base import Credentials

SLUG = re.compile(r"[A-Za-z0-9._-]{1,64}")
OWN_KEY_PREFIX = "byok-"  # slugs of accounts that callers bring themselves
UNNAMED = "(other)"  # no workspace and no virtual key can be called so


def base_url(text: str) -> str:
    """Refuse what is no base URL, and a password in it: it would be shown and logged."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be an absolute http or https URL")
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError("may not hold a user name, a password, a query or a fragment")
    return text


BaseUrl = Annotated[str, AfterValidator(base_url)]
Slug = Annotated[str, Field(pattern=rf"^{SLUG.pattern}$")]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
HostEntry = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9.:\[\]_-]+$")]


class Settings(BaseModel):
    """Base of all sections: a misspelt setting is an error, and errors never show what was set."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Server(Settings):
    """Where the gateway listens and how it reaches other hosts. Port 0 takes any free one."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    upstream: BaseUrl | None = None
    upstream_host: Literal["client", "upstream"] = "client"  # whose name it is asked by: `Host`
    custom_hosts: tuple[HostEntry, ...] = ()
    media_hosts: tuple[HostEntry, ...] = ()  # pictures may come from these although they are private
    metrics_key: Annotated[SecretStr, Field(min_length=1)] | None = None  # without one /metrics names no tenant
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None  # of `proxy-plugin serve`: a port of its own
    outgoing_proxy: SecretStr | None = None  # proxy URLs often hold a password
    ca_bundle: FilePath | None = None


def _not_served(value: object) -> object:
    if value is not None:
        raise ValueError("this version cannot serve a storage URL; it keeps everything in data_dir. Set it to null")
    return value


class Storage(Settings):
    """Where durable things are. A relative `data_dir` starts at the working directory."""

    data_dir: Path = Path("./var")
    database_url: Annotated[SecretStr | None, AfterValidator(_not_served)] = None
    blob_url: Annotated[SecretStr | None, AfterValidator(_not_served)] = None


def _without_at(value: object) -> object:
    return value.removeprefix("@") if isinstance(value, str) else value


class ApiKey(Settings):
    """One key of this gateway, given clear or as the hex SHA-256 of it."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    key: Annotated[SecretStr, Field(min_length=1)] | None = None
    key_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-fA-F]{64}$", repr=False)] = None
    workspace: Slug = "default"
    virtual_keys: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._*?\[\]!-]{1,64}$")], ...] = ("*",)
    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None  # globs of models, names, or @slug/model
    forward: bool = False  # the upstream knows it, too: it is passed on
    # A virtual key or a saved config, for work that neither headers nor lines place.
    default: Annotated[Slug | None, BeforeValidator(_without_at)] = None

    def digest(self) -> bytes:
        """Return the SHA-256 of the key."""
        return digest(self.key.get_secret_value()) if self.key else bytes.fromhex(self.key_sha256 or "")

    @model_validator(mode="after")
    def _one_key(self) -> ApiKey:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("set either key or key_sha256")
        return self


class DirectLimits(Settings):
    """What the ordinary calls of a virtual key may be. None: no limit is known."""

    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 16
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    retries: Annotated[int, Field(ge=0, le=100)] = 5  # of one line, after errors of the provider's own
    timeout_seconds: Seconds = 600  # of one call


class Options(Settings):
    """What the operator says about a virtual key beyond its credentials. None: the lane's own value."""

    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    max_lines_per_job: Positive | None = None
    max_bytes_per_job: Positive | None = None
    min_lines_per_job: Positive | None = None
    max_jobs_in_flight: Positive | None = None
    max_lines_queued: Positive | None = None
    settle_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    on_unknown: Literal["wait", "resend"] = "wait"
    drop_params: bool | None = None  # leave out what the lane cannot honour, where the config of a batch says nothing
    strict_params: bool | None = None  # leave out not even what only hints
    # Ordinary calls at full price: where no native job can be, or always; "never", whatever the config of a batch says.
    direct_calls: Literal["never", "allowed", "always"] | None = None
    direct_limits: DirectLimits = DirectLimits()
    retired: bool = False

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


class EngineSettings(Settings):
    """The background engine. `workers` None: chosen by the number of cores.

    What a worker may do at a time is bounded in seconds of CPU: so many, and more for each megabyte that it reads. A
    task that needs more fails its batch, a line that does becomes an error row. Of tens of shapes of lines the slowest
    takes 0.5 s a megabyte [measured, 2 GHz].
    """

    poll_seconds_first: Seconds = 5
    poll_seconds_max: Seconds = 300
    workers: Positive | None = None
    direct_workers: Positive = 1  # processes that make ordinary calls; each answers one virtual key's lines at a time
    task_seconds: Seconds = 60
    task_seconds_per_mb: Seconds = 3
    line_seconds: Seconds = 5
    line_seconds_per_mb: Seconds = 2

    @property
    def allowance(self) -> Allowance:
        """What the translation of one line may take."""
        return Allowance(self.line_seconds, self.line_seconds_per_mb)

    @model_validator(mode="after")
    def _ordered(self) -> EngineSettings:
        if self.poll_seconds_first > self.poll_seconds_max:
            raise ValueError("poll_seconds_first is above poll_seconds_max")
        return self


SHARE_OF_SEVERAL, SHARE_OF_ONE = 0.33, 0.6  # of the disk; results may take half as much again, and need room to end


class Limits(Settings):
    """What one request, one workspace and the disk may bear. `max_uploads` run at the same time.

    A workspace takes `max_workspace_bytes` of new work, and never more than `max_workspace_share` of the disk; with the
    results of what is paid for it may have half as much again, so the default leaves half of the disk to others. 64 GiB
    are 32 files of the largest size. 10,000 open batches are five hours of what OpenAI lets a project create, and
    100,000 files are ten for each of them.
    """

    max_file_bytes: Positive = 2 * 2**30
    max_line_bytes: Positive = 16 * 2**20
    max_lines: Positive = 5_000_000
    max_inline_bytes: Annotated[int, Field(ge=2**20)] = 16 * 2**20  # of a create with its `requests`
    max_workspace_bytes: Positive = 64 * 2**30
    max_workspace_share: Annotated[float, Field(gt=0, le=1)] | None = None  # of the disk; None: 0.33, alone 0.6
    max_workspace_files: Positive = 100_000  # kept here, parts of uploads included
    max_workspace_uploads: Positive | None = None  # that run at the same time; None: three quarters of max_uploads
    max_open_batches: Positive = 10_000  # of one workspace
    max_uploads: Positive = 100
    disk_reserve_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    max_media_files: Positive = 10_000  # pictures that are fetched for one batch
    max_media_bytes: Positive = 12 * 2**20  # of one picture; as base64 it is max_line_bytes long
    max_media_total_bytes: Positive = 2**30  # of all pictures of one batch
    max_media_seconds: Positive = 30  # until a picture has come
    max_plans: Positive = 16  # of one workspace at a time, those that wait for their turn included
    max_jobs_per_batch: Annotated[int, Field(ge=1, le=5_000)] = 500  # native jobs that one batch may be split into

    @property
    def uploads_of_one(self) -> int:
        """How many uploads of one workspace run at the same time."""
        return self.max_workspace_uploads or -(-self.max_uploads * 3 // 4)


class CacheSettings(Settings):
    """Answers that are kept for batches whose config asks for them. `dir` None: `cache` in data_dir.

    `max_bytes` 0: none are kept. The oldest go where there is no more room, and each goes after `max_age` seconds.
    """

    dir: Path | None = None
    max_bytes: Annotated[int, Field(ge=0)] = 2**30
    max_age: Seconds = 30 * 86_400


class Secrets(Settings):
    """Keys of the gateway itself."""

    seal_key: SecretStr | None = None


class Connections(Settings):
    """What a connection may cost. "serve": only where the server is the gateway's own, that of `proxy-plugin serve`."""

    max_open: Positive | None = None  # serve: at the same time; None: by the number of files the process may open
    max_requests_per_workspace: Positive = 200  # that run at the same time
    head_seconds: Seconds = 15  # serve: until the first byte of a request, and from there until its head is whole
    max_head_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024  # serve: the request line and all headers together
    keepalive_seconds: Seconds = 75  # serve: between two requests of one connection
    min_bytes_per_second: Annotated[int, Field(ge=0)] = 1024  # over a minute, of bodies; serve: of answers, too
    max_body_seconds: Seconds = 3600  # until the body of a request has come


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
    virtual_keys: Mapping[str, VirtualKey] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    engine: EngineSettings = field(default_factory=EngineSettings)
    limits: Limits = field(default_factory=Limits)
    secrets: Secrets = field(default_factory=Secrets)
    cache: CacheSettings = field(default_factory=CacheSettings)
    connections: Connections = field(default_factory=Connections)
    model_list: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)  # as it was written
    models: tuple[ModelEntry, ...] = ()
    drop_params: bool = False  # of all accounts that say nothing themselves: `litellm_settings.drop_params`
    warnings: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()  # what LiteLLM's sections say and this gateway does not read
    files: tuple[Path, ...] = ()  # that it was read from

    @property
    def shared(self) -> bool:
        """Whether there may be several workspaces; without keys of the gateway's own, every caller is one."""
        return len({key.workspace for key in self.api_keys}) != 1

    def label(self, workspace: str) -> str:
        """Return how figures name a workspace: one that is not configured is made of a caller's key."""
        return workspace if workspace in {"default", *(key.workspace for key in self.api_keys)} else UNNAMED

    @property
    def workspace_share(self) -> float:
        """The part of the disk that one workspace may fill."""
        return self.limits.max_workspace_share or (SHARE_OF_SEVERAL if self.shared else SHARE_OF_ONE)
