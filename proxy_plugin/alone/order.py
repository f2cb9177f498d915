"""What the process that makes the calls is told: accounts over a pipe, and ahead of each body what is asked for.

    length u32 | order, JSON | body

big-endian. An order names accounts by their slugs; what proves them comes over the pipe alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from proxy_plugin.answers.lookup import Looking
from proxy_plugin.providers.direct.base import Outgoing

PATH = "/"
LENGTH_BYTES = 4
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
REALTIME = "/v1/realtime"  # a websocket, which no process of calls gets
STREAMING = frozenset(ENDPOINTS) - {"/v1/embeddings"}


@dataclass(frozen=True, slots=True)
class CalledAccount:
    """The fields of an account's credentials, as they were checked. `mock`: what answers in its provider's place."""

    provider: str
    fields: Mapping[str, Any] = field(repr=False)
    mock: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class News:
    """Accounts by slug. `whole`: all of the operator's, instead of those before; else one that a caller brought."""

    number: int  # counts from 1
    accounts: Mapping[str, CalledAccount]
    outgoing: Outgoing
    whole: bool = False


@dataclass(frozen=True, slots=True)
class CallTerms:
    """What a call may take. `timeout`: seconds until it is answered, or of silence in a stream; `bytes`: of a body."""

    timeout: float
    bytes: int


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call. `route` is where it may go, as of a batch; `told` is what has to have come over the pipe before.

    What one request says of its own is beside the route, so that equal rules take turns together: `metadata` for their
    conditions, `forward` (headers), `places` (of accounts, by slug), and which answers it may be given.
    """

    endpoint: str
    route: str
    trace_id: str
    told: int
    metadata: dict[str, str] = {}
    forward: dict[str, str] = {}
    places: dict[str, dict[str, str]] = {}
    looking: Looking | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Order).decode


def framed(order: Order) -> bytes:
    """Return what comes before the body."""
    text = _encode(order)
    return len(text).to_bytes(LENGTH_BYTES, "big") + text


def order_in(text: bytes) -> Order:
    """Return the order that `framed` wrote, without its length."""
    return _decode(text)
