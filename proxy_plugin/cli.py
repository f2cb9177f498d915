"""The command line. Imports wait for the command that needs them: `--version` and a mistyped option answer at once."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from proxy_plugin import __version__
from proxy_plugin.storage.errors import StorageError

if TYPE_CHECKING:
    from proxy_plugin.config import Config

OK, FAILED, NOT_STARTED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for problems that `check` found, 2 for what cannot start.

    `batch` has more codes, which its help lists.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments[:1]) == ["batch"]:
        return _batch(arguments[1:])
    parser = _parser()
    command, rest = parser.parse_known_args(arguments)
    try:
        if command.name == "demo":
            return _demo(rest)
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        return _check(command) if command.name == "check" else _serve(command)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proxy-plugin", description="Native batch lanes of model providers behind OpenAI's Files and Batches API."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the gateway")
    serve.add_argument("--host", help="address to listen on, instead of server.host")
    serve.add_argument("--port", type=_port, help="port to listen on, instead of server.port; 0 takes a free one")
    check = commands.add_parser("check", help="validate a configuration and show what it serves")
    check.add_argument("--live", action="store_true", help="ask each account for its newest job: key, host and path")
    check.add_argument("--strict", action="store_true", help="exit with 1 when an account cannot be used")
    check.add_argument("--json", action="store_true", help="print the accounts and warnings as JSON")
    for each in (serve, check):
        each.add_argument("--config", type=Path, required=True, help="the YAML file")
    commands.add_parser("demo", help="the main job, end to end, on stand-ins for the providers", add_help=False)
    commands.add_parser("batch", help="submit, follow and fetch batches: see batch --help", add_help=False)
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65_536):
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _serve(command: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415

    from proxy_plugin import config  # noqa: PLC0415
    from proxy_plugin.config.apart import read_apart  # noqa: PLC0415
    from proxy_plugin.ground import logs  # noqa: PLC0415
    from proxy_plugin.ground.environment import forget_secrets  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415
    from proxy_plugin.ground.masking import Masker, secrets_in  # noqa: PLC0415
    from proxy_plugin.serve import serve  # noqa: PLC0415
    from proxy_plugin.storage.errors import DataDirBusy, SchemaTooNew  # noqa: PLC0415

    os.umask(0o077)  # what is written holds what callers sent
    try:
        environ = dict(os.environ)
        settings = config.load(command.config, environ)
        forget_secrets(secrets_in(settings))
        logs.setup("info", Masker(secrets_in(settings)))
        again = partial(read_apart, command.config.absolute(), environ)
        return asyncio.run(serve(settings, command.host, command.port, again))
    except (ConfigError, DataDirBusy, SchemaTooNew) as error:
        return _complain(str(error), NOT_STARTED)
    except StorageError as error:
        return _complain(f"the registry in data_dir cannot be opened: {error}", NOT_STARTED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or type(error).__name__}", NOT_STARTED)


def _check(command: argparse.Namespace) -> int:
    from proxy_plugin import config  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415

    try:
        settings = config.load(command.config)
        _require_start(settings)
    except ConfigError as error:
        if not command.json:
            return _complain(str(error), FAILED)
        print(json.dumps({"ok": False, "errors": str(error).splitlines()}, indent=2))
        return FAILED
    live = _asked(settings) if command.live else None
    facts = config.check_facts(settings, live)
    print(json.dumps(facts, indent=2) if command.json else config.render_check(settings, live))
    return FAILED if command.strict and not facts["ok"] else OK


def _require_start(settings: Config) -> None:
    """Raise ConfigError for what would stop `serve`, but for what only its own start can tell."""
    from proxy_plugin.access.callers import require_loopback  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415

    require_loopback(settings, settings.server.host)
    folder = settings.storage.data_dir.absolute()
    there = next(each for each in (folder, *folder.parents) if os.access(each, os.F_OK))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"proxy_plugin.storage.data_dir: {there} is no folder that can be written")


def _asked(settings: Config) -> dict[str, str]:
    import asyncio  # noqa: PLC0415

    from proxy_plugin.access.live import look  # noqa: PLC0415

    return {slug: found.reason for slug, found in asyncio.run(look(settings)).items()}


def _demo(arguments: list[str]) -> int:
    from proxy_plugin.demo.main import main as demo  # noqa: PLC0415

    return demo(arguments)


def _batch(arguments: Sequence[str]) -> int:
    from proxy_plugin.commands.main import main as batch  # noqa: PLC0415

    return batch(arguments)


def _complain(problems: str, code: int) -> int:
    """Say what is wrong, one problem a line."""
    for problem in problems.splitlines():
        print(f"proxy-plugin: {problem}", file=sys.stderr)
    return code
