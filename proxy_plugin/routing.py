"""Which target a line goes to: a pure function of the route, the line's place and its model."""

from __future__ import annotations

import msgspec


class TargetSpec(msgspec.Struct, frozen=True):
    """One virtual key as the split of a batch needs it. Limits are the strictest of lane and operator; None: none."""

    slug: str
    provider: str
    model: str | None = None  # replaces body.model
    drop_params: bool = False
    max_lines: int | None = None  # of one native job
    max_bytes: int | None = None  # of one native document, framing included
    max_inputs: int | None = None  # of one native job
    max_line_bytes: int | None = None  # of one native line
    models: tuple[str, ...] | None = None  # allow-list

    def admits(self, model: str) -> bool:
        """Tell whether a line with this body.model may run here."""
        return self.models is None or (self.model or model) in self.models


def choose(route: tuple[TargetSpec, ...], ordinal: int, model: str) -> int:  # noqa: ARG001 - shares go by ordinal
    """Return the index of the line's target: the first that admits its model, or else the first, which rejects it."""
    return next((index for index, target in enumerate(route) if target.admits(model)), 0)
