"""Who is told of the end of one batch: a URL in a reserved key of its metadata, or in a header of its create."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiohttp import web

from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.ground.webhooks import check_url

HEADER = "x-proxy-plugin-webhook"
KEYS = ("proxy_plugin_webhook", "webhook_url")  # of metadata


def webhook_of(request: web.Request, metadata: Mapping[str, str] | None) -> str | None:
    """Return the URL that a create names, None for none. Raises BadRequest for one that cannot be, and for two.

    No name is resolved here: that is done when something is sent.
    """
    found = dict(_named(request, metadata or {}))
    for param, text in found.items():
        try:
            check_url(text, request.app[GATEWAY].config.server.webhooks_hosts)
        except ValueError as error:
            raise BadRequest(f"Invalid '{param}': it {error}.", param=param, code="invalid_webhook_url") from None
    if len(set(found.values())) > 1:
        names = " and ".join(f"'{name}'" for name in found)
        raise BadRequest(f"{names} name different webhooks; name one.", param=next(iter(found)))
    return next(iter(found.values()), None)


def _named(request: web.Request, metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if (sent := request.headers.get(HEADER, "").strip()) != "":
        yield HEADER, sent
    for key in KEYS:
        if metadata.get(key):
            yield f"metadata.{key}", metadata[key]
