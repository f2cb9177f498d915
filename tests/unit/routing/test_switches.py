"""Which switch for parameters counts where several levels say something."""

from __future__ import annotations

import pytest

from proxy_plugin.routing.route import params_switches

Level = tuple[bool | None, bool | None]
NOTHING: Level = (None, None)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], (False, False)),
        ([NOTHING, NOTHING], (False, False)),
        ([NOTHING, (True, None)], (True, False)),
        ([(False, None), (True, None)], (False, False)),
        ([(None, True), (True, None)], (False, True)),
        ([(None, False), (True, None)], (True, False)),
        ([(True, None), (None, True)], (True, True)),
        ([(True, True)], (True, True)),
        ([NOTHING, (None, True), (True, None)], (False, True)),
        ([NOTHING, NOTHING, (True, None)], (True, False)),
    ],
)
def test_the_nearest_level_that_says_something_counts(levels: list[Level], expected: tuple[bool, bool]) -> None:
    assert params_switches(*levels) == expected
