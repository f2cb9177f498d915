"""PostgreSQL for `bench claims`: writes take turns and share transactions, reads are on threads of their own."""

from __future__ import annotations

import asyncio
import queue
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

import psycopg

LOCK, GROUP, READERS = 19, 64, 4


class Counted:
    """A connection that takes our statements, and counts them."""

    count = 0

    def __init__(self, url: str, *, autocommit: bool = True) -> None:
        self.conn = psycopg.connect(url, autocommit=autocommit)

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Run one statement."""
        Counted.count += 1
        return self.conn.execute(self.translated(sql).encode(), parameters or None, prepare=True)

    @staticmethod
    @cache
    def translated(sql: str) -> str:
        """Return a statement of ours in psycopg's words."""
        return re.sub(r"(?<![:\w]):([a-z_]+)", r"%(\1)s", sql).replace("?", "%s")


class Registry:
    """What the engine has of its registry, and `unlocked` for leases, which take no turns."""

    def __init__(self, url: str) -> None:
        self._url, self._queue = url, queue.SimpleQueue[Any]()
        self._readers, self._own = ThreadPoolExecutor(READERS), threading.local()
        threading.Thread(target=self._write_all, daemon=True).start()

    async def read(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run a read."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, lambda: work(self._reader(), *args))

    async def unlocked(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run one statement that writes, without a turn."""
        return await self.read(work, *args)

    async def write(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run a transaction, maybe together with others; return when it is durable."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._queue.put((lambda conn: work(conn, *args), loop, future))
        return await future

    def _reader(self) -> Counted:
        if not hasattr(self._own, "conn"):
            self._own.conn = Counted(self._url)
        found: Counted = self._own.conn
        return found

    def _write_all(self) -> None:
        counted = Counted(self._url, autocommit=False)
        while True:
            group = [self._queue.get()]
            while len(group) < GROUP and not self._queue.empty():
                group.append(self._queue.get())
            counted.execute("SELECT pg_advisory_xact_lock(?)", (LOCK,))
            outcomes = [_one(counted, work) for work, _, _ in group]
            counted.conn.commit()
            for (_, loop, future), outcome in zip(group, outcomes, strict=True):
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(_settle, future, *outcome)


def _one(counted: Counted, work: Callable[[Counted], Any]) -> tuple[Any, Exception | None]:
    try:
        with counted.conn.transaction():
            return work(counted), None
    except Exception as error:  # noqa: BLE001 - handed to whoever waits
        return None, error


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if not future.done():
        future.set_result(value) if error is None else future.set_exception(error)
