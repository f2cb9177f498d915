"""One message batch: its state by the sandbox clock, and the object that the API shows."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy_plugin.providers.sandbox.anthropic.lines import CANCELED, ERRORED, EXPIRED, SUCCEEDED
from proxy_plugin.providers.sandbox.anthropic.options import Options
from proxy_plugin.providers.sandbox.anthropic.params import Rules

_COUNTERS = {"succeeded": SUCCEEDED, "errored": ERRORED, "canceled": CANCELED, "expired": EXPIRED}


@dataclass(slots=True)
class Batch:
    """One batch. Moments are Unix seconds of the sandbox clock."""

    id: str
    account: str
    lines: int
    mark: str | None
    rules: Rules
    options: Options
    number: int
    created: float
    stranger: bool
    folder: Path
    status: str = "in_progress"
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    cancel_initiated: float | None = None
    outcomes: bytes = b""  # one byte a request, in the order in which they run
    settled: bool = False  # how it ends is decided, though the results may not be there yet
    done: int | None = None  # requests that ran, once no more will
    rest: int = CANCELED  # the outcome of those that did not
    ended: float | None = None
    results_size: int = 0
    deleted: bool = False
    readings: int = 0  # of the results, that found none yet

    @property
    def run(self) -> float:
        """When the last request is done."""
        return self.created + self.options.run_seconds

    @property
    def expires(self) -> float:
        return self.created + self.options.window_seconds

    def progress(self, now: float) -> int:
        """How many requests have run at `now`. The API does not tell while the batch is in progress."""
        if self.done is not None:
            return self.done
        now = min(now, self.expires)
        if self.cancel_initiated is not None and self.options.cancel_interrupts:
            now = min(now, self.cancel_initiated)
        return self.lines if now >= self.run else int(self.lines * (now - self.created) / self.options.run_seconds)

    def paid(self, now: float) -> int:
        """How many requests have succeeded at `now`: no others are billed."""
        return self.outcomes.count(SUCCEEDED, 0, self.progress(now))

    def archived(self, now: float) -> float | None:
        """When the results became unavailable."""
        moment = self.created + self.options.archive_after_seconds
        return moment if self.ended is not None and now >= moment else None

    def counts(self) -> dict[str, int]:
        """All is `processing` until all has ended."""
        if self.ended is None:
            return {"processing": self.lines, **dict.fromkeys(_COUNTERS, 0)}
        done = self.done or 0
        found = Counter(self.outcomes[:done]) + Counter({self.rest: self.lines - done})
        counts = {name: found[outcome] for name, outcome in _COUNTERS.items()}
        return {"processing": 0, **counts, **self.options.told_counts}

    def facts(self, now: float, base: str) -> dict[str, Any]:
        """The MessageBatch object. `base` is what `results_url` begins with, up to and without /messages."""
        archived = self.archived(now)
        readable = self.ended is not None and archived is None
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status,
            "request_counts": self.counts(),
            "created_at": _stamp(self.created),
            "expires_at": _stamp(self.expires),
            "ended_at": _stamp(self.ended),
            "cancel_initiated_at": _stamp(self.cancel_initiated),
            "archived_at": _stamp(archived),
            "results_url": f"{base}/messages/batches/{self.id}/results" if readable else None,
        }


def _stamp(moment: float | None) -> str | None:
    """RFC 3339 in UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
