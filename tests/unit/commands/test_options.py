"""What the parsers of all commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from proxy_plugin.commands.options import parse, parser


def _clashes(parser: argparse.ArgumentParser, above: frozenset[str] = frozenset()) -> Iterator[str]:
    for action in parser._actions:
        if action.dest in above:
            yield f"{parser.prog}: {action.dest}"
        for below in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from _clashes(below, above | {action.dest})


def test_no_option_takes_the_place_of_its_commands_name() -> None:
    assert list(_clashes(parser())) == []
    assert parse(["webhooks", "add", "https://a.example"]).command == "webhooks"
