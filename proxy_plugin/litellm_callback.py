"""One line for LiteLLM's file: `litellm_settings: {callbacks: ["proxy_plugin.litellm_callback.plugin"]}`.

LiteLLM runs this file itself where it lies beside the config, so what must be there once is in `inside/`.
"""

from __future__ import annotations

from proxy_plugin.inside.plugin import plugin

__all__ = ["plugin"]
