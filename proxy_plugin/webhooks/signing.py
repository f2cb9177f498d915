"""Which secrets sign what a receiver gets, and the headers that prove it (Standard Webhooks 1.0.0).

A secret that the gateway makes is kept nowhere: it is a keyed hash of its owner and of how often it was rotated, under
the key in `data_dir/secret`. Its owner is an endpoint, or a workspace for the URLs that its batches name.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from proxy_plugin.config import Config
from proxy_plugin.config.webhooks import Webhook
from proxy_plugin.ground.webhooks import secret_of
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import webhooks

DAY = 86_400.0


def made(key: bytes, owner: str, generation: int) -> str:
    """Return a secret of the gateway's own making."""
    return secret_of(hmac.new(key, f"webhook secret {generation} of {owner}".encode(), hashlib.sha256).digest())


def owner_of(workspace: str) -> str:
    """Return the owner of the secret for URLs that batches name."""
    return f"workspace {workspace}"


def endpoint_id(workspace: str, url: str) -> str:
    """Return the id of an endpoint of the configuration: the same for as long as its URL is."""
    return f"we_{hashlib.sha256(f'{workspace} {url}'.encode()).hexdigest()[:24]}"


def of_workspace(config: Config, workspace: str) -> Webhook | None:
    """Return the entry whose secret signs for the URLs of a workspace's batches: that without a URL, else its first."""
    found = sorted((each for each in config.webhooks if each.workspace == workspace), key=lambda each: bool(each.url))
    return found[0] if found else None


def of_endpoint(config: Config, wanted: str) -> Webhook | None:
    """Return the entry of an endpoint, None for one that the configuration does not have."""
    known = {endpoint_id(each.workspace, each.url): each for each in config.webhooks if each.url is not None}
    return known.get(wanted)


def generated(conn: Connection, key: bytes, owner: str, now: float) -> list[str]:
    """Return the secrets of an owner that count now, the newest first."""
    number, with_previous = webhooks.generation(conn, owner, now)
    numbers = (number, number - 1) if with_previous else (number,)
    return [made(key, owner, each) for each in numbers]


def headers(secrets: Sequence[str], message_id: str, now: float, body: str) -> Mapping[str, str]:
    """Return the headers of one try, with a signature by each secret."""
    from standardwebhooks import Webhook as Signer  # noqa: PLC0415 - imported where something is sent

    at = datetime.fromtimestamp(int(now), UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(Signer(each).sign(message_id, at, body) for each in secrets),
    }
