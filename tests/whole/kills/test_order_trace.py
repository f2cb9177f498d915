"""The order of durable and sent, recorded by the kernel: nothing is sent on the strength of what is not on the disk."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway
from tests.whole.kills.scenes import CAMPAIGNS, KINDS, Campaign

CALLS = "fsync,fdatasync,pwrite64,rename,renameat,renameat2,sendto,write,writev,sendmsg"


class Wire:
    """How the calls of a stand-in look on the wire. `document` takes the native document to the provider."""

    def __init__(self, stand_in: StandIn) -> None:
        base = f"/{stand_in.provider}{stand_in.root}"
        jobs = f"{base}/{stand_in.jobs}"
        self.fence = f"GET {jobs}{stand_in.newest}" if stand_in.newest else ""
        self.create = f"POST {base}/{stand_in.creates or stand_in.jobs}"
        self.poll = f"GET {base}/{stand_in.one or stand_in.jobs}/"
        place, named, _ = stand_in.uploads.partition("{")
        self.document = f"{'PUT' if named else 'POST'} {base}/{place}" if place else self.create


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One lane of each kind; the campaign has all."""
    if "own" in metafunc.fixturenames:
        lanes = CAMPAIGNS if metafunc.config.getoption("--campaign") else KINDS
        metafunc.parametrize("lane", lanes, scope="module")


@pytest.fixture(scope="module")
def own(lane: str) -> Campaign:
    return CAMPAIGNS[lane]


@pytest.fixture
def wire(own: Campaign) -> Wire:
    return Wire(own.stand_in)


@pytest.fixture(scope="module")
def trace(own: Campaign, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Run one batch under strace; return the system calls in the order in which they ended."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    home = tmp_path_factory.mktemp("trace")
    log = home / "calls"
    with Sandbox() as sandbox:
        wrap = [strace, "-f", "-y", "-s", "200", "-o", str(log), "-e", f"trace={CALLS}"]
        own.prepare(sandbox)
        gateway = Gateway(home, {"lane": own.key(sandbox)}, wrap=wrap, endpoint=own.stand_in.endpoint)
        gateway.start()
        if not gateway.alive():
            pytest.skip("processes cannot be traced here")
        try:
            gateway.until(
                gateway.create(
                    gateway.upload(jsonl(chat_lines(5, model=own.stand_in.model, url=own.stand_in.endpoint)))
                )["id"]
            )
            assert gateway.process is not None
            for child in psutil.Process(gateway.process.pid).children():
                child.send_signal(signal.SIGTERM)
            gateway.process.wait(30)
        finally:
            gateway.close()
    return ended(log)


def ended(log: Path) -> list[str]:
    """Join calls that strace shows in two halves, at the place where they ended; sends at the place they began."""
    calls, waiting = list[str](), dict[str, tuple[str, int]]()
    for line in log.read_text(errors="replace").splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            waiting[thread] = (call.removesuffix("<unfinished ...>"), len(calls))
            calls.append(call if is_send(call) else "")
        elif found := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            begun, _ = waiting.pop(thread)
            calls.append("" if is_send(begun) else begun + found[1])
        else:
            calls.append(call)
    return [call for call in calls if call]


def is_send(call: str) -> bool:
    return (call.startswith(("sendto(", "sendmsg(", "write(", "writev(")) and "socket:" in call) or "TCP:" in call


def first(trace: list[str], *words: str, start: int = 0) -> int:
    for n in range(start, len(trace)):
        if all(word in trace[n] for word in words):
            return n
    raise AssertionError(f"no call with {words}")


def test_the_intent_is_synced_before_the_first_byte_of_the_create(trace: list[str], wire: Wire) -> None:
    fence = first(trace, wire.fence) if wire.fence else 0
    create = first(trace, wire.create)
    wal = [n for n in range(create) if "registry.sqlite3-wal" in trace[n]]
    written = [n for n in wal if trace[n].startswith("pwrite64(")]
    synced = [n for n in wal if trace[n].startswith(("fsync(", "fdatasync("))]
    assert written, "the trace shows no write of the registry"
    assert fence < written[-1] < synced[-1] < create, "sent was not durable before the create"


def test_the_job_id_is_synced_before_the_job_is_polled(trace: list[str], wire: Wire) -> None:
    create = first(trace, wire.create)
    poll = first(trace, wire.poll, start=create)
    first(trace[create:poll], "registry.sqlite3-wal", "sync(")


def test_the_native_document_is_synced_before_it_is_uploaded(trace: list[str], wire: Wire) -> None:
    upload = first(trace, wire.document)
    document = first(trace, "sync(", "00000.native")
    manifest = first(trace, "sync(", "manifest.json")
    assert document < manifest < upload


def test_an_upload_is_synced_named_and_recorded_before_its_reply(trace: list[str]) -> None:
    content = first(trace, "sync(", "/data/tmp/")
    renamed = first(trace, "rename", "/data/tmp/", start=content)
    folder = first(trace, "fsync(", "/data/files/", start=renamed)
    row = first(trace, "sync(", "registry.sqlite3-wal", start=folder)
    reply = next(n for n in range(len(trace)) if "HTTP/1.1 200 OK" in trace[n] and n > content)
    assert content < renamed < folder < row < reply


def test_the_output_is_synced_before_the_batch_is_called_completed(trace: list[str]) -> None:
    output = first(trace, "sync(", "output.jsonl")
    ledger = first(trace, "sync(", "ledger.jsonl")
    published = first(trace, "rename", "output.jsonl", "/data/files/")
    row = first(trace, "sync(", "registry.sqlite3-wal", start=published)
    assert output < published < row
    assert ledger < row
