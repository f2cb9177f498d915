"""What shells are given to complete: every command of every parser, with its options."""

from __future__ import annotations

import sys

import pytest

from proxy_plugin import cli


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_every_command_and_option_is_completed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for word in ("doctor", "webhooks", "deliveries", "log-format", "since", "drop-params", "lines"):
        assert word in text, word
    assert "until-free" not in text


def test_without_shtab_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 2
    assert "pip install shtab" in capsys.readouterr().err
