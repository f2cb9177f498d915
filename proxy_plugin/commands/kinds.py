"""What arguments of commands may be. Each raises ArgumentTypeError, which argparse turns into a sentence."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from proxy_plugin.commands.wording import since

FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
FAILED = ("failed", "rejected", "refused", "cancelled", "expired", "missing")  # the outcomes of a ledger but one
STATUSES = ("validating", "in_progress", "finalizing", "cancelling", "completed", "failed", "expired", "cancelled")


def natural(text: str) -> int:
    """Return a whole number."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise argparse.ArgumentTypeError("must be a whole number")
    return int(text)


def numbers(text: str) -> list[int]:
    """Return numbers with commas between them."""
    return [positive(each.strip()) for each in text.split(",")]


def outcomes(text: str) -> list[str]:
    """Return outcomes of a ledger."""
    found = [each.strip() for each in text.split(",")]
    if wrong := [each for each in found if each not in ("succeeded", *FAILED)]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of succeeded, {', '.join(FAILED)}")
    return found


def positive(text: str) -> int:
    """Return a number of the command line that is above 0."""
    if not natural(text):
        raise argparse.ArgumentTypeError("must be above 0")
    return int(text)


def names(text: str) -> list[str]:
    """Return names with commas between them."""
    found = [each.strip() for each in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError("must be names with commas between them")
    return found


def statuses(text: str) -> list[str]:
    """Return statuses of batches."""
    found = names(text)
    if wrong := [each for each in found if each not in STATUSES]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(STATUSES)}")
    return found


def moment(text: str) -> float:
    """Return Unix seconds."""
    try:
        return since(text, time.time())
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError("must be like 90m, 12h, 7d, 2026-11-30 or 2026-11-30T12:00") from None


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add where bytes are written."""
    completed_by_files(
        parser.add_argument(
            "--output", type=Path, metavar="PATH", help="a file to write, or - for stdout (the default)"
        )
    )


def completed_by_files(action: argparse.Action) -> None:
    """Have shells complete an argument with the names of files: what shtab.FILE is, which is not loaded for it."""
    action.complete = FILES  # type: ignore[attr-defined]
