"""`GET /batches/{id}/outcomes`: the ledger of an ended batch counted by outcome, code, account and model.

It is read by threads, a block at a time, and what it holds grows with the groups, of which there are at most 1,000.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import msgspec
from aiohttp import web

from proxy_plugin.api import ids
from proxy_plugin.api.batches.lines import Chosen, LineFacts, Selection, open_ledger, require_ended, told_by
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.turns import Turns
from proxy_plugin.storage.blobs import Blobs, Source
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.web.answers import json_answer

MOST_GROUPS = 1000  # codes and models may be a provider's or the caller's own, and there is no end of those
OTHERS = "(other)"
MOST_KEPT = 200  # batches whose groups are remembered


class Groups:
    """Counts lines. `first` is the smallest line number of each group."""

    def __init__(self) -> None:
        self.count: Counter[LineFacts] = Counter()
        self.first: dict[LineFacts, int] = {}

    def add(self, block: bytes) -> None:
        """Count the lines of a block."""
        for line in block.splitlines():
            told = told_by(line)
            if told not in self.count and len(self.count) >= MOST_GROUPS:
                told = LineFacts(told.outcome, OTHERS, OTHERS, OTHERS)
            if told not in self.first:
                self.first[told] = int(line[len(b'{"line":') :].split(b",", 1)[0])
            self.count[told] += 1

    def shown(self) -> list[dict[str, Any]]:
        """Return the groups, the largest first."""
        return [
            {name: value for name, value in msgspec.structs.asdict(told).items() if value}
            | {"lines": lines, "first_line": self.first[told]}
            for told, lines in self.count.most_common()
        ]


class Outcomes:
    """The groups of batches that were asked for lately: they have ended, so nothing changes them.

    Two ledgers are read at a time, of one workspace one: a long one takes seconds. Workspaces take turns.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self._turns = Turns(2, most_each=1)

    async def of(self, blobs: Blobs, batch: BatchRow, source: Source) -> list[dict[str, Any]]:
        """Return the groups of a batch whose ledger is open as `source`."""
        async with self._turns.turn(batch.workspace):
            if batch.id not in self._known:
                self._known[batch.id] = await _counted(blobs, source)
                if len(self._known) > MOST_KEPT:
                    self._known.popitem(last=False)
            return self._known[batch.id]


OUTCOMES = web.AppKey("proxy_plugin.outcomes", Outcomes)


async def outcomes(request: web.Request) -> web.Response:
    """Return the groups. 409 before the batch has ended, 404 where its ledger is gone."""
    batch, gateway = await ids.visible_batch(request), request.app[GATEWAY]
    require_ended(batch, "The outcomes of a batch are counted when it has ended")
    source = await gateway.blobs.read(open_ledger, gateway.folders, batch)
    try:
        found = await request.app[OUTCOMES].of(gateway.blobs, batch, source)
    finally:
        await gateway.blobs.read(source.close)
    return json_answer({"object": "list", "data": found})


async def _counted(blobs: Blobs, source: Source) -> list[dict[str, Any]]:
    chosen, groups = Chosen(source, Selection({}, 0, None)), Groups()
    while (block := await blobs.read(chosen.block)) is not None:
        await blobs.read(groups.add, block)
    return groups.shown()
