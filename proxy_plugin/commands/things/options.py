"""The options of `files`, `models`, `replicas` and `webhooks`."""

from __future__ import annotations

import argparse
from typing import Protocol

from proxy_plugin.commands.kinds import add_output, names, positive


class Commands(Protocol):
    """Adds commands that share their common options."""

    def add(self, name: str, about: str, *, target: bool = True) -> argparse.ArgumentParser:
        """Add a command."""

    def under(self, parser: argparse.ArgumentParser) -> Commands:
        """Return what adds the commands below one."""


NAMES = ("files", "models", "replicas", "webhooks")  # also without `batch` before them


def add(commands: Commands) -> None:
    """Add them to what `commands` adds to."""
    _add_files(commands.under(commands.add("files", "list, fetch and delete files", target=False)))
    commands.add("models", "list the models that this key can reach", target=False)
    commands.add("replicas", "list the gateways of one database, and what each does; operators alone", target=False)
    hooks = commands.add("webhooks", "have a URL told of what becomes of batches", target=False)
    _add_webhooks(commands.under(hooks))


def _add_files(commands: Commands) -> None:
    listed = commands.add("list", "list files, newest first", target=False)
    _add_most(listed)
    listed.add_argument("--purpose", metavar="TEXT", help="only these: batch, batch_output")
    fetched = commands.add("get", "fetch the bytes of a file; with --json or --fields what it is", target=False)
    fetched.add_argument("id", metavar="ID", help="a file")
    add_output(fetched)
    gone = commands.add("delete", "delete files; batches that run on them go on", target=False)
    gone.add_argument("ids", metavar="ID", nargs="+", help="files")


def _add_webhooks(commands: Commands) -> None:
    commands.add("list", "list the endpoints of the workspace", target=False)
    added = commands.add("add", "add an endpoint; its secret is shown once", target=False)
    added.add_argument("url", metavar="URL", help="where events are posted, signed as Standard Webhooks has it")
    added.add_argument("--events", type=names, metavar="NAME,NAME", help="only these, as in batch.failed,batch.expired")
    added.add_argument("--name", metavar="TEXT", help="for people")
    _add_endpoint(commands, "delete", "take an endpoint away")
    rotated = _add_endpoint(commands, "rotate", "give an endpoint a new secret")
    rotated.add_argument("--keep", action="store_true", help="the old one signs, too, for 24 hours")
    tested = _add_endpoint(commands, "test", "send an endpoint a sample, and say what it answered")
    tested.add_argument("--event", metavar="NAME", help="of which kind (default batch.completed)")
    commands.add("secret", "show what signs for URLs that batches name themselves", target=False)
    sent = commands.add("deliveries", "show what was sent, and what came of it, newest first", target=False)
    sent.add_argument("id", metavar="ID", nargs="?", help="an endpoint; without it, all")
    sent.add_argument("--batch", metavar="ID", help="only those of a batch")
    _add_most(sent)
    again = commands.add("replay", "send deliveries again, each under its own webhook-id", target=False)
    again.add_argument("ids", metavar="ID", nargs="+", help="deliveries")


def _add_endpoint(commands: Commands, name: str, about: str) -> argparse.ArgumentParser:
    added = commands.add(name, about, target=False)
    added.add_argument("id", metavar="ID", help="an endpoint")
    return added


def _add_most(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many (default 20)")
    parser.add_argument("--all", action="store_true", help="all there are")
