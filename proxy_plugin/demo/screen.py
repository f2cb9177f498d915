"""What the demo shows: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 200
PLAIN_PAUSE = 1.0  # seconds at least between two lines about the same thing

Show = Callable[[int, str], None]


class DemoFailed(Exception):
    """The demo cannot go on, or found what must not be. The message is for the person in front of the screen."""


class Screen:
    """Progress bars on a terminal; elsewhere, as in CI, plain lines without control codes."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        self._console = Console(
            force_terminal=None if terminal else False,
            width=None if terminal else PLAIN_WIDTH,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._live = terminal and self._console.is_terminal and not self._console.is_dumb_terminal

    def say(self, text: str) -> None:
        """Print a line, never broken, so that it can be copied."""
        self._console.print(text, soft_wrap=True)

    def fail(self, error: Exception, log: list[str]) -> None:
        """Say what went wrong, and what the gateway said last."""
        self.say(f"The demo failed: {str(error) or type(error).__name__}")
        if log:
            self.say("The gateway's last log lines:")
        for line in log:
            self.say(f"  {line}")

    def table(self, facts: dict[str, str]) -> None:
        """Print names with their values."""
        table = Table(box=box.ROUNDED, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            table.add_row(Text(name), Text(value))
        self._console.print(table)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Show]:
        """Follow something that counts up to `total`: yields a function of how much is done and a note."""
        if not self._live:
            yield self._plain(label, total)
            return
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, expand=True) as progress:
            task = progress.add_task(label, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=note)

    def _plain(self, label: str, total: int) -> Show:
        last, at = "", time.monotonic()

        def show(done: int, note: str) -> None:
            nonlocal last, at
            now = time.monotonic()
            if note != last and (done >= total or now > at + PLAIN_PAUSE):
                self.say(f"{label:<12} {note}")
                last, at = note, now

        return show


def megabytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / 1e6:,.1f} MB"
