"""`proxy-plugin init`: a few questions, a configuration, a key of the gateway, and three lines to try it with.

Nothing that is there is replaced. Keys go into `.env` beside the configuration, which names them and holds none.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from getpass import getpass
from pathlib import Path
from typing import Any

import yaml

from proxy_plugin.providers import catalog
from proxy_plugin.providers.sandbox import virtual_keys

SANDBOX = "sandbox"  # the virtual key at which `serve --sandbox` starts a stand-in
SANDBOX_PORT, PORT = 8788, 8787
KEY, URL = "PORTKEY_API_KEY", "PROXY_PLUGIN_BASE_URL"
QUESTIONS = "questions.jsonl"
_ASKED = ("What is a batch?", "¿Qué es un lote?", "バッチとは?")


class NotBegun(Exception):
    """Nothing was written. The message is for the person at the terminal."""


@dataclass(slots=True)
class Beginning:
    """What is to be written: the settings of one virtual key, and the variables that they name."""

    config: Path
    schema: Path  # for editors
    provider: str
    port: int
    account: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # variables that somebody has yet to set

    @property
    def env(self) -> Path:
        """Where the keys are."""
        return self.config.parent / ".env"

    def told(self) -> str:
        """Return what was written, and what comes next."""
        where = str(self.config.parent)
        sandbox = " --sandbox" if self.provider == SANDBOX else ""
        named = (
            "" if self.config.name == "config.yaml" and where == "." else f" --config {shlex.quote(str(self.config))}"
        )
        lines = [f"Wrote {self.config} and {self.env}, which has the gateway's key: keep it out of version control."]
        lines += [f"Set {name} in {self.env}, or in the environment." for name in self.missing]
        lines += ["Next:"]
        lines += [] if sandbox else [f"  proxy-plugin doctor{named}   # asks the account whether its key is right"]
        lines += [f"  proxy-plugin serve{named}{sandbox}", "and in another terminal:"]
        lines += [f"  cd {shlex.quote(str(self.config.absolute().parent))}"]
        lines += [f"  proxy-plugin batch submit {QUESTIONS} --watch --output answers.jsonl"]
        return "\n".join(lines)

    @property
    def slug(self) -> str:
        """The name of the virtual key."""
        return self.provider


def begun(args: argparse.Namespace, schema: Path) -> Beginning:
    """Ask, write the files and return what was written. Without a terminal, or with `--yes`, nothing is asked.

    Raises NotBegun and OSError.
    """
    if args.config.exists():
        raise NotBegun(f"{args.config} is there already: edit it, or name another file with --config.")
    if not args.config.absolute().parent.is_dir():
        raise NotBegun(f"there is no folder {args.config.absolute().parent}: make it first.")
    asks = sys.stdin.isatty() and not args.yes
    named = args.provider or (_answer("Whose account? sandbox is none, to try it out", SANDBOX) if asks else SANDBOX)
    provider = _provider(named.lower())
    port = _port(args.port or (_answer("Which port?", str(PORT)) if asks else str(PORT)))
    made = Beginning(args.config, schema, provider, port)
    _fill(made, asks=asks)
    _write(made)
    return made


def _answer(question: str, default: str) -> str:
    try:
        return input(f"{question} [{default}] ").strip() or default
    except EOFError:
        raise NotBegun("nothing was written.") from None


def _provider(name: str) -> str:
    if name == SANDBOX:
        return name
    try:
        return catalog.load(name).capabilities.provider
    except catalog.UnknownProvider as error:
        raise NotBegun(str(error)) from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise NotBegun("a port is a number from 1 to 65535.")
    return int(text)


# ---- the account ----


def _fill(made: Beginning, *, asks: bool) -> None:
    """Find out what the account is proved by; what is not known yet is named, and can be set later."""
    if made.provider == SANDBOX:
        made.account = virtual_keys.virtual_key("openai", f"http://127.0.0.1:{SANDBOX_PORT}/openai/v1")
        return
    made.account = {"provider": made.provider}
    for name, variable, hidden in _needed(made.provider):
        if hidden or not asks:
            made.account[name] = f"os.environ/{variable}"
            _set(made, variable, asks=asks)
        else:
            made.account[name] = _answer(f"{name}?", f"os.environ/{variable}")


def _needed(provider: str) -> Iterator[tuple[str, str, bool]]:
    """Yield (setting, variable, whether it is a secret) of what an account cannot do without."""
    fields, known = catalog.load(provider).credentials.model_fields, catalog.environment(provider)
    proof = known.proofs[0] if known.proofs else {}
    for name, info in fields.items():
        names: tuple[str, ...] = (
            proof.get(name) or known.others.get(name) or (f"{provider}_{name}".upper().replace("-", "_"),)
        )
        if info.is_required() or name in proof:
            yield name, names[0], name in proof or "Secret" in repr(info.annotation)


def _set(made: Beginning, variable: str, *, asks: bool) -> None:
    if os.environ.get(variable):
        return
    try:
        value = getpass(f"{variable} (not shown; Enter: later) ").strip() if asks else ""
    except EOFError:
        raise NotBegun("nothing was written.") from None
    if value:
        made.variables[variable] = value
    else:
        made.missing.append(variable)


# ---- the files ----


def _write(made: Beginning) -> None:
    _write_env(made)
    with made.config.open("x", encoding="utf-8") as file:
        file.write(_config(made))
    questions = made.config.parent / QUESTIONS
    if not questions.exists() and (text := _questions(made.provider)):
        questions.write_text(text, encoding="utf-8")


def _config(made: Beginning) -> str:
    key = {"name": "me", "key": f"os.environ/{KEY}", "workspace": "default", "default": made.slug}
    data_dir = str(made.config.absolute().parent / "var")
    quick = ["  engine: {poll_seconds_first: 1} # the sandbox takes seconds, a provider hours"]
    lines = [
        f"# yaml-language-server: $schema={made.schema}",
        "# Made by `proxy-plugin init`. `proxy-plugin check` shows what it means, `doctor` asks the accounts.",
        "# `os.environ/NAME` is a variable of the environment, or of the file .env beside this one.",
        "proxy_plugin:",
        f"  server: {_flow({'host': '127.0.0.1', 'port': made.port})}",
        f"  storage: {_flow({'data_dir': data_dir})}",
        "  api_keys: # who may call, in which workspace; `default` is for work that names no account",
        f"    - {_flow(key)}",
        "  virtual_keys: # accounts of providers",
        f"    {made.slug}: {_flow(made.account)}",
        *(quick if made.provider == SANDBOX else []),
    ]
    return "\n".join(lines) + "\n"


def _flow(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(value), default_flow_style=True, sort_keys=False, width=10**6).strip()


def _write_env(made: Beginning) -> None:
    """Add the variables that the file has not; nobody else may read it."""
    there = made.env.read_text(encoding="utf-8") if made.env.exists() else ""
    wanted = {URL: f"http://127.0.0.1:{made.port}/v1", KEY: f"sk-{secrets.token_hex(24)}", **made.variables}
    has = {line.removeprefix("export ").partition("=")[0].strip() for line in there.splitlines()}
    lines = [f"{name}={value}" for name, value in wanted.items() if name not in has]
    lines += [f"# {name}=" for name in made.missing if name not in has]
    start = there if not there or there.endswith("\n") else f"{there}\n"
    with os.fdopen(os.open(made.env, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(start + "".join(f"{line}\n" for line in lines))
    made.env.chmod(0o600)


def _questions(provider: str) -> str:
    """Return three lines that the account takes; nothing where no model of it is known."""
    try:
        model, endpoint = virtual_keys.model_and_endpoint("openai" if provider == SANDBOX else provider)
    except LookupError:
        return ""
    lines = [
        {"custom_id": f"q-{n}", "method": "POST", "url": endpoint, "body": {"model": model, **_body(endpoint, text)}}
        for n, text in enumerate(_ASKED)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _body(endpoint: str, text: str) -> dict[str, Any]:
    chat = endpoint.endswith("/chat/completions")
    return {"messages": [{"role": "user", "content": text}]} if chat else {"input": text}
