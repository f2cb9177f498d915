"""Portkey's request headers as one typed object, and the headers of our answers."""

from __future__ import annotations

import asyncio
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from multidict import CIMultiDict, MultiMapping

from proxy_plugin.access.callers import Caller
from proxy_plugin.config import Config, VirtualKey
from proxy_plugin.ground.errors import BadRequest, Forbidden
from proxy_plugin.ground.masking import mask
from proxy_plugin.routing.config_tree import Node, Slug, TargetSettings
from proxy_plugin.routing.portkey_config import read_header
from proxy_plugin.routing.route import NOT_SLUGS

PREFIX = "x-portkey-"
TRACE_ID = "x-portkey-trace-id"
PROVIDER = "x-portkey-provider"
VIRTUAL_KEY = "x-portkey-virtual-key"
CONFIG = "x-portkey-config"
CUSTOM_HOST = "x-portkey-custom-host"
METADATA = "x-portkey-metadata"
STRICT = "x-portkey-strict-open-ai-compliance"
TIMEOUT = "x-portkey-request-timeout"
CACHE_REFRESH = "x-portkey-cache-force-refresh"
CACHE_NAMESPACE = "x-portkey-cache-namespace"
OPTION, RETRIES, CACHE_STATUS = (  # of answers
    "x-portkey-last-used-option-index",
    "x-portkey-retry-attempt-count",
    "x-portkey-cache-status",
)
MANAGED = "portkey"  # the provider that is Portkey itself: files and batches that the gateway manages, so none is named
WHOLE_CONFIG = "config"  # what stands for a target that is not one of several
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_KEY_MAX = 255
_TRACE_ID = re.compile(r"[!-~]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_MILLISECONDS = re.compile(r"[1-9][0-9]{0,9}")
_COUNT = re.compile(r"[0-9]{1,4}")
_ECHOED = 64
_AT_ONCE = 4 * 1024  # characters of a config that are read on the event loop, in 1 ms
_READER = ThreadPoolExecutor(1, "configs")  # one: several would share the interpreter's lock with the event loop


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """What a request's headers ask for. `slug` is a virtual key, `provider` a plain provider name."""

    trace_id: str
    slug: str | None = None
    provider: str | None = None
    config: str | None = field(default=None, repr=False)  # may hold keys
    custom_host: str | None = field(default=None, repr=False)
    metadata: str | None = field(default=None, repr=False)
    retry_count: int = 0
    timeout_ms: int | None = None
    sent_idempotency_key: str | None = field(default=None, repr=False)
    cache_refresh: bool = False  # SDKs send Python's `True`, too
    cache_namespace: str = field(default="", repr=False)
    native_answers: bool = False  # only the exact text `false` of STRICT asks for them, as at Portkey

    @property
    def target(self) -> tuple[str | None, ...]:
        """Return what says where work goes, None for what is not said."""
        return self.config, self.slug, self.provider, self.custom_host

    def of_trace(self, trace_id: str) -> RequestHeaders:
        """Return the same under another trace id."""
        return replace(self, trace_id=trace_id)

    @property
    def has_large_config(self) -> bool:
        """Tell whether the config is too large to be read on the event loop."""
        return self.config is not None and len(self.config) > _AT_ONCE

    @property
    def names_nothing(self) -> bool:
        """Tell whether the request says nothing of where its work goes."""
        return self.slug is self.provider is self.config is None

    @property
    def idempotency_key(self) -> str | None:
        """Return the key, None if none was sent. Raises BadRequest for one that is empty or too long."""
        key = self.sent_idempotency_key
        if key is not None and not 1 <= len(key) <= IDEMPOTENCY_KEY_MAX:
            raise BadRequest(
                f"{IDEMPOTENCY_KEY} must have 1 to {IDEMPOTENCY_KEY_MAX} characters, not {len(key)}.",
                param=IDEMPOTENCY_KEY,
            )
        return key


def read(headers: MultiMapping[str]) -> RequestHeaders:
    """Read the headers. Never raises, so that a refused request has a trace id too."""
    slug, provider = _target(headers)
    retries = headers.get("x-stainless-retry-count", "")
    timeout = headers.get(TIMEOUT, "").strip()
    return RequestHeaders(
        trace_id=_trace_id(headers),
        slug=slug,
        provider=provider,
        config=headers.get(CONFIG) or None,
        custom_host=headers.get(CUSTOM_HOST) or None,
        metadata=headers.get(METADATA) or None,
        retry_count=int(retries) if _COUNT.fullmatch(retries) else 0,
        timeout_ms=int(timeout) if _MILLISECONDS.fullmatch(timeout) else None,
        sent_idempotency_key=headers.get(IDEMPOTENCY_KEY),
        cache_refresh=headers.get(CACHE_REFRESH, "").strip().lower() == "true",
        cache_namespace=headers.get(CACHE_NAMESPACE, "").strip(),
        native_answers=headers.get(STRICT) == "false",
    )


def _trace_id(headers: MultiMapping[str]) -> str:
    """Return the caller's: Portkey's header, else the trace of a `traceparent` (W3C "Trace Context", 3.2)."""
    sent = headers.get(TRACE_ID, "")
    if _TRACE_ID.fullmatch(sent):
        return sent
    parent = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return str(uuid.uuid4()) if parent is None else parent[1]


def _target(headers: MultiMapping[str]) -> tuple[str | None, str | None]:
    """Return (slug, None) or (None, plain provider name): SDKs send all headers they were given, `@slug` is the
    strongest, a plain provider the weakest."""
    provider = headers.get(PROVIDER, "").strip()
    if (named := slug_in(provider)) is not None:
        return named, None
    if provider.lower() == MANAGED:
        provider = ""
    slug = headers.get(VIRTUAL_KEY, "").strip().removeprefix("@")
    return (slug, None) if slug else (None, provider or None)


def naming(sent: MultiMapping[str]) -> str:
    """Return the header that names the virtual key, of those that `read` takes one from."""
    return VIRTUAL_KEY if slug_in(sent.get(PROVIDER, "").strip()) is None else PROVIDER


def slug_in(text: str) -> str | None:
    """Return the slug of `@slug` and `@slug/model`, None for any other text."""
    if not text.startswith("@") or text.startswith(NOT_SLUGS):
        return None
    return text[1:].partition("/")[0]


def misplaced_host() -> BadRequest:
    """Return the refusal of a host that would get the key of somebody else."""
    return BadRequest(
        f"{CUSTOM_HOST} goes only with a provider key of your own: '{PROVIDER}: NAME', the key in Authorization.",
        param=CUSTOM_HOST,
    )


def resolve_target(headers: RequestHeaders, caller: Caller, config: Config) -> VirtualKey | None:
    """Return the one virtual key that the headers choose for new work, None if they choose none.

    Raises BadRequest for what is unknown, disabled or retired and for a plain provider name, Forbidden for a key of
    other callers. A config is stronger and not looked at here.
    """
    if headers.custom_host is not None:
        raise misplaced_host()
    if headers.slug is not None:
        return find_virtual_key(headers.slug, caller, config)
    if headers.provider is not None:
        raise BadRequest(
            f"This request takes a virtual key of this gateway: send '{PROVIDER}: @slug' or '{VIRTUAL_KEY}: slug' "
            "instead of a plain provider name.",
            param=PROVIDER,
        )
    return None


def find_virtual_key(slug: str, caller: Caller, config: Config, param: str | None = None) -> VirtualKey:
    """Return the virtual key for new work of this caller; `param` named it. Raises like `resolve_target`."""
    key = config.virtual_keys.get(slug)
    if key is None and slug not in config.disabled:
        raise BadRequest(
            f"Following keys are not valid: {_echo(slug)}. Name a virtual key that this gateway has, as "
            f"'{PROVIDER}: @slug'.",
            param=param,
            code="invalid_virtual_key",
        )
    if not caller.allows(slug):
        raise Forbidden(f"This API key may not use the virtual key {slug}.", param=param)
    if key is None:
        raise BadRequest(
            f"The virtual key {slug} is disabled: {config.disabled[slug]}.", param=param, code="virtual_key_disabled"
        )
    if key.retired:
        raise BadRequest(
            f"The virtual key {slug} is retired and takes no new work.", param=param, code="virtual_key_retired"
        )
    return key


async def config_node(text: str, config: Config) -> Node:
    """Return what a request's config says; a large one is read on a thread, one at a time. Raises ConfigError."""
    if len(text) <= _AT_ONCE:
        return read_header(text, config.configs, CONFIG)
    return await asyncio.get_running_loop().run_in_executor(_READER, read_header, text, config.configs, CONFIG)


def default_node(config: Config, caller: Caller) -> Node | None:
    """Return the default of the caller's API key: a saved config, or one virtual key."""
    if caller.default is None:
        return None
    if caller.default in config.configs:
        return read_header(caller.default, config.configs, CONFIG)
    return Node("", TargetSettings(account=Slug(caller.default)))


def _echo(slug: str) -> str:
    """Show what was sent, but not a credential that was put into the wrong header."""
    return mask(slug.encode("ascii", "replace").decode())[:_ECHOED]


def response_headers(provider: str | None, trace_id: str, option: str = WHOLE_CONFIG) -> dict[str, str]:
    """Return the headers Portkey's clients read. `provider` is None where none was chosen, or more than one."""
    chosen = {} if provider is None else {PROVIDER: provider}
    return chosen | {
        TRACE_ID: trace_id,
        OPTION: option,
        RETRIES: "0",
        CACHE_STATUS: "DISABLED",
    }


def strip_credentials(headers: MultiMapping[str], caller: Caller) -> CIMultiDict[str]:
    """Return the headers to pass on: without any key of this gateway, wherever the client put it."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in caller.kept_back)
