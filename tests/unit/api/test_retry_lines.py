"""What a retry's `lines` may say, and how it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.api.batches.retry_lines import ChosenLines, check, chosen_in
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.lines.sources.failed_lines import Measured


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (None, ChosenLines()),
        ([3, 7], ChosenLines(numbers=(3, 7))),
        ("expired", ChosenLines(outcomes=("expired",))),
        (["expired", "succeeded"], ChosenLines(outcomes=("expired", "succeeded"))),
    ],
)
def test_numbers_or_outcomes(lines: Any, found: ChosenLines) -> None:
    assert chosen_in({"lines": lines}) == found


@pytest.mark.parametrize(
    ("lines", "code", "param", "says"),
    [
        (7, "invalid_type", "lines", "expected an array of line numbers, or of outcomes"),
        ({}, "invalid_type", "lines", "but got an object"),
        ([], "empty_array", "lines", "Leave it out"),
        ([3, "expired"], "invalid_type", "lines[1]", "Name numbers, or outcomes, not both."),
        (["expired", 3], "invalid_type", "lines[1]", "expected a string"),
        ([True], "invalid_type", "lines[0]", "expected an integer"),
        ([3, 1.5], "invalid_type", "lines[1]", "expected an integer"),
        ([0], "integer_below_min_value", "lines[0]", ">= 1"),
        ([10**12], "integer_above_max_value", "lines[0]", "<="),
        ("late", "invalid_value", "lines", "'expired', and 'missing'"),
        (["expired", "late"], "invalid_value", "lines[1]", "'late'"),
    ],
)
def test_what_is_neither_is_named(lines: Any, code: str, param: str, says: str) -> None:
    with pytest.raises(BadRequest) as refused:
        chosen_in({"lines": lines})
    assert (refused.value.code, refused.value.param) == (code, param)
    assert says in refused.value.message


def test_other_lines_are_another_retry() -> None:
    texts = [ChosenLines().text(), ChosenLines((3,)).text(), ChosenLines((), ("expired",)).text()]
    assert len(set(texts)) == 3
    assert ChosenLines((3, 7)).text() == ChosenLines((7, 3, 3)).text()


@pytest.mark.parametrize(
    ("choice", "size", "param", "says"),
    [
        (ChosenLines((2, 9)), Measured(10, (), (2, 9)), "lines", "no request with number 2, 9."),
        (ChosenLines((), ("expired",)), Measured(0, (), (), ("failed", "succeeded")), "lines", "failed, succeeded"),
        (ChosenLines(), Measured(0, (4,)), None, "4 by number"),
    ],
)
def test_what_leaves_nothing_to_send_is_refused(
    choice: ChosenLines, size: Measured, param: str | None, says: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        check(choice, size)
    assert refused.value.param == param
    assert says in refused.value.message
