"""What one line may take of a worker: so many seconds of CPU, and so many more for each megabyte.

A timer of the process looks a few times a second of CPU how long the line under way has taken, and raises in the middle
of it where that is too much. So only pure work may be metered: nothing is half done that anybody sees. What does not
come back to the interpreter meanwhile is not ended so; the task's own bound ends it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import ParamSpec, Self, TypeVar

import msgspec

P = ParamSpec("P")
T = TypeVar("T")

LOOK = 0.1  # seconds of CPU between looks
MEGABYTE = 2**20


class Allowance(msgspec.Struct, frozen=True):
    """Seconds of CPU for one line."""

    seconds: float = 5.0
    seconds_per_mb: float = 2.0


class TooCostly(Exception):
    """A line has taken more than it may."""


class _Stop(BaseException):
    """Ends the work. No error, so that nothing on the way takes it for one of its own."""


class Meter:
    """Meters one line after the other: `with meter: with meter.line(size): ...`.

    Signals reach the main thread only, where tasks of a worker run. Elsewhere nothing is metered.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._seconds: float | None = None  # that the line under way may take
        self._until: float | None = None  # set by the first look: to ask for the time at each line takes 0.6 us
        self._works = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._works:
            signal.signal(signal.SIGVTALRM, self._look)
            signal.setitimer(signal.ITIMER_VIRTUAL, LOOK, LOOK)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._works:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, signal.SIG_IGN)  # one more may be on its way

    def line(self, size: int) -> _Line:
        """Meter what is done within: a line of so many bytes. Raises TooCostly."""
        return _Line(self, self._allowance.seconds + self._allowance.seconds_per_mb * size / MEGABYTE)

    def run(self, size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function makes of a line of so many bytes: `line` at half its price. Raises TooCostly."""
        self._until, self._seconds = None, self._allowance.seconds + self._allowance.seconds_per_mb * size / MEGABYTE
        try:
            return function(*args, **kwargs)
        except _Stop:
            raise TooCostly("the line takes more CPU than it may") from None
        finally:
            self._seconds = None

    def begin(self, seconds: float) -> None:
        """Let something be stopped after so many seconds of CPU, or a look later."""
        self._until, self._seconds = None, seconds

    def end(self) -> None:
        """Let nothing be stopped."""
        self._seconds = None

    def _look(self, _number: int, frame: FrameType | None) -> None:
        """Stop what takes too long, once more at each look: a destructor swallows what is raised in it."""
        if self._seconds is None:
            return
        if self._until is None:
            self._until = time.process_time() + self._seconds
        elif time.process_time() > self._until and (frame is None or frame.f_code not in _AT_THE_END):
            raise _Stop


class _Line:
    __slots__ = ("_meter", "_seconds")

    def __init__(self, meter: Meter, seconds: float) -> None:
        self._meter, self._seconds = meter, seconds

    def __enter__(self) -> None:
        self._meter.begin(self._seconds)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._meter.end()
        if kind is _Stop:
            raise TooCostly(f"{self._seconds:.0f} s of CPU were not enough") from None


_AT_THE_END = frozenset({Meter.run.__code__, Meter.end.__code__, _Line.__exit__.__code__})  # who came so far is done
