"""Every model provider's native batch lane behind the OpenAI Files and Batches API."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have `typing` loaded before __main__ can bear a Ctrl-C
if TYPE_CHECKING:
    from proxy_plugin.app import setup
    from proxy_plugin.config import Config
    from proxy_plugin.ground.errors import ConfigError
    from proxy_plugin.storage.errors import DataDirBusy, SchemaTooNew

__all__ = ["Config", "ConfigError", "DataDirBusy", "SchemaTooNew", "__version__", "setup"]
__version__ = "0.1.0"
_HOMES = {
    "Config": "config",
    "ConfigError": "ground.errors",
    "DataDirBusy": "storage.errors",
    "SchemaTooNew": "storage.errors",
    "setup": "app",
}


def __getattr__(name: str) -> object:
    """Import a name on first use: worker processes import this package too and must stay light."""
    from importlib import import_module  # noqa: PLC0415

    if name in _HOMES:
        return getattr(import_module(f"proxy_plugin.{_HOMES[name]}"), name)
    raise AttributeError(name)
