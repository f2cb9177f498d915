"""The stand-ins of `proxy_plugin.providers.sandbox` as a `Wire`: what differs between them is data of their cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.whole.contract.wire import Call

KEY = "sk-contract-4f1d09c27ab853e6"
QUICK = {"validate_seconds": 0.03, "run_seconds": 0.05, "finalize_seconds": 0.02, "cancel_seconds": 0.05}
SEVERAL = 4  # lines of a stranger's job

Mark = Callable[[Mapping[str, Any]], str | None]


def metadata_mark(record: Mapping[str, Any]) -> str | None:
    """Return our label of a job, or of a log entry, of a dialect whose jobs have metadata."""
    mark: str | None = (record["metadata"] or {}).get("proxy_plugin")
    return mark


class SandboxWire:
    """One dialect of the sandbox. See `tests.contract.wire.Wire`."""

    secrets: tuple[str, ...] = (KEY,)

    def __init__(
        self,
        provider: str,
        *,
        calls: Collection[str],
        create: str,
        cancel: str,
        results: str,
        mark: Mark = metadata_mark,
        quick: Mapping[str, Any] = QUICK,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """`calls` are the dialect's operations that the lane uses, the next three those with a part in troubles.

        `quick` are options for short jobs, `settings` those of every virtual key beyond its credentials.
        """
        self.calls: frozenset[str] = frozenset(calls)
        self.create_call: str = create
        self._provider, self._cancel, self._results, self._mark = provider, cancel, results, mark
        self._settings = settings or {}
        self._sandbox = Sandbox(providers=[provider], keys=[f"contract={KEY}"], options={provider: quick})
        self._rules: list[dict[str, Any]] = []

    def start(self) -> None:
        self._sandbox.start()

    def stop(self) -> None:
        self._sandbox.stop()

    def reset(self) -> None:
        self._rules = []
        self._sandbox.control.reset()

    def virtual_key(self, **options: Any) -> dict[str, Any]:
        base = {"provider": self._provider, "api_key": KEY, "custom_host": self._sandbox.url(self._provider)}
        return base | {"settle_seconds": 0.3} | dict(self._settings) | options

    def lose_reply(self, n: int) -> None:
        self._arm({"on": self.create_call, "kind": "drop_after", "times": n})

    def error_after_accept(self, n: int, status: int) -> None:
        self._arm({"on": self.create_call, "kind": "status_after", "status": status, "times": n})

    def never_arrives(self, n: int) -> None:
        self._arm({"on": self.create_call, "kind": "drop", "times": n})

    def too_many(self, n: int, retry_after: float, *, calls: Collection[str] | None = None, skip: int = 0) -> None:
        rule = {"kind": "status", "status": 429, "retry_after": retry_after, "times": n, "skip": skip}
        self._arm(*({"on": call} | rule for call in (self.calls if calls is None else calls)))

    def truncate(self, n: int) -> None:
        """Every second cut looks like a clean end: nothing but the size that is known beforehand tells of it."""
        kinds = ("truncate", "truncate_chunked")
        self._arm(*({"on": self._results, "kind": kinds[each % 2], "bytes": 100} for each in range(n)))

    def slow(self, seconds: float, *, obey: float = 0.05) -> None:
        self._sandbox.control.options(self._provider, run_seconds=seconds, cancel_seconds=obey)

    def stranger(self, n: int) -> None:
        self._sandbox.control.strangers(self._provider, KEY, batches=n, lines=SEVERAL)

    def accepted(self) -> list[str]:
        return [self._name(entry) for entry in self._sandbox.control.log()]

    def ran(self) -> dict[str, int]:
        lines = Counter[str]()
        for job in self._jobs().values():
            lines[self._name(job)] += 0 if job["stranger"] else job["lines_run"]
        return {mark: count for mark, count in lines.items() if count}

    def cancelled(self) -> list[str]:
        jobs = self._jobs()
        asked = [entry["id"] for entry in self._sandbox.control.requests() if entry["op"] == self._cancel]
        return [self._name(jobs[job]) if job in jobs else f"no job {job}" for job in asked]

    def requests(self) -> list[Call]:
        return [Call(each["at"], each["op"], each["status"]) for each in self._sandbox.control.requests()]

    def complaints(self) -> list[str]:
        return [f"{each['op']}: {each['what']}" for each in self._sandbox.control.violations()]

    def _arm(self, *rules: dict[str, Any]) -> None:
        self._rules += rules
        self._sandbox.control.faults(self._rules)

    def _jobs(self) -> dict[str, dict[str, Any]]:
        return {job["id"]: job for job in self._sandbox.control.jobs()}

    def _name(self, record: Mapping[str, Any]) -> str:
        return self._mark(record) or "a job without our mark"
