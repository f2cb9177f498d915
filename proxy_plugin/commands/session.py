"""One run of a command: its options, its gateway, its display; and how one comes back to a batch."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy_plugin.commands import surroundings
from proxy_plugin.commands.connection import Transport
from proxy_plugin.commands.display import Display
from proxy_plugin.commands.gateway import Remote
from proxy_plugin.commands.problems import Misuse

BASE_URL = "http://127.0.0.1:8787/v1"


@dataclass(frozen=True, slots=True)
class Session:
    """What every command works with."""

    options: argparse.Namespace
    display: Display
    gateway: Remote

    def command(self, *words: str) -> str:
        """Return a command line, for this gateway, that can be copied. A key never stands in it."""
        options = self.options
        more = ["--base-url", options.base_url] if options.base_url else []
        if self.gateway.ours is not True or options.provider_key:  # ours knows the target of a batch that it has
            more += ["--virtual-key", options.virtual_key] if options.virtual_key else []
            more += ["--provider", options.provider] if options.provider else []
        return shlex.join(["proxy-plugin", "batch", *words, *more])


def opened(options: argparse.Namespace, display: Display, env: Mapping[str, str] = os.environ) -> Session:
    """Return the session for parsed options. Raises Misuse."""
    env = surroundings.with_file(env, Path(surroundings.NAME), options.base_url, options.api_key)
    base_url = options.base_url or env.get("PROXY_PLUGIN_BASE_URL") or env.get("PORTKEY_BASE_URL") or BASE_URL
    return Session(options, display, Remote(Transport(base_url, _headers(options, env))))


def _headers(options: argparse.Namespace, env: Mapping[str, str]) -> dict[str, str]:
    provider_key = options.provider_key or env.get("PROXY_PLUGIN_PROVIDER_KEY")
    brings_key = options.provider and not options.provider.startswith("@")
    wanted = {
        "x-portkey-api-key": (options.api_key or env.get("PORTKEY_API_KEY"), "PORTKEY_API_KEY or --api-key"),
        "x-portkey-virtual-key": (options.virtual_key, "--virtual-key"),
        "x-portkey-provider": (options.provider, "--provider"),
        "x-portkey-config": (_config(options.config, drop_params=options.drop_params), "--config"),
        "Authorization": (
            f"Bearer {provider_key.strip()}" if provider_key and brings_key else None,
            "PROXY_PLUGIN_PROVIDER_KEY or --provider-key",
        ),
    }
    return {name: header(value.strip(), source) for name, (value, source) in wanted.items() if value}


def header(value: str, source: str) -> str:
    """Return what may stand in a header. Raises Misuse, which does not repeat it: it may be a key."""
    if not (value.isascii() and value.isprintable()):
        raise Misuse(f"{source} holds a character that no header can carry: copy it again.")
    return value


def _config(text: str | None, *, drop_params: bool) -> str | None:
    """Return a config as one line of ASCII; an id of a saved one as it is. Raises Misuse."""
    if text is None:
        return json.dumps({"drop_params": True}) if drop_params else None
    if not text.lstrip().startswith("{"):
        if drop_params:
            raise Misuse("--drop-params cannot change a saved config: write drop_params: true into it.")
        return text
    try:
        return json.dumps({**json.loads(text), **({"drop_params": True} if drop_params else {})})
    except (ValueError, RecursionError):
        raise Misuse("--config is neither the id of a saved config nor JSON: check its quotes.") from None
