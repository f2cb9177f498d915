"""Calls of an SDK by dotted names, sync or async alike, in each of the SDK's ways of answering."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from types import ModuleType
from typing import Any

from tests.clients.scene import ENDS, Scene, until


@dataclass(frozen=True)
class Way:
    """How an SDK is asked to answer: `wrapper` stands before the part `depth` of a method's dotted name."""

    wrapper: str = ""
    depth: int = 0

    def path(self, method: str) -> str:
        """Return the dotted name of a method asked this way."""
        if not self.wrapper:
            return method
        parts = method.split(".")
        parts.insert(min(self.depth, len(parts) - 1), self.wrapper)
        return ".".join(parts)


PLAIN = Way()
WAYS = (PLAIN, *(Way(wrapper, n) for wrapper in ("with_raw_response", "with_streaming_response") for n in range(3)))


@dataclass(frozen=True)
class Caller:
    """One way to call one SDK.

    `clients` are the SDK's client objects: "lane" and "slow" lead to the virtual keys of these names, "nobody" has a
    key that the gateway does not know. `errors` is the module with the SDK's error classes.
    """

    scene: Scene
    clients: dict[str, Any]
    errors: ModuleType
    called: set[str]
    way: Way = PLAIN
    who: str = "lane"

    def using(self, who: str) -> Caller:
        """Return the same with another client object."""
        return replace(self, who=who)

    async def call(self, method: str, *args: Any, **more: Any) -> Any:
        """Call a method and return what the SDK makes of the answer."""
        async with self._answer(method, *args, **more) as answer:
            return await settled(answer.parse()) if self.way.wrapper else answer

    async def plain(self, method: str, *args: Any, **more: Any) -> Any:
        """Call a method that exists in the plain way only."""
        return await replace(self, way=PLAIN).call(method, *args, **more)

    async def content(self, file_id: str) -> bytes:
        """Return the bytes that `files.content` gives."""
        async with self._answer("files.content", file_id) as answer:
            if self.way.wrapper == "with_streaming_response":
                return b"".join([piece async for piece in each(answer.iter_bytes(7))])
            binary = await settled(answer.parse()) if self.way.wrapper else answer
            return bytes(binary.content)

    async def refused(self, error: str, code: str | None, method: str, *args: Any, **more: Any) -> Any:
        """Make a call that has to raise this class of the SDK, and return the error."""
        refusal = await raised(self.call(method, *args, **more), self.errors.APIStatusError)
        assert type(refusal).__name__ == error, f"{refusal!r:.300}"
        assert refusal.code == code, refusal.code
        assert refusal.type == "invalid_request_error", refusal.type
        return refusal

    async def until(self, batch_id: str, statuses: Iterable[str] = ENDS) -> Any:
        """Return the batch when it has one of these statuses."""
        return await until(lambda: self.call("batches.retrieve", batch_id), statuses)

    @asynccontextmanager
    async def _answer(self, method: str, *args: Any, **more: Any) -> AsyncIterator[Any]:
        path = self.way.path(method)
        self.called.add(path)
        answer = attrgetter(path)(self.clients[self.who])(*args, **more)
        if self.way.wrapper != "with_streaming_response":
            yield await settled(answer)
        elif hasattr(answer, "__aenter__"):
            async with answer as streamed:
                yield streamed
        else:
            with answer as streamed:
                yield streamed


async def raised(call: Awaitable[Any], *kinds: type[Exception]) -> Any:
    """Return the error of a call that has to raise one of these."""
    try:
        answer = await call
    except kinds as error:
        return error
    raise AssertionError(f"answered: {answer!r:.200}")


async def settled(value: Any) -> Any:
    """Return a value, awaited if the SDK is the async one."""
    return await value if inspect.isawaitable(value) else value


async def each(values: Any) -> AsyncIterator[Any]:
    """Yield from an iterator of either kind."""
    if hasattr(values, "__aiter__"):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value
