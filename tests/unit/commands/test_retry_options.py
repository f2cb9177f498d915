"""What `retry` takes on its command line."""

from __future__ import annotations

import pytest

from proxy_plugin.commands.options import parse


def test_lines_are_numbers_and_outcomes_words() -> None:
    assert parse(["retry", "batch_1"]).lines == parse(["retry", "batch_1"]).outcomes == []
    assert parse(["retry", "batch_1", "--lines", "3, 7"]).lines == [3, 7]
    assert parse(["retry", "batch_1", "--outcome", "expired,succeeded"]).outcomes == ["expired", "succeeded"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--lines", "3,x"], "must be a whole number"),
        (["--lines", "0"], "must be above 0"),
        (["--lines", ""], "must be a whole number"),
        (["--outcome", "late"], "'late' is none of succeeded, failed, rejected"),
        (["--lines", "3", "--outcome", "expired"], "not allowed with"),
    ],
)
def test_what_is_neither_is_said(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["retry", "batch_1", *words])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
