"""The words of webhooks, and what their URLs and secrets may be.

Standard Webhooks (specification 1.0.0): a secret is `whsec_` and the base64 of 24 to 64 random bytes.
"""

from __future__ import annotations

import base64
import binascii
import re

from yarl import URL

from proxy_plugin.ground.hosts import Address, is_listed, is_public

ENDS = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")  # OpenAI's names
IN_PROGRESS, PROGRESS, IN_DOUBT = "batch.in_progress", "batch.progress", "batch.create_in_doubt"  # ours
EVENTS = (*ENDS, IN_PROGRESS, PROGRESS, IN_DOUBT)
PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
MOST_URL = 2048
_VISIBLE = re.compile(r"[!-~]+")
_PORTS = {"http": 80, "https": 443}

SIGNING_RULE = "must be whsec_ and the base64 of 24 to 64 random bytes"
URL_RULE = "must be an absolute http or https URL of at most 2048 visible ASCII characters"
PLAIN_RULE = "may not hold a user name, a password or a fragment"
INSIDE = "leads to a private or reserved address; the operator can list its host in server.webhooks_hosts"


def check_event(name: str) -> str:
    """Return the name of an event that there is. Raises ValueError."""
    if name not in EVENTS:
        raise ValueError(f"there is no such event; there are {', '.join(EVENTS)}")
    return name


def read_url(text: str) -> URL:
    """Return a receiver's URL as it was written. Raises ValueError, whose text shows nothing of it."""
    if len(text) > MOST_URL or not _VISIBLE.fullmatch(text) or "\\" in text:
        raise ValueError(URL_RULE)
    try:
        url = URL(text, encoded=True)
        usable = url.scheme in _PORTS and bool(url.raw_host) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(URL_RULE)
    if url.user is not None or url.password is not None or "#" in text:
        raise ValueError(PLAIN_RULE)
    return url


def address_of(url: URL) -> Address:
    """Return where a receiver's URL leads."""
    return Address((url.raw_host or "").lower(), url.port or _PORTS[url.scheme])


def check_url(text: str, listed: tuple[str, ...] = ()) -> str:
    """Return a URL that may be a receiver's as far as it says itself: names are resolved when something is sent.

    Raises ValueError, also for a private address and for this machine's own name unless they are `listed`.
    """
    address = address_of(read_url(text))
    own = address.host == "localhost" or address.host.endswith(".localhost")
    inside = own or (address.ip is not None and not is_public(address.host))
    if inside and not is_listed(address, listed):
        raise ValueError(INSIDE)
    return text


def check_secret(text: str) -> str:
    """Return a secret that is one. Raises ValueError, whose text shows nothing of it."""
    try:
        usable = text.startswith(PREFIX) and len(base64.b64decode(text[len(PREFIX) :], validate=True)) in SECRET_BYTES
    except (binascii.Error, ValueError):
        usable = False
    if not usable:
        raise ValueError(SIGNING_RULE)
    return text


def secret_of(key: bytes) -> str:
    """Return a secret as receivers are given it."""
    return PREFIX + base64.b64encode(key).decode()
