"""Every model provider's native batch lane behind the OpenAI Files and Batches API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy_plugin.app import setup

__all__ = ["__version__", "setup"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the gateway on first use: worker processes import this package too and must stay light."""
    if name == "setup":
        from proxy_plugin.app import setup  # noqa: PLC0415

        return setup
    raise AttributeError(name)
