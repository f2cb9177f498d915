"""The configuration: one YAML file, typed. What the other rooms and host applications use of it has its face here."""

from __future__ import annotations

from pathlib import Path

from proxy_plugin.config.check import check_facts, render_check
from proxy_plugin.config.read import load, parse
from proxy_plugin.config.sections import OWN_KEY_PREFIX, ApiKey, Config, ModelEntry, Options, Server, VirtualKey

__all__ = [
    "OWN_KEY_PREFIX",
    "SCHEMA",
    "ApiKey",
    "Config",
    "ModelEntry",
    "Options",
    "Server",
    "VirtualKey",
    "check_facts",
    "load",
    "parse",
    "render_check",
]

SCHEMA = Path(__file__).with_name("config.schema.json")  # of all settings, for editors
