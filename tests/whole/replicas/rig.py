"""Gateways that share a database and a store, each killed, stopped and started at will, and a front where clients call.

Without a database there is one gateway, with its own: what is told of several must be true of it, too.
"""

from __future__ import annotations

import http.client
import signal
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from proxy_plugin.demo.front import Front
from tests.support import nursery
from tests.support.cloud_stores import AnyStore
from tests.support.postgres import Databases
from tests.support.stack import Gateway, GatewayGone
from tests.support.store_front import OnThread
from tests.support.waiting import PAUSE, until

T = TypeVar("T")
TRANSIENT = frozenset({502, 503, 504})  # what SDKs try again
PATIENCE = 300.0  # seconds for which a client tries again
NO_DATABASE = "the database cannot be opened"
FRONT_PATIENCE = 15.0  # seconds that a front waits for a replica's next bytes


@dataclass
class Shared:
    """What replicas share: a new database of a server, and a new bucket behind an address of the store.

    One replica alone may do without a store.
    """

    databases: Databases
    store: AnyStore | None = None
    bucket: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        self.url = self.url or self.databases.fresh()

    def storage(self, home: Path, name: str) -> dict[str, Any]:
        """Return the section `storage` of a replica."""
        own = {"data_dir": str(home / "data"), "database_url": self.url, "replica": name}
        if self.store is None:
            return own
        return own | {"blob_url": f"{self.bucket}/batches", "blob_options": dict(self.store.options)}

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Read the replicas' own rows, whatever they do."""
        return self.databases.ask(query, self.url)


@dataclass
class Replicas:
    """The gateways, and a client's view of all of them: `front` is never started, its calls go where a front leads."""

    gateways: list[Gateway]
    front: Gateway
    stopped: set[int] = field(default_factory=set)
    again: Counter[str] = field(default_factory=Counter)  # why calls were made again

    def start(self, fails: Mapping[int, str] = {}) -> None:
        """Start all; `fails` are failpoints by number."""
        for n, gateway in enumerate(self.gateways):
            gateway.start(fail=fails.get(n, ""), wait=False)
        for gateway in self.gateways:
            gateway.until_healthy(60)

    def kill(self, n: int) -> None:
        """Kill one, and start it again at once, without waiting for it."""
        self.keep()
        self.gateways[n].kill()
        self.gateways[n].start(wait=False)

    def keep(self) -> None:
        """Start again whoever met no database at its start, as whatever runs services does. Nobody else may end."""
        for n, gateway in enumerate(self.gateways):
            if not gateway.alive():
                assert NO_DATABASE in gateway.tail()[-500:], f"replica {n} ended by itself:\n{gateway.tail()}"
                self.again["started without a database"] += 1
                gateway.start(wait=False)

    def stop(self, n: int) -> None:
        """Stop one in its tracks, until it may go on: its connections stay open."""
        self.gateways[n].kill(signal.SIGSTOP)
        self.stopped.add(n)

    def go_on(self, n: int) -> None:
        """Let one go on that was stopped, or has stopped at a failpoint."""
        self.gateways[n].kill(signal.SIGCONT)
        self.stopped.discard(n)

    def until_stopped(self, n: int) -> None:
        """Return when one has stopped at a failpoint."""
        process = self.gateways[n].process
        assert process is not None
        watched = psutil.Process(process.pid)
        until(lambda: watched.status() == psutil.STATUS_STOPPED, self.gateways[n].tail)

    def insist(self, act: Callable[[], T], seconds: float = PATIENCE) -> T:
        """Return what `act` returns in the end: it is done again as SDKs do, and anything else is a failure."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return act()
            except urllib.error.HTTPError as refusal:
                if refusal.code not in TRANSIENT:
                    raise AssertionError(f"{refusal.code}: {refusal.read().decode()}") from None
                self.again[str(refusal.code)] += 1
            except (GatewayGone, http.client.HTTPException) as error:
                self.again[type(error).__name__] += 1
            assert time.monotonic() < deadline, f"not answered for {seconds:.0f} s: {dict(self.again)}"
            time.sleep(5 * PAUSE)

    def close(self) -> None:
        """End all."""
        for gateway in self.gateways:
            gateway.close()  # SIGKILL ends one that is stopped, too


@contextmanager
def replicas(
    home: Path, count: int, keys: Mapping[str, dict[str, Any]], shared: Shared | None, **options: Any
) -> Iterator[Replicas]:
    """Prepare gateways, which are ended at the end, and run a front before them. Nothing is started yet."""
    assert shared is not None or count == 1, "one gateway alone has a database of its own"
    made, env = [], nursery.SOONER if shared and Gateway.quick else {}
    for n in range(count):
        own = home / f"replica-{n}"
        own.mkdir()
        sections = {"storage": shared.storage(own, f"replica-{n}")} if shared else {}
        made.append(Gateway(own, dict(keys), sections=sections, env=dict(env), **options))
    with ExitStack() as stack:
        served = OnThread(Front([each.url.removesuffix("/v1") for each in made], patience=FRONT_PATIENCE))
        (home / "front").mkdir()
        front = Gateway(home / "front", dict(keys), **options)
        front.url = f"{served.start()}/v1"
        stack.callback(served.stop)
        all_of_them = Replicas(made, front)
        stack.callback(all_of_them.close)
        yield all_of_them
