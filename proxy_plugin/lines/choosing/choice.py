"""What is chosen for a line: its target, and where it goes on if it fails there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proxy_plugin.lines.envelope import Envelope
from proxy_plugin.providers.base import LineRejected

NO_RULE = -1
CONFLICT = "virtual_key_conflict"


class Choice(NamedTuple):
    """Where a line goes. `asked` is the name by which its model was asked for; `rule` numbers a `ByLine`, -1: none.

    `then` numbers what is chosen of where the line goes on if it fails here, None: nowhere. `way` is DIRECT where the
    target is to be called, if it may be; None: as the target has it.
    """

    target: int
    model: str
    asked: str
    rule: int = NO_RULE
    then: int | None = None
    way: str | None = None


class Misrouted(LineRejected):
    """No target may have this line. `strict`: that fails the batch. `then`: where it goes on, as in a `Choice`."""

    def __init__(self, message: str, code: str, *, strict: bool, param: str | None = "body.model") -> None:
        super().__init__(message, code=code, param=param)
        self.strict = strict
        self.provider = ""
        self.then: int | None = None


class Unplaced(NamedTuple):
    """Why a line cannot be where it was chosen to be; `choice` None: no target was chosen."""

    rejection: LineRejected
    choice: Choice | None

    @property
    def then(self) -> int | None:
        """Return where the line goes on."""
        if self.choice is not None:
            return self.choice.then
        return self.rejection.then if isinstance(self.rejection, Misrouted) else None


Pick = Callable[[Envelope], Choice]  # raises Misrouted


class Continuation(NamedTuple):
    """Where lines go on that failed: `pick` chooses for each of them.

    `codes` are the statuses with which they do, none: all; with others they go where continuation `otherwise` says.
    `itself` chooses the target at which they failed, to be called: for lines that no native job can have. It is `pick`
    where they are asked again there: `way` is DIRECT then, or None for a native job once more.
    """

    pick: Pick
    codes: tuple[int, ...]
    way: str | None = None
    otherwise: int | None = None
    itself: Pick | None = None

    @property
    def again(self) -> bool:
        """Whether it is the same target in the same way."""
        return self.itself is self.pick and self.way is None


def going_on(pick: Pick, then: int) -> Pick:
    """Return the same pick, whose refusals tell where the line goes on."""

    def told(line: Envelope) -> Choice:
        try:
            return pick(line)
        except Misrouted as refusal:
            if refusal.then is None and refusal.code != CONFLICT:  # another account would pay
                refusal.then = then
            raise

    return told
