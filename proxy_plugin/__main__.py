"""`python -m proxy_plugin`, and the command `proxy-plugin`: it ends quietly also before its parts are loaded.

Ctrl-C and a reader of stdout that goes away are no errors of ours, whenever they come.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED, PIPE_CLOSED = 130, 141
_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        _with_streams()
        return _flushed(_run())
    except KeyboardInterrupt:
        return INTERRUPTED


def _with_streams() -> None:
    """Open what was closed (`>&-`), and to nowhere: a file or socket of ours would get its number, the lowest free."""
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - a number, and until the end


def _run() -> int:
    from proxy_plugin.cli import main as command  # noqa: PLC0415

    try:
        return command()
    except BrokenPipeError:
        return PIPE_CLOSED
    except SystemExit as end:  # argparse's, whose help may be in the buffer still
        return end.code if isinstance(end.code, int) else 1 if end.code else 0


def _flushed(code: int) -> int:
    """Write what is left in the buffer, or give it nowhere to go: Python would complain of it while it ends."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


if __name__ == "__main__":
    sys.exit(main())
