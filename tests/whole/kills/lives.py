"""A gateway that is killed as often as a list says, and a client that does not give up."""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import ask, our_mark
from tests.support.stack import ENDS, Gateway, GatewayGone
from tests.support.waiting import until

T = TypeVar("T")
LANE = '{virtual_key="lane"}'
ACCEPTED = '"event": "part_accepted"'


class Lives:
    """`kills` counts how often the gateway died, `least` how often it must; it starts again whenever it is gone."""

    def __init__(self, gateway: Gateway, fails: list[str], least: int) -> None:
        self._gateway, self._fails, self._least = gateway, fails, least
        self._planned = len(fails)
        self.kills = 0

    def run(
        self,
        content: bytes,
        until: Callable[[str], dict[str, Any]],
        *,
        cancel_after: int | None = None,
        tidies: bool = False,
    ) -> dict[str, Any]:
        """Upload, create and follow one batch until `until` returns it and all kills have happened.

        It is cancelled when so many jobs have been accepted. One that `tidies` deletes its input after the create.
        """
        self._start()
        file_id = self.insist(lambda _: self._gateway.upload(content))
        batch_id = self.insist(lambda again: self._gateway.create(file_id, retry=again)["id"])
        if tidies:
            self.insist(lambda _: self._delete(file_id))
        if cancel_after is not None:
            self.insist(lambda _: self._gateway.until_event(lambda log: log.count(ACCEPTED) >= cancel_after))
            self.insist(lambda _: self._gateway.call("POST", f"/batches/{batch_id}/cancel"))
        batch = self.insist(lambda _: until(batch_id))
        while self.kills < self._planned and self._dies():  # maybe after the client has seen the end
            self._bury()
            self._start()
            batch = self.insist(lambda _: until(batch_id))
        return batch

    def insist(self, act: Callable[[int], T]) -> T:
        """Return what `act` returns in the end; it is told whether it acts again."""
        for again in range(10):
            try:
                return act(min(again, 1))
            except GatewayGone:
                self._bury()
                self._start()
        raise AssertionError("the gateway keeps dying")

    def _delete(self, file_id: str) -> None:
        try:
            self._gateway.call("DELETE", f"/files/{file_id}")
        except urllib.error.HTTPError as refusal:  # an earlier try did it, and its answer was lost
            if refusal.code != 404:
                raise

    def _start(self) -> None:
        fail = self._fails.pop(0) if self._fails else ""
        self._gateway.start(fail=fail)
        if not self._gateway.alive():
            self._bury()
            self._start()

    def _dies(self) -> bool:
        """Tell whether a kill is still to come: each life may pass the point, and only the first one must."""
        assert self._gateway.process is not None
        try:
            self._gateway.process.wait(15 if self.kills < self._least else 2)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _bury(self) -> None:
        process = self._gateway.process
        assert process is not None
        assert process.wait(10) == -signal.SIGKILL, f"the gateway ended by itself:\n{self._gateway.tail()}"
        self.kills += 1


def until_settled(gateway: Gateway, sandbox: Sandbox, parts: int, batch_id: str, *, may_wait: bool) -> dict[str, Any]:
    """Return the batch when it has ended.

    Or, where it `may_wait` for creates that never arrived, when nothing is left to do but to look for those.
    """
    deadline = time.monotonic() + 90
    while (batch := gateway.batch(batch_id))["status"] not in ENDS:
        if may_wait and stays_stuck(gateway, sandbox, parts):
            break
        assert time.monotonic() < deadline, f"still {batch}\n{gateway.tail()}"
        time.sleep(0.03)
    return batch


def stays_stuck(gateway: Gateway, sandbox: Sandbox, parts: int) -> bool:
    """Tell whether the parts whose creates never arrived stay in doubt when they are looked for again and again."""
    if not is_stuck(gateway, sandbox, parts):
        return False
    deadline, looked = time.monotonic() + 60, lookups(sandbox)
    while is_stuck(gateway, sandbox, parts) and lookups(sandbox) < looked + 5:
        gateway.call("GET", "/healthz", root=True)
        assert time.monotonic() < deadline, "nobody looks for the lost create any more"
        time.sleep(0.05)
    return is_stuck(gateway, sandbox, parts)


def is_stuck(gateway: Gateway, sandbox: Sandbox, parts: int) -> bool:
    """Tell whether each part has ended, or is in doubt and unknown to the provider; at least one is that.

    A batch of fewer than `parts` parts has not been split yet; it has more where some were replaced.
    """
    doubted, collected = in_doubt(gateway), count(gateway, "state = 'collected'")
    left = count(gateway, "state NOT IN ('collected', 'refused', 'dropped', 'replaced')")
    kept = [job for job in sandbox.control.jobs() if job["status"] != "failed"]
    arrived = {our_mark(job) for job in kept} - {None}
    return count(gateway, "1 = 1") >= parts and 0 < doubted == left and len(arrived) == collected


def in_doubt(gateway: Gateway) -> int:
    """Return how many creates are looked for, whatever the gateway does, by its own registry."""
    query = "SELECT COUNT(*) FROM submissions s JOIN parts p ON p.batch_id = s.batch_id AND p.n = s.part"
    return int(ask(gateway, f"{query} WHERE s.state = 'unknown' AND p.state = 'creating'")[0][0])


def count(gateway: Gateway, what: str) -> int:
    """Return how many parts are so."""
    return int(ask(gateway, f"SELECT COUNT(*) FROM parts WHERE {what}")[0][0])


def lookups(sandbox: Sandbox) -> int:
    """Return how often the account's jobs were listed."""
    return sum(entry["op"] == "batches.list" for entry in sandbox.control.requests())


def until_cleared(gateway: Gateway, sandbox: Sandbox, provider: str) -> None:
    """Return when nothing of ours is left in the bucket and the gateway knows it. Raises GatewayGone."""
    deadline = time.monotonic() + 60
    while (left := sandbox.control.left(provider)) or ask(gateway, "SELECT 1 FROM clearings"):
        gateway.call("GET", "/healthz", root=True)
        assert time.monotonic() < deadline, f"{left} is left\n{gateway.tail()}"
        time.sleep(0.03)


def sample(gateway: Gateway, name: str) -> int:
    """Return what /metrics says of the virtual key."""
    return gateway.samples()[f"proxy_plugin_{name}{LANE}"]


def until_sample(gateway: Gateway, name: str, value: int, seconds: float = 30) -> None:
    """Return when /metrics has this value for a sample of the virtual key."""
    until(lambda: sample(gateway, name) == value, f"{name} is {value}", seconds)


def kill_and_start(gateway: Gateway, batch_id: str, after: float) -> Counter[str]:
    """Kill the gateway after so many seconds, start it again, and return the states in which it left the parts."""
    states = f"SELECT state FROM parts WHERE batch_id = '{batch_id}'"
    until(lambda: ask(gateway, states), gateway.tail)  # before, there is no part to lose
    time.sleep(after)
    gateway.kill()
    left = Counter(state for (state,) in ask(gateway, states))
    gateway.start()
    return left
