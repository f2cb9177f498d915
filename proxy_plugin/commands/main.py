"""One command of a client, from its arguments to its exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from proxy_plugin.commands import options
from proxy_plugin.commands.problems import INTERRUPTED, PIPE_CLOSED, UNUSABLE, CommandError
from proxy_plugin.commands.wording import clean


def main(arguments: Sequence[str], prog: str = options.PROG) -> int:
    """Run one command and return one of the codes of `options.CODES`."""
    try:
        code = _run(options.parse(arguments, prog))
        sys.stdout.flush()
    except CommandError as problem:
        return _ended(str(problem), problem.code)
    except BrokenPipeError:
        drop_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return _ended("interrupted.", INTERRUPTED)
    except OSError as error:  # of stdout: what the network or a named file does is a CommandError
        drop_stdout()
        return _ended(f"the output cannot be written: {error.strerror or error}.", UNUSABLE)
    return code


def _run(asked: argparse.Namespace) -> int:
    """Load what the command needs, now that its arguments are known to be right."""
    from proxy_plugin.commands import results, showing, submitting  # noqa: PLC0415
    from proxy_plugin.commands.display import Display  # noqa: PLC0415
    from proxy_plugin.commands.session import opened  # noqa: PLC0415
    from proxy_plugin.commands.things import files, models, replicas, webhooks  # noqa: PLC0415

    commands = {
        "submit": submitting.submit,
        "plan": submitting.plan,
        "retry": submitting.retry,
        "status": showing.status,
        "watch": showing.watch_batches,
        "list": showing.list_batches,
        "cancel": showing.cancel,
        "output": results.output,
        "lines": results.lines,
        "files": files.files,
        "models": models.models,
        "replicas": replicas.replicas,
        "webhooks": webhooks.webhooks,
    }
    return commands[asked.command](opened(asked, Display(as_json=asked.json, fields=asked.fields)))


def _ended(text: str, code: int) -> int:
    with suppress(OSError):
        sys.stdout.flush()
    with suppress(OSError):
        sys.stderr.write(f"proxy-plugin: {clean(text)}\n")
    return code


def drop_stdout() -> None:
    """Give what is left in the buffer nowhere to go: Python would complain of it while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
