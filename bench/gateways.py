"""Three gateways in front of the same OpenAI stand-in, one after the other: this one, LiteLLM's proxy, Portkey's.

Each is a process of its own with the defaults it is installed with, asked by the same client over HTTP. LiteLLM's and
Portkey's pass files and batches on to the provider and keep nothing, so their status reads include the provider's
answer; a lost reply is then the client's to deal with, which tries again as OpenAI's SDK does.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from bench import processes, report
from bench.client import HOST, Client, Latencies
from bench.lines import MEGABYTE, write_lines
from bench.memory import ENGINE
from bench.probe import Watch, largest
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.ports import free_port
from tests.support.stack import HEADERS, Gateway, lane

ROOT = Path(__file__).resolve().parent.parent
LITELLM = ROOT / ".venv-litellm" / "bin" / "litellm"
PORTKEY = ROOT / ".venv-peers" / "node" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
STARTS, START_SECONDS = 3, 120.0
SETTLE_SECONDS, READ_SECONDS = 3.0, 5.0
MASTER_KEY = "sk-of-the-bench"
FEW_LINES = 100  # of the batch whose replies are lost
LOST, TRIES = 2, 3  # replies to creates that are lost, and how often OpenAI's SDK asks
CERTAIN_SECONDS = 10.0  # in which a gateway may find out what became of a create
ORDER = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway: the headers of its callers, where it says that it is up, and what starts it on a port."""

    name: str
    headers: Mapping[str, str]
    health: str
    start: Callable[[int], subprocess.Popen[bytes]]


@dataclass(slots=True)
class Found:
    """What was measured of one gateway: seconds, bytes, answers a second, jobs at the provider."""

    name: str
    start: float = 0.0
    idle: int = 0
    upload: float = 0.0
    cpu: float = 0.0
    growth: int = 0
    reads: Latencies = field(default_factory=lambda: Latencies(array("d"), 1.0))
    jobs: int = 0


def run(home: Path, lines: int) -> None:
    """Print the table. What is not installed is said, and left out."""
    report.note(f"gateways: {lines:,} lines")
    home.mkdir(parents=True)
    source = home / "input.jsonl"
    write_lines(source, lines)
    with Sandbox(providers=["openai"], directory=home / "sandbox", options=_UNLIMITED) as sandbox:
        found = [_measured(home, each, sandbox, source) for each in peers(home, sandbox)]
    report.say(f"### {lines:,} lines to OpenAI's stand-in, through each gateway")
    report.say(table(found))
    for name, path, remedy in _INSTALLED:
        if not path.exists():
            report.say(f"{name} is not installed: {remedy}.")
    report.say(_READING)


_READING = f"""\
`x`: how often this gateway's figure it is. Medians of {STARTS} starts; memory is the PSS of the whole tree; status
reads go over one connection, and LiteLLM and Portkey pass them on to the provider. Jobs: one batch is created while the
provider loses {LOST} replies to creates that it has accepted, by a client that asks up to {TRIES} times, as OpenAI's
SDK does; each job is paid for. Portkey's gateway reaches the files of Bedrock and Vertex AI at Amazon's and Google's
own addresses alone."""
_UNLIMITED = {"openai": {"creates_per_hour": 10**6, "uploads_per_minute": 10**6, "run_seconds": 10**6}}
_INSTALLED = (
    ("LiteLLM's proxy", LITELLM, "make .venv-litellm/.made"),
    ("Portkey's gateway", PORTKEY, "make bench-peers, with Node"),
)


def peers(home: Path, sandbox: Sandbox) -> Iterator[Peer]:
    """Yield the gateways that are there, ours first."""
    yield _ours(home / "ours", sandbox)
    if LITELLM.exists():
        yield _litellm(home / "litellm", sandbox)
    if PORTKEY.exists() and shutil.which("node"):
        yield _portkey(sandbox)


def _ours(home: Path, sandbox: Sandbox) -> Peer:
    home.mkdir()
    gateway = Gateway(home, {"lane": lane(sandbox)}, dict(ENGINE))

    def start(port: int) -> subprocess.Popen[bytes]:
        gateway.port = port
        gateway.write_config()
        gateway.start(wait=False)
        assert isinstance(gateway.process, subprocess.Popen)
        return gateway.process

    return Peer("proxy-plugin", HEADERS, "/healthz", start)


def _litellm(home: Path, sandbox: Sandbox) -> Peer:
    home.mkdir()
    told = {"api_base": sandbox.url("openai"), "api_key": "sk-sandbox"}
    config = {
        "model_list": [{"model_name": "gpt-4.1-nano", "litellm_params": {"model": "openai/gpt-4.1-nano", **told}}],
        "files_settings": [{"custom_llm_provider": "openai", **told}],
        "general_settings": {"master_key": MASTER_KEY},
    }
    (home / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    env = {"OPENAI_API_KEY": told["api_key"], "OPENAI_BASE_URL": told["api_base"], "OPENAI_API_BASE": told["api_base"]}
    env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}

    def start(port: int) -> subprocess.Popen[bytes]:
        command = [str(LITELLM), "--config", str(home / "config.yaml"), "--host", HOST, "--port", str(port)]
        return _spawned(command, home / "log", env)

    return Peer("LiteLLM", {"Authorization": f"Bearer {MASTER_KEY}"}, "/health/liveliness", start)


def _portkey(sandbox: Sandbox) -> Peer:
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": sandbox.url("openai")}

    def start(port: int) -> subprocess.Popen[bytes]:
        return _spawned(["node", str(PORTKEY), f"--port={port}", "--headless"], Path(os.devnull), {})

    return Peer("Portkey", {**headers, "Authorization": "Bearer sk-sandbox"}, "/", start)


def _spawned(command: list[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **env}, start_new_session=True)


# One gateway.


def _measured(home: Path, peer: Peer, sandbox: Sandbox, source: Path) -> Found:
    report.note(f"gateways: {peer.name}")
    found, starts = Found(peer.name), list[float]()
    for number in range(STARTS):
        with _running(peer) as (port, pid, seconds):
            starts.append(seconds)
            if number < STARTS - 1:
                continue
            watch = Watch("memory", pid, home / "memory")
            time.sleep(SETTLE_SECONDS)
            found.idle = sum(map(processes.pss, processes.tree(pid)))
            file_id = _uploaded(watch, peer, port, pid, source, found)
            client = Client(port, peer.headers)
            batch = client.call("POST", "/batches", ORDER | {"input_file_id": file_id})["id"]
            found.reads = _reads(port, f"/v1/batches/{batch}", peer.headers)
            client.close()
            again = Client(port, peer.headers)  # the connection of before may be closed at the other end
            found.jobs = _after_lost_replies(peer, port, again.upload(_few(source)), sandbox)
            again.close()
    found.start = sorted(starts)[len(starts) // 2]
    return found


@contextmanager
def _running(peer: Peer) -> Iterator[tuple[int, int, float]]:
    """Yield port, process id and the seconds from exec to healthy."""
    port, began = free_port(), time.monotonic()
    process = peer.start(port)
    try:
        while not _healthy(port, peer.health):
            if process.poll() is not None or time.monotonic() > began + START_SECONDS:
                raise RuntimeError(f"{peer.name} did not start")
            time.sleep(0.005)
        yield port, process.pid, time.monotonic() - began
    finally:
        for pid in reversed(processes.tree(process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait(30)


def _healthy(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _uploaded(watch: Watch, peer: Peer, port: int, pid: int, source: Path, found: Found) -> str:
    """Upload the file, and note what that took; return its id."""
    client, before, began = Client(port, peer.headers), processes.cpu_seconds(processes.tree(pid)), time.monotonic()
    file_id = client.upload(source)
    found.upload = time.monotonic() - began
    found.cpu = processes.cpu_seconds(processes.tree(pid)) - before
    found.growth = max(int(largest(watch.stop().during(began, time.monotonic()))) - found.idle, 0)
    client.close()
    return file_id


def _reads(port: int, path: str, headers: Mapping[str, str]) -> Latencies:
    """Read the status of a batch again and again over one connection."""
    connection, took, began = http.client.HTTPConnection(HOST, port, timeout=30), array("d"), time.perf_counter()
    while (now := time.perf_counter()) - began < READ_SECONDS:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status} to a status read")
        took.append(time.perf_counter() - now)
    connection.close()
    return Latencies(took, now - began)


def _few(source: Path) -> Path:
    """Return the first lines of a file: every gateway makes one job of them, however many a long file becomes."""
    few = source.with_name("few.jsonl")
    with source.open("rb") as lines:
        few.write_bytes(b"".join(islice(lines, FEW_LINES)))
    return few


def _after_lost_replies(peer: Peer, port: int, file_id: str, sandbox: Sandbox) -> int:
    """Create one batch whose replies are lost on the way from the provider; return how many jobs that made."""
    control = sandbox.control
    _quiet(sandbox)
    before = len(control.log())
    control.faults([{"kind": "drop_after", "on": "batches.create", "times": LOST}])
    for number in range(TRIES):
        if _created(peer, port, file_id, number):
            break
    _quiet(sandbox)
    control.faults([])
    return len(control.log()) - before


def _created(peer: Peer, port: int, file_id: str, number: int) -> bool:
    """Ask once; tell whether OpenAI's SDK would be content."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    headers = {**peer.headers, "Content-Type": "application/json", "x-stainless-retry-count": str(number)}
    try:
        connection.request("POST", "/v1/batches", json.dumps(ORDER | {"input_file_id": file_id}), headers)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _quiet(sandbox: Sandbox) -> None:
    """Return when no job was made for some time: what is sent again, or looked up, has been."""
    known, since = -1, time.monotonic()
    while time.monotonic() - since < CERTAIN_SECONDS:
        if (jobs := len(sandbox.control.log())) != known:
            known, since = jobs, time.monotonic()
        time.sleep(0.2)


# The table.


def table(found: list[Found]) -> str:
    """Return one row for each figure: the others' as multiples of ours first, then all of them."""
    ours, *others = found
    head = ("", *(f"{each.name}, x" for each in others), *(each.name for each in found))
    rows = [
        (title, *(_times(read(each), read(ours)) for each in others), *(form.format(read(each)) for each in found))
        for title, form, read in _FIGURES
    ]
    return report.table(head, rows)


def _times(value: float, ours: float) -> str:
    return f"{value / ours:.2g}" if ours else "-"


_FIGURES: tuple[tuple[str, str, Callable[[Found], Any]], ...] = (
    ("start to healthy, s", "{:.2f}", lambda each: each.start),
    ("idle memory, MB", "{:.0f}", lambda each: each.idle / MEGABYTE),
    ("upload, s", "{:.2f}", lambda each: each.upload),
    ("upload, CPU s", "{:.2f}", lambda each: each.cpu),
    ("upload, growth of memory, MB", "{:.0f}", lambda each: each.growth / MEGABYTE),
    ("status reads a second", "{:,.0f}", lambda each: each.reads.rate),
    ("status read, 99th percentile, ms", "{:.1f}", lambda each: each.reads.quantile(0.99) * 1000),
    ("jobs after a lost reply", "{}", lambda each: each.jobs),
)
