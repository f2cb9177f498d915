"""What the gateway in front adds to a call that is forwarded: whole answers, first chunks of SSE, and large bodies.

Each pair of calls is one directly to the upstream and one through the gateway, in turn, in one run: what the machine
does besides is in both. The upstream is a stand-in, and the real LiteLLM with mock models where `.venv-litellm` has it.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from statistics import median

import yaml

from bench import processes, report
from bench.lines import MEGABYTE
from tests.support.ports import free_port
from tests.support.stack import Gateway

MEDIAN_BOUND, P99_BOUND, BODY_BOUND = 0.002, 0.005, 1.1  # seconds, seconds, times direct
CALLS, BODY, BODIES = 2_000, 100, 7  # of a kind; MB; of a kind
MASTER = "sk-" + "b3nch" * 8
LITELLM = Path(".venv-litellm/bin/python")
START_SECONDS = 180.0
_PIECE = b"x" * 65_536
CHAT = {"model": "mock", "messages": [{"role": "user", "content": "Say hello. " * 20}]}


@dataclass(slots=True)
class Pairs:
    """Seconds of calls that were made in turn, and what the gateway's process took of the CPU for one."""

    direct: list[float] = field(default_factory=list)
    through: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def quantile(self, share: float) -> tuple[float, float]:
        """Return that of the direct and of the other calls."""
        return tuple(sorted(each)[min(len(each) - 1, int(len(each) * share))] for each in (self.direct, self.through))  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Side:
    """One end that calls are made to, over one connection that stays open."""

    port: int
    connection: http.client.HTTPConnection

    @classmethod
    def at(cls, port: int) -> Side:
        """Return that of a port here."""
        return cls(port, http.client.HTTPConnection("127.0.0.1", port, timeout=120))

    def whole(self) -> float:
        """Return the seconds of a chat call, until its answer has come."""
        return self._chat(CHAT, lambda answer: answer.read())

    def first_chunk(self) -> float:
        """Return the seconds of a streamed chat call, until its first chunk is here; the rest is read behind that."""
        return self._chat(CHAT | {"stream": True}, lambda answer: answer.readline())

    def _chat(self, body: Mapping[str, object], until: Callable[[http.client.HTTPResponse], bytes]) -> float:
        data, headers = json.dumps(body), {"Authorization": f"Bearer {MASTER}", "Content-Type": "application/json"}
        began = time.perf_counter()
        self.connection.request("POST", "/v1/chat/completions", data, headers)
        answer = self.connection.getresponse()
        seen = until(answer)
        took = time.perf_counter() - began
        answer.read()
        if answer.status != 200 or not seen:
            raise RuntimeError(f"HTTP {answer.status} from port {self.port}")
        return took

    def upload(self, size: int, path: str = "/swallow") -> float:
        """Return the seconds of a request with a large body."""
        pieces = repeat(_PIECE, size // len(_PIECE))
        headers = {"Authorization": f"Bearer {MASTER}", "Content-Length": str(size // len(_PIECE) * len(_PIECE))}
        if path != "/swallow":  # as JSON: one long text
            head, tail = b'{"model": "mock", "messages": [{"role": "user", "content": "', b'"}]}'
            headers |= {"Content-Type": "application/json"}
            headers["Content-Length"] = str(int(headers["Content-Length"]) + len(head) + len(tail))
            pieces = chain([head], pieces, [tail])  # type: ignore[assignment]
        began = time.perf_counter()
        self.connection.request("POST", path, pieces, headers)
        answer = self.connection.getresponse()
        answer.read()
        return self._took(began, answer)

    def download(self, size: int) -> float:
        """Return the seconds of a request with a large answer."""
        began = time.perf_counter()
        self.connection.request("GET", f"/large/{size}", headers={"Authorization": f"Bearer {MASTER}"})
        answer = self.connection.getresponse()
        while answer.read(1 << 18):
            pass
        return self._took(began, answer)

    def _took(self, began: float, answer: http.client.HTTPResponse) -> float:
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status} from port {self.port}")
        return time.perf_counter() - began


def pairs(gateway: Gateway, call: Callable[[Side], float], sides: tuple[Side, Side], count: int) -> Pairs:
    """Make so many calls of each side in turn, the first of each pair by turns; a tenth more before that warms up."""
    found = Pairs()
    assert gateway.process is not None
    pids = processes.tree(gateway.process.pid)
    for _ in range(max(1, count // 10)):
        call(sides[0]), call(sides[1])
    cpu = processes.cpu_seconds(pids)
    for n in range(count):
        for which in (0, 1) if n % 2 else (1, 0):
            (found.through if which else found.direct).append(call(sides[which]))
    found.cpu = (processes.cpu_seconds(pids) - cpu) / count
    return found


def run(home: Path, calls: int = CALLS, size: int = BODY * MEGABYTE) -> None:
    """Print the tables."""
    home.mkdir(parents=True)
    report.say("### A forwarded call, directly and through the gateway, in turn")
    rows: list[tuple[str, ...]] = []
    bodies: list[tuple[str, ...]] = []
    for name, upstream, large in _upstreams(home):
        with upstream as port, fronted(home / name.replace(" ", "-"), port) as gateway:
            report.note(f"front: {name}, {calls} calls of a kind")
            sides = Side.at(port), Side.at(gateway.port)
            with closing(sides[0].connection), closing(sides[1].connection):
                few = calls if name == "stand-in" else max(20, calls // 4)
                rows += [_row(f"{name}, whole answer", pairs(gateway, Side.whole, sides, few))]
                rows += [_row(f"{name}, first chunk", pairs(gateway, Side.first_chunk, sides, few))]
                for what, move in large(size):
                    bodies += [_body_row(f"{name}, {what}", size, pairs(gateway, move, sides, BODIES))]
    head = ("call", "direct p50, ms", "p99", "through p50", "p99", "more p50, ms", "more p99", "gateway CPU, µs")
    report.say(report.table(head, rows))
    report.say(report.table(("body", "MB", "direct, s", "through, s", "ratio", "gateway CPU, ms/MB"), bodies))
    report.say(
        f"One connection a side, each call when the last is answered. Bounds: {MEDIAN_BOUND * 1000:.0f} ms more at"
        f" the median, {P99_BOUND * 1000:.0f} ms at the 99th percentile, {BODY_BOUND} times direct for a body."
    )


def _row(name: str, found: Pairs) -> tuple[str, ...]:
    (d50, t50), (d99, t99) = found.quantile(0.5), found.quantile(0.99)
    shown = [f"{each * 1000:.2f}" for each in (d50, d99, t50, t99)]
    more = report.marked((t50 - d50) * 1000, MEDIAN_BOUND * 1000), report.marked((t99 - d99) * 1000, P99_BOUND * 1000)
    return (name, *shown, *more, f"{found.cpu * 1e6:.0f}")


def _body_row(name: str, size: int, found: Pairs) -> tuple[str, ...]:
    direct, through = median(found.direct), median(found.through)
    ratio = f"{through / direct:.2f}"
    told = f"**{ratio}**" if through / direct > BODY_BOUND else ratio
    per_mb = found.cpu * 1000 / (size / MEGABYTE)
    return name, f"{size / MEGABYTE:.0f}", f"{direct:.3f}", f"{through:.3f}", told, f"{per_mb:.2f}"


_Moves = Callable[[int], Sequence[tuple[str, Callable[[Side], float]]]]


def _upstreams(home: Path) -> Iterator[tuple[str, AbstractContextManager[int], _Moves]]:
    yield "stand-in", stand_in(), _stand_ins_moves
    if LITELLM.exists():
        yield "LiteLLM", real(home), _litellms_moves
    else:
        report.note(f"front: no {LITELLM}, so the stand-in alone")


def _stand_ins_moves(size: int) -> Sequence[tuple[str, Callable[[Side], float]]]:
    return ("up", lambda side: side.upload(size)), ("down", lambda side: side.download(size))


def _litellms_moves(size: int) -> Sequence[tuple[str, Callable[[Side], float]]]:
    return (("a chat of this size", lambda side: side.upload(size, "/v1/chat/completions")),)


@contextmanager
def fronted(home: Path, port: int) -> Iterator[Gateway]:
    """Run a gateway in front of a port."""
    home.mkdir(parents=True)
    gateway = Gateway(home, {}, server={"upstream": f"http://127.0.0.1:{port}"})
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.close()


@contextmanager
def stand_in() -> Iterator[int]:
    """Run `bench.front_upstream` and give its port."""
    port = free_port()
    with _process([sys.executable, "-m", "bench.front_upstream", str(port)], port, os.environ):
        yield port


@contextmanager
def real(home: Path) -> Iterator[int]:
    """Run the real LiteLLM with a mock model and give its port."""
    port, config = free_port(), home / "litellm.yaml"
    mock = {"model": "openai/mock", "api_key": "sk-none", "mock_response": "Hello there, how are you today? " * 8}
    sections = {
        "model_list": [{"model_name": "mock", "litellm_params": mock}],
        "general_settings": {"master_key": MASTER},
    }
    config.write_text(yaml.safe_dump(sections))
    command = [str(LITELLM.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    with _process(command, port, environment):
        yield port


@contextmanager
def _process(command: Sequence[str], port: int, environment: os._Environ[str] | dict[str, str]) -> Iterator[None]:
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"{command[0]} is not there")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_open(process, port)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _until_open(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            Side.at(port).whole()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the upstream did not start")
