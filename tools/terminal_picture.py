"""`docs/pictures/watch.svg`: what `proxy-plugin batch submit --watch` shows on a terminal, half-way and at its end.

`python -m tools.terminal_picture` runs the command on a terminal of its own, before a gateway whose two providers are
stand-ins, and draws what stands there: nothing in the picture is made up.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

import yaml

from proxy_plugin.providers.sandbox import virtual_keys
from proxy_plugin.providers.sandbox.process import Sandbox

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "watch.svg"
ROWS, COLUMNS, LINES, SECONDS = 40, 150, 2_000, 4.0
KEY, PORT = "key-of-the-picture", 8787
TARGETS = [("openai-prod", "openai", "gpt-4.1-nano"), ("claude-prod", "anthropic", "claude-haiku-4-5")]
COMMAND = ["proxy-plugin", "batch", "submit", "questions.jsonl", "--config", "pc-split", "--watch"]
_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\][^\x07]*\x07|(\r)|(\n)|([^\x1b\r\n]+|\x1b)")


class Screen:
    """What stands on a terminal: lines that keep their colours. Knows the few controls that a progress bar needs."""

    def __init__(self) -> None:
        self.lines, self._row = [""], 0

    def feed(self, text: str) -> None:
        """Take what a program wrote."""
        for found in _CONTROL.finditer(text):
            count, name, start, end, words = found.groups()
            if name == "A":
                self._row = max(self._row - int(count or 1), 0)
            elif name == "K" or start:
                self.lines[self._row] = "" if name else self.lines[self._row]
            elif name == "m":
                self.lines[self._row] += found[0]
            elif end:
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif words and words != "\x1b":
                self.lines[self._row] += words

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self.lines).rstrip()


@contextmanager
def _gateway(home: Path) -> Iterator[None]:
    providers = [provider for _, provider, _ in TARGETS]
    paced = {name: how for each in providers for name, how in virtual_keys.paced(each, SECONDS).items()}
    with Sandbox(providers=providers, options=paced) as sandbox:
        keys = {slug: virtual_keys.virtual_key(each, sandbox.url(each)) for slug, each, _ in TARGETS}
        split = [{"provider": f"@{slug}", "override_params": {"model": model}} for slug, _, model in TARGETS]
        ours = {
            "server": {"port": PORT},
            "storage": {"data_dir": str(home / "var")},
            "api_keys": [{"name": "picture", "key": KEY}],
            "virtual_keys": keys,
            "configs": {"pc-split": {"strategy": {"mode": "loadbalance"}, "targets": split}},
            "engine": {"poll_seconds_first": 0.2},
        }
        (home / "config.yaml").write_text(yaml.safe_dump({"proxy_plugin": ours}))
        command = [sys.executable, "-m", "proxy_plugin", "serve", "--config", str(home / "config.yaml")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                _until_healthy()
                yield
            finally:
                process.terminate()


def _until_healthy() -> None:
    for _ in range(200):
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=1).close()
            return
        time.sleep(0.05)
    raise SystemExit("the gateway does not start")


def _shown(home: Path) -> tuple[str, str]:
    """Return what stands on the terminal about half-way, and at the end."""
    with (home / "questions.jsonl").open("w") as file:
        for n in range(LINES):
            body = {"model": "-", "max_tokens": 50, "messages": [{"role": "user", "content": f"Question {n}?"}]}
            line = {"custom_id": f"q-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environ = os.environ | {"PORTKEY_API_KEY": KEY, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    command = [sys.executable, "-m", "proxy_plugin", *COMMAND[1:]]
    paths = {"PYTHONPATH": str(PICTURE.parents[2])}
    with subprocess.Popen(command, cwd=home, env=environ | paths, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        return _read(ours)


def _read(terminal: int) -> tuple[str, str]:
    screen, half = Screen(), ""
    with suppress(OSError):  # the program has ended
        while data := os.read(terminal, 65_536):
            screen.feed(data.decode())
            done = re.findall(r"([\d,]+) completed", screen.text())
            if not half and done and int(done[-1].replace(",", "")) > LINES // 3:
                half = screen.text().splitlines()[-1]
    os.close(terminal)
    return half, screen.text()


def main() -> int:
    """Draw the picture."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, _gateway(Path(folder)):
        half, end = _shown(Path(folder))
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text(f"$ {' '.join(COMMAND)}", style="bold"))
    begun, ended = end.splitlines()[:2], end.splitlines()[2:]
    console.print(
        *map(Text.from_ansi, begun), Text.from_ansi(half), Text("…"), Text.from_ansi("\n".join(ended)), sep="\n"
    )
    PICTURE.parent.mkdir(exist_ok=True)
    drawn = console.export_svg(title="proxy-plugin batch submit --watch", unique_id="watch")
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))  # fonts would come from elsewhere
    return 0


if __name__ == "__main__":
    sys.exit(main())
