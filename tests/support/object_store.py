"""Object stores for tests: moto, which knows preconditions, rclone, which checks signatures, and a front that fails.

All speak S3. A `Store` is what a gateway must know of one: its endpoint, a key, and options as `blob_options` has them.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.request import Request, urlopen

from proxy_plugin.demo.object_store import ObjectStore, options
from proxy_plugin.demo.servers import HOST, ServerProcess, listens
from proxy_plugin.storage.blobs.object_store import Objects
from tests.support.cloud_stores import S
from tests.support.ports import free_port
from tests.support.store_front import OnThread, StoreFront
from tests.support.waiting import until

KEY, SECRET = "KEYOFTHETESTS0000000", "secret-of-the-tests-that-is-long-enough"
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Store:
    """One S3. `folder` has the buckets of one that keeps them as files."""

    endpoint: str
    key: str = KEY
    secret: str = SECRET
    folder: Path | None = field(default=None, compare=False)

    @property
    def options(self) -> Mapping[str, str]:
        """How it is reached, and who asks."""
        return options(self.endpoint, self.key, self.secret)

    def wrong(self) -> Mapping[str, str]:
        """The options of somebody with another secret."""
        return replace(self, secret=self.secret[::-1]).options

    def at(self, endpoint: str) -> Store:
        """The same store behind another address, such as a front's."""
        return replace(self, endpoint=endpoint)

    def bucket(self) -> str:
        """Make a bucket and return its URL."""
        name = f"bucket-{next(_NUMBERS)}"
        if self.folder is not None:
            (self.folder / name).mkdir(parents=True)
            until(lambda: self._sees(name), "rclone to see a new folder")
        else:
            with urlopen(Request(f"{self.endpoint}/{name}", method="PUT"), timeout=30):
                pass
        return f"s3://{name}"

    def _sees(self, name: str) -> bool:
        made = Objects(f"s3://{name}", self.options)
        try:
            return made.away() is None
        finally:
            made.close()


@contextmanager
def moto(log: Path) -> Iterator[Store]:
    """Run moto: conditional puts and checksums are right, signatures are not looked at. Objects are in its memory."""
    server, port = ServerProcess("moto", log), free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    try:
        server.run(command, lambda: listens(port), env={"PYTHONWARNINGS": "ignore"})
        yield Store(f"http://{HOST}:{port}")
    finally:
        server.stop()


@contextmanager
def rclone(folder: Path) -> Iterator[Store]:
    """Run rclone on a folder: it checks signatures, and ignores preconditions. Stopped and started by `ObjectStore`."""
    server = ObjectStore(folder, KEY, SECRET)
    try:
        server.start()
        yield Store(server.endpoint, folder=folder)
    finally:
        server.stop()


@contextmanager
def failing(store: S) -> Iterator[tuple[S, StoreFront]]:
    """Put a front before a store: as its `faults` say it refuses, loses, cuts, and it records every call."""
    front = StoreFront(store.endpoint)
    served = OnThread(front)
    try:
        yield store.at(served.start()), front
    finally:
        served.stop()
