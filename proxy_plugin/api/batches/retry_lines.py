"""What of a batch a retry takes: `lines` by number, or by what became of them; without it, all that failed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from proxy_plugin.ground import sentences
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.lines.sources.failed_lines import Measured
from proxy_plugin.lines.verdicts import OUTCOMES

LINES = "lines"
_MOST = 10**12 - 1
_EXPECTED = "an array of line numbers, or of outcomes"


class ChosenLines(NamedTuple):
    """Line numbers as the ledger has them, or outcomes; neither: all that failed."""

    numbers: tuple[int, ...] = ()
    outcomes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything chosen."""
        return bool(self.numbers or self.outcomes)

    def text(self) -> str:
        """Return what tells this choice from others."""
        if not self:
            return ""
        return hashlib.sha256(repr((sorted(set(self.numbers)), sorted(set(self.outcomes)))).encode()).hexdigest()


def chosen_in(body: Mapping[str, Any]) -> ChosenLines:
    """Return which lines a retry's body names. Raises BadRequest."""
    value = body.get(LINES)
    if value is None:
        return ChosenLines()
    if isinstance(value, str):
        return ChosenLines(outcomes=(_outcome(value, LINES),))
    if not isinstance(value, list):
        raise sentences.wrong_type(LINES, _EXPECTED, value).refusal()
    if not value:
        raise sentences.empty_array(LINES).refusal("Leave it out for all lines that failed.")
    if isinstance(value[0], str):
        return ChosenLines(outcomes=tuple(_outcome(each, f"{LINES}[{n}]") for n, each in enumerate(value)))
    return ChosenLines(numbers=tuple(_number(each, f"{LINES}[{n}]") for n, each in enumerate(value)))


def _outcome(value: object, param: str) -> str:
    if not isinstance(value, str):
        raise sentences.wrong_type(param, sentences.STRING, value).refusal("Name numbers, or outcomes, not both.")
    if value not in OUTCOMES:
        raise sentences.wrong_value(param, value, OUTCOMES).refusal()
    return value


def _number(value: object, param: str) -> int:
    if type(value) is not int:
        raise sentences.wrong_type(param, sentences.INTEGER, value).refusal("Name numbers, or outcomes, not both.")
    if not 1 <= value <= _MOST:
        raise sentences.out_of_range(param, value, 1, _MOST).refusal()
    return value


def check(choice: ChosenLines, size: Measured) -> None:
    """Raise BadRequest where a named line is none of the file's, or nothing is left to be sent again."""
    if size.unknown:
        raise BadRequest(
            f"The input file of this batch has no request with number {', '.join(map(str, size.unknown))}. Numbers are"
            " those that GET /batches/{id}/lines tells: they count the blank lines of the file, too.",
            param=LINES,
            code="invalid_value",
        )
    if size.bytes:
        return
    if size.left_out:
        which = ", ".join(map(str, size.left_out))
        raise BadRequest(
            f"Every line of this batch that {'is named' if choice else 'failed'} is one that its provider refuses by"
            f" itself, and would refuse again: {which} by number. Correct them, upload them"
            f" and create a new batch, name another target for the retry, or name their numbers in '{LINES}'.",
            code="nothing_to_retry",
        )
    raise BadRequest(
        f"No line of this batch ended as {' or '.join(choice.outcomes)}; there are {', '.join(size.outcomes)}.",
        param=LINES,
        code="nothing_to_retry",
    )
