"""The accounts that a process calls, and the connections to each: kept while the account stays as it was told."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from proxy_plugin.alone.order import CalledAccount, News
from proxy_plugin.ground.errors import Unavailable
from proxy_plugin.ground.masking import secrets_in
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Credentials
from proxy_plugin.providers.direct.base import Caller, DirectLane, Outgoing
from proxy_plugin.providers.direct.mocked import Mocked
from proxy_plugin.providers.echoes import Echoes

MOST = 256  # accounts that callers bring, and callers that are kept
Pairs = tuple[tuple[str, str], ...]  # of headers, or of what a request says of an account

Key = tuple[str, Pairs, Pairs]  # slug, headers, what is said


@dataclass(slots=True)
class Calling:
    """Who calls one account, with one set of headers; closed when it is `old` and nobody calls.

    One that `shares` its connections with others is not: litellm has one set of them for the process.
    """

    caller: Caller
    lane: DirectLane
    echoes: Echoes
    shares: bool
    users: int = 0
    old: bool = False

    async def close(self) -> None:
        """Give back what no other call needs."""
        if not self.shares:
            await self.caller.close()


class CalledAccounts:
    """What was told, and who calls."""

    def __init__(self) -> None:
        self._own: Mapping[str, CalledAccount] = {}
        self._brought: OrderedDict[str, CalledAccount] = OrderedDict()
        self._held: OrderedDict[Key, Calling] = OrderedDict()
        self._outgoing = Outgoing()
        self._told = 0
        self._changed = asyncio.Condition()

    async def learn(self, told: News) -> None:
        """Know accounts from now on; calls that run go on with those that they have."""
        if told.whole:
            for slug in [slug for slug, known in self._own.items() if told.accounts.get(slug) != known]:
                await self._drop(slug)
            if told.outgoing != self._outgoing:
                for slug in {slug for slug, *_ in self._held}:
                    await self._drop(slug)
            self._own, self._outgoing = told.accounts, told.outgoing
        for slug, account in ({} if told.whole else told.accounts).items():
            self._brought[slug] = account
            self._brought.move_to_end(slug)
            if len(self._brought) > MOST:
                await self._drop(self._brought.popitem(last=False)[0])
        async with self._changed:
            self._told = max(self._told, told.number)
            self._changed.notify_all()

    async def until(self, number: int) -> None:
        """Return when so much has been told."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._told >= number)

    @asynccontextmanager
    async def calling(self, slug: str, forward: Mapping[str, str], said: Mapping[str, str]) -> AsyncIterator[Calling]:
        """Give who calls an account. Raises Unavailable for one that has gone meanwhile."""
        key = (slug, tuple(sorted(forward.items())), tuple(sorted(said.items())))
        held = self._held.get(key) or await self._made(key, forward, said)
        self._held.move_to_end(key)
        held.users += 1
        try:
            yield held
        finally:
            held.users -= 1
            if held.old and not held.users:
                await held.close()

    async def close(self) -> None:
        """Close all connections."""
        for held in self._held.values():
            await held.close()

    async def _made(self, key: Key, forward: Mapping[str, str], said: Mapping[str, str]) -> Calling:
        account = self._own.get(key[0]) or self._brought.get(key[0])
        if account is None:  # the configuration has changed meanwhile
            raise Unavailable("The account of this call has just gone; nothing was sent. Try again in a moment.")
        outgoing = replace(self._outgoing, headers=dict(forward))
        made = await asyncio.to_thread(_held, account, outgoing, said)  # litellm takes seconds to be imported
        held = self._held.setdefault(key, made)
        if len(self._held) > MOST:
            await self._retire(self._held.pop(next(iter(self._held))))
        return held

    async def _drop(self, slug: str) -> None:
        for key in [key for key in self._held if key[0] == slug]:
            await self._retire(self._held.pop(key))

    @staticmethod
    async def _retire(held: Calling) -> None:
        held.old = True
        if not held.users:
            await held.close()


def _held(account: CalledAccount, outgoing: Outgoing, said: Mapping[str, str]) -> Calling:
    lane, native = catalog.direct(account.provider), catalog.load(account.provider)
    if account.mock is not None:
        return Calling(Mocked(account.mock), lane, Echoes(()), shares=True)
    credentials = lane.credentials.model_construct(**account.fields)
    if said:
        credentials = credentials.placed(said)
    host = native.capabilities.host(credentials)
    shares = catalog.way_of_calls(account.provider) == "litellm"
    return Calling(lane.caller(credentials, host, outgoing), lane, Echoes(_secrets(credentials)), shares)


def _secrets(credentials: Credentials) -> Iterator[str]:
    for name, value in credentials:
        yield from secrets_in(value, name)
