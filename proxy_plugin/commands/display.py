"""Two streams: results on stdout, for people or as JSON; progress and messages on stderr. Rich is loaded when it draws.

Everything drawn is `Text` or plain cells with markup, emoji codes and highlighting off, and has been through
`wording.clean`: what a gateway sends can neither colour, link nor command the terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from proxy_plugin.commands.wording import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

PLAIN_WIDTH = 220  # columns where there is no terminal: a table in a log is not to be cut
PLAIN_PAUSE = 2.0  # seconds at least between two lines about the same thing

Show = Callable[[int, int, str], None]  # done, total, note


class Row(NamedTuple):
    """Cells of a table; one that `alarms` stands out."""

    cells: Sequence[object]
    alarms: bool = False


class Display:
    """Where a command shows what it does and what came of it."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._live: Progress | None = None
        for stream in (sys.stdout, sys.stderr):  # a terminal that is not UTF-8 gets escapes, not an error
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    def say(self, text: str) -> None:
        """Write a line to stderr, never broken, so that it can be copied."""
        line = clean(text)
        if self._live is not None:
            self._live.console.print(line, soft_wrap=True, markup=False, emoji=False, highlight=False)
            return
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def document(self, value: object) -> None:
        """Write one JSON document, ASCII only, as a line of stdout."""
        sys.stdout.write(f"{json.dumps(value)}\n")

    def print(self, text: str = "") -> None:
        """Write a line for people to stdout, never broken."""
        sys.stdout.write(f"{clean(text)}\n")

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Draw names with their values; those without a value are left out."""
        self.table(None, [], [Row(pair) for pair in pairs if clean(pair[1])])

    def table(self, title: str | None, heads: Sequence[str], rows: Iterable[Row]) -> None:
        """Draw a table to stdout; a column of it in which nothing stands is left out."""
        kept = [([clean(cell) for cell in row.cells], row.alarms) for row in rows]
        filled = [n for n in range(len(kept[0][0])) if any(cells[n] for cells, _ in kept)] if kept else []
        table = _table(clean(title) if title else None, [heads[n] for n in filled] if heads else [])
        for cells, alarms in kept:
            table.add_row(*(_text(cells[n]) for n in filled), style="bold white on red" if alarms else None)
        sys.stdout.flush()
        _console(sys.stdout).print(table)

    @contextmanager
    def bar(self, label: str) -> Iterator[Show]:
        """Follow something that counts up: a bar on a terminal, now and then a line elsewhere."""
        console = _console(sys.stderr) if sys.stderr.isatty() else None
        if console is None or not console.is_terminal or console.is_dumb_terminal:
            yield self._plain(label)
            return
        with _progress(console) as progress:
            task, self._live = progress.add_task(label, total=None, note=""), progress
            try:
                yield lambda done, total, note: progress.update(
                    task, completed=done, total=total or None, note=clean(note)
                )
            finally:
                self._live = None

    def _plain(self, label: str) -> Show:
        last, at = "", time.monotonic()

        def show(done: int, total: int, note: str) -> None:
            nonlocal last, at
            now = time.monotonic()
            if note != last and ((total and done >= total) or now > at + PLAIN_PAUSE):
                self.say(f"{label}: {note}")
                last, at = note, now

        return show


def _console(stream: TextIO) -> Console:
    from rich.console import Console  # noqa: PLC0415

    class Quiet(Console):
        """A console that leaves a closed pipe to the command, which knows the exit code."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    terminal = stream.isatty()
    return Quiet(
        file=stream,
        force_terminal=None if terminal else False,
        width=None if terminal else PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _table(title: str | None, heads: Sequence[str]) -> Table:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.ROUNDED, show_header=bool(heads), title=_text(title) if title else None, title_justify="left")
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _text(text: str) -> Any:
    from rich.text import Text  # noqa: PLC0415

    return Text(text, overflow="fold")


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:<8}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, expand=True)
