"""What a plan tells of lines that may fail: which targets they could come to, and what all of them would cost.

Every line is followed to where it would go on if it failed everywhere, as often as it may. Its tokens are estimated for
each of these targets, with what the target does to the body; nothing is translated.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from proxy_plugin.costs import prices
from proxy_plugin.ground.meter import Meter
from proxy_plugin.lines.choosing.choice import Choice, Misrouted
from proxy_plugin.lines.envelope import Envelope
from proxy_plugin.lines.lane import Lanes, TargetLane
from proxy_plugin.lines.plan_tokens import PRICED, Estimate
from proxy_plugin.lines.split import SplitJob
from proxy_plugin.lines.ways import DIRECT
from proxy_plugin.providers.base import LineRejected, Usage
from proxy_plugin.routing.route import ALLOWED

MOST = 1_000  # targets told one by one
_MAX_NAME_CHARACTERS = 512


class FurtherTarget(msgspec.Struct, frozen=True):
    """A target to which lines could go on. `model` None: beyond the first 1,000 of them, several models.

    `lines` counts each as often as it could be asked there. `way` is native or direct; `cost` in US dollars is of all
    of them, None where no price is known.
    """

    slug: str
    provider: str
    model: str | None
    endpoint: str
    way: str
    lines: int
    cost: float | None


class Prospects(msgspec.Struct, frozen=True):
    """What is done for lines that failed: `targets` in the order in which they come, a line `attempts` times at most.

    `direct_before`: seconds before the end of the window from which on ordinary calls are made instead of jobs.
    """

    targets: tuple[FurtherTarget, ...]
    attempts: int
    direct_before: float | None = None


_Key = tuple[str, str, str, str, str | None]  # slug, provider, endpoint, way, model


class WorstCase:
    """Follows lines. It chooses for itself: turns that are taken here change nothing of the split's own."""

    def __init__(self, job: SplitJob, attempts: int, meter: Meter) -> None:
        self._lanes = Lanes(job.endpoint, job.targets, job.rules, job.rescue, meter)
        self._attempts = attempts
        self._direct_before = job.rescue.direct_before if job.rescue else None
        self._found: dict[_Key, _Sums] = {}

    def follow(self, choice: Choice, line: Envelope) -> None:
        """Count a line that goes to this choice first."""
        if choice.then is None:
            return
        for lane, model in self._further(choice, line):
            try:
                body, _ = lane.edited(line.body)
            except LineRejected:
                continue
            spec = lane.spec
            key: _Key = (spec.slug, spec.provider, lane.endpoint, spec.way, model)
            if key not in self._found and (len(self._found) >= MOST or len(model) > _MAX_NAME_CHARACTERS):
                key = (*key[:-1], None)
            sums = self._found.get(key) or self._found.setdefault(key, _Sums(lane, key[-1]))
            sums.add(body)

    def figures(self) -> Prospects | None:
        """Return what was found, None where no line goes on."""
        found = tuple(sums.figures() for sums in self._found.values())
        return Prospects(found, self._attempts, self._direct_before) if found else None

    def _further(self, choice: Choice, line: Envelope) -> Iterator[tuple[TargetLane, str]]:
        """Yield where a line goes on, one after the other; a target that may not have it is passed over."""
        chooser, then, asked = self._lanes.chooser, choice.then, 0
        passed = set[int]()
        while then is not None and then not in passed and asked < self._attempts:
            try:
                choice = chooser.continuations[then].pick(line)
                lane = self._lane(choice, line.url)
            except LineRejected as refusal:
                passed.add(then)
                then = refusal.then if isinstance(refusal, Misrouted) else choice.then
                continue
            asked, then = asked + 1, choice.then
            yield lane, choice.model

    def _lane(self, choice: Choice, url: str) -> TargetLane:
        """Return the lane of a choice: the dearer one where jobs may give way to calls."""
        spec = self._lanes.chooser.spec(choice)
        called = self._direct_before is not None and spec.direct == ALLOWED
        return self._lanes.lane(choice._replace(way=DIRECT) if called else choice, url)


class _Sums:
    """One further target, so far."""

    def __init__(self, lane: TargetLane, model: str | None) -> None:
        self._lane, self._model = lane, model
        self._lines, self._estimate = 0, Estimate()

    def add(self, body: bytes) -> None:
        self._lines += 1
        self._estimate.add(self._lane.endpoint, body)

    def figures(self) -> FurtherTarget:
        spec, endpoint = self._lane.spec, self._lane.endpoint
        return FurtherTarget(spec.slug, spec.provider, self._model, endpoint, spec.way, self._lines, self._cost())

    def _cost(self) -> float | None:
        if self._model is None or self._lane.endpoint not in PRICED:
            return None
        price = prices.price(self._lane.provider.capabilities, self._model)
        used = Usage(input_tokens=self._estimate.input_tokens, output_tokens=self._estimate.output)
        return None if price is None else price.of(used)
