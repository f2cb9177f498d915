"""Turns: who is next where more want something than there are places. A workspace takes no other's turn.

Whoever waits is served round-robin by workspace, and within a workspace in the order of coming. What a turn costs does
not depend on how many wait.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
SHARE = 3  # a workspace may begin something while it has fewer than so many times what is free


class RoundRobin(Generic[T]):
    """What waits, by workspace: `pop` takes from each in turn."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[T]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def push(self, workspace: str, item: T) -> None:
        """Put an item at the end of its workspace's queue."""
        self._queues.setdefault(workspace, deque()).append(item)

    def pop(self, barred: Container[str] = ()) -> T:
        """Take the first of the workspace whose turn it is. Raises KeyError where none but the barred wait."""
        workspace = next((each for each in self._queues if each not in barred), None)
        if workspace is None:
            raise KeyError("nothing waits")
        queue = self._queues.pop(workspace)
        item = queue.popleft()
        if queue:
            self._queues[workspace] = queue
        return item

    def discard(self, workspace: str, item: T) -> None:
        """Take an item out of the queue, if it is there."""
        queue = self._queues.get(workspace)
        if queue is None or item not in queue:
            return
        queue.remove(item)
        if not queue:
            del self._queues[workspace]


class Turns:
    """So many at once, of one workspace at most so many; the others wait for their turn."""

    def __init__(self, count: int, most_each: int | None = None) -> None:
        self._count = self._free = count
        self._most = count if most_each is None else most_each
        self._held: Counter[str] = Counter()
        self._full: set[str] = set()  # workspaces that have as much as they may
        self._waiting: RoundRobin[tuple[str, asyncio.Future[None]]] = RoundRobin()

    @property
    def idle(self) -> bool:
        """Whether nobody has a turn or waits for one."""
        return self._free == self._count and not self._waiting

    @asynccontextmanager
    async def turn(self, workspace: str) -> AsyncIterator[None]:
        """Wait for a turn and have it."""
        await self._enter(workspace)
        try:
            yield
        finally:
            self._leave(workspace)

    async def _enter(self, workspace: str) -> None:
        if self._free and workspace not in self._full:  # where a place is free, only those wait that are full
            self._take(workspace)
            return
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(workspace, (workspace, called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._leave(workspace)  # the turn came as its owner went
            self._waiting.discard(workspace, (workspace, called))
            raise

    def _take(self, workspace: str) -> None:
        self._free -= 1
        self._held[workspace] += 1
        if self._held[workspace] >= self._most:
            self._full.add(workspace)

    def _leave(self, workspace: str) -> None:
        self._free += 1
        self._full.discard(workspace)
        self._held[workspace] -= 1
        if not self._held[workspace]:
            del self._held[workspace]
        self._call()

    def _call(self) -> None:
        """Call who is next, as long as there are places for those that wait."""
        while self._free:
            try:
                workspace, called = self._waiting.pop(self._full)
            except KeyError:
                return
            if not called.done():
                self._take(workspace)
                called.set_result(None)


class Places(Generic[T]):
    """So many at once, without waiting: who gets no place comes again when it is called. A place is kept until then.

    Where others than us may come for it, none is `kept`.
    """

    def __init__(self, count: int, *, kept: bool = True) -> None:
        self._count, self._kept = count, kept
        self._taken: set[T] = set()  # or kept
        self._waiting: RoundRobin[T] = RoundRobin()
        self._queued: set[T] = set()

    def take(self, workspace: str, item: T) -> bool:
        """Take a place, or a place in the queue."""
        if item in self._taken:
            return True
        if len(self._taken) < self._count and not self._waiting:
            self._taken.add(item)
            return True
        if item not in self._queued and self._kept:
            self._queued.add(item)
            self._waiting.push(workspace, item)
        return False

    def has(self, item: T) -> bool:
        """Tell whether there is a place for the item. Also for other threads."""
        return item in self._taken

    def leave(self, item: T) -> T | None:
        """Give a place back; return who is called, for whom it is kept."""
        self._taken.discard(item)
        if not self._waiting:
            return None
        called = self._waiting.pop()
        self._queued.discard(called)
        self._taken.add(called)
        return called


class Slots(Generic[T]):
    """What is being done now, by workspace, and what may begin.

    The workspace with the least begins first. None may have more than `SHARE` times what is left free, so that a slot
    is free for whoever comes next: one workspace alone gets three in four, two get three in seven each.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken: dict[T, str] = {}
        self._each: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, item: object) -> bool:
        return item in self._taken

    def __iter__(self) -> Iterator[T]:
        return iter(self._taken)

    @property
    def free(self) -> int:
        """How many more there may be."""
        return self._count - len(self._taken)

    def of(self, workspace: str) -> int:
        """Return how many a workspace has."""
        return self._each[workspace]

    def workspace(self, item: T) -> str:
        """Return whose it is, of what is being done now."""
        return self._taken[item]

    def in_turn(self, workspaces: Iterable[str]) -> list[str]:
        """Return the workspaces in the order in which they begin something."""
        return sorted(workspaces, key=lambda each: (self._each[each], self._served.get(each, 0), each))

    def begin(self, workspace: str, item: T) -> None:
        """Take a slot."""
        self._taken[item] = workspace
        self._each[workspace] += 1

    def end(self, item: T) -> None:
        """Give a slot back."""
        workspace = self._taken.pop(item)
        self._each[workspace] -= 1
        if not self._each[workspace]:
            del self._each[workspace]

    def fill(self, wanted: Mapping[str, Sequence[T]]) -> Iterator[T]:
        """Yield what begins now; each takes a slot as it is yielded."""
        self._served = {each: turn for each, turn in self._served.items() if each in wanted or each in self._each}
        left = {workspace: iter(items) for workspace, items in wanted.items()}
        heap = [(self.of(each), self._served.get(each, 0), each) for each in left]
        heapq.heapify(heap)
        while heap and self.free:
            have, _, workspace = heapq.heappop(heap)
            if have >= SHARE * self.free:
                return  # whoever comes now has as much or more
            item = next(left[workspace], None)
            if item is None:
                continue
            self._turn += 1
            self._served[workspace] = self._turn
            self.begin(workspace, item)
            heapq.heappush(heap, (self.of(workspace), self._turn, workspace))
            yield item
