"""How long things take, as histograms: counted from the start of the process, as Prometheus expects of them."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxy_plugin.ground.observing.figures import BY_NAME, Samples
from proxy_plugin.ground.observing.traces import span

DONE, LATER, FAILED = "done", "later", "failed"


class Histogram:
    """Counts by bucket for each set of labels. For the thread of the event loop alone."""

    def __init__(self, name: str) -> None:
        self.figure = BY_NAME[name]
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count one. `labels` are in the order of the figure's."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self.figure.bounds) + 1)
        counts[bisect_left(self.figure.bounds, seconds)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + seconds

    def pieces(self) -> dict[str, Samples]:
        """Return the samples of the three pieces of a histogram, by their suffix."""
        named = {labels: dict(zip(self.figure.labels, labels, strict=True)) for labels in self._counts}
        return {
            "bucket": [each for labels in named for each in self._buckets(labels, named[labels])],
            "sum": [(named[labels], total) for labels, total in self._sums.items()],
            "count": [(named[labels], sum(counts)) for labels, counts in self._counts.items()],
        }

    def _buckets(self, labels: tuple[str, ...], named: dict[str, str]) -> Iterator[tuple[dict[str, str], int]]:
        so_far = 0
        for bound, count in zip((*self.figure.bounds, None), self._counts[labels], strict=True):
            so_far += count
            yield named | {"le": "+Inf" if bound is None else f"{bound:g}"}, so_far


@dataclass(frozen=True, slots=True)
class Timings:
    """The histograms of one gateway."""

    requests: Histogram = field(default_factory=lambda: Histogram("request_duration_seconds"))
    steps: Histogram = field(default_factory=lambda: Histogram("step_duration_seconds"))
    provider_steps: Histogram = field(default_factory=lambda: Histogram("provider_step_duration_seconds"))
    batches: Histogram = field(default_factory=lambda: Histogram("batch_duration_seconds"))

    @contextmanager
    def step(self, name: str, later: tuple[type[Exception], ...], calls: str | None, **about: str) -> Iterator[None]:
        """Time a step, and send a span of it where spans are wanted.

        What it raises of `later` is no failure. `calls`: the virtual key whose provider it calls.
        """
        began, outcome = time.perf_counter(), FAILED
        with span(f"step {name}", **about) as sent:
            try:
                yield
            except later:
                outcome = LATER
                raise
            else:
                outcome = DONE
            finally:
                sent.ended(outcome, failed=outcome == FAILED)
                seconds = time.perf_counter() - began
                self.steps.observe(seconds, name, outcome)
                if calls is not None:
                    self.provider_steps.observe(seconds, calls)
