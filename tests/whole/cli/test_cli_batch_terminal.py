"""`proxy-plugin batch` on a terminal: bars and colours, none with NO_COLOR; quick help; older versions of rich."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

import proxy_plugin
from tests.support.cli_batch import COMMAND, Asked, Cli, Handler, StandIn, variables
from tests.support.lines import chat_lines, jsonl
from tests.support.signals import heard
from tests.support.stack import KEY

COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|4[0-7]|38;|48;)[0-9;]*m")
JOB = {"part": 0, "virtual_key": "lane", "status": "unknown", "unresolved_since": 1, "request_counts": {"total": 9}}
RUNNING = {"id": "batch_1", "status": "in_progress", "request_counts": {"total": 9, "completed": 4}, "jobs": [JOB]}
RICH_BEFORE = "13.9.4"  # the last that some hosts of this package allow


def answer(asked: Asked, handler: Handler) -> None:
    if asked.path.endswith("/files"):
        handler.rfile.read(asked.size)
    handler.reply(404 if asked.path.endswith("/plan") else 200, RUNNING)


def on_terminal(server: StandIn, *arguments: str, until: str, interrupt: bool = False, **env: str) -> tuple[int, str]:
    """Run a command on a terminal of its own until it has said something; return its exit code and all it said."""
    reader, writer = pty.openpty()
    settings = variables(server.url, KEY, **({"TERM": "xterm-256color", "COLUMNS": "150"} | env))
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=writer, stdout=writer, stderr=writer, env=settings, preexec_fn=heard
    )
    os.close(writer)
    said, deadline = b"", time.monotonic() + 30
    try:
        while block := _read(reader):
            said += block
            if interrupt and until.encode() in said:
                interrupt = False
                process.send_signal(signal.SIGINT)
            assert time.monotonic() < deadline, said
        return process.wait(10), said.decode()
    finally:
        process.kill()
        process.wait(10)
        os.close(reader)


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except OSError:  # EIO: nobody writes any more
        return b""


def test_a_bar_moves_and_the_cursor_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(chat_lines(2)))
    with StandIn(answer) as server:
        code, said = on_terminal(server, "submit", str(path), "--watch", until="4 completed", interrupt=True)
    assert code == 130
    assert "━" in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor is hidden while a bar moves"
    assert "proxy-plugin batch status batch_1 --watch" in said
    assert "Traceback" not in said


def test_what_is_unresolved_is_in_colour_unless_nobody_wants_it() -> None:
    with StandIn(answer) as server:
        code, said = on_terminal(server, "status", "batch_1", until="")
        plain = on_terminal(server, "status", "batch_1", until="", NO_COLOR="1")[1]
        dumb = on_terminal(server, "status", "batch_1", until="", TERM="dumb")[1]
    assert code == 0
    assert COLOUR.search(said)
    assert not COLOUR.search(plain)
    assert "\x1b" not in dumb
    for each in (said, plain, dumb):
        assert "OUTCOME UNKNOWN" in each


def test_forced_colours_do_not_reach_a_file() -> None:
    with StandIn(answer) as server:
        done = Cli(server.url, env={"FORCE_COLOR": "1"}).run("status", "batch_1")
    assert "OUTCOME UNKNOWN" in done.stdout, "and the runner has seen that no control code is in it"


def test_a_stdout_that_is_not_utf_8_gets_escapes() -> None:
    with StandIn(lambda _, handler: handler.reply(200, RUNNING | {"endpoint": "ключ"})) as server:
        done = Cli(server.url, env={"PYTHONIOENCODING": "ascii"}).run("status", "batch_1")
    assert done.returncode == 0, done
    assert r"\u043a\u043b\u044e\u0447" in done.stdout


def processor_seconds() -> float:
    """Return what the children that have ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_there_at_once() -> None:
    """The processor's time of the quickest of five, as the machine may be busy; and nothing slow is loaded."""
    took = []
    for _ in range(5):
        before = processor_seconds()
        subprocess.run([*COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)
        took.append(processor_seconds() - before)
    assert min(took) < 0.3
    loaded = "import sys; from proxy_plugin.cli import main\ntry: main(['batch', '--help'])\nexcept SystemExit: pass\n"
    show = "print(sorted({'rich', 'aiohttp', 'pydantic', 'asyncio', 'http.client', 'sqlite3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded + show], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_commands_need_rich_alone_and_an_older_one_will_do(campaign: bool, tmp_path: Path) -> None:
    if not campaign:
        pytest.skip("installs a package: part of the campaign")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"rich=={RICH_BEFORE}"], check=True)
    root = str(Path(proxy_plugin.__file__).parent.parent)
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(chat_lines(2)))
    with StandIn(answer) as server:
        for command in (["status", "batch_1"], ["list"], ["submit", str(path)]):
            done = subprocess.run(
                [python, "-m", "proxy_plugin", "batch", *command],
                capture_output=True,
                encoding="utf-8",
                env=variables(server.url, PYTHONPATH=root),
            )
            assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
    version = "import importlib.metadata as m; print(m.version('rich'))"
    assert subprocess.run([python, "-c", version], capture_output=True, text=True).stdout.strip() == RICH_BEFORE
