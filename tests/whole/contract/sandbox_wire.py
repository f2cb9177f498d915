"""The stand-ins of `proxy_plugin.providers.sandbox` as a `Wire`: what differs between them stands in their records.

One process serves all of them, so whatever is armed, asked or read here is the one provider's alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn
from tests.support.accounting import our_mark
from tests.whole.contract.wire import Call

KEY = "sk-contract-4f1d09c27ab853e6"
SEVERAL = 4  # lines of a stranger's job


def served(stand_ins: Iterable[StandIn]) -> Sandbox:
    """Return the process of these stand-ins, not started."""
    found = list(stand_ins)
    options = {each.provider: {"answers": each.answers, **each.quick} for each in found}
    return Sandbox(providers=[each.served for each in found], keys=[f"contract={KEY}"], options=options)


class SandboxWire:
    """One dialect of the sandbox. See `tests.whole.contract.wire.Wire`."""

    secrets: tuple[str, ...] = (KEY,)

    def __init__(self, stand_in: StandIn, sandbox: Sandbox) -> None:
        self.calls: frozenset[str] = stand_in.calls
        self.create_call: str = stand_in.create
        self._stand_in, self._sandbox = stand_in, sandbox
        self._rules: list[dict[str, Any]] = []

    def start(self) -> None:
        """The process is the suite's."""

    def stop(self) -> None:
        """The process is the suite's."""

    def reset(self) -> None:
        self._rules = []
        self._sandbox.control.reset()

    def virtual_key(self, **options: Any) -> dict[str, Any]:
        """A lost create without a label is looked for no longer than it takes to settle."""
        policy = {} if self._stand_in.labelled else {"on_unknown": "resend"}
        url = self._sandbox.url(self._stand_in.provider)
        return self._stand_in.virtual_key(url, KEY, **{"settle_seconds": 0.3, **policy, **options})

    def lose_reply(self, n: int) -> None:
        self._arm({"on": self.create_call, "kind": "drop_after", "times": n})

    def error_after_accept(self, n: int, status: int) -> None:
        self._arm({"on": self.create_call, "kind": "status_after", "status": status, "times": n})

    def never_arrives(self, n: int) -> None:
        self._arm({"on": self.create_call, "kind": "drop", "times": n})

    def too_many(self, n: int, retry_after: float, *, calls: Collection[str] | None = None, skip: int = 0) -> None:
        rule = {"kind": "status", "status": 429, "retry_after": retry_after, "times": n, "skip": skip}
        self._arm(*({"on": call} | rule for call in (self.calls if calls is None else calls)))

    def refuse_every(self, n: int, offset: int = 0) -> None:
        self._arm({"on": "*", "kind": "status", "status": 429, "times": None, "every": n, "skip": offset})

    def results_late(self, n: int) -> None:
        self._options(**dict.fromkeys(self._stand_in.late, n))

    def empty(self, n: int) -> None:
        self._arm({"on": self._stand_in.results, "kind": "truncate_chunked", "bytes": 0, "times": n})

    def tell(self, completed: int, failed: int) -> None:
        self._options(told_counts=dict(zip(self._stand_in.counters, (completed, failed), strict=True)))

    def downloads(self) -> Mapping[str, int]:
        seen = self._own(self._sandbox.control.requests())
        given = (each for each in seen if each["op"] == self._stand_in.results and not each["fault"])
        return Counter(each["id"] for each in given if each["status"] == 200)

    def truncate(self, n: int) -> None:
        """Every second cut looks like a clean end: nothing but the size that is known beforehand tells of it."""
        kinds = ("truncate", "truncate_chunked")
        self._arm(*({"on": self._stand_in.results, "kind": kinds[each % 2], "bytes": 100} for each in range(n)))

    def slow(self, seconds: float, *, obey: float = 0.05) -> None:
        self._options(run_seconds=seconds, cancel_seconds=obey)

    def stranger(self, n: int) -> None:
        self._sandbox.control.strangers(self._stand_in.provider, KEY, batches=n, lines=SEVERAL)

    def accepted(self) -> list[str]:
        return [_name(entry) for entry in self._own(self._sandbox.control.log())]

    def ran(self) -> dict[str, int]:
        lines = Counter[str]()
        for job in self._jobs().values():
            lines[_name(job)] += 0 if job["stranger"] else job["lines_run"]
        return {mark: count for mark, count in lines.items() if count}

    def cancelled(self) -> list[str]:
        jobs, seen = self._jobs(), self._own(self._sandbox.control.requests())
        asked = [each["id"] for each in seen if each["op"] == self._stand_in.cancel]
        return [_name(jobs[job]) if job in jobs else f"no job {job}" for job in asked]

    def requests(self) -> list[Call]:
        return [Call(each["at"], each["op"], each["status"]) for each in self._own(self._sandbox.control.requests())]

    def complaints(self) -> list[str]:
        return [f"{each['op']}: {each['what']}" for each in self._own(self._sandbox.control.violations())]

    def _options(self, **changes: Any) -> None:
        self._sandbox.control.options(self._stand_in.provider, **changes)

    def _arm(self, *rules: dict[str, Any]) -> None:
        self._rules += ({"provider": self._stand_in.provider, **rule} for rule in rules)
        self._sandbox.control.faults(self._rules)

    def _own(self, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [each for each in records if each["provider"] == self._stand_in.provider]

    def _jobs(self) -> dict[str, dict[str, Any]]:
        return {job["id"]: job for job in self._own(self._sandbox.control.jobs())}


def _name(record: Mapping[str, Any]) -> str:
    return our_mark(record) or "a job without our mark"
