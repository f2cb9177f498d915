"""The SQL database that remembers everything: one writer thread, and reads beside it.

When `write` returns, the change survives a power cut. Writes that queue up while one is being synced share the next
transaction. Which database it is `sqlite` and `postgres` know; everybody else is given a `Registry`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from proxy_plugin.storage.connection import Connection

T = TypeVar("T")
P = ParamSpec("P")
GROUP = 64  # writes that may share one transaction
Outcome = tuple[Any, BaseException | None]


@dataclass(slots=True)
class Errand:
    """What a thread is to do with its connection, and who is told what became of it."""

    work: Callable[[Connection], Any]
    done: Callable[[Any, BaseException | None], None]


Errands = queue.SimpleQueue[Errand | None]  # None: nothing comes any more


def asked(waiting: Errands, work: Callable[[Connection], T]) -> asyncio.Future[T]:
    """Have a thread run `work`; return what it will return or raise."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def done(value: Any, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is gone: it has happened all the same
            loop.call_soon_threadsafe(settle, value, error)

    waiting.put(Errand(work, done))
    return future


class Registry(ABC):
    """One gateway's way to the database. Functions given to `write` and `read` get a connection and run to the end.

    `full`: the last write met a full disk; cleared by `recover_space`.
    """

    dialect: ClassVar[str]

    def __init__(self) -> None:
        self._queue: Errands = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.full = False

    @abstractmethod
    def open(self) -> None:
        """Create or upgrade the schema and start the writer. Blocking; called once before serving.

        Raises SchemaTooNew, or StorageError for what cannot be opened.
        """

    def close(self) -> None:
        """Finish queued writes and close. Blocking."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    @abstractmethod
    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a point read: `work(connection, *args, **kwargs)`. Raises StorageError for what the database refuses."""

    @abstractmethod
    async def scan(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a read that may be long, beside all others. Raises StorageError."""

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(connection, *args, **kwargs)` in a transaction; return when it is durable.

        Raises what `work` raises (its changes are undone, those of others are kept), RegistryFull, DatabaseAway, or
        StorageError for what the database refuses.
        """
        return await asked(self._queue, lambda conn: work(conn, *args, **kwargs))

    def recover_space(self, free: int, reserve: int) -> None:  # noqa: ARG002
        """Clear `full` if there is room again; `free` and `reserve` are bytes of the disk under `data_dir`. Blocking"""
        self.full = False

    async def away(self) -> str | None:
        """Return why the database cannot be used now, None where it can."""
        return None

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="registry-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, last = self._gather(first)
            self._commit_group(group)
            if last:
                break
        self._close_writer()

    def _gather(self, first: Errand) -> tuple[list[Errand], bool]:
        group = [first]
        while len(group) < GROUP:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
        return group, False

    @abstractmethod
    def _commit_group(self, group: list[Errand]) -> None:
        """Run the writes in the writer's thread, and tell each what became of it."""

    @abstractmethod
    def _close_writer(self) -> None:
        """Let go of the writer's connection, in its thread."""
