"""Connections before any key is known: silent, half, slow, flooding, and too many; with a key: slow bodies, no reading.

A crowd keeps its connections up from this process while the victim, a process of its own, is watched. The slice has the
silent ones and a crowd in all manners; with `--campaign` each manner has a crowd of its own, of 10,000 and for longer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.attacks.crowd import Crowd, Manner
from tests.attacks.rig import MOST_HEALTHZ, Seen, Town, key_of, show
from tests.support.waiting import until

CAP = 500  # connections of the gateway under attack
FILES = 300  # descriptors that it may have open beside
MOST_GROWTH = 64 * 2**20  # bytes; promise 3
HEAD = b"GET /v1/files HTTP/1.1\r\nHost: x\r\n"
KEYED = b"x-portkey-api-key: " + key_of("attacker").encode() + b"\r\n"
SLOW = b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n"
OF_BATCHES = {"proxy_plugin.engine", "proxy_plugin.batches"}  # who tells of the victim's own work, some lines a batch
LOG_LINES = 100  # of the crowd, beside one a request and one a refusal

MANNERS = {
    "silent": Manner(a_turn=75),
    "half a head": Manner(HEAD),
    "half a large head": Manner(HEAD + b"".join(b"X-%d: %b\r\n" % (n, b"x" * 15_000) for n in range(4))),
    "a head byte by byte": Manner(HEAD + b"X: ", b"x"),
    "empty lines": Manner(b"\r\n", b"\r\n"),
    "nonsense": Manner(b"nonsense\r\n\r\n" * 20),
    "nonsense behind a request": Manner(HEAD + b"\r\nnonsense\r\n\r\n", b"nonsense\r\n\r\n"),
    "TLS": Manner(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500),
    "a flood of headers": Manner(HEAD + b"X: y\r\n" * 5000),
    "one endless header": Manner(HEAD + b"X: " + b"y" * 60_000, b"y" * 10_000),
    "requests without a key, kept": Manner(HEAD + b"\r\n"),
    "forty requests at once": Manner((HEAD + b"\r\n") * 40),
    "bodies without a key": Manner(SLOW + b"\r\n{", b" "),
    "bodies byte by byte": Manner(SLOW + KEYED + b"\r\n{", b" "),
}
SLICE = ("silent", "all of them")


@pytest.fixture(scope="module")
def many(campaign: bool) -> int:
    return 10_000 if campaign else 700


@pytest.fixture(scope="module")
def seconds(campaign: bool) -> float:
    return 30.0 if campaign else 2.0


def virtual_keys(sandbox: Sandbox) -> dict[str, Any]:
    lane = find("openai")
    return {"lane": lane.virtual_key(sandbox.url(lane.provider))}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Town]:
    """One gateway for all attacks: what one of them leaves behind, the next would show."""
    bounds = {"connections": {"max_open": CAP, "head_seconds": 1.5}}
    made = Town(tmp_path_factory.mktemp("guarded"), virtual_keys(sandbox), sections=bounds)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def quiet(guarded: Town) -> Seen:
    guarded.watch(0.1)  # the first batch starts the workers
    return guarded.watch(2.0)


def files_open(town: Town) -> int:
    assert town.process is not None
    return len(list(Path(f"/proc/{town.process.pid}/fd").iterdir()))


def memory(town: Town) -> int:
    assert town.process is not None
    for line in Path(f"/proc/{town.process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells no Pss")


def events(town: Town, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in town.log.read_text().splitlines()]
    return [line for line in found if line["event"] == name]


def served(seen: Seen) -> None:
    """The victim is served, and /healthz at once. What a batch takes is shown: the crowd and it share two cores."""
    assert not seen.failed, f"the victim was not served: {seen}"
    assert seen.worst("healthz") < MOST_HEALTHZ, f"the victim waited: {seen}"


def attacked(town: Town, quiet: Seen, name: str, crowd: Crowd, seconds: float) -> None:
    """Watch the victim, the files and the memory of the gateway while a crowd is there."""
    before, most_files, most_memory = memory(town), 0, 0
    with crowd.there():
        until(lambda: crowd.opened >= min(crowd.many, CAP))
        with town.watching() as seen:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                most_files, most_memory = max(most_files, files_open(town)), max(most_memory, memory(town))
                time.sleep(0.1)
    grown = (most_memory - before) / 2**20
    show(f"{name}: {crowd.opened} connections, {most_files} files, {grown:+.1f} MB", quiet, seen)
    served(seen)
    assert most_files <= CAP + FILES
    assert most_memory - before < MOST_GROWTH
    assert town.alive()
    assert not events(town, "accept_failed")
    until(lambda: files_open(town) < FILES, lambda: f"{files_open(town)} files are open still")


@pytest.mark.parametrize("name", ["all of them", *MANNERS])
def test_a_crowd_does_not_make_the_victim_wait(
    guarded: Town, quiet: Seen, name: str, many: int, seconds: float, campaign: bool
) -> None:
    if not campaign and name not in SLICE:
        pytest.skip("--campaign")
    before = len(guarded.log.read_text().splitlines())
    crowd = Crowd(guarded.port, many, [MANNERS[name]] if name in MANNERS else list(MANNERS.values()))
    attacked(guarded, quiet, name, crowd, seconds)
    assert not [line for line in crowd.answers if b" 50" in line]
    lines = [json.loads(line) for line in guarded.log.read_text().splitlines()[before:]]
    answered = ("request", "request_unreadable")
    others = [each for each in lines if each["event"] not in answered and each["logger"] not in OF_BATCHES]
    assert len(others) < LOG_LINES, Counter(each["event"] for each in others)
    assert not [line for line in events(guarded, "connections_closed") if line["level"] != "warning"]


def test_downloads_that_nobody_reads(guarded: Town, quiet: Seen, seconds: float) -> None:
    line = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"x":"%b"}}\n' % (b"x" * 4_000_000)
    file_id = guarded.attacker.upload(line * 5)
    ask = b"GET /v1/files/%b/content HTTP/1.1\r\nHost: x\r\n" % file_id.encode()
    crowd = Crowd(guarded.port, CAP - 50, [Manner(ask + KEYED + b"\r\n", reads=False)])
    attacked(guarded, quiet, "unread downloads", crowd, seconds)


# ---- few files ----


@pytest.fixture
def poor(tmp_path: Path, sandbox: Sandbox) -> Iterator[Town]:
    """A gateway whose process may open 256 files, and not raise that."""
    made = Town(tmp_path, virtual_keys(sandbox), wrap=["prlimit", "--nofile=256:256"])
    yield made
    made.close()


def test_where_few_files_may_be_open_few_connections_are(poor: Town, many: int) -> None:
    poor.start()
    poor.watch(0.1)  # the first batch starts the workers
    quiet = poor.watch(1.0)
    crowd = Crowd(poor.port, many, [Manner(HEAD)])
    with crowd.there():
        until(lambda: crowd.opened >= many)
        seen = poor.watch(1.0)
    show("256 files", quiet, seen)
    served(seen)
    assert not events(poor, "accept_failed")


def test_a_gateway_that_may_accept_no_more_survives_and_says_so_once(poor: Town) -> None:
    poor.sections = {"connections": {"max_open": 5000, "head_seconds": 2}}
    poor.write_config()
    poor.start()
    crowd = Crowd(poor.port, 400, [Manner()])
    with crowd.there():
        until(lambda: events(poor, "accept_failed"))
        until(lambda: crowd.closed > 100)
    assert poor.alive()
    assert len(events(poor, "accept_failed")) <= 2, "a minute is long"
    assert len(poor.log.read_text().splitlines()) < LOG_LINES
    until(lambda: files_open(poor) < FILES)
    seen = poor.watch(0.5)
    assert not seen.failed


def test_the_limit_is_raised_at_the_start_and_shown_by_check(poor: Town) -> None:
    poor.wrap = ["prlimit", "--nofile=256:700"]
    poor.start()
    assert poor.process is not None
    limits = Path(f"/proc/{poor.process.pid}/limits").read_text()
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")] == ["700"]
    assert events(poor, "bounds")[0]["open_files"] == 700
    command = [*poor.wrap, sys.executable, "-m", "proxy_plugin", "check", "--config", str(poor.config)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "open files at most 700; 256 until the gateway raises it" in told
