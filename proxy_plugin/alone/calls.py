"""One call, answered at once: it goes where a line of a batch would go, is made again, and goes on to the next target.

What the rules count is counted over all calls of one route: shares are right within a few calls.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from proxy_plugin.access.headers import WHOLE_CONFIG
from proxy_plugin.alone import refusals
from proxy_plugin.alone.bodies import ID, UNNAMED, Call, as_base64, body_in, call_of, numbers_instead, row_text
from proxy_plugin.alone.called import CalledAccounts, Calling
from proxy_plugin.alone.kept import DISABLED, Kept
from proxy_plugin.alone.order import CallTerms, Order
from proxy_plugin.direct.documents import DocumentLine, record_in
from proxy_plugin.direct.limits import asked_pause
from proxy_plugin.direct.verdict import json_text, pause
from proxy_plugin.ground.errors import GatewayError
from proxy_plugin.lines.choose import target_spec
from proxy_plugin.lines.choosing.choice import Choice, Pick, Unplaced
from proxy_plugin.lines.lane import Lanes, TargetLane
from proxy_plugin.lines.ways import DIRECT
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.direct.base import Lost, NotSent, Reply, Stream, Streams
from proxy_plugin.routing.retries import USUAL
from proxy_plugin.routing.route import EVERYTHING, Live, Retry, Route, by_calls, decode_route

MOST_ROUTES = 256  # that are remembered
LONGEST_PAUSE = 60.0  # seconds between two calls, whatever a provider asks for: Portkey's
EVENTS, JSON = "text/event-stream", "application/json"
_ASKING = frozenset({"retry-after", "retry-after-ms"})
_PASSED = _ASKING | {"x-request-id", "x-should-retry"}  # headers of a provider; and x-ratelimit-*


@dataclass(slots=True)
class Answered:
    """What the client gets. `retries`: -1 where all were in vain; `close` gives back what a stream holds."""

    status: int
    body: bytes | AsyncIterator[bytes]
    headers: dict[str, str] = field(default_factory=dict)
    provider: str | None = None
    option: str = WHOLE_CONFIG
    retries: int = 0
    cache: str = DISABLED
    close: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def ok(self) -> bool:
        """Whether it is an answer."""
        return 200 <= self.status <= 299


class Ready(NamedTuple):
    """A call at its target: the lane, what is sent, and what the config says of it."""

    lane: TargetLane
    record: bytes
    sent: DocumentLine
    model: str
    live: Live
    as_text: bool = False  # vectors, that come as numbers


class Ruled:
    """A route, with what chooses among its targets."""

    def __init__(self, order: Order) -> None:
        self._route: Route = by_calls(decode_route(order.route))
        self._metadata = dict[str, str]()  # of the call that is chosen for
        rules = msgspec.structs.replace(self._route.rules or EVERYTHING, metadata=self._metadata)
        self.lanes = Lanes(order.endpoint, [target_spec(target) for target in self._route.targets], rules)

    def choice(self, pick: Pick, order: Order, call: Call) -> Choice:
        """Return what is chosen for a call. Raises LineRejected."""
        self._metadata.clear()
        self._metadata.update(order.metadata)
        return pick(call.line)

    def live(self, choice: Choice) -> Live:
        """Return what the config says of a choice."""
        rule = self.lanes.chooser.ruled(choice)
        told = self._route.targets[choice.target].live if rule is None else rule.live
        return told or Live(WHOLE_CONFIG)


class Calls:
    """All calls of one process."""

    def __init__(self, accounts: CalledAccounts, terms: CallTerms) -> None:
        self._accounts, self._terms = accounts, terms
        self._ruled: OrderedDict[tuple[str, str], Ruled] = OrderedDict()

    async def answer(self, order: Order, body: bytes) -> Answered:
        """Return the answer of the first target that has one, or of the last one. Raises GatewayError."""
        call, ruled = call_of(order.endpoint, body), self.rules(order)
        chooser, tried, failed = ruled.lanes.chooser, set[int](), None
        pick = chooser.choose
        while True:
            choice = None
            try:
                choice = ruled.choice(pick, order, call)
                ready = _ready(ruled, choice, call)
            except LineRejected as refusal:
                further = chooser.further(Unplaced(refusal, choice), tried)
                if further is None:
                    return failed or refused(refusals.of_rejection(refusal))
                pick = further
                continue
            answered = await self._at(order, call, ready)
            on = None if answered.ok else chooser.goes_on(choice.then, answered.status)
            if on is None:
                return answered
            pick, failed = on.pick, answered

    def rules(self, order: Order) -> Ruled:
        """Return what chooses among the targets of a route, for the calls of one endpoint."""
        key = (order.route, order.endpoint)
        if key not in self._ruled:
            self._ruled[key] = Ruled(order)
            if len(self._ruled) > MOST_ROUTES:
                self._ruled.popitem(last=False)
        self._ruled.move_to_end(key)
        return self._ruled[key]

    async def _at(self, order: Order, call: Call, ready: Ready) -> Answered:
        """Return what one target answers, or what is kept of it."""
        looking, spec = None if call.stream else order.looking, ready.lane.spec
        kept = Kept(looking, order.endpoint, spec.slug, ready.model, ready.record)
        if (found := await kept.find()) is not None:
            answered = _of_response(found, ready)
        else:
            answered = await self._again_and_again(order, call, ready, kept)
        answered.provider, answered.option = spec.provider, ready.live.option
        answered.cache = kept.status
        return answered

    async def _again_and_again(self, order: Order, call: Call, ready: Ready, kept: Kept) -> Answered:
        retry, made = ready.live.retry, 0
        while True:
            answered = await self._once(order, call, ready, kept)
            again = not answered.ok and answered.status in (retry.codes or USUAL)
            if not again or made >= retry.attempts:
                answered.retries = -1 if again and made else made
                return answered
            made += 1
            await asyncio.sleep(_rest(retry, made, answered.headers))

    async def _once(self, order: Order, call: Call, ready: Ready, kept: Kept) -> Answered:
        slug, timeout = ready.lane.spec.slug, ready.live.timeout
        async with AsyncExitStack() as stack:
            held = await stack.enter_async_context(
                self._accounts.calling(slug, order.forward, order.places.get(slug, {}))
            )
            try:
                got = await _made(held, call, ready, min(timeout or self._terms.timeout, self._terms.timeout))
            except (NotSent, Lost) as failure:
                return refused(refusals.of_failure(failure, timeout))
            if isinstance(got, Reply):
                return await _of_reply(got, ready, held, kept)
            stack.push_async_callback(got.close)
            events = held.lane.events(ready.lane.endpoint, got.pieces)
            return Answered(got.status, events, _passed(got.headers) | {"Content-Type": EVENTS}, close=stack.pop_all())


def _ready(ruled: Ruled, choice: Choice, call: Call) -> Ready:
    """Return a call as its target takes it. Raises LineRejected."""
    line = call.line
    lane = ruled.lanes.lane(choice, line.url)
    if lane.spec.way != DIRECT:
        message = f"The virtual key {lane.spec.slug} makes no ordinary calls (direct_calls: never)."
        raise LineRejected(message, code="no_direct_way")
    if choice.model == UNNAMED:
        raise LineRejected(refusals.NO_MODEL, code="missing_required_parameter", param="model")
    as_text = call.as_text and catalog.direct(lane.spec.provider).numbers_only
    body, _ = lane.edited(numbers_instead(line.body) if as_text else line.body)
    record = lane.translate(ID, body, choice.model, line.model, metered=False).data
    return Ready(lane, record, record_in(record, line.url), choice.model, ruled.live(choice), as_text)


async def _made(held: Calling, call: Call, ready: Ready, timeout: float) -> Reply | Stream:
    url, body = ready.sent.endpoint, ready.sent.body
    if not call.stream:
        return await held.caller.call(url, body, ID, timeout)
    assert isinstance(held.caller, Streams)
    return await held.caller.stream(url, held.lane.streamed(ready.lane.endpoint, body, call.options), ID, timeout)


async def _of_reply(reply: Reply, ready: Ready, held: Calling, kept: Kept) -> Answered:
    if not 200 <= reply.status <= 299:
        body = refusals.error_body(reply.status, reply.body, held.echoes)
        return Answered(reply.status, body, _passed(reply.headers) | {"Content-Type": JSON})
    text = json_text(reply.body.strip())
    row = None
    if text is not None and text.startswith(b"{"):
        row = ready.lane.provider.row(row_text(reply.request_id, reply.status, text), "output", ready.lane.endpoint)
    if row is None or row.response is None:
        return refused(refusals.AnswerLost("The provider's answer is no JSON object. It may have been paid for."))
    await kept.keep(row.response)
    answered = _of_response(row.response, ready)
    answered.headers |= _passed(reply.headers)
    return answered


def _of_response(response: bytes, ready: Ready) -> Answered:
    status, body = body_in(response)
    if ready.as_text and 200 <= status <= 299:
        body = as_base64(body)
    return Answered(status, body, {"Content-Type": JSON})


def refused(error: GatewayError) -> Answered:
    """Return what the client gets of a refusal of ours."""
    return Answered(error.status, refusals.written(error), {"Content-Type": JSON, **error.headers()})


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in headers.items() if name in _PASSED or name.startswith("x-ratelimit-")}


def _rest(retry: Retry, made: int, headers: Mapping[str, str]) -> float:
    if retry.obeys_retry_after and not _ASKING.isdisjoint(headers):
        return min(asked_pause(headers, time.time()), LONGEST_PAUSE)
    return pause(made, lambda: 0.0)
