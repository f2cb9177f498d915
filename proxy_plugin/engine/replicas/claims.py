"""Who takes which step, where several gateways share a database: a step runs under a claim on its row.

What a step commits goes through `guard`: inside the same transaction it is looked at whether the claim still stands. So
a gateway that was stopped for longer than a claim lasts, and goes on, commits nothing; as `sent` is such a commit, it
sends no create either. Alone, a gateway claims nothing, and none of this costs it a statement.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from contextvars import ContextVar
from itertools import count
from math import inf
from typing import ParamSpec, Protocol, TypeVar, cast

from proxy_plugin.ground.clock import Clock
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.replicas.duties import ClaimLost, Duties, EveryDuty
from proxy_plugin.storage.tables import due
from proxy_plugin.storage.tables.due import Due, Look
from proxy_plugin.storage.tables.replicas import claims, lives
from proxy_plugin.storage.tables.replicas.claims import CALLS, DUTY, MINUTE, Named

P = ParamSpec("P")
T = TypeVar("T")
K = TypeVar("K", bound=tuple[str, str, int])
Limit = Callable[[str, int], int]
LIFE = 15.0  # seconds that a claim lasts; renewed each third of it
FORGOTTEN = 60.0  # seconds for which a claim that is over stays as it is: whoever was stopped may go on with it
OVER = 0.0  # monotonic: a time that has been
SEND_WITHIN = 5.0  # seconds in which a create begins, or not at all; fewer where its claim lasts no longer by then
__all__ = ["LIFE", "SEND_WITHIN", "ClaimLost", "Claims", "Elsewhere", "NoClaims", "RowClaims"]
_UNDER: ContextVar[tuple[Named, int] | None] = ContextVar("claim", default=None)


class Elsewhere(Exception):
    """Another replica is to do this: it makes the ordinary calls of this account."""


class Claims(Duties, Protocol):
    """What the engine asks before a step, and what stands behind what a step commits."""

    sender: str | None
    """The name that creates are sent under; None where nobody else could look for them meanwhile."""

    def due(self, conn: Connection, now: float, limit: Limit, look: Look) -> dict[str, list[Due]]:
        """Return by workspace the rows that want a step now and are nobody else's; see `due.rows`, `due.unclaimed`."""

    async def take(self, keys: Sequence[K]) -> list[K]:
        """Claim rows, and return those that were got."""

    def under(self, key: tuple[str, str, int]) -> AbstractContextManager[None]:
        """Guard what is committed inside by the claim on a row that was taken; it is given back behind."""

    async def check(self) -> None:
        """Raise ClaimLost where the claim does not stand any more: before something is deleted."""

    def calling(self, account: str) -> AbstractAsyncContextManager[None]:
        """Let ordinary calls of an account be made inside: by one gateway, until a minute behind the last of them.

        Its limits are so much a minute. Raises Elsewhere.
        """

    def gave_back(self) -> bool:
        """Tell whether rows were given back since the last question: who did so has to look again.

        What became due between its last look and this was still claimed, so all others have passed it over.
        """

    def lasts_until(self) -> float | None:
        """Return the monotonic time until which the claim that is worked under surely stands; None for ever."""

    async def may_be_sent(self, sender: str | None, settle: float) -> bool:
        """Tell whether a create may still be sent, or was so less than `settle` seconds ago, by who is not known to be
        gone.
        """

    async def is_alone(self) -> bool:
        """Tell whether no other replica is there."""

    def leave(self) -> bool:
        """Let others have the duties, and each row as its step ends; False where there are no others."""

    async def give_back(self) -> None:
        """Let others have everything, the rows whose step still runs too."""


class NoClaims(EveryDuty):
    """The claims of a gateway that has its database for itself: everything is its own."""

    sender: str | None = None

    def due(self, conn: Connection, now: float, limit: Limit, look: Look) -> dict[str, list[Due]]:  # noqa: ARG002
        """Return what wants a step now."""
        return due.rows(conn, now, limit)

    async def take(self, keys: Sequence[K]) -> list[K]:
        """Return what was asked for."""
        return list(keys)

    def under(self, key: tuple[str, str, int]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing."""
        return nullcontext()

    async def check(self) -> None:
        """Do nothing: nobody else takes a row."""

    def calling(self, account: str) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Do nothing."""
        return nullcontext()

    def gave_back(self) -> bool:
        """Tell that nothing was."""
        return False

    def lasts_until(self) -> float | None:
        """Tell that everything is its own for ever."""
        return None

    async def may_be_sent(self, sender: str | None, settle: float) -> bool:  # noqa: ARG002
        """Tell that nobody else sends."""
        return False

    async def is_alone(self) -> bool:
        """Tell that it is."""
        return True

    def leave(self) -> bool:
        """Tell that there is nobody to leave anything to."""
        return False

    async def give_back(self) -> None:
        """Do nothing."""


class RowClaims:
    """Claims as rows, of one holder: one life of one replica. Whoever made it calls `renew` each third of `life`.

    `tell` is called in the transactions that give back what others should look for.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        holder: str,
        *,
        life: float = LIFE,
        tell: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        self._registry, self._clock, self._holder, self._tell = registry, clock, holder, tell
        self.sender: str | None = holder
        self.life = life
        self._tokens = count(1)
        self._held: dict[Named, int] = {}  # with their tokens
        self._elsewhere: dict[str, float] = {}  # duties of others, and until when nobody asks for them here, monotonic
        self._called: dict[Named, float] = {}  # accounts, and when the last call of theirs has ended, monotonic
        self._done: dict[Named, int] = {}  # of no more use, with their tokens: given back with the next write
        self._renewed = clock.monotonic()
        self._waits_until = 0.0  # monotonic: until then nothing of another is taken
        self._leaving = self._tells = self._gave_back = False

    def due(self, conn: Connection, now: float, limit: Limit, look: Look) -> dict[str, list[Due]]:
        """Return what wants a step now and is not claimed by others."""
        return due.unclaimed(conn, now, limit, look, self._holder, self._ended())

    async def take(self, keys: Sequence[K]) -> list[K]:
        """Claim rows, and give back what is done, in one transaction; return those that were got."""
        wanted = [] if self._leaving else [Named(*key) for key in keys]
        done = {each: token for each, token in self._done.items() if each not in wanted}
        if not wanted and not done:
            return []
        token = next(self._tokens)
        got = dict.fromkeys(await self._registry.write(self._taken, wanted, done, token), token)
        _drop(self._done, done)
        _drop(self._held, done)
        self._done = {each: token for each, token in self._done.items() if each not in got}
        self._held |= got
        return [key for key in keys if Named(*key) in got]

    def _taken(self, conn: Connection, wanted: Sequence[Named], done: Mapping[Named, int], token: int) -> set[Named]:
        self._give_back(conn, done)
        until = self._clock.now() + self.life
        return claims.take(conn, wanted, self._holder, token, ended=self._ended(), until=until)

    def _give_back(self, conn: Connection, done: Mapping[Named, int]) -> None:
        claims.give_back(conn, done, self._holder)
        self._gave_back = self._gave_back or bool(done)
        if done and (self._leaving or self._tells):
            self._tells = False
            self._tell(conn)

    def _ended(self) -> float:
        """Return the moment before which a claim of another must have ended to be taken.

        While this replica could not renew its own, maybe nobody could: then nothing is taken until all had time to.
        """
        moment = self._clock.monotonic()
        late = moment - self._renewed > self.life or moment < self._waits_until
        return 0.0 if late else self._clock.now()

    @contextmanager
    def under(self, key: tuple[str, str, int]) -> Iterator[None]:
        """Guard what is committed inside. The claim goes with the next write behind it."""
        claimed = Named(*key)
        try:
            with self._as(claimed):
                yield
        finally:
            if claimed in self._held:
                self._done[claimed] = self._held[claimed]

    @contextmanager
    def _as(self, claimed: Named) -> Iterator[None]:
        before = _UNDER.set((claimed, self._held.get(claimed, 0)))
        try:
            yield
        finally:
            _UNDER.reset(before)

    def guard(self, work: Callable[P, T]) -> Callable[P, T]:
        """Return what looks first whether the claim stands; the same where it is called under none."""
        if _UNDER.get() is None:
            return work
        stands = self._standing()

        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            stands(cast("Connection", args[0]))
            return work(*args, **kwargs)

        return guarded

    def _standing(self) -> Callable[[Connection], None]:
        under, holder = _UNDER.get(), self._holder

        def stands(conn: Connection) -> None:
            if under is not None and not claims.stands(conn, under[0], holder, under[1]):
                raise ClaimLost(f"{under[0].kind} {under[0].id} {under[0].n}")

        return stands

    async def check(self) -> None:
        """Raise ClaimLost where the claim does not stand any more."""
        await self._registry.read(self._standing())

    async def duty(self, name: str) -> bool:
        """Tell whether a duty is this replica's, by a claim that was renewed in time."""
        moment = self._clock.monotonic()
        if moment < self._elsewhere.get(name, 0.0):
            return False
        found = await self._has(Named(DUTY, name))
        if not found:
            self._elsewhere[name] = moment + self.life / 3
        return found

    async def _has(self, wanted: Named) -> bool:
        if self._leaving:
            return False
        if wanted in self._held and self._clock.monotonic() - self._renewed < self.life:
            return True
        holder = await self._registry.read(claims.holder_of, wanted, self._ended())
        return holder in (None, self._holder) and bool(await self.take([wanted]))

    def on_duty(self, name: str) -> AbstractContextManager[None]:
        """Guard what is committed inside by the claim on a duty."""
        return self._as(Named(DUTY, name))

    @asynccontextmanager
    async def calling(self, account: str) -> AsyncIterator[None]:
        """Let ordinary calls of an account be made inside. Raises Elsewhere."""
        wanted = Named(CALLS, account)
        if not await self._has(wanted):
            self._tells = True  # the other is to look for what is given back here
            raise Elsewhere
        self._called[wanted] = inf
        try:
            yield
        finally:
            self._called[wanted] = self._clock.monotonic()

    def gave_back(self) -> bool:
        """Tell whether rows were given back since the last question."""
        found, self._gave_back = self._gave_back, False
        return found

    def lasts_until(self) -> float | None:
        """Return until when nobody takes anything, if it is not renewed. What is known to be lost has lasted."""
        under = _UNDER.get()
        lost = under is not None and self._held.get(under[0]) != under[1]
        return OVER if lost else self._renewed + self.life

    async def may_be_sent(self, sender: str | None, settle: float) -> bool:
        """Tell whether a sender is there, as the database sees it, or went less than `settle` seconds ago."""
        row = None if sender is None else await self._registry.read(lives.get, sender)
        return row is not None and (row.gone_at is None or self._clock.now() < row.gone_at + settle)

    async def is_alone(self) -> bool:
        """Tell whether no other replica is there that was heard of lately."""
        since = self._clock.now() - 2 * self.life
        every = await self._registry.read(lives.every)
        return not any(row.gone_at is None and row.seen_at > since for row in every if row.name != self._holder)

    def leave(self) -> bool:
        """Take nothing more, and give back each row as its step ends, duties at once."""
        self._leaving = True
        self._done |= {each: token for each, token in self._held.items() if each.kind == DUTY}
        return True

    async def renew(self) -> bool:
        """Renew what is held, give back what is done; tell whether something can be had that others left."""
        began, number = self._clock.monotonic(), next(self._tokens)
        self._forget_accounts(began)
        done = dict(self._done)
        kept, left = await self._registry.write(self._renew, done)
        if self._clock.monotonic() - self._renewed > self.life:
            self._waits_until = self._clock.monotonic() + self.life
        self._renewed = began
        _drop(self._done, done)
        lost = {each for each, token in self._held.items() if token < number and each not in kept}
        self._held = {each: token for each, token in self._held.items() if each not in lost}
        # taken, and the answer to that was lost
        self._done |= {each: token for each, token in kept.items() if each not in self._held}
        return left or self.gave_back()

    def _forget_accounts(self, now: float) -> None:
        """Let others call accounts that were not called here for longer than a minute counts."""
        over = [account for account, ended in self._called.items() if ended < now - MINUTE]
        for account in over:
            del self._called[account]
            if account in self._held:
                self._done[account] = self._held[account]

    def _renew(self, conn: Connection, done: Mapping[Named, int]) -> tuple[dict[Named, int], bool]:
        self._give_back(conn, done)
        claims.forget(conn, self._ended() - FORGOTTEN)
        kept = claims.renew(conn, self._holder, self._clock.now() + self.life)
        return kept, claims.any_over(conn, self._ended())

    async def give_back(self) -> None:
        """Let others have everything; what a step that still runs would commit is refused from now on."""
        self._leaving = True
        self._done.clear()
        self._held.clear()
        await self._registry.write(self._given_back)

    def _given_back(self, conn: Connection) -> None:
        if claims.give_back_all(conn, self._holder):
            self._tell(conn)


def _drop(kept: dict[Named, int], gone: Mapping[Named, int]) -> None:
    """Leave out what is gone; what has another token by now is another claim."""
    for each, token in gone.items():
        if kept.get(each) == token:
            del kept[each]
