"""The options of `proxy-plugin batch`, `files`, `models` and `webhooks`.

Only argparse is loaded, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from proxy_plugin.commands.kinds import (
    add_output,
    completed_by_files,
    moment,
    names,
    natural,
    numbers,
    outcomes,
    positive,
    statuses,
)
from proxy_plugin.commands.things import options as things

CODES = """exit codes:
  0    done; the batch runs, or has completed without a failed line
  1    the batch ended as failed, expired or cancelled, or has failed lines; the plan found bad lines; a batch that was
       to be cancelled ended otherwise; there is no output to give
  2    wrong usage or configuration, a file that cannot be used, a gateway that cannot be reached or is none
  3    the gateway refused (4xx or 5xx), or lacks the route; its message is shown
  130  Ctrl-C; a batch that was submitted goes on
  141  the reader of stdout went away
"""
PROG = "proxy-plugin batch"
OUTPUT = """output:
  on a terminal     tables, upright where they are too wide for it
  into a pipe       tab-separated values under a line of names, and no such line with --fields
  --json            one JSON object a line; a list is as many lines as it has
"""
ENVIRONMENT = """environment:
  PROXY_PLUGIN_BASE_URL, PORTKEY_BASE_URL   the gateway, if --base-url does not name it
  PORTKEY_API_KEY                           the gateway's key
  PROXY_PLUGIN_PROVIDER_KEY                 with --provider NAME: your own key of that provider
  NO_COLOR                                  no colours on a terminal
  .env                                      of the working directory, as `proxy-plugin init` writes it: its
                                            PORTKEY_API_KEY, for the gateway on this machine that it names
"""
_DEFAULTS: dict[str, Any] = {
    "base_url": None,
    "api_key": None,
    "json": False,
    "fields": (),
    "virtual_key": None,
    "provider": None,
    "config": None,
    "drop_params": False,
    "provider_key": None,
    "output": None,
    "watch": False,
}


def parse(arguments: Sequence[str], prog: str = PROG) -> argparse.Namespace:
    """Return the options of one command; ends the process with 2 for a mistake, as argparse does."""
    return parser(prog).parse_args(arguments, argparse.Namespace(**_DEFAULTS))


def parser(prog: str = PROG, *, add_help: bool = True) -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    gateway = _gateway_options()
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Submit, follow and fetch batches of a gateway, this project's or one that speaks like Portkey's.",
        epilog=f"{CODES}\n{OUTPUT}\n{ENVIRONMENT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[gateway],
        add_help=add_help,
    )
    commands = _Commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"), gateway)
    _add_submit(commands)
    _add_plan(commands)
    _add_status_and_watch(commands)
    _add_list(commands)
    _add_cancel_and_output(commands)
    _add_lines(commands)
    _add_retry(commands)
    things.add(commands)
    return parser


def of(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    """Return the parser of one command below another's, for shells to complete."""
    found = next(each.choices for each in parser._actions if isinstance(each.choices, dict))  # noqa: SLF001
    return cast("argparse.ArgumentParser", found[name])


class _Commands:
    """Adds commands that share their common options."""

    def __init__(self, commands: Any, gateway: argparse.ArgumentParser) -> None:
        self._commands, self._gateway = commands, gateway

    def add(self, name: str, about: str, *, target: bool = True) -> argparse.ArgumentParser:
        """Add a command; with the options that choose a provider's account, where `target`."""
        added: argparse.ArgumentParser = self._commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[self._gateway],
        )
        if target:
            _add_target(added)
        return added

    def under(self, parser: argparse.ArgumentParser) -> _Commands:
        """Return what adds the commands below one."""
        return _Commands(parser.add_subparsers(dest="act", required=True, metavar="COMMAND"), self._gateway)


def _gateway_options() -> argparse.ArgumentParser:
    """Return what may stand before and behind the command's name; hence no defaults here."""
    options = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = options.add_argument_group("the gateway")
    group.add_argument("--base-url", metavar="URL", help="its root, with /v1 (default http://127.0.0.1:8787/v1)")
    group.add_argument(
        "--api-key", metavar="KEY", help="its key; better in PORTKEY_API_KEY, which no process list shows"
    )
    group.add_argument("--json", action="store_true", help="one JSON object a line on stdout, for scripts")
    group.add_argument(
        "--fields", type=names, metavar="NAME,NAME", help="only these, as in id,status,request_counts.failed"
    )
    return options


def _add_target(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the provider account")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--virtual-key", metavar="SLUG", help="a virtual key of the gateway")
    one.add_argument("--provider", metavar="NAME", help="a provider for which you bring the key, or @SLUG")
    one.add_argument("--config", metavar="TEXT_OR_ID", help="a routing config, as JSON or the id of a saved one")
    group.add_argument(
        "--provider-key", metavar="KEY", help="with --provider NAME; better in PROXY_PLUGIN_PROVIDER_KEY"
    )


def _add_submit(commands: _Commands) -> None:
    submit = commands.add("submit", "upload a file and make a batch of it")
    _add_file(submit)
    _add_watch(submit)
    completed_by_files(
        submit.add_argument("--output", type=Path, metavar="PATH", help="with --watch: where the results are written")
    )
    _add_drop(submit)
    _add_key(submit)


def _add_plan(commands: _Commands) -> None:
    plan = commands.add("plan", "show what a batch of a file would become and cost; nothing is spent")
    _add_file(plan)
    plan.add_argument("--keep", action="store_true", help="keep the upload, which is deleted otherwise")
    _add_drop(plan)


def _add_status_and_watch(commands: _Commands) -> None:
    status = commands.add("status", "show a batch and its jobs, or what is unfinished and unresolved")
    status.add_argument("id", metavar="ID", nargs="?", help="a batch; without it, all that have not ended")
    _add_watch(status)
    watched = commands.add("watch", "follow batches to their end")
    watched.add_argument("ids", metavar="ID", nargs="*", help="batches; without any, all that have not ended")


def _add_list(commands: _Commands) -> None:
    listed = commands.add("list", "list batches, newest first")
    listed.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many (default 20)")
    listed.add_argument("--all", action="store_true", help="all there are")
    listed.add_argument(
        "--status", type=statuses, default=(), metavar="TEXT,TEXT", help="only those, as in failed,expired"
    )
    listed.add_argument(
        "--since", type=moment, metavar="WHEN", help="only those made since, as in 90m, 12h, 7d or 2026-11-30"
    )


def _add_cancel_and_output(commands: _Commands) -> None:
    cancel = commands.add("cancel", "cancel a batch; what has run is kept")
    _add_id(cancel)
    cancel.add_argument("--wait", action="store_true", help="return when it has ended")
    output = commands.add("output", "fetch the rows of a batch, the failed ones too")
    _add_id(output)
    add_output(output)


def _add_lines(commands: _Commands) -> None:
    """Add `lines`, whose --virtual-key and --provider choose lines, not an account."""
    lines = commands.add("lines", "show what became of every line of a batch that has ended", target=False)
    _add_id(lines)
    group = lines.add_argument_group("only some of them; each may be given several times")
    group.add_argument(
        "--outcome", help="succeeded, failed, rejected, refused, cancelled, expired or missing", **_some("outcome")
    )
    group.add_argument("--failed", action="store_true", help="every outcome but succeeded")
    group.add_argument("--code", help="the error's code", **_some("code"))
    group.add_argument("--provider", help="where it ran", **_some("provider"))
    group.add_argument("--virtual-key", help="by which account", **_some("virtual_key"))
    group.add_argument("--model", help="with which model", **_some("model"))
    lines.add_argument("--attempts", action="store_true", help="also tries of lines that went on to another target")
    lines.add_argument("--after", type=natural, metavar="LINE", help="only lines behind this number")
    lines.add_argument("--limit", type=positive, metavar="N", help="at most so many")


def _some(name: str) -> dict[str, Any]:
    return {"action": "append", "default": [], "dest": f"only_{name}", "metavar": "TEXT"}


def _add_retry(commands: _Commands) -> None:
    retry = commands.add("retry", "make a new batch of only the lines that failed, or of those that you name")
    _add_id(retry)
    group = retry.add_argument_group("which lines (default: all that failed)").add_mutually_exclusive_group()
    group.add_argument(
        "--lines", type=numbers, default=[], metavar="N,N", help="by number, as `lines` shows them, as in 3,7"
    )
    group.add_argument(
        "--outcome",
        type=outcomes,
        default=[],
        dest="outcomes",
        metavar="TEXT,TEXT",
        help="by what became of them, as in expired,missing; succeeded too",
    )
    _add_watch(retry)
    _add_key(retry)


def _add_file(parser: argparse.ArgumentParser) -> None:
    file = parser.add_argument(
        "file", type=Path, metavar="FILE", help="a JSONL file in OpenAI's batch format, also as .gz; - for stdin"
    )
    completed_by_files(file)
    parser.add_argument("--endpoint", metavar="PATH", help="the endpoint of all lines (default: the first line's url)")
    parser.add_argument("--metadata", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    parser.add_argument("--completion-window", metavar="TEXT", help="how long it may take (default 24h)")


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="a batch")


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="follow the batch to its end")


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--idempotency-key",
        metavar="TEXT",
        help="a second request with the same key, and a file of the same bytes, makes no second batch"
        " (default: a new key)",
    )


def _add_drop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--drop-params",
        action="store_true",
        help="run lines without the parameters that their provider has not; what was left out is recorded",
    )
