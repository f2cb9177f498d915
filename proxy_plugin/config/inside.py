"""What the file says of the gateway inside LiteLLM, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from proxy_plugin.config.litellm_file import PLUGIN
from proxy_plugin.config.sections import Config, Server
from proxy_plugin.inside.words import MOST_PATH, SOCKET

_ROOT = "proxy_plugin"


def doubts(
    callbacks: list[object], server: Server | None, data_dir: Path | None, *, all_batches: bool
) -> Iterator[str]:
    """Yield warnings of what would start no gateway, or take nothing."""
    for each in callbacks:
        if isinstance(each, str) and each.startswith(_ROOT) and each != PLUGIN:
            yield f"litellm_settings.callbacks: LiteLLM will find no callback under this name of ours; write {PLUGIN}"
    inside = PLUGIN in callbacks
    if all_batches and not inside:
        yield f"{_ROOT}.all_batches: means nothing unless litellm_settings.callbacks names {PLUGIN}"
    if all_batches and inside and server is not None and server.upstream is not None:
        yield f"{_ROOT}.all_batches: means nothing in front of an upstream, where every file and batch is ours"
    if inside and data_dir is not None and len(bytes(_socket(data_dir))) > MOST_PATH:
        yield f"{_ROOT}.storage.data_dir: too long for the socket of LiteLLM's plugin; at most {_most()} bytes"


def described(config: Config) -> str:
    """Return what LiteLLM's plugin does with this file, which names it."""
    if config.server.upstream is not None:
        return "no: there is an upstream, which this gateway stands in front of"
    takes = "every request" if config.all_batches else "requests with an x-portkey- header"
    return f"LiteLLM's plugin hands {takes} to {_socket(config.storage.data_dir)}"


def _socket(data_dir: Path) -> Path:
    return data_dir.absolute() / SOCKET


def _most() -> int:
    return MOST_PATH - len(SOCKET) - 1
