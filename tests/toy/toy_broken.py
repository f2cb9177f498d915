"""An adapter that breaks its contract when a line's text asks for it."""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from proxy_plugin.providers.base import LineIn, Native, Target
from tests.toy.toy_lane import CAPABILITIES, ToyLane


class BrokenLane(ToyLane):
    """Text `newline`: a line break in the record. Text `grows`: another size each time."""

    _calls = 0

    def translate(self, line: LineIn, target: Target) -> Native:
        native = super().translate(line, target)
        if b"newline" in native.data:
            return structs.replace(native, data=native.data.replace(b"{", b"{\n", 1))
        if b"grows" in native.data:
            self._calls += 1
            return structs.replace(native, data=native.data + b" " * self._calls)
        return native


BROKEN = BrokenLane(replace(CAPABILITIES, provider="toy-broken"))
