"""One `proxy-plugin batch` command, from its arguments to its exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from proxy_plugin.commands import options
from proxy_plugin.commands.problems import INTERRUPTED, PIPE_CLOSED, UNUSABLE, CommandError
from proxy_plugin.commands.wording import clean


def main(arguments: Sequence[str]) -> int:
    """Run one command and return one of the codes of `options.CODES`."""
    command = options.parse(arguments)
    try:
        code = _run(command)
        sys.stdout.flush()
    except CommandError as problem:
        return _ended(str(problem), problem.code)
    except BrokenPipeError:
        _drop_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return _ended("interrupted.", INTERRUPTED)
    except OSError as error:  # of stdout: what the network or a named file does is a CommandError
        _drop_stdout()
        return _ended(f"the output cannot be written: {error.strerror or error}.", UNUSABLE)
    return code


def _run(command: argparse.Namespace) -> int:
    """Load what the command needs, now that its arguments are known to be right."""
    from proxy_plugin.commands import results, showing, submitting  # noqa: PLC0415
    from proxy_plugin.commands.display import Display  # noqa: PLC0415
    from proxy_plugin.commands.session import opened  # noqa: PLC0415

    commands = {
        "submit": submitting.submit,
        "plan": submitting.plan,
        "retry": submitting.retry,
        "status": showing.status,
        "list": showing.list_batches,
        "cancel": showing.cancel,
        "output": results.output,
        "lines": results.lines,
    }
    return commands[command.name](opened(command, Display(as_json=command.json)))


def _ended(text: str, code: int) -> int:
    with suppress(OSError):
        sys.stdout.flush()
    with suppress(OSError):
        sys.stderr.write(f"proxy-plugin: {clean(text)}\n")
    return code


def _drop_stdout() -> None:
    """Give what is left in the buffer nowhere to go: Python would complain of it while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
