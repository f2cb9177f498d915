"""Lines of the ledger: what became of each line of a batch, and a template of those that many have in common."""

from __future__ import annotations

import msgspec

from proxy_plugin.ground.unbroken import unbroken
from proxy_plugin.lines.verdicts import SUCCEEDED, Fate
from proxy_plugin.providers.base import Usage

_encode = msgspec.json.Encoder().encode
_NOTHING = msgspec.Raw(b"0")


class LedgerLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line, in the order of its members."""

    line: int
    custom_id: msgspec.Raw
    provider: str
    virtual_key: str
    model: str
    job: str | None = None
    attempt: int | None = None
    outcome: str
    cached: bool = False
    code: str | None = None
    requests: int | None = None  # that the line was, where it was several
    usage: Usage | None = None
    cost: float | None = None  # US dollars
    dropped: tuple[str, ...] | None = None
    part: int | None = None
    counts: bool = True  # else another line tells what became of it
    refused_together: int | None = None  # lines of the part, where the provider refused it for one of them at least
    repeat: int = 0  # equal lines that came before, where answers are kept

    def text(self) -> bytes:
        """Return it as it stands in the ledger."""
        return unbroken(_encode(self)) + b"\n"


class SucceededLines:
    """Ledger lines of answers that differ in line, id, usage and cost alone: of one part and one model."""

    def __init__(self, fate: Fate, model: str) -> None:
        line = LedgerLine(
            line=0,
            custom_id=_NOTHING,
            provider=fate.provider,
            virtual_key=fate.slug,
            model=model,
            job=fate.job,
            attempt=fate.attempt or None,
            outcome=SUCCEEDED,
        )
        said = unbroken(_encode(line))
        assert said.startswith(b'{"line":0,"custom_id":0,')
        self._said = said[len(b'{"line":0,"custom_id":0') : -1]

    def text(self, number: int, custom_id: bytes, usage: Usage | None, cost: float | None) -> bytes:
        """Return one of them; `custom_id` is JSON without breaks."""
        used = b"" if usage is None else b',"usage":' + _encode(usage)
        costs = b"" if cost is None else b',"cost":' + _encode(cost)
        return b'{"line":%d,"custom_id":%b%b%b%b}\n' % (number, custom_id, self._said, used, costs)
