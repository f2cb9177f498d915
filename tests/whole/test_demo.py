"""The demo does what it shows: real processes, every line answered once, nothing left behind however it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from proxy_plugin.demo.check import check_counts, check_results
from proxy_plugin.demo.job import CLOSING
from proxy_plugin.demo.main import NOTICE, main
from proxy_plugin.demo.plan import ERRORS, INPUT, OUTPUT
from proxy_plugin.demo.screen import DemoFailed
from proxy_plugin.providers.sandbox.answers import expected_text, markers, user_text
from tests.support.signals import heard
from tests.support.waiting import until

LINES = 200
PATIENCE = 90.0
ENDPOINT = "/v1/chat/completions"


def command(folder: Path, *more: str, lines: int = LINES) -> list[str]:
    return [sys.executable, "-m", "proxy_plugin", "demo", "--lines", str(lines), "--output", str(folder), *more]


class Said:
    """What a process prints, read as it comes."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._pieces = read, list[bytes]()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while piece := self._next():
            self._pieces.append(piece)

    def _next(self) -> bytes:
        try:
            return self._read(65536)
        except OSError:  # EIO: how a terminal says that nobody writes any more
            return b""

    def text(self) -> str:
        return b"".join(self._pieces).decode()

    def until(self, words: str) -> None:
        until(lambda: words in self.text() or not self._thread.is_alive(), self.text, PATIENCE)
        assert words in self.text()

    def whole(self) -> str:
        self._thread.join(10)
        assert not self._thread.is_alive(), "somebody still holds the output open"
        return self.text()


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    said: Said

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def names(self) -> str:
        return " | ".join(" ".join(child.cmdline()) for child in self.children())

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def start(folder: Path, *more: str, terminal: bool = False, env: dict[str, str] | None = None) -> Running:
    variables = os.environ | {"TERM": "xterm-256color"} | (env or {})
    reader, writer = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(command(folder, *more), stdout=writer, stderr=writer, env=variables, preexec_fn=heard)
    os.close(writer)
    return Running(process, Said(lambda size: os.read(reader, size)))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*more: str, env: dict[str, str] | None = None, **settings: Any) -> Running:
        # A demo that is killed cannot remove its temporary files.
        started.append(start(tmp_path / "out", *more, env={"TMPDIR": str(tmp_path)} | (env or {}), **settings))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(10)


@dataclass
class Done:
    """One whole run with `--keep`: while it was kept, what it printed for trying was tried."""

    folder: Path
    code: int
    said: str
    curl: list[subprocess.CompletedProcess[str]]
    sdk: subprocess.CompletedProcess[str]
    left: list[psutil.Process]
    work: list[Path]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder, temporary = tmp_path_factory.mktemp("demo") / "my output", tmp_path_factory.mktemp("tmp")
    one = start(folder, "--keep", env={"TMPDIR": str(temporary)})
    try:
        one.said.until("Ctrl-C ends both")
        curl, sdk = tried(one.said.text())
        children = one.children()
        code = one.end(signal.SIGINT)
    finally:
        one.process.kill()
        one.process.wait(10)
    left = psutil.wait_procs(children, timeout=5)[1]
    return Done(folder, code, one.said.whole(), curl, sdk, left, list(temporary.iterdir()))


def tried(said: str) -> tuple[list[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]:
    curl = [line for line in said.splitlines() if line.startswith("curl ")] if shutil.which("curl") else []
    script = said[said.index("from openai import") : said.index(CLOSING)]
    tries = [subprocess.run(["sh", "-c", f"{line} -sS --fail"], capture_output=True, text=True) for line in curl]
    return tries, subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def test_the_demo_succeeds_and_counts_every_line(done: Done) -> None:
    assert done.code == 0
    answered, failed = len(rows(done.folder / OUTPUT)), len(rows(done.folder / ERRORS))
    assert (answered, failed) == (LINES - 1, 1)
    for name, count in (("lines", LINES), ("answered", answered), ("failed", failed), ("native jobs", 4)):
        assert re.search(rf"{name}[^\d\n]* {count} ", done.said), f"{name}: not {count}\n{done.said}"


def test_every_line_is_in_one_file_once_and_in_order(done: Done) -> None:
    sent = [line["custom_id"] for line in rows(done.folder / INPUT)]
    answered, failed = ([row["custom_id"] for row in rows(done.folder / name)] for name in (OUTPUT, ERRORS))
    assert sorted(answered + failed) == sorted(sent)
    assert answered == [one for one in sent if one in answered]


def test_every_answer_belongs_to_its_line(done: Done) -> None:
    bodies = {line["custom_id"]: line["body"] for line in rows(done.folder / INPUT)}
    for row in rows(done.folder / OUTPUT):
        assert row["error"] is None
        assert said_by_model(row) == expected_text(ENDPOINT, bodies[row["custom_id"]]), row["custom_id"]


def said_by_model(row: dict[str, Any]) -> str:
    message = row["response"]["body"]["choices"][0]["message"]
    calls = [call["function"]["arguments"] for call in message.get("tool_calls", [])]
    return str(calls[0] if calls else message["refusal"] or message["content"])


def test_the_error_file_holds_the_lines_that_asked_for_it(done: Done) -> None:
    asked = {
        line["custom_id"]: found["error"]
        for line in rows(done.folder / INPUT)
        if "error" in (found := markers(user_text(ENDPOINT, line["body"])))
    }
    got = {row["custom_id"]: str(row["response"]["status_code"]) for row in rows(done.folder / ERRORS)}
    assert got == asked


def test_it_says_at_start_and_end_that_no_model_ran(done: Done) -> None:
    text = done.said.splitlines()
    assert text[1] == NOTICE
    assert CLOSING in text[-3:]
    assert "nothing is paid" in NOTICE
    assert "No model ran" in CLOSING


def test_without_a_terminal_it_prints_plain_lines(done: Done) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.said)
    assert re.search(rf"batch +in_progress, [1-9]\d* completed, \d failed of {LINES}", done.said), done.said


def test_the_printed_commands_work_as_they_are(done: Done) -> None:
    assert done.sdk.returncode == 0, done.sdk.stderr
    assert "BatchRequestCounts" in done.sdk.stdout
    assert all(one.returncode == 0 for one in done.curl), done.curl
    if done.curl:
        upload, create, retrieve, content = (one.stdout for one in done.curl)
        assert json.loads(upload)["purpose"] == "batch"
        assert json.loads(create)["object"] == "batch"
        assert json.loads(retrieve)["request_counts"]["total"] == LINES
        assert content == (done.folder / OUTPUT).read_text(encoding="utf-8")


def test_nothing_is_left_behind(done: Done) -> None:
    assert done.left == []
    assert done.work == [], "temporary files"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_both_processes_end_with_the_demo(running: Callable[..., Running], number: int, code: int) -> None:
    demo = running()
    demo.said.until("batch ")
    assert "proxy_plugin serve" in demo.names()
    assert "proxy_plugin.providers.sandbox" in demo.names()
    children = demo.children()
    assert demo.end(number) == code
    _, left = psutil.wait_procs(children, timeout=15)
    assert left == []


def test_on_a_terminal_it_shows_bars_and_gives_the_cursor_back(running: Callable[..., Running]) -> None:
    demo = running(terminal=True)
    demo.said.until("in_progress")
    assert demo.end(signal.SIGINT) == 130
    said = demo.said.whole()
    assert "━" in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor is hidden while a bar moves"


def test_a_gateway_that_dies_is_reported_with_its_log(running: Callable[..., Running]) -> None:
    demo = running(env={"PROXY_PLUGIN_FAIL": "split.before:1"})
    assert demo.process.wait(PATIENCE) == 1
    said = demo.said.whole()
    assert "The demo failed: the gateway ended with status" in said
    assert '"event": "listening"' in said[said.index("last log lines") :]
    assert '"status": 200' not in said, "its own polling would fill the whole excerpt"
    assert CLOSING not in said


def test_what_cannot_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file")]) == 1
    assert "File exists" in capsys.readouterr().out
    assert main(["--provider", "nobody", "--output", str(tmp_path)]) == 1
    assert "no stand-in for nobody; it has anthropic, " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["--lines", "0"])
    assert "above 0" in capsys.readouterr().err


def written(path: Path, ids: list[str]) -> Path:
    path.write_text("".join(json.dumps({"custom_id": one, "more": 1}) + "\n" for one in ids))
    return path


@pytest.mark.parametrize(
    ("output", "errors", "counts"),
    [(["a", "c", "d"], ["b"], (3, 1)), (["a", "b", "c", "d"], [], (4, 0)), ([], ["a", "b", "c", "d"], (0, 4))],
)
def test_results_in_order_pass_the_check(
    tmp_path: Path, output: list[str], errors: list[str], counts: tuple[int, int]
) -> None:
    source = written(tmp_path / "in", ["a", "b", "c", "d"])
    files = [written(tmp_path / name, ids) if ids else tmp_path / name for name, ids in (("o", output), ("e", errors))]
    assert check_results(source, *files) == counts


@pytest.mark.parametrize(
    ("output", "errors"),
    [
        (["a", "c"], ["b"]),  # the last is missing
        (["c", "d"], ["b"]),  # the first is missing
        (["a", "d", "c"], ["b"]),  # out of order
        (["a", "c", "d", "d"], ["b"]),  # twice in one file
        (["a", "b", "c", "d"], ["b"]),  # in both files
        (["a", "c", "d"], ["b", "x"]),  # nobody's
        (["x", "a", "c", "d"], ["b"]),
        ([], []),
    ],
)
def test_results_with_any_fault_fail_the_check(tmp_path: Path, output: list[str], errors: list[str]) -> None:
    source = written(tmp_path / "in", ["a", "b", "c", "d"])
    with pytest.raises(DemoFailed):
        check_results(source, written(tmp_path / "o", output), written(tmp_path / "e", errors))


def test_a_row_that_is_cut_off_fails_the_check(tmp_path: Path) -> None:
    source = written(tmp_path / "in", ["a", "b"])
    output = written(tmp_path / "o", ["a", "b"])
    os.truncate(output, output.stat().st_size - 4)
    with pytest.raises(DemoFailed, match="row 2"):
        check_results(source, output, tmp_path / "none")


@pytest.mark.parametrize(
    "said", [{"total": 3, "completed": 2, "failed": 0}, {"total": 3, "completed": 3, "failed": 0}, {}]
)
def test_counts_that_differ_from_the_files_fail_the_check(said: dict[str, int]) -> None:
    check_counts({"total": 3, "completed": 2, "failed": 1}, 3, 2, 1)
    with pytest.raises(DemoFailed):
        check_counts(said, 3, 2, 1)
