"""The quick way of a line that was answered as most are: one row, a model, its tokens, and nothing to remark.

It gives the bytes that the way of all lines gives (`merge`), which takes whatever this one leaves. What it spares: the
source line is not decoded to learn its id, no object is made of what goes from one file to the other, and of a ledger
line only what differs is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from typing import NamedTuple

import msgspec

from proxy_plugin.costs.tally import Tally
from proxy_plugin.ground.durable import HashedFile
from proxy_plugin.ground.unbroken import unbroken
from proxy_plugin.lines.envelope import decode_envelope
from proxy_plugin.lines.merging.ledger import SucceededLines
from proxy_plugin.lines.onward.told import ChosenRows
from proxy_plugin.lines.row_store import HEADER, RowReader
from proxy_plugin.lines.verdicts import Fate
from proxy_plugin.providers.base import Usage, native_id

_LARGE = 64 * 1024  # bytes of a row; a larger one goes the way on which it is not copied as a whole
_ID = re.compile(rb'\{"custom_id": ?("[^"\\]*")')
_MOST_KNOWN = 1000  # pairs of part and model
_PAIR = 1296  # ordinals whose native ids differ in their last two digits alone
_PAIRS = [native_id("", n)[-2:].encode() for n in range(_PAIR)]


class _Id(msgspec.Struct, gc=False):
    custom_id: msgspec.Raw


class _Meta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What an ordinary row says beyond its text. Any other member makes it none."""

    model: str | None = None
    usage: Usage | None = None


_id, _meta = msgspec.json.Decoder(_Id).decode, msgspec.json.Decoder(_Meta).decode


class _Known(NamedTuple):
    """What lines of a part and a model have in common."""

    fate: Fate
    ledger: SucceededLines


def id_of(line: bytes) -> bytes:
    """Return the JSON text of the custom_id of a line that `scan` has found good."""
    found = _ID.match(line)
    if found is not None and line.count(b'"custom_id"') == 1 and b"\\u00" not in line:
        return found[1]  # the only member of that name, however it is spelled
    try:
        return bytes(_id(line).custom_id)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return decode_envelope(line).custom_id_json


class Ordinary:
    """Writes ordinary lines into the files of a merge, and counts them. `repeat` tells of equal lines before one."""

    def __init__(
        self,
        fates: Mapping[int, Fate],
        files: tuple[HashedFile, HashedFile],
        tally: Tally,
        models: Callable[[str | None], None],
        repeat: Callable[[int], int] | None,
    ) -> None:
        self._fates, self._tally, self._models, self._repeat = fates, tally, models, repeat
        self._output, self._ledger = files
        self._known: dict[tuple[int, str | None], _Known | None] = {}
        self._heads, self._pair = dict[int, bytes](), -1
        self.written = 0

    def begin(self, chosen: ChosenRows, onward: Container[int], reader: RowReader) -> None:
        """Take lines of another block from now on."""
        self._chosen, self._onward, self._reader = chosen, onward, reader

    def add(self, ordinal: int, at: int, number: int, line: bytes) -> bool:
        """Write what is to be written of a line, or tell that it is none of these."""
        found = self._chosen.answer(at)
        if found is None or found[3] > _LARGE or at in self._onward or (self._repeat and self._repeat(ordinal)):
            return False
        part, path, offset, length = found
        record = self._reader.record(path, offset, length)
        _, _, _, said, _ = HEADER.unpack_from(record)
        begun = HEADER.size + said
        try:
            meta = _meta(record[HEADER.size : begun])
        except msgspec.MsgspecError:
            return False
        known = self._known_of(part, meta.model)
        if known is None:
            return False
        fate, custom_id = known.fate, unbroken(id_of(line))
        row = b"".join(
            (self._head(part, fate, ordinal), custom_id, b',"response":', unbroken(record[begun:]), b',"error":null}\n')
        )
        self._output.add_line(row)
        cost = self._tally.add(part, fate.provider, fate.model, meta.model, meta.usage, fate.way)
        self._ledger.add_line(known.ledger.text(number, custom_id, meta.usage, cost))
        self.written += 1
        return True

    def _known_of(self, part: int, model: str | None) -> _Known | None:
        known = self._known.get((part, model))
        if known is None and (part, model) not in self._known:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            known = self._known[part, model] = self._meet(part, model)
        return known

    def _meet(self, part: int, model: str | None) -> _Known | None:
        fate, named = self._fates[part], model or self._fates[part].model
        self._models(model)
        if named is None or fate.refused_together is not None:
            return None
        return _Known(fate, SucceededLines(fate, named))

    def _head(self, part: int, fate: Fate, ordinal: int) -> bytes:
        """Return the beginning of a row, up to its custom_id."""
        pair, last = divmod(ordinal, _PAIR)
        if pair != self._pair:
            self._heads, self._pair = {}, pair
        head = self._heads.get(part)
        if head is None:
            head = self._heads[part] = b'{"id":"batch_req_' + native_id(fate.mark, ordinal)[:-2].encode()
        return b'%b%b","custom_id":' % (head, _PAIRS[last])
