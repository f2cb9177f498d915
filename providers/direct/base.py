"""The contract of ordinary calls: one line, one call, one answer, for whatever has no job to put the line into.

A direct lane is the pure half of a `BatchProvider` whose native document is OpenAI's (`{"custom_id", "method", "url",
"body"}` a line) and whose results are OpenAI's rows, and a caller in the place of the calling half. The gateway decides
when to call and writes each answer down; a caller makes exactly one call and never repeats it by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from proxy_plugin.providers.base import Capabilities, Credentials, LineIn, Native, Row, Target

if TYPE_CHECKING:  # workers that only translate read this module, too
    from aiohttp import ClientWebSocketResponse


class NotSent(Exception):
    """Provably nothing has reached the provider: no connection, or it was closed before the first byte left."""


class Lost(Exception):
    """The call may have been answered, and paid: the connection broke, or nothing came within the time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the provider said. `headers` have names in lower case; `body` is its JSON, or what stood in its place."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer of server-sent events that has begun: `pieces` are its bytes as they come, the first ones are here.

    `pieces` raises `Lost` where it breaks off. `close` gives the connection back, and ends an answer that still runs.
    """

    pieces: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Outgoing:
    """How calls leave the machine, as the operator wants it for all calls. It can be pickled.

    `headers` are what the client of the gateway wants the provider to get; a caller's own go before them.
    `may_reach` tells of a host, port and address whether it may be connected to.
    """

    proxy: str | None = field(default=None, repr=False)  # its URL may hold a password
    ca_bundle: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    may_reach: Callable[[str, int, str], bool] | None = None
    parallel: int = 16  # calls at once, at most


class Caller(Protocol):
    """Makes calls for one account, many at once on one event loop; made and closed in the worker process."""

    async def call(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Reply:
        """Make one call: `endpoint` is a line's url (`/v1/chat/completions`), `body` its body, `timeout` in seconds.

        `native_id` may be shown to the provider where it has a place for such a thing. Every status is a reply; raises
        `NotSent` or `Lost`, nothing else.
        """

    async def close(self) -> None:
        """Give connections back."""


@runtime_checkable
class Streams(Protocol):
    """A caller that can give an answer piece by piece, too."""

    async def stream(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Stream | Reply:
        """Make one call whose body asks for a stream. An answer that is none, as a refusal, is a reply.

        `timeout`, in seconds, is for the first piece, and then for each silence. Raises `NotSent` or `Lost`.
        """


@runtime_checkable
class Sockets(Protocol):
    """A caller that can open a websocket of its account, too."""

    async def socket(
        self,
        endpoint: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        protocols: Sequence[str],
        timeout: float,
    ) -> ClientWebSocketResponse[bool] | Reply:
        """Open one, within `timeout` seconds; a refusal is a reply. Raises `NotSent` or `Lost`."""


class PureHalf(Protocol):
    """What native and direct lanes have in common."""

    capabilities: Capabilities
    credentials: type[Credentials]

    def account_key(self, credentials: Credentials) -> str:
        """As a `BatchProvider`'s: equal for equal accounts."""

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return the line as the lane's document has it, carrying `line.native_id`. Pure. Raises `LineRejected`."""

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read one line of the results. Pure. ValueError: corrupt."""


class DirectLane(PureHalf, Protocol):
    """What `catalog.direct(provider)` returns. `capabilities` say no discount; their limits are those of one part.

    `translate` returns a line of OpenAI's batch document, `row` reads OpenAI's result rows as the gateway writes them.
    """

    def caller(self, credentials: Credentials, host: str, outgoing: Outgoing) -> Caller:
        """Return what makes the calls of an account at a base URL, version path included. In a worker alone."""

    numbers_only: bool  # vectors are never text

    def streamed(self, endpoint: str, body: bytes, options: bytes | None) -> bytes:
        """Return the translated body of a line that asks for a stream; `options`: its `stream_options`, as JSON."""

    def events(self, endpoint: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return the events of an answer as the endpoint of the line has them."""
