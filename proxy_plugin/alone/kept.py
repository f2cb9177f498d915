"""Kept answers of calls: looked up, and kept, as those of lines are; both are given what the other was answered."""

from __future__ import annotations

import asyncio
import time

from proxy_plugin.alone.bodies import ID
from proxy_plugin.answers.complete import checker
from proxy_plugin.answers.lookup import LineKey, Looking, Lookup
from proxy_plugin.answers.store import KeptAnswers
from proxy_plugin.answers.values import Answer, Origin

DISABLED, HIT, MISS, REFRESH = "DISABLED", "HIT", "MISS", "REFRESH"
_MARK = "call"


class Kept:
    """What is kept of one call at one target. `looking` None: its config wants nothing kept, or it is a stream."""

    def __init__(self, looking: Looking | None, endpoint: str, slug: str, model: str, record: bytes) -> None:
        self._looking, self._model, self._endpoint = looking, model, endpoint
        self._key = None if looking is None else Lookup(looking).key(0, slug, endpoint, model, ID, [record])
        self.status = DISABLED if self._key is None else MISS

    async def find(self) -> bytes | None:
        """Return the `response` that is kept."""
        if self._looking is None or self._key is None:
            return None
        if self._looking.refresh:
            self.status = REFRESH
            return None
        found = await asyncio.to_thread(_found, self._looking, self._key)
        if found is not None:
            self.status = HIT
        return found

    async def keep(self, response: bytes) -> None:
        """Keep a whole answer."""
        if self._looking is not None and self._key is not None and checker(self._endpoint)(response):
            answer = Answer(time.time(), Origin(_MARK, self._model), response)
            await asyncio.to_thread(_keep, self._looking, self._key, answer)


def _found(looking: Looking, asked: LineKey) -> bytes | None:
    with Lookup(looking) as lookup:
        answer = lookup.find(0, asked)
    return None if answer is None else answer.text


def _keep(looking: Looking, asked: LineKey, answer: Answer) -> None:
    with KeptAnswers(looking.shelf) as store:
        store.put(asked.key, answer)
