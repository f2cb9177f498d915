"""The configuration: one YAML file that LiteLLM loads too. Ours is the section `proxy_plugin`.

`parse` lists every problem at once, one a line, each with its dotted path; no message shows a value, it could be a
secret. A missing environment variable disables the virtual key or drops the API key it stands in; anywhere else it is
a problem.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, SecretStr, ValidationError, model_validator

from providers import catalog
from providers.base import BatchProvider, Credentials
from proxy_plugin.errors import ConfigError
from proxy_plugin.secrets import REFERENCE, Masker, digest, secrets_in
from proxy_plugin.yaml_document import read_yaml

SECTION = "proxy_plugin"
SLUG = re.compile(r"[A-Za-z0-9._-]{1,64}")
OWN_KEY_PREFIX = "byok-"  # slugs of accounts that callers bring themselves
_SLUG_RULE = "must be 1 to 64 letters, digits, dots, underscores or hyphens"
_ABSENT = object()


def _base_url(text: str) -> str:
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


BaseUrl = Annotated[str, AfterValidator(_base_url)]
Slug = Annotated[str, Field(pattern=rf"^{SLUG.pattern}$")]
Positive = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Base of all sections: a misspelt setting is an error, and errors never show what was set."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Server(Settings):
    """Where the gateway listens and how it reaches other hosts. Port 0 takes any free one."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    upstream: BaseUrl | None = None
    custom_hosts: tuple[Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9.:\[\]_-]+$")], ...] = ()
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


class ApiKey(Settings):
    """One key of this gateway, given clear or as the hex SHA-256 of it."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    key: Annotated[SecretStr, Field(min_length=1)] | None = None
    key_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-fA-F]{64}$", repr=False)] = None
    workspace: Slug = "default"
    virtual_keys: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._*?\[\]!-]{1,64}$")], ...] = ("*",)

    def digest(self) -> bytes:
        """Return the SHA-256 of the key."""
        return digest(self.key.get_secret_value()) if self.key else bytes.fromhex(self.key_sha256 or "")

    @model_validator(mode="after")
    def _one_key(self) -> ApiKey:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("set either key or key_sha256")
        return self


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


class Engine(Settings):
    """The background engine. `workers` None: chosen by the number of cores."""

    poll_seconds_first: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5
    poll_seconds_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300
    workers: Positive | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Engine:
        if self.poll_seconds_first > self.poll_seconds_max:
            raise ValueError("poll_seconds_first is above poll_seconds_max")
        return self


class Limits(Settings):
    """What one request, one workspace and the disk may bear. `max_uploads` run at the same time."""

    max_file_bytes: Positive = 2 * 2**30
    max_line_bytes: Positive = 16 * 2**20
    max_lines: Positive = 5_000_000
    max_workspace_bytes: Positive | None = None
    max_uploads: Positive = 100
    disk_reserve_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20


class Secrets(Settings):
    """Keys of the gateway itself."""

    seal_key: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A valid configuration. `disabled` says for every virtual key that cannot be used why."""

    server: Server = field(default_factory=Server)
    storage: Storage = field(default_factory=Storage)
    api_keys: tuple[ApiKey, ...] = ()
    virtual_keys: Mapping[str, VirtualKey] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    engine: Engine = field(default_factory=Engine)
    limits: Limits = field(default_factory=Limits)
    secrets: Secrets = field(default_factory=Secrets)
    model_list: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file. Raises ConfigError with all problems, one a line, before anything is started."""
    try:
        return parse(read_yaml(path), os.environ if environ is None else environ)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply, or an alias that contains itself") from None


def parse(mapping: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Check the content of a configuration file. Raises ConfigError with all problems, one a line."""
    return _Parse(environ).config(mapping)


M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class _Parse:
    """One reading of one configuration: what is wrong with it gathers here."""

    environ: Mapping[str, str] = field(repr=False)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def config(self, mapping: Mapping[str, Any]) -> Config:
        section = self._section(mapping)
        disabled: dict[str, str] = {}
        parts: dict[str, Any] = {name: self._settings(model, section, name) for name, model in _SECTIONS.items()}
        parts["api_keys"] = tuple(self._api_keys(section.get("api_keys")))
        parts["virtual_keys"] = dict(self._virtual_keys(section.get("virtual_keys"), disabled))
        parts["configs"] = dict(self._configs(section.get("configs")))
        parts["model_list"] = tuple(self._list(mapping.get("model_list"), "model_list"))
        self._check_api_keys(parts["api_keys"], {*parts["virtual_keys"], *disabled})
        if self.problems:
            raise ConfigError("\n".join(self.problems))
        return Config(**parts, disabled=disabled, warnings=tuple(self.warnings))

    def _section(self, mapping: Mapping[str, Any]) -> Mapping[str, Any]:
        if SECTION not in mapping:
            near = _suggestion(SECTION, [str(name) for name in mapping])
            self.warnings.append(f"{SECTION}: there is no such section, so no virtual key is configured{near}")
        section = self._mapping(mapping.get(SECTION), SECTION)
        known = {*_SECTIONS, "api_keys", "virtual_keys", "configs"}
        self.problems += [_unknown(f"{SECTION}.{name}", str(name), known) for name in section if name not in known]
        return section

    def _settings(self, model: type[M], section: Mapping[str, Any], name: str) -> M | None:
        path = f"{SECTION}.{name}"
        settings, missing = self._required(section.get(name), path)
        return self._checked(model, self._mapping(settings, path), path, missing)

    def _api_keys(self, raw: object) -> Iterator[ApiKey]:
        entries = self._list(raw, f"{SECTION}.api_keys")
        kept, dropped = 0, []
        for index, entry in enumerate(entries):
            path = f"{SECTION}.api_keys.{index}"
            settings, missing = self._resolved(entry, path)
            found = self._checked(ApiKey, self._mapping(settings, path), path, missing)
            dropped += [f"{where}: {why}, so this API key is dropped" for where, why in missing.items()]
            kept += not missing
            if found is not None and not missing:
                yield found
        self.warnings += dropped
        if dropped and not kept:
            self.problems += [*dropped, f"{SECTION}.api_keys: no key is left; access is never opened for lack of keys"]

    def _check_api_keys(self, api_keys: tuple[ApiKey, ...], slugs: Iterable[str]) -> None:
        path = f"{SECTION}.api_keys"
        for what, values in (("name", [key.name for key in api_keys]), ("key", [key.digest() for key in api_keys])):
            if len(set(values)) < len(values):
                self.problems.append(f"{path}: two entries have the same {what}")
        for key in api_keys:
            idle = [pattern for pattern in key.virtual_keys if pattern != "*" and not _matches(pattern, slugs)]
            self.warnings += [f"{path}: {key.name}: {pattern} matches no virtual key" for pattern in idle]

    def _virtual_keys(self, raw: object, disabled: dict[str, str]) -> Iterator[tuple[str, VirtualKey]]:
        for slug, entry in self._mapping(raw, f"{SECTION}.virtual_keys").items():
            path = f"{SECTION}.virtual_keys.{slug}"
            if not _is_slug(slug):
                self.problems.append(f"{path}: the name {_SLUG_RULE}")
                continue
            if slug.startswith(OWN_KEY_PREFIX):
                self.problems.append(f"{path}: names that begin with {OWN_KEY_PREFIX} are kept for callers' own keys")
                continue
            settings, missing = self._resolved(entry, path)
            found = self._virtual_key(slug, self._mapping(settings, path), path, missing)
            self.warnings += [f"{where}: {why}, so this virtual key is disabled" for where, why in missing.items()]
            if missing:
                disabled[slug] = ", ".join(dict.fromkeys(missing.values()))
            elif found is not None:
                yield slug, found

    def _virtual_key(
        self, slug: str, settings: Mapping[str, Any], path: str, missing: Mapping[str, str]
    ) -> VirtualKey | None:
        adapter = self._adapter(settings, path, missing)
        if adapter is None:
            return None
        own = {name: value for name, value in settings.items() if name in Options.model_fields}
        rest = {name: value for name, value in settings.items() if name not in {*own, "provider"}}
        known = {"provider", *Options.model_fields, *adapter.credentials.model_fields}
        options = self._checked(Options, own, path, missing)
        credentials = self._checked(adapter.credentials, rest, path, missing, known)
        if options is None or credentials is None:
            return None
        self._check_credentials(credentials, path)
        return VirtualKey(
            slug=slug,
            provider=catalog.canonical(settings["provider"]),
            credentials=credentials,
            **options.model_dump(exclude_unset=True),
        )

    def _adapter(self, settings: Mapping[str, Any], path: str, missing: Mapping[str, str]) -> BatchProvider | None:
        if path in missing or f"{path}.provider" in missing:
            return None
        path = f"{path}.provider"
        name = settings.get("provider")
        if not isinstance(name, str):
            self.problems.append(f"{path}: missing setting" if name is None else f"{path}: must be a text")
            return None
        try:
            return catalog.load(catalog.canonical(name))
        except catalog.UnknownProvider:
            near = _suggestion(name, catalog.names())
            self.problems.append(f"{path}: unknown provider; known: {', '.join(catalog.names())}{near}")
        except (ImportError, AttributeError) as error:
            self.problems.append(f"{path}: its adapter cannot be loaded ({type(error).__name__})")
        return None

    def _check_credentials(self, credentials: Credentials, path: str) -> None:
        """Check what holds for every adapter: no empty secret, and base URLs that may be shown."""
        for name, value in credentials:
            if isinstance(value, SecretStr) and not value.get_secret_value().strip():
                self.problems.append(f"{path}.{name}: is empty")
            elif isinstance(value, str) and (name == "custom_host" or name.endswith("_endpoint_url")):
                try:
                    _base_url(value)
                except ValueError as error:
                    self.problems.append(f"{path}.{name}: {error}")

    def _configs(self, raw: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, entry in self._mapping(raw, f"{SECTION}.configs").items():
            path = f"{SECTION}.configs.{name}"
            if not _is_slug(name) or not name.startswith("pc-"):
                self.problems.append(f"{path}: the name must start with pc- and {_SLUG_RULE}")
            settings, _ = self._required(entry, path)
            yield str(name), self._mapping(settings, path)

    def _required(self, raw: object, path: str) -> tuple[Any, dict[str, str]]:
        settings, missing = self._resolved(raw, path)
        self.problems += [f"{where}: {why}" for where, why in missing.items()]
        return settings, missing

    def _resolved(self, raw: object, path: str) -> tuple[Any, dict[str, str]]:
        """Return the value with its references replaced, and {path: why} of those whose variable is missing."""
        missing: dict[str, str] = {}
        value = _replaced(raw, path, self.environ, missing)
        return (None if value is _ABSENT else value), missing

    def _checked(
        self,
        model: type[M],
        settings: Mapping[str, Any],
        path: str,
        missing: Mapping[str, str],
        known: Iterable[str] | None = None,
    ) -> M | None:
        """Return the validated model. With a variable missing, what its absence causes is no further problem."""
        try:
            return model.model_validate(settings)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
        names = model.model_fields if known is None else known
        quoted = Masker(_texts(settings))  # an adapter's own check may quote what it refuses
        for fault in faults:
            if missing and (fault["type"] == "missing" or not fault["loc"]):
                continue
            where = ".".join([path, *map(str, fault["loc"])])
            if fault["type"] == "extra_forbidden":
                self.problems.append(_unknown(where, str(fault["loc"][-1]), names))
            elif fault["type"] == "missing":
                self.problems.append(f"{where}: missing setting")
            else:
                own = fault["type"] in ("value_error", "assertion_error")
                text = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
                self.problems.append(f"{where}: {quoted.mask(text) if own else text}")
        return None

    def _mapping(self, raw: object, path: str) -> Mapping[str, Any]:
        if raw is not None and not isinstance(raw, Mapping):
            self.problems.append(f"{path}: must be a mapping")
        return raw if isinstance(raw, Mapping) else {}

    def _list(self, raw: object, path: str) -> list[Any]:
        if raw is not None and not isinstance(raw, list | tuple):
            self.problems.append(f"{path}: must be a list")
        return list(raw) if isinstance(raw, list | tuple) else []


_SECTIONS: dict[str, type[Settings]] = {
    "server": Server,
    "storage": Storage,
    "engine": Engine,
    "limits": Limits,
    "secrets": Secrets,
}


def _replaced(raw: object, path: str, environ: Mapping[str, str], missing: dict[str, str]) -> object:
    if isinstance(raw, str) and raw.startswith(REFERENCE):
        name = raw.removeprefix(REFERENCE)
        text = environ.get(name, "").strip()  # a newline at the end of a mounted secret is never meant
        if not text:
            missing[path] = f"environment variable {name} is {'empty' if name in environ else 'not set'}"
        return text or _ABSENT
    if isinstance(raw, Mapping):
        items = {key: _replaced(item, f"{path}.{key}", environ, missing) for key, item in raw.items()}
        return {key: item for key, item in items.items() if item is not _ABSENT}
    if isinstance(raw, list | tuple):
        values = [_replaced(item, f"{path}.{index}", environ, missing) for index, item in enumerate(raw)]
        return [value for value in values if value is not _ABSENT]
    return raw


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _matches(pattern: str, slugs: Iterable[str]) -> bool:
    return any(fnmatchcase(slug, pattern) for slug in slugs)


def _is_slug(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and SLUG.fullmatch(name) is not None


def _unknown(path: str, name: str, known: Iterable[str]) -> str:
    return f"{path}: unknown setting{_suggestion(name, known)}"


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def render_check(config: Config) -> str:
    """Return what `proxy-plugin check` prints: what is served, for whom, by which accounts. Shows no secret."""
    server = config.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    callers = [
        f"  {key.name}  workspace {key.workspace}; virtual keys {_shown(key.virtual_keys)}" for key in config.api_keys
    ]
    lines = [
        f"server    http://{host}:{server.port}",
        f"upstream  {server.upstream or 'none'}",
        f"data dir  {config.storage.data_dir}",
        "callers",
        *(callers or ["  everybody on this machine  workspace default; virtual keys *"]),
        "virtual keys",
        *[f"  {slug}  enabled: {_described(key)}" for slug, key in config.virtual_keys.items()],
        *[f"  {slug}  disabled: {reason}" for slug, reason in config.disabled.items()],
        *(["warnings", *[f"  {warning}" for warning in config.warnings]] if config.warnings else []),
    ]
    return Masker(secrets_in(config)).mask("\n".join(lines))


def _described(key: VirtualKey) -> str:
    capabilities = catalog.load(key.provider).capabilities
    endpoints = [value for name, value in key.credentials if name.endswith("_endpoint_url") and value is not None]
    hosts = ", ".join(endpoints) or key.credentials.custom_host or capabilities.default_host
    chosen = [name for name in Options.model_fields if name in key.model_fields_set]
    return "; ".join([f"{key.provider} at {hosts}", *[f"{name} {_shown(getattr(key, name))}" for name in chosen]])


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
