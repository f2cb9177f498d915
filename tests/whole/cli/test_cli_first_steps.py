"""A new user's way, from nothing to the first finished batch; what a terminal is told; and ends that make no noise."""

from __future__ import annotations

import ast
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import proxy_plugin
from proxy_plugin import cli
from tests.support.cli_batch import variables
from tests.support.ports import free_port
from tests.support.served import configuration
from tests.support.signals import heard
from tests.support.waiting import until

COMMAND = [sys.executable, "-m", "proxy_plugin"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, env=variables(None, None)
    )


class Terminal:
    """A command whose stderr is a terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._reader, writer = pty.openpty()
        os.set_blocking(self._reader, False)
        env = variables(None, None, TERM="xterm-256color")
        self.process = subprocess.Popen([*COMMAND, *arguments], cwd=folder, stderr=writer, env=env, preexec_fn=heard)
        os.close(writer)
        self._said = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._reader)

    def said(self) -> str:
        """Return all that it has said so far."""
        try:
            while block := os.read(self._reader, 65536):
                self._said += block
        except OSError:  # nothing more now, or nobody who could say it
            pass
        return self._said.decode().replace("\r", "")


def test_a_new_user_has_a_finished_batch_in_three_commands(tmp_path: Path) -> None:
    begun = run(tmp_path, "init", "--yes", "--port", str(free_port()))
    assert (begun.returncode, begun.stderr) == (0, "")
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())["proxy_plugin"]
    host = config["virtual_keys"]["sandbox"]["custom_host"]
    config_text = (tmp_path / "config.yaml").read_text()
    schema = config_text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert "api_keys" in Path(schema).read_text()
    (tmp_path / "config.yaml").write_text(config_text.replace(host, f"http://127.0.0.1:{free_port()}/openai/v1"))
    with Terminal(tmp_path, "serve", "--sandbox") as serve:
        until(lambda: "Ctrl-C stops it" in serve.said(), serve.said)
        assert f"listens on http://127.0.0.1:{config['server']['port']}/v1" in serve.said()
        assert str(tmp_path / "config.yaml") in serve.said()
        done = run(tmp_path, "batch", "submit", "questions.jsonl", "--watch", "--output", "answers.jsonl")
        assert done.returncode == 0, done
        assert [json.loads(line)["custom_id"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()] == [
            "q-0",
            "q-1",
            "q-2",
        ]
        again = subprocess.run(
            [*COMMAND, "batch", "submit", "-", "--json", "--fields", "id,status"],
            cwd=tmp_path,
            input=(tmp_path / "questions.jsonl").read_bytes(),
            capture_output=True,
            env=variables(None, None),
        )
        assert set(json.loads(again.stdout)) == {"id", "status"}
        names = run(tmp_path, "files", "list", "--purpose", "batch", "--fields", "filename").stdout.split()
        assert names == ["stdin.jsonl", "questions.jsonl"]
        assert "usable" in run(tmp_path, "doctor").stdout
        serve.process.send_signal(signal.SIGINT)
        assert serve.process.wait(60) == 0
    assert '{"at"' not in serve.said(), "a terminal gets text"


@pytest.mark.parametrize(
    ("config", "says"), [(True, "proxy_plugin.storage.data_dir: "), (False, "make one with `proxy-plugin init`")]
)
@pytest.mark.parametrize(("command", "code"), [("serve", 2), ("check", 1), ("doctor", 1)])
def test_what_is_missing_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    code: int,
    config: bool,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    if config:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration(Path("file/data"))))
    assert cli.main([command]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("proxy-plugin: ")
    assert says in line


@pytest.mark.parametrize(("command", "codes"), [(["batch", "--help"], {0, 141}), (["completion", "bash"], {141})])
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, command: list[str], codes: set[int]) -> None:
    """Of help argparse swallows the error where stdout has no buffer."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *command], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, env=variables(None, None)
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode in codes


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_borne_with(tmp_path: Path, closed: str) -> None:
    """As cron and others start it: no traceback, and no file of ours gets the number of stdout."""
    wanted = shlex.join([*COMMAND, "batch", "submit", "-"])
    done = subprocess.run(
        ["sh", "-c", f"{wanted} {closed}"], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL, text=True
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 2, "there are no lines"


def test_nothing_slow_is_loaded_before_ctrl_c_is_borne_with() -> None:
    for module in ("__init__", "__main__"):
        tree = ast.parse(Path(proxy_plugin.__file__).with_name(f"{module}.py").read_text())
        loaded = {name for each in tree.body if isinstance(each, ast.ImportFrom) for name in [each.module]}
        loaded |= {name.name for each in tree.body if isinstance(each, ast.Import) for name in each.names}
        assert loaded <= {"__future__", "os", "sys"}, module


@pytest.mark.parametrize("command", [["batch", "list"], ["demo"]])
def test_an_early_ctrl_c_ends_it_quietly(tmp_path: Path, command: list[str]) -> None:
    """Ctrl-C while the command's own modules are loaded: it comes with the import of one of them."""
    module = {"batch": "shlex", "demo": "proxy_plugin.demo.screen"}[command[0]]
    code = (
        "import builtins, os, signal, sys\n"
        "real = builtins.__import__\n"
        f"def load(name, *more, **named):\n    if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *more, **named)\n"
        "builtins.__import__ = load\n"
        "from proxy_plugin.__main__ import main\n"
        f"sys.argv[1:] = {command!r}\nsys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=variables(None, None),
        preexec_fn=heard,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
