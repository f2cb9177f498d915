"""`output` and `lines`: what came of the lines, streamed to a file or to stdout."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from proxy_plugin.commands.display import Display
from proxy_plugin.commands.kinds import FAILED
from proxy_plugin.commands.problems import OK, Misuse, Unreachable, interrupted_says
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.wording import clean, size

STDOUT = Path("-")
LINE_BYTES = 16 * 1024 * 1024
_NAMES = ("line", "outcome", "code", "virtual_key", "model", "attempt", "job", "custom_id")
_HEADS = ("line", "outcome", "code", "virtual key", "model", "try", "job", "custom_id")
_WIDTH = 160  # of the columns
_COLUMNS = "{:>9}  {:<10}  {:<24}  {:<20}  {:<28}  {:>3}  {:<36}  {}"


def output(session: Session) -> int:
    """Write all rows there are, byte for byte."""
    options = session.options
    check_target(options.output)
    write(session, session.gateway.output(options.id), options.output, "the batch keeps its output.")
    return OK


def write(session: Session, blocks: Iterator[bytes], path: Path | None, kept: str) -> None:
    """Write what comes to stdout, or to a file, which appears when it is whole.

    Ctrl-C says what is `kept`. Raises Misuse for a file that cannot be written.
    """
    if path is None or path == STDOUT:
        for block in blocks:
            sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
        return
    total, said = 0, f"interrupted: {clean(path)} was not written; {kept}"
    try:
        with interrupted_says(said), session.display.bar("output") as show, _replacing(path) as file:
            for block in blocks:
                file.write(block)
                total += len(block)
                show(total, 0, size(total))
    except OSError as error:
        raise Misuse(f"{clean(path)} cannot be written: {error.strerror or error}.") from None
    session.display.say(f"wrote {size(total)} to {clean(path)}")


def check_target(path: Path | None) -> None:
    """Raise Misuse for a path at which no file can appear: better now than after a day."""
    if path is None or path == STDOUT:
        return
    if path.is_dir():
        raise Misuse(f"{clean(path)} is a directory: name a file in it.")
    if not path.parent.is_dir():
        raise Misuse(f"there is no directory {clean(path.parent)}: make it first.")


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of `path` at the end; a device or pipe at `path` is written itself."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as file:
                yield file
            return
    target = path.resolve()
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def lines(session: Session) -> int:
    """Show what became of every line: a ledger may have millions, so each is shown as it comes."""
    found = _ledger(session.gateway.lines(session.options.id, _query(session.options)))
    if not session.display.documents(found):
        _draw(session, found)
    return OK


def _query(options: argparse.Namespace) -> list[tuple[str, str]]:
    query = [
        (name, value)
        for name in ("outcome", "provider", "virtual_key", "model", "code")
        for value in getattr(options, f"only_{name}")
    ]
    query += [("outcome", outcome) for outcome in FAILED if options.failed]
    query += [("attempts", "all")] if options.attempts else []
    return query + [(name, str(value)) for name in ("after", "limit") if (value := getattr(options, name)) is not None]


def _draw(session: Session, found: Iterator[dict[str, Any]]) -> None:
    display, shown = session.display, 0
    for line in found:
        cells = [line.get(name) for name in _NAMES]
        if display.terminal:
            _draw_one(display, cells, first=not shown)
        else:
            display.record(_HEADS, cells)
        shown += 1
    if not shown:
        display.say("no line of the batch is like that")


def _draw_one(display: Display, cells: list[Any], *, first: bool) -> None:
    """Print one row of columns that do not move; upright on a terminal that is too narrow for them."""
    if shutil.get_terminal_size().columns < _WIDTH:
        display.print(
            "  ".join(f"{head} {clean(cell)}" for head, cell in zip(_HEADS, cells, strict=True) if clean(cell))
        )
        return
    if first:
        display.print(_COLUMNS.format(*_HEADS))
    display.print(_COLUMNS.format(*(clean(cell) or "-" for cell in cells)))


def _ledger(blocks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        if len(rest) > LINE_BYTES:
            raise _no_ledger()
        for line in whole:
            yield _object(line)
    if rest:
        yield _object(rest)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _no_ledger()
    return value


def _no_ledger() -> Unreachable:
    return Unreachable("the gateway answers something that is no ledger: check --base-url.", sent=True)
