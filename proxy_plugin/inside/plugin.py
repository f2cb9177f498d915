"""The object that LiteLLM's `callbacks` name. Its making puts the route in place and sees to a running gateway."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

from litellm.integrations.custom_logger import CustomLogger

from proxy_plugin.inside import attending
from proxy_plugin.inside.callers import ask_litellm
from proxy_plugin.inside.keeper import GatewayKeeper, command
from proxy_plugin.inside.route import GatewayRoute
from proxy_plugin.inside.settings import read
from proxy_plugin.inside.words import MOST_PATH

LOG = logging.getLogger("proxy_plugin.inside")
PROXY = "litellm.proxy.proxy_server"


class Plugin(CustomLogger):  # type: ignore[misc]  # litellm is in its own environment
    """Observes nothing of what LiteLLM does: it is a callback because that is how a config file names code."""

    def __init__(self) -> None:
        super().__init__()
        proxy = sys.modules.get(PROXY)
        if proxy is None or not proxy.user_config_file_path:
            LOG.warning("proxy_plugin does nothing here: no proxy was started with a config file")
        else:
            install(proxy)


def install(proxy: ModuleType) -> None:
    """Put our route in front of those of LiteLLM's application. Raises ValueError for an unusable data_dir."""
    settings = read(proxy.proxy_config.config, Path(proxy.user_config_file_path))
    if settings.in_front:
        LOG.warning(
            "proxy_plugin.server.upstream is set: the gateway in front tells here what batches cost, and no more"
        )
        proxy.app.router.routes.insert(0, attending.route())
        return
    if len(bytes(settings.socket)) > MOST_PATH:
        raise ValueError(
            f"proxy_plugin.storage.data_dir: {settings.socket} is too long for a socket; use a shorter one"
        )
    attending.attend(settings.socket.with_name(attending.SOCKET))
    proxy.app.router.routes.insert(0, GatewayRoute(settings, ask_litellm))
    GatewayKeeper(settings.socket, command(settings.config, settings.socket)).start()


plugin = Plugin()
