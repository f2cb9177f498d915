"""When the next ordinary call of one virtual key may begin. Pure: whoever asks brings the time.

A minute is a minute at the provider, where nobody knows when a call arrives: it does between its beginning and its end.
So a call counts for 60 s from its end, or from `ARRIVED` seconds after its beginning where it takes longer. A sixth of
a minute's requests may begin in ten seconds, as providers that say so much a minute often mean so much a second.

How many calls run at once is found out: half as many after a 429, one more for as many answers as there are calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from math import inf

from proxy_plugin.direct.limits import CallLimits

MINUTE = 60.0
ARRIVED = 3.0  # seconds within which a call has arrived, however long its answer takes
_BURST, _SHARE = 10.0, 6  # seconds in which a sixth of a minute's requests may begin
HALVED_APART = 1.0  # seconds: replies to calls that ran together are one message


class Counted:
    """One call that has begun: the `tokens` it is counted with, and until when. `used`: those that its answer tells."""

    __slots__ = ("begun", "tokens", "until", "used")

    def __init__(self, begun: float, tokens: int) -> None:
        self.begun, self.tokens, self.until = begun, tokens, begun + ARRIVED + MINUTE
        self.used: int | None = None


class KeyPace:
    """The pace of one key. Every time is in seconds of one clock that does not jump.

    `note` is told what must outlive the process: that a call begins, a pause, and how many calls may run at once.
    """

    def __init__(self, limits: CallLimits, note: Callable[[str, float, float], None] = lambda *_: None) -> None:
        self._limits, self._note = limits, note
        # Without a limit a minute nothing is kept of a call: at 1,000 calls a second a minute of them is 20 MB.
        self._counts = limits.requests_per_minute is not None or limits.tokens_per_minute is not None
        self._calls: deque[Counted] = deque()
        self._begun: deque[float] = deque()  # of the last ten seconds
        self._tokens = 0
        self._halved = -inf
        self.held_until = -inf
        self.running = 0
        self._at_once = float(limits.concurrency)

    @property
    def at_once(self) -> int:
        """How many calls may run at the same time now."""
        return max(1, int(self._at_once))

    def wait(self, now: float, tokens: int = 0) -> float:
        """Return for how many seconds the next call has to wait: 0.0 for none, `inf` until one that runs has ended.

        `tokens` is what it will probably use. One that no minute has tokens for goes when nothing else is counted.
        """
        self._forget(now)
        if self.running >= self.at_once:
            return inf
        pause = max(0.0, self.held_until - now)
        most = self._limits.requests_per_minute
        if most is not None:
            pause = max(pause, self._until_fewer(most - 1, now), self._burst(most, now))
        if self._limits.tokens_per_minute is not None:
            pause = max(pause, self._until_room(self._limits.tokens_per_minute - tokens, now))
        return pause

    def begin(self, now: float, tokens: int = 0) -> Counted:
        """Count a call that begins now."""
        call = Counted(now, tokens)
        self.running += 1
        if self._counts:
            self._calls.append(call)
            self._begun.append(now)
            self._tokens += tokens
            self._note("call", now, float(tokens))
        return call

    def end(self, call: Counted, now: float) -> None:
        """Let a call have ended."""
        self.running -= 1
        if self._counts and call.used is not None and call.until > now:  # else it is not, or no more, counted
            self._tokens += call.used - call.tokens
            call.tokens = call.used
        call.until = min(call.until, max(now, call.begun) + MINUTE)

    def answered(self) -> None:
        """Take note of an answer: slowly there may be more calls at once again."""
        if self._at_once < self._limits.concurrency:
            before = self.at_once
            self._at_once = min(self._at_once + 1 / self._at_once, float(self._limits.concurrency))
            if self.at_once != before:
                self._note("at_once", 0.0, self._at_once)

    def refused(self, call: Counted, now: float) -> None:
        """Take note of a 429: half as many calls at once, but once for all that ran together."""
        if call.begun < self._halved:
            return
        self._halved = max(now, self._halved + HALVED_APART)
        self._at_once = max(1.0, self._at_once / 2)
        self._note("at_once", 0.0, self._at_once)

    def hold(self, now: float, seconds: float) -> None:
        """Begin no call for so long: the provider has asked for it."""
        if seconds > 0 and now + seconds > self.held_until:
            self.held_until = now + seconds
            self._note("hold", self.held_until, 0.0)

    def restore(self, noted: Iterable[tuple[str, float, float]], now: float) -> None:
        """Go on where another process has stopped, from its notes in their order."""
        for kind, at, value in noted:
            if kind == "at_once":
                self._at_once = min(max(value, 1.0), float(self._limits.concurrency))
            elif kind == "hold":
                self.held_until = max(self.held_until, at)
            elif now - at < ARRIVED + MINUTE:
                call = Counted(min(at, now), int(value))
                self._calls.append(call)
                self._begun.append(call.begun)
                self._tokens += call.tokens
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Calls end in another order than they began, so one that is not over may hide a few that are."""
        while self._calls and self._calls[0].until <= now:
            self._tokens -= self._calls.popleft().tokens
        while self._begun and self._begun[0] <= now - _BURST:
            self._begun.popleft()

    def _until_fewer(self, most: int, now: float) -> float:
        """Return the seconds until at most so many calls are counted."""
        over = max(0, len(self._calls) - most)
        return max((call.until - now for call in islice(self._calls, over)), default=0.0)

    def _burst(self, most: int, now: float) -> float:
        """Return the seconds until fewer than a sixth of a minute's calls have begun in the last ten."""
        over = len(self._begun) - (-(-most // _SHARE) - 1)
        return max(self._begun[over - 1] + _BURST - now, 0.0) if over > 0 else 0.0

    def _until_room(self, most: int, now: float) -> float:
        """Return the seconds until the tokens that are counted are so few, or nothing is counted any more."""
        left, pause = self._tokens, 0.0
        for call in self._calls:
            if left <= most:
                return pause
            left -= call.tokens
            pause = max(pause, call.until - now)
        return pause
