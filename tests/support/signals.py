"""Signals to processes of a test."""

from __future__ import annotations

import signal


def heard() -> None:
    """Let a process hear SIGINT and SIGTERM: the `preexec_fn` of one that a test sends them to.

    A runner in the background ignores SIGINT, its children inherit that, and a Python among them sets no handler then.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
