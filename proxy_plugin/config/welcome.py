"""What `proxy-plugin serve` says on a terminal once it listens: where, with what, and what can be done next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from proxy_plugin.config.sections import LITELLM, Config
from proxy_plugin.ground.masking import Masker, secrets_in

KEY = "PORTKEY_API_KEY"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104 - told where to call, not bound


def welcome(config: Config, host: str, port: int, path: Path, *, has_file: bool) -> str:
    """Return what is said. `has_file`: beside the configuration is a `.env` in which commands find URL and key."""
    mask = Masker(secrets_in(config)).mask
    url = f"http://{_ANYWHERE.get(host, f'[{host}]' if ':' in host else host)}:{port}/v1"
    lines = [
        f"proxy-plugin listens on {url}",
        f"  configuration  {path.absolute()}",
        f"  data           {config.storage.data_dir.absolute()}",
        *_accounts(config),
        *_callers(config),
        *([f"  passed on to   {config.server.upstream}"] if config.server.upstream else []),
        "Next, in another terminal:",
        *(f"  {line}" for line in _next(config, url, path, has_file=has_file)),
        "Ctrl-C stops it: what runs at providers goes on, and is taken up at the next start.",
    ]
    return "\n".join(map(mask, lines))


def _accounts(config: Config) -> Iterator[str]:
    usable = ", ".join(config.virtual_keys)
    yield f"  virtual keys   {usable or 'none: callers bring keys of their own'}"
    for slug, reason in config.disabled.items():
        yield f"  disabled       {slug}: {reason}"


def _callers(config: Config) -> Iterator[str]:
    named = [f"{key.name} (workspace {key.workspace})" for key in config.api_keys]
    named += ["keys of LiteLLM"] if config.auth == LITELLM else []
    named += ["LiteLLM's master key"] if config.master_key is not None and config.auth != LITELLM else []
    yield f"  callers        {', '.join(named) or 'everybody on this machine, without a key'}"


def _next(config: Config, url: str, path: Path, *, has_file: bool) -> Iterator[str]:
    """Yield commands as they can be copied. A key never stands in one."""
    if has_file:
        yield f"cd {shlex.quote(str(path.absolute().parent))}   # commands take the key from .env there"
    else:
        yield f"export PROXY_PLUGIN_BASE_URL={shlex.quote(url)}"
        if config.api_keys or config.master_key is not None:
            yield f"export {KEY}=...   # one of the callers' keys"
    default = any(key.default for key in config.api_keys)
    account = "" if default or not config.virtual_keys else f" --virtual-key {next(iter(config.virtual_keys))}"
    there = path.name if has_file else str(path.absolute())
    yield f"proxy-plugin doctor --config {shlex.quote(there)}   # are the accounts' keys right?"
    yield f"proxy-plugin batch submit questions.jsonl{account} --watch"
