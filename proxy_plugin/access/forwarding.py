"""`x-portkey-forward-headers`: headers of a request that the provider is to get, too.

A batch keeps them with its route, since its calls are made long after the request; so those that may hold a secret are
refused, and so are those that would change what the gateway itself says in a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import hdrs
from multidict import MultiMapping

from proxy_plugin.ground.errors import BadRequest

FORWARD = "x-portkey-forward-headers"
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
_SECRET = re.compile(r"auth|cookie|credential|password|secret|signature|token|(^|[-_])(api)?[-_]?key([-_]|$)")
_OURS = re.compile(r"x-portkey-.*|content-.*|if-.*|proxy-.*|sec-.*|x-stainless-.*")
_FRAMING = frozenset(
    name.lower()
    for name in (
        *(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONNECTION, hdrs.EXPECT, hdrs.HOST, hdrs.KEEP_ALIVE, hdrs.RANGE),
        *(hdrs.TE, hdrs.TRAILER, hdrs.TRANSFER_ENCODING, hdrs.UPGRADE, "Idempotency-Key"),
    )
)


def forwarded(headers: MultiMapping[str]) -> Mapping[str, str]:
    """Return the headers to forward, names in lower case. Raises BadRequest for one that cannot be.

    A name in the list that the request does not have is passed over, as Portkey does.
    """
    listed = headers.get(FORWARD, "").strip().removeprefix("[").removesuffix("]")
    found = {}
    for entry in listed.split(","):
        name = entry.strip().strip("\"'").lower()
        if not name:
            continue
        _check(name)
        if name in headers:
            found[name] = _value(name, headers)
    return found


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _refusal("lists what is no name of a header")
    if name in _FRAMING or _OURS.fullmatch(name):
        raise _refusal(f"lists {name}, which the gateway sets itself in calls to a provider")
    if _SECRET.search(name):
        raise _refusal(f"lists {name}, which may hold a secret. A provider gets the credentials of its account alone")


def _value(name: str, headers: MultiMapping[str]) -> str:
    value = ", ".join(headers.getall(name))
    if not (value.isascii() and value.isprintable()):
        raise _refusal(f"lists {name}, whose value is not plain ASCII")
    return value


def _refusal(what: str) -> BadRequest:
    return BadRequest(f"{FORWARD} {what}. Leave it out.", param=FORWARD)
