"""A gateway with three workspaces, and a victim whose waits are measured by a process of its own.

town = Town(home, keys)                       a `Gateway`; `town.victim`, `town.attacker`, `town.bystander`
quiet = town.watch(seconds=2)                 what the victim sees when nothing else happens
with town.watching() as seen: ...             what it sees meanwhile; `seen` is filled at the end
show("silent connections", quiet, seen)
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.support.signals import heard
from tests.support.stack import Gateway

WORKSPACES = ("victim", "attacker", "bystander")
# Seconds. Beside other tests the machine decides of more: there a stand-still is found, and `make attacks` measures.
MEASURED = "--campaign" in sys.argv
MOST_HEALTHZ = 1.0 if MEASURED else 3.0  # through every attack
LEAST_BATCH = 1.0 if MEASURED else 4.0  # below it the noise of a loaded machine decides
MOST_TIMES = 3.0  # what a one-line batch may take, in times of its quiet time


def key_of(workspace: str) -> str:
    """Return the gateway key of a workspace."""
    return f"gateway-key-of-the-{workspace}"


def _api_keys() -> list[dict[str, Any]]:
    return [{"name": name, "key": key_of(name), "workspace": name} for name in WORKSPACES]


@dataclass
class Seen:
    """Seconds that each call of the victim took, by what it was: `healthz`, `batch` (one line, to its end), `plan`.

    `failed` counts calls that were not answered as they should be, by the same names.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def worst(self, what: str) -> float:
        """Return the longest wait; of a call that was never answered, infinity."""
        return max(self.seconds[what], default=float("inf"))

    def usual(self, what: str) -> float:
        """Return the median."""
        found = sorted(self.seconds[what])
        return found[len(found) // 2] if found else float("inf")

    def __str__(self) -> str:
        parts = [f"{what} {self.usual(what):.3f} s (at most {self.worst(what):.3f})" for what in sorted(self.seconds)]
        return ", ".join(parts) + "".join(f", {what} failed {count}" for what, count in self.failed.items())


@dataclass
class Tenant:
    """One workspace's way into the gateway. `slug` is the virtual key of its calls."""

    gateway: Gateway
    workspace: str
    slug: str = "lane"

    @property
    def headers(self) -> dict[str, str]:
        """What its calls say of it."""
        return {"x-portkey-api-key": key_of(self.workspace), "x-portkey-virtual-key": self.slug}

    def call(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        """Make a call as this workspace. Raises GatewayGone, HTTPError."""
        headers = self.headers | dict(more.pop("headers", None) or {})
        return self.gateway.call(method, path, body, headers=headers, **more)

    def upload(self, content: bytes) -> str:
        """Upload a batch file and return its id."""
        with self._speaking():
            return self.gateway.upload(content)

    def create(self, file_id: str, **more: Any) -> dict[str, Any]:
        """Create a batch of a file."""
        with self._speaking():
            return self.gateway.create(file_id, **more)

    def until(self, batch_id: str, seconds: float = 60) -> dict[str, Any]:
        """Return the batch when it has ended."""
        with self._speaking():
            return self.gateway.until(batch_id, seconds=seconds)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Not for several threads at once: calls of the same gateway object share who asks."""
        before, self.gateway.asks = self.gateway.asks, self.headers
        try:
            yield
        finally:
            self.gateway.asks = before


@dataclass
class Town(Gateway):
    """A gateway for three workspaces."""

    quick: ClassVar[bool] = False  # as many workers as an operator's has
    api_keys: list[dict[str, Any]] = field(default_factory=_api_keys)

    def tenant(self, workspace: str, slug: str = "lane") -> Tenant:
        """Return the way in of a workspace."""
        return Tenant(self, workspace, slug)

    @property
    def victim(self) -> Tenant:
        return self.tenant("victim")

    @property
    def attacker(self) -> Tenant:
        return self.tenant("attacker")

    @property
    def bystander(self) -> Tenant:
        return self.tenant("bystander")

    def watch(self, seconds: float = 2.0) -> Seen:
        """Return what the victim sees for so long."""
        with self.watching() as seen:
            time.sleep(seconds)
        return seen

    @contextmanager
    def watching(self, **of: str) -> Iterator[Seen]:
        """Measure the victim's calls, one after the other, until the block ends; a call under way is waited for."""
        seen, who = Seen(), self.victim
        asked = json.dumps({"url": self.url, "headers": who.headers, **of})
        command = [sys.executable, "-m", "tests.attacks.watcher", asked]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=heard) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
            try:
                yield seen
            finally:
                told, _ = process.communicate(timeout=120)
                _fill(seen, told)


def _fill(seen: Seen, told: bytes) -> None:
    for line in told.splitlines():
        reading: Mapping[str, Any] = json.loads(line)
        if reading["ok"]:
            seen.seconds[reading["what"]].append(reading["seconds"])
        else:
            seen.failed[reading["what"]] += 1


def show(attack: str, quiet: Seen, seen: Seen) -> None:
    """Print what the victim saw, beside what it sees on a quiet gateway."""
    print(f"\n{attack}\n  quiet:  {quiet}\n  attack: {seen}")  # noqa: T201 - figures for who runs it with -s


def check(quiet: Seen, seen: Seen) -> None:
    """The victim's share is its own: /healthz is prompt, a one-line batch within three times its quiet time."""
    assert not seen.failed, f"the victim was not served: {seen}"
    assert seen.worst("healthz") < MOST_HEALTHZ, f"the victim waited: {seen}"
    assert seen.usual("batch") <= max(MOST_TIMES * quiet.usual("batch"), LEAST_BATCH), f"{quiet} / {seen}"
