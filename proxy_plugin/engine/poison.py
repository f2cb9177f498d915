"""What is done with a part whose job was refused for what is in its lines: decisions, from rows alone.

A line that is named is taken out, and the rest is sent again. Where none is named the part is halved until the line is
alone. Of one part of the manifest at most 20 lines are found so: every refused set that holds no smaller refused one
has a bad line of its own, so these sets are counted, and behind the twentieth nothing is taken apart any more. That
bounds the creates: 2 log2(lines) for each set that is counted, however many lines are bad.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import UNSET, structs

from proxy_plugin.providers.errors import BadLine
from proxy_plugin.storage.tables.cuts import Suspects, cut_of, root_of
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal, refusal_of

MOST_ALONE = 20
_BAD = frozenset({"cutting", "refused", "rescuing", "replaced"})
TOO_MANY = (
    f" More than {MOST_ALONE} lines of this job are refused, so those that were refused together were not taken"
    " apart any further; a retry sends them in smaller jobs."
)
_TOO_FEW = " A smaller job would have fewer lines than min_lines_per_job of the virtual key."
BEFORE = "The provider has refused these lines together before."
ALONE = " Correct the line; a retry to the same target leaves it out."


class Cutting(NamedTuple):
    """What to do with a refused part.

    `out`: what is said of lines that are taken out, by record. `pieces`: documents for the others; 0: the part is
    refused as a whole, for the reason `why`. `rest`: those others are refused too, together.
    """

    out: tuple[BadLine, ...] = ()
    pieces: int = 0
    rest: bool = False
    why: str = ""


def decide(part: PartRow, refusal: StoredRefusal, family: Iterable[PartRow], least: int) -> Cutting:
    """Decide. `family` are all parts that came from the same one of the manifest, `least` the lines a job must have."""
    named = _named(part, refusal)
    if refusal.divisible is not True:
        return Cutting(named[:1])
    if part.lines == 1:
        return Cutting(named[:1] or (_first(refusal),), why=ALONE)
    room = MOST_ALONE + 1 - bad_sets(family, root_of(part))
    if room < 1 and not refusal.before:
        return Cutting(named[:1], why=TOO_MANY)
    if named:
        return _without(part, named, room, least)
    if part.records // 2 < least:
        return Cutting(why=_TOO_FEW)
    return Cutting(pieces=2)


def _named(part: PartRow, refusal: StoredRefusal) -> tuple[BadLine, ...]:
    """Return the lines that are named. Of a part with lines of several requests records are, so it is halved."""
    return () if part.requests else tuple(line for line in refusal.records or () if line.record <= part.lines)


def _without(part: PartRow, named: tuple[BadLine, ...], room: int, least: int) -> Cutting:
    out = named[:room]
    left = part.lines - len(out)
    if left and left < least:
        return Cutting(named[:1], why=_TOO_FEW)
    return Cutting(out, pieces=1, rest=len(named) > len(out))


def _first(refusal: StoredRefusal) -> BadLine:
    return BadLine(1, refusal.message, refusal.code, refusal.param)


def bad_sets(family: Iterable[PartRow], root: int) -> int:
    """Return how many sets of lines have been refused of which no smaller one has: each has a bad line of its own.

    What an earlier batch found out has cost this one nothing, and does not count.
    """
    rows = list(family)
    heirs = defaultdict[int, list[int]](list)
    for row in rows:
        if (cut := cut_of(row)) is not None:
            heirs[cut.parent].append(row.n)
    found = dict[int, int]()
    for row in sorted(rows, key=lambda each: each.n, reverse=True):  # heirs have higher numbers than their parents
        found[row.n] = max(int(_is_bad(row)), sum(found[heir] for heir in heirs[row.n]))
    return found[root]


def _is_bad(part: PartRow) -> bool:
    refusal = refusal_of(part) if part.state in _BAD else None
    return refusal is not None and refusal.divisible is True and refusal.before is not True


def suspected(part: PartRow, first: int, last: int, suspects: Iterable[Suspects]) -> PartRow:
    """Let a new part be cut before it is sent, if it has all lines of a set that its target has refused before.

    `first` and `last` are the ordinals between which it has all lines of its target.
    """
    for each in suspects:
        same = (each.slug, each.model) == (part.slug, part.model)
        if same and part.lines > 1 and first <= each.first and each.last <= last:
            refusal = StoredRefusal(each.code, BEFORE, divisible=True, before=True)
            return structs.replace(part, state="cutting", refusal=refusal.text())
    return part


def said(refusal: StoredRefusal, line: BadLine | None, number: int | None, why: str) -> StoredRefusal:
    """Return why lines are refused: the provider's words, behind the `number` of the line in the file."""
    words = BadLine(0, refusal.message, refusal.code, refusal.param) if line is None else line
    where = "" if number is None else f"line {number} of the file: "
    stop = "" if not why or words.message.endswith((".", "!", "?")) else "."
    return StoredRefusal(
        words.code,
        f"{where}{words.message}{stop}{why}",
        refusal.status,
        words.param,
        divisible=refusal.divisible,
        line=UNSET if number is None else number,
    )
