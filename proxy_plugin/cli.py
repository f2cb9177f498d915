"""The command line. Imports wait for the command that needs them: `--version` and a mistyped option answer at once."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from proxy_plugin import __version__
from proxy_plugin.commands.kinds import completed_by_files
from proxy_plugin.commands.things.options import NAMES as THINGS

if TYPE_CHECKING:
    from proxy_plugin.config import Config

OK, FAILED, NOT_STARTED = 0, 1, 2
CONFIG = Path("config.yaml")
DATA_DIR = "proxy_plugin.storage.data_dir"
SHELLS = ("bash", "zsh", "tcsh")
LEVELS, STYLES = ("debug", "info", "warning", "error"), ("text", "json")  # those of ground.logs, which is not light
CLIENT_ALONE = (
    "`{}` is the gateway's, and proxy-plugin-client has the client commands alone: "
    "pip uninstall proxy-plugin-client, then pip install proxy-plugin."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for problems that `check` found, 2 for what cannot start.

    `batch` has more codes, which its help lists.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and arguments[0] in ("batch", *THINGS):
            return _client(arguments)
        command, rest = parser().parse_known_args(arguments)
        if rest and command.name != "demo":
            parser().error(f"unrecognized arguments: {' '.join(rest)}")
        return _demo(rest) if command.name == "demo" else _COMMANDS[command.name](command)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except ImportError:
        if find_spec("proxy_plugin.gateway") is not None:
            raise
        return _complain(CLIENT_ALONE.format(command.name), NOT_STARTED)


def parser(*, whole: bool = False) -> argparse.ArgumentParser:
    """Return the parser of all commands; of `batch` and its like only the names, unless it is wanted `whole`."""
    parser = argparse.ArgumentParser(
        prog="proxy-plugin", description="Native batch lanes of model providers behind OpenAI's Files and Batches API."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    _add_init(commands.add_parser("init", help="ask a few questions, write a configuration and a key"))
    serve = commands.add_parser("serve", help="run the gateway")
    _add_serve(serve)
    check = commands.add_parser("check", help="validate a configuration and show what it serves")
    doctor = commands.add_parser("doctor", help="check --live: are the accounts' keys, hosts and paths right?")
    check.add_argument("--live", action="store_true", help="ask each account for its newest job: key, host and path")
    doctor.set_defaults(live=True)
    for each in (check, doctor):
        each.add_argument("--strict", action="store_true", help="exit with 1 when an account cannot be used")
        each.add_argument("--json", action="store_true", help="print the accounts and warnings as one line of JSON")
    for each in (serve, check, doctor):
        completed_by_files(
            each.add_argument("--config", type=Path, default=CONFIG, help="the YAML file (./config.yaml)")
        )
    _add_migrate(commands.add_parser("migrate", help="move what one gateway has kept to a database of replicas"))
    _add_clients(commands, whole=whole)
    completion = commands.add_parser("completion", help="print what a shell needs to complete commands and options")
    completion.add_argument("shell", choices=SHELLS, help='as in: eval "$(proxy-plugin completion bash)"')
    return parser


def _add_init(init: argparse.ArgumentParser) -> None:
    completed_by_files(init.add_argument("--config", type=Path, default=CONFIG, metavar="PATH", help="./config.yaml"))
    init.add_argument("--provider", metavar="NAME", help="whose account; `sandbox` plays OpenAI on this machine")
    init.add_argument("--port", metavar="N", help="where the gateway listens (8787)")
    init.add_argument("--yes", action="store_true", help="ask nothing; what is not said is the default")


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--host", help="address to listen on, instead of server.host")
    serve.add_argument("--port", type=_port, help="port to listen on, instead of server.port; 0 takes a free one")
    serve.add_argument(
        "--socket", type=Path, help="unix socket to listen on, for LiteLLM's plugin; only then --port opens one"
    )
    serve.add_argument("--until-free", type=Path, help=argparse.SUPPRESS)  # of the plugin, which holds a lock on it
    serve.add_argument("--sandbox", action="store_true", help="run the stand-in of the virtual key `sandbox` beside it")
    serve.add_argument("--log-level", choices=LEVELS, default="info", help="what is logged at least (info)")
    serve.add_argument("--log-format", choices=STYLES, help="text on a terminal, else json")


def _add_migrate(migrate: argparse.ArgumentParser) -> None:
    migrate.add_argument("--to", choices=("postgres",), required=True, help="the database_url and blob_url of --config")
    source = migrate.add_argument("--from", dest="source", type=Path, metavar="DIR", help="that gateway's data_dir")
    config = migrate.add_argument("--config", type=Path, default=CONFIG, help="the YAML file (./config.yaml)")
    completed_by_files(source)
    completed_by_files(config)


def _add_clients(commands: argparse._SubParsersAction[argparse.ArgumentParser], *, whole: bool) -> None:
    """Add the commands that have parsers of their own: by name, which is light, or `whole`, for a shell to complete."""
    about = {
        "demo": "the main job, end to end, on stand-ins for the providers",
        "batch": "submit, follow and fetch batches: see batch --help",
        "files": "list, fetch and delete files: see files --help",
        "models": "list the models that a key can reach",
        "replicas": "list the gateways of one database, and what each does",
        "webhooks": "have a URL told of what becomes of batches: see webhooks --help",
    }
    wholes = _wholes() if whole else {}
    for name, text in about.items():
        commands.add_parser(name, help=text, add_help=False, parents=[wholes[name]] if name in wholes else [])


def _wholes() -> dict[str, argparse.ArgumentParser]:
    from proxy_plugin.commands import options  # noqa: PLC0415

    batch = options.parser()
    found = {"batch": batch} | {name: options.of(batch, name) for name in THINGS}
    with suppress(ImportError):  # proxy-plugin-client has none
        from proxy_plugin.demo.main import add_arguments  # noqa: PLC0415

        found["demo"] = argparse.ArgumentParser(prog="proxy-plugin demo")
        add_arguments(found["demo"])
    return found


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65_536):
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _client(arguments: Sequence[str]) -> int:
    from proxy_plugin.commands.main import main as client  # noqa: PLC0415

    return client(arguments[1:]) if arguments[0] == "batch" else client(arguments, "proxy-plugin")


def _demo(arguments: list[str]) -> int:
    from proxy_plugin.demo.main import main as demo  # noqa: PLC0415

    return demo(arguments)


def _completion(command: argparse.Namespace) -> int:
    try:
        import shtab  # noqa: PLC0415
    except ImportError:
        return _complain("completion needs the package shtab: pip install shtab", NOT_STARTED)
    print(shtab.complete(parser(whole=True), command.shell))
    return OK


# ---- init ----


def _init(command: argparse.Namespace) -> int:
    from proxy_plugin.config import SCHEMA  # noqa: PLC0415
    from proxy_plugin.demo.beginning import NotBegun, begun  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415

    try:
        made = begun(command, SCHEMA)
        print(made.told())
        disabled = _loaded(made.config).disabled
    except NotBegun as problem:
        return _complain(str(problem), NOT_STARTED)
    except ConfigError as error:  # what else such an account needs
        return _complain(f"{error}\n{command.config} lacks this yet: add it, then try `proxy-plugin check`", FAILED)
    except OSError as error:
        return _complain(_system(error), NOT_STARTED)
    return _complain("\n".join(f"the virtual key {slug} is disabled: {why}" for slug, why in disabled.items()), OK)


# ---- serve ----


def _serve(command: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415

    from proxy_plugin.ground.environment import forget_secrets  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415
    from proxy_plugin.ground.masking import secrets_in  # noqa: PLC0415
    from proxy_plugin.ground.open_files import keep_one_heap  # noqa: PLC0415
    from proxy_plugin.serve import serve  # noqa: PLC0415
    from proxy_plugin.storage.errors import DataDirBusy, SchemaTooNew, StorageError, StoreAway  # noqa: PLC0415
    from proxy_plugin.web.private_socket import Inside  # noqa: PLC0415

    os.umask(0o077)  # what is written holds what callers sent
    keep_one_heap()
    data_dir = None
    try:
        environ = dict(os.environ)
        settings = _loaded(command.config)
        data_dir = _require_data_dir(settings)
        forget_secrets(secrets_in(settings))
        _set_up_logs(command, settings)
        again = partial(_again, command.config.absolute(), environ)
        inside = None if command.socket is None else Inside(_shortest(command.socket), command.until_free)
        told = partial(_welcome, command, settings) if sys.stderr.isatty() else None
        with _sandbox(settings, wanted=command.sandbox):
            return asyncio.run(serve(settings, command.host, command.port, again, inside, told))
    except (ConfigError, DataDirBusy, SchemaTooNew) as error:
        return _complain(str(error), NOT_STARTED)
    except StorageError as error:
        what = "database" if settings.storage.shared else "registry in data_dir"
        what = "object store" if isinstance(error, StoreAway) else what
        return _complain(f"the {what} cannot be opened: {error}", NOT_STARTED)
    except OSError as error:
        return _complain(_system(error, data_dir), NOT_STARTED)


def _set_up_logs(command: argparse.Namespace, settings: Config) -> None:
    from proxy_plugin.ground import logs  # noqa: PLC0415
    from proxy_plugin.ground.masking import Masker, secrets_in  # noqa: PLC0415

    style = command.log_format or (logs.TEXT if sys.stderr.isatty() else logs.JSON)
    logs.setup(command.log_level, Masker(secrets_in(settings)), style=style)


def _welcome(command: argparse.Namespace, settings: Config, host: str, port: int) -> None:
    from proxy_plugin.commands.surroundings import URL  # noqa: PLC0415
    from proxy_plugin.config.welcome import welcome  # noqa: PLC0415

    has_file = _beside(command.config).get(URL, "").endswith(f":{port}/v1")
    print(welcome(settings, host, port, command.config, has_file=has_file), file=sys.stderr, flush=True)


@contextmanager
def _sandbox(settings: Config, *, wanted: bool) -> Iterator[None]:
    """Run the stand-in where the virtual key `sandbox` leads. Raises ConfigError where there is no such key."""
    if not wanted:
        yield
        return
    from proxy_plugin.demo.beside import beside  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415
    from proxy_plugin.providers.sandbox.process import SandboxError  # noqa: PLC0415

    key = settings.virtual_keys.get("sandbox")
    if key is None or key.credentials.base_url() is None:
        raise ConfigError(
            "proxy_plugin.virtual_keys.sandbox: --sandbox needs this virtual key, with a `custom_host` on this "
            "machine: `proxy-plugin init --provider sandbox` writes one"
        )
    try:
        with beside(key.provider, key.credentials.base_url() or ""):
            yield
    except (SandboxError, LookupError) as error:
        raise ConfigError(f"proxy_plugin.virtual_keys.sandbox: {error}") from None


# ---- migrate ----


def _migrate(command: argparse.Namespace) -> int:
    from proxy_plugin.config.stores.checks import described  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415
    from proxy_plugin.storage.errors import DataDirBusy, SchemaTooNew  # noqa: PLC0415
    from proxy_plugin.storage.moving.command import MoveWanted, run  # noqa: PLC0415
    from proxy_plugin.storage.moving.move import NotMoved  # noqa: PLC0415
    from proxy_plugin.storage.opening import registry_of  # noqa: PLC0415

    os.umask(0o077)
    try:
        storage = _loaded_shared(command.config).storage
        places = command.source or storage.data_dir, storage.data_dir, storage.blob_url, storage.store_options()
        target = registry_of(storage.data_dir, storage.database)
        run(MoveWanted(*places, described(storage)), target, print)
    except (ConfigError, DataDirBusy, SchemaTooNew) as error:
        return _complain(str(error), NOT_STARTED)
    except NotMoved as error:
        return _complain(str(error), FAILED)
    except OSError as error:
        return _complain(_system(error), FAILED)
    return OK


# ---- the configuration ----


def _loaded_shared(path: Path) -> Config:
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415

    settings = _loaded(path)
    if not settings.storage.shared:
        raise ConfigError("proxy_plugin.storage.database_url: name the database that replicas share")
    return settings


def _loaded(path: Path) -> Config:
    """Return a configuration, its variables from the environment and from `.env` beside it. Raises ConfigError."""
    from proxy_plugin import config  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415

    if path == CONFIG and not path.exists():
        raise ConfigError(f"there is no {path} here: make one with `proxy-plugin init`, or name another with --config")
    return config.load(path, _beside(path) | dict(os.environ))


async def _again(path: Path, environ: dict[str, str]) -> Config:
    from proxy_plugin.config.apart import read_apart  # noqa: PLC0415

    return await read_apart(path, _beside(path) | environ)


def _beside(path: Path) -> dict[str, str]:
    from proxy_plugin.commands import surroundings  # noqa: PLC0415

    return surroundings.read(path.parent / surroundings.NAME)


def _shortest(path: Path) -> Path:
    """Return a path without `..` and links on the way: the kernel takes 107 bytes for a socket."""
    return path.parent.resolve() / path.name


def _check(command: argparse.Namespace) -> int:
    from proxy_plugin import config  # noqa: PLC0415
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415

    try:
        settings = _loaded(command.config)
        _require_start(settings)
    except ConfigError as error:
        if not command.json:
            return _complain(str(error), FAILED)
        print(json.dumps({"ok": False, "errors": str(error).splitlines()}))
        return FAILED
    live = _asked(settings) if command.live else None
    facts = config.check_facts(settings, live)
    print(json.dumps(facts) if command.json else config.render_check(settings, live))
    return FAILED if command.strict and not facts["ok"] else OK


def _require_start(settings: Config) -> None:
    """Raise ConfigError for what would stop `serve`, but for what only its own start can tell."""
    from proxy_plugin.access.callers import require_loopback  # noqa: PLC0415

    require_loopback(settings, settings.server.host)
    _require_data_dir(settings)


def _require_data_dir(settings: Config) -> Path:
    """Return the data directory. Raises ConfigError for one that cannot be made or written."""
    from proxy_plugin.ground.errors import ConfigError  # noqa: PLC0415

    folder = settings.storage.data_dir.absolute()
    there = next(each for each in (folder, *folder.parents) if os.access(each, os.F_OK))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{DATA_DIR}: {there} is no folder that can be written")
    return folder


def _asked(settings: Config) -> dict[str, str]:
    import asyncio  # noqa: PLC0415

    from proxy_plugin.access.live import look, look_at_stores  # noqa: PLC0415

    found = {slug: found.reason for slug, found in asyncio.run(look(settings)).items()}
    return found | asyncio.run(look_at_stores(settings.storage))


_COMMANDS = {
    "init": _init,
    "migrate": _migrate,
    "serve": _serve,
    "check": _check,
    "doctor": _check,
    "completion": _completion,
}


def _system(error: OSError, data_dir: Path | None = None) -> str:
    """Return what the system refused; of the data directory, under the name of its setting."""
    where, why = str(error.filename or ""), error.strerror or type(error).__name__
    if data_dir is not None and where and Path(where).absolute().is_relative_to(data_dir):
        return f"{DATA_DIR}: {where}: {why}; name a folder that this user can write"
    return f"{where}: {why}" if where else why


def _complain(problems: str, code: int) -> int:
    """Say what is wrong, one problem a line."""
    for problem in problems.splitlines():
        print(f"proxy-plugin: {problem}", file=sys.stderr)
    return code
