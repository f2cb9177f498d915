"""Two streams: results on stdout, for people or for programs; progress and messages on stderr.

Rich is loaded when it draws. On a terminal tables are drawn, upright where they are too wide for it; elsewhere they are
tab-separated values: a line of names, then one line a row, numbers and times as programs read them. With `--json`
everything is one JSON object a line, a list as many lines as it has. What is drawn has been through `wording.clean`,
with markup, emoji codes and highlighting off: what a gateway sends can neither colour, link nor command the terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from proxy_plugin.commands.fields import picked
from proxy_plugin.commands.wording import JSON, Cell, clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

PLAIN_PAUSE = 2.0  # seconds at least between two lines about the same thing
WIDE = 48  # columns of a cell; what is longer may be folded

Show = Callable[[int, int, str], None]  # done, total, note


class Row(NamedTuple):
    """Cells of a table; one that `alarms` stands out."""

    cells: Sequence[object]
    alarms: bool = False


class Display:
    """Where a command shows what it does and what came of it. `fields`: of every object only these, dotted paths."""

    def __init__(self, *, as_json: bool, fields: Sequence[str] = ()) -> None:
        self.as_json, self.fields = as_json, fields
        self.terminal = sys.stdout.isatty()
        self._live: Progress | None = None
        self._tables = 0
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

    def document(self, value: JSON) -> None:
        """Write one object as a line of JSON, ASCII only."""
        sys.stdout.write(f"{json.dumps(picked(value, self.fields) if self.fields else value)}\n")

    def documents(self, values: Iterable[JSON]) -> bool:
        """Show objects as programs, or `--fields`, want them; return False where they are to be drawn for people."""
        if self.as_json:
            for value in values:
                self.document(value)
        elif self.fields:
            rows = (Row(list(picked(value, self.fields).values())) for value in values)
            self.table(None, self.fields if self.terminal else (), rows)
        return self.as_json or bool(self.fields)

    def print(self, text: str = "") -> None:
        """Write a line for people, never broken: to stdout, or beside it where a program reads that."""
        if self.terminal:
            sys.stdout.write(f"{clean(text)}\n")
        else:
            self.say(text)

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Show names with their values; those without a value are left out."""
        self.table(None, (), [Row(pair) for pair in pairs if _shown(pair[1])])

    def table(self, title: str | None, heads: Sequence[str], rows: Iterable[Row]) -> None:
        """Show a table on stdout. Drawn, it has no column in which nothing stands."""
        if not self.terminal:
            self._separated(heads, rows)
            return
        kept = [([_shown(cell) for cell in row.cells], row.alarms) for row in rows]
        filled = [n for n in range(len(kept[0][0])) if any(cells[n] for cells, _ in kept)] if kept else []
        kept = [([cells[n] for n in filled], alarms) for cells, alarms in kept]
        self._drawn(clean(title) if title else None, [clean(heads[n]) for n in filled] if heads else [], kept)

    def listing(self, heads: Sequence[str], rows: Sequence[Row], *, empty: str) -> None:
        """Show a list, and say so where it is empty: a program gets the names all the same."""
        if not rows:
            self.say(empty)
        if rows or not self.terminal:
            self.table(None, heads, rows)

    def _separated(self, heads: Sequence[str], rows: Iterable[Row]) -> None:
        """Write tab-separated values, an empty line before every table but the first."""
        if self._tables:
            sys.stdout.write("\n")
        self._tables += 1
        if heads:
            sys.stdout.write("\t".join(heads) + "\n")
        for row in rows:
            sys.stdout.write("\t".join(_plain(cell) for cell in row.cells) + "\n")

    def record(self, heads: Sequence[str], cells: Sequence[object]) -> None:
        """Write one row of many as tab-separated values, the names before the first."""
        if not self._tables:
            self._separated(heads, ())
        sys.stdout.write("\t".join(map(_plain, cells)) + "\n")

    def _drawn(self, title: str | None, heads: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> None:
        sys.stdout.flush()
        console = _console(sys.stdout)
        widths = _widths([heads, *(cells for cells, _ in rows)] if heads else [cells for cells, _ in rows])
        if heads and sum(min(width, WIDE) + 3 for width in widths) + 1 > console.width:
            _upright(console, title, heads, rows)
            return
        table = _table(title, heads, len(widths))
        for cells, alarms in rows:
            table.add_row(*map(_text, cells), style=_ALARM if alarms else None)
        console.print(table)

    @contextmanager
    def bar(self, label: str) -> Iterator[Show]:
        """Follow something that counts up: a bar on a terminal, now and then a line elsewhere."""
        with self.bars([label]) as [show]:
            yield show

    @contextmanager
    def bars(self, labels: Sequence[str]) -> Iterator[list[Show]]:
        """Follow several things at once."""
        console = _console(sys.stderr) if sys.stderr.isatty() else None
        if console is None or not console.is_terminal or console.is_dumb_terminal:
            yield [self._line(label) for label in labels]
            return
        with ExitStack() as stack:
            progress = self._live = stack.enter_context(_progress(console))
            stack.callback(setattr, self, "_live", None)
            yield [_bar(progress, label) for label in labels]

    def _line(self, label: str) -> Show:
        last, at = "", time.monotonic()

        def show(done: int, total: int, note: str) -> None:
            nonlocal last, at
            now = time.monotonic()
            if note != last and ((total and done >= total) or now > at + PLAIN_PAUSE):
                self.say(f"{label}: {note}")
                last, at = note, now

        return show


_ALARM = "bold white on red"


def _shown(cell: object) -> str:
    return clean(cell.shown if isinstance(cell, Cell) else _text_of(cell))


def _plain(cell: object) -> str:
    return clean(_text_of(cell.plain if isinstance(cell, Cell) else cell))


def _text_of(value: object) -> object:
    """Return what a field holds as one text: of what has parts, and of truth, as JSON has it."""
    return json.dumps(value) if isinstance(value, bool | dict | list) else value


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len  # noqa: PLC0415

    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _upright(
    console: Console, title: str | None, heads: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]
) -> None:
    """Draw every row as a block of its own, a line a value."""
    wide = max(map(len, heads))
    if title:
        console.print(_text(title), style="italic")
    for cells, alarms in rows:
        for head, cell in zip(heads, cells, strict=True):
            if cell:
                console.print(_text(f"{head:<{wide}}  {cell}"), style=_ALARM if alarms else None, soft_wrap=True)
        console.print()


def _console(stream: TextIO) -> Console:
    from rich.console import Console  # noqa: PLC0415

    class Quiet(Console):
        """A console that leaves a closed pipe to the command, which knows the exit code."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Quiet(
        file=stream,
        force_terminal=None if stream.isatty() else False,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _table(title: str | None, heads: Sequence[str], columns: int) -> Table:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.ROUNDED, show_header=bool(heads), title=_text(title) if title else None, title_justify="left")
    for head in heads or [""] * columns:
        table.add_column(head, overflow="fold")
    return table


def _text(text: str) -> Any:
    from rich.text import Text  # noqa: PLC0415

    return Text(text, overflow="fold")


def _bar(progress: Progress, label: str) -> Show:
    task = progress.add_task(label, total=None, note="")
    return lambda done, total, note: progress.update(task, completed=done, total=total or None, note=clean(note))


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:<8}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, expand=True)
