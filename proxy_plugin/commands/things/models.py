"""`models`: what this key can name in lines and calls."""

from __future__ import annotations

from proxy_plugin.commands.display import Row
from proxy_plugin.commands.problems import OK
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.wording import objects

_NONE = "no model is listed: virtual keys with `models`, and entries of model_list, are"


def models(session: Session) -> int:
    """List the models of the gateway."""
    found, display = objects(session.gateway.call("GET", "/models").get("data")), session.display
    if display.documents(found):
        return OK
    rows = [Row((each.get("id"), each.get("owned_by"))) for each in found]
    display.listing(("model", "provider"), rows, empty=_NONE)
    return OK
