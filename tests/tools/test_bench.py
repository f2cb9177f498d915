"""The pieces of the benchmarks: what they feed, what they watch with, what they print. No figure is judged here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from bench import floor, memory, processes, report, targets, whole
from bench.__main__ import _ran, main
from bench.client import Client, Latencies, Unexpected, answered, get, load
from bench.floor import Floor
from bench.lines import LINE_BYTES, write_lines
from bench.probe import ControlServer, Sample, Series, Watch, largest, watch_gaps
from bench.rig import Beyond, Cpu, Phase, Seen
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import HEADERS, Gateway
from tests.support.waiting import until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOLDER = """
import subprocess, sys
if sys.argv[1] == "parent":
    child = subprocess.Popen([sys.executable, "-c", sys.argv[2], "child", sys.argv[2]], stdin=sys.stdin)
    child.wait()
else:
    held = b"x" * 50_000_000
    print("held", flush=True)
    sys.stdin.read()
"""


# ---- input files ----


def test_lines_are_chat_requests_of_1_kb_with_ids_of_their_own(tmp_path: Path) -> None:
    size = write_lines(tmp_path / "input.jsonl", 3000)
    lines = [json.loads(line) for line in (tmp_path / "input.jsonl").read_bytes().splitlines()]
    assert size == (tmp_path / "input.jsonl").stat().st_size
    assert abs(size / 3000 - LINE_BYTES) < 20
    assert len({line["custom_id"] for line in lines}) == 3000
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    assert len({len(line["body"]["messages"][1]["content"]) for line in lines}) > 100, "all lines are equally long"
    assert any("発送" in line["body"]["messages"][1]["content"] for line in lines)


# ---- the probes ----


@contextmanager
def answering(delays: list[float]) -> Iterator[int]:
    """Serve one connection that answers request after request, each after its delay, then no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as peer:
                for delay in delays:
                    if not peer.recv(4096):
                        return
                    time.sleep(delay)
                    peer.sendall(ANSWER)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join()


def test_a_stall_of_the_server_is_the_largest_gap() -> None:
    record = array("d")
    with answering([0, 0, 0.3, 0, 0]) as port, pytest.raises(ConnectionError):
        watch_gaps(port, record, lambda: True)
    waits = record[2::4]
    assert waits[2] == max(waits) >= 0.3


def test_a_stall_that_outlives_the_watch_is_recorded() -> None:
    record, going = array("d"), iter([True, True])
    with answering([0]) as port, pytest.raises(ConnectionError):
        watch_gaps(port, record, lambda: next(going))
    assert len(record) == 2 * 4, "the request that was never answered left no record"


def catches_sigterm(pid: int) -> bool:
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_watches_run_by_themselves_and_hand_over_what_they_saw(tmp_path: Path) -> None:
    server = ControlServer()
    try:
        gaps = Watch("gaps", server.port, tmp_path / "gaps")
        size = Watch("memory", server.pid, tmp_path / "memory")
        until(lambda: catches_sigterm(gaps.pid) and catches_sigterm(size.pid), "the watches")
        time.sleep(1)
        seen, grown = gaps.stop(), size.stop()
    finally:
        server.stop()
    assert len(seen.samples) > 5
    assert len(grown.samples) > 2
    assert all(5e6 < each.value == each.more < 5e8 for each in grown.samples)


def test_a_look_belongs_to_every_phase_that_it_touches() -> None:
    looks = (Sample(1.0, 1.01, 0.01, 0), Sample(2.0, 5.0, 3.0, 0), Sample(6.0, 6.02, 0.02, 0))
    series = Series(looks)
    assert series.during(4.0, 4.5) == [looks[1]], "a stall that began before the phase"
    assert series.during(5.5, 7.0) == [looks[2]]
    assert series.during(5.8, 5.9) == [looks[2]], "a phase between two looks has the nearer one"
    assert largest(series.during(0.0, 9.0)) == 3.0


def test_looks_that_reach_into_a_hold_of_the_gateway_are_left_out() -> None:
    looks = tuple(Sample(at, at + 0.5, 0.5, 0) for at in (1.0, 2.0, 3.0, 4.0))
    left = Series(looks).without([(2.4, 3.1), (9.0, 9.5)])
    assert [each.at for each in left.samples] == [1.0, 4.0]


def test_a_series_that_was_cut_off_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "series").write_bytes(array("d", [1.0, 2.0, 3.0, 4.0, 5.0]).tobytes())
    with pytest.raises(ValueError, match="shorter"):
        Series.read(tmp_path / "series")


# ---- processes ----


def test_the_memory_of_a_grandchild_counts() -> None:
    command = [sys.executable, "-c", HOLDER, "parent", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        family = processes.tree(process.pid)
        sizes = [processes.pss(pid) for pid in family]
        used = processes.cpu_seconds(family)
        process.stdin.close()
    assert len(family) == 2
    assert sizes[0] < 50_000_000 < sizes[1]
    assert used > 0
    assert processes.pss(process.pid) == processes.cpu_seconds([]) == 0


def test_a_pinned_process_stays_on_its_core() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        core = min(os.sched_getaffinity(0))
        processes.pin(process.pid, {core})
        found = os.sched_getaffinity(process.pid)
        process.communicate(b"\n")
    assert found == {core}


# ---- the client ----


def test_an_answer_is_whole_when_all_its_bytes_are_there() -> None:
    assert [answered(ANSWER[:cut]) for cut in (10, len(ANSWER) - 1, len(ANSWER))] == [False, False, True]
    with pytest.raises(Unexpected, match="404"):
        answered(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def test_the_client_uploads_downloads_and_loads_the_gateway(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {})
    content = jsonl(chat_lines(50))
    (tmp_path / "in.jsonl").write_bytes(content)
    gateway.start()
    try:
        with closing(Client(gateway.port, HEADERS)) as client:
            file_id = client.upload(tmp_path / "in.jsonl")
            received = client.download(file_id)
            with pytest.raises(Unexpected, match="404"):
                client.call("GET", "/files/file-none")
        stored = gateway.call("GET", f"/files/{file_id}/content")
        answers = load(gateway.port, [get(f"/v1/files/{file_id}", HEADERS)], 3, 0.3)
    finally:
        gateway.close()
    assert stored == content
    assert (received.bytes, received.lines) == (len(content), 50)
    assert len(answers.seconds) >= 3


def test_a_question_is_asked_again_where_the_connection_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b""):
                with server.accept()[0] as peer:
                    peer.recv(4096)
                    peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client(server.getsockname()[1], HEADERS)
        assert client.call("GET", "/batches/b") == {}
        client.close()
        with pytest.raises(ConnectionError):
            client.call("POST", "/batches", {})
        thread.join()


def test_an_empty_server_takes_something() -> None:
    found = floor.empty_server(0.2)
    assert 0 < found.answer < 0.1
    assert found.memory > 10**6


def test_quantiles_are_of_the_answers() -> None:
    took = Latencies(array("d", [0.4, 0.1, 0.2, 0.3]), 2.0)
    assert (took.rate, took.quantile(0.5), took.quantile(0.99), took.quantile(1)) == (2.0, 0.3, 0.4, 0.4)


# ---- the whole way, small ----


def test_the_log_tells_which_lines_are_accepted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    accepted = memory.Accepted(log)
    event = b'{"event": "part_accepted", "lines": 7}\n'
    log.write_bytes(b'{"event": "request"}\n' + event + event[:20])
    assert (accepted.lines(), accepted.jobs()) == (7, 1)
    with log.open("ab") as more:
        more.write(event[20:])
    assert (accepted.lines(), accepted.jobs()) == (14, 2)


def test_a_small_file_goes_the_whole_way(tmp_path: Path) -> None:
    seen, least, _ = memory.whole_way(tmp_path / "bench", 300, settle=0.3)
    names = ["idle", "upload", "scan", "create, split", "submit", memory.SANDBOX_WORKS, memory.SANDBOX_WRITES]
    assert [each.phase.name for each in seen] == [*names, "collect", "merge", "download"]
    assert all(each.gap > 0 and each.control_gap > 0 for each in seen)
    assert max(each.phase.cpu.gateway for each in seen if each.phase.name == memory.SANDBOX_WRITES) < 0.05
    assert all(earlier.phase.end <= later.phase.start for earlier, later in pairwise(seen))
    assert all(each > 0 for each in least)
    merge = next(each for each in seen if each.phase.name == "merge")
    assert merge.growth > merge.root_growth + 10e6, "the memory of the workers was not seen"
    assert list((tmp_path / "bench").iterdir()) == [], "files were left behind"


def test_a_small_file_goes_over_four_targets(tmp_path: Path) -> None:
    seen, watch, _ = targets.measure(tmp_path / "bench", 402, settle=0.3)
    assert watch.jobs == [("green", 1, 101), ("north", 1, 100), ("red", 1, 101), ("south", 1, 100)]
    assert seen[-1].phase.name == "download"
    assert {each.part for each in watch.stays if each.state == "running"} == {0, 1, 2, 3}
    assert list((tmp_path / "bench").iterdir()) == [], "files were left behind"


def test_a_part_stays_in_a_state_until_it_is_found_in_another(tmp_path: Path) -> None:
    watch = targets.PartsWatch(tmp_path)
    for now, found in ((1.0, []), (2.0, [(0, "planned"), (1, "planned")]), (3.0, [(0, "running"), (1, "planned")])):
        watch.note(found, now)
    watch.note([(0, "ended"), (1, "running")], 5.0)
    assert watch.stays == [(0, "planned", 2.0, 3.0), (0, "running", 3.0, 5.0), (1, "planned", 2.0, 5.0)]
    text = targets.steps(watch.stays, [seen_of("scan", 1.0)])
    assert "| poll, wait (running) | 1 | 2.00 | 4.00 | 2.00 | 2.00 |" in text
    assert "| wait for a turn (planned) | 2 | 1.00 | 4.00 | 3.00 | 4.00 |" in text
    assert "| fetch (ended) | 0 |  |  |  |  |" in text


# ---- the report ----


def seen_of(name: str, end: float) -> Seen:
    phase = Phase(name, end - 1, end, Cpu(0.0, 0.0, 0.0))
    return Seen(phase, growth=0, root_growth=0, gap=0.0, control_gap=0.0, late=0.0, beyond=())


def test_what_exceeds_its_bound_stands_out() -> None:
    phase = Phase("merge", 10.0, 12.0, Cpu(1.0, 0.5, 0.0), 4 * 10**6)
    seen = Seen(
        phase,
        growth=200 * 10**6,
        root_growth=10**6,
        gap=0.25,
        control_gap=0.02,
        late=0.001,
        beyond=(Beyond(1.0, 0.25, 0.02),),
    )
    text = report.phases("a run", [seen], 2, Floor(json=2.0, orjson=1.0, cat=0.1, sha256=0.2))
    assert "| merge | 0.50 | 10.00 | 2.00 | 2 | **200.0** | 1.0 | **250.0** | 20.0 | 1.0 | 1.00 | 0.50 | 0.00 |" in text
    assert "200.0 MB over idle, bound 128 MB (64 + 32 x 2 workers): EXCEEDED" in text
    assert "- merge +1.00 s: 250 ms (control then 20 ms)" in text


def taken(lines: int, cpu: float, seconds: float) -> whole.Taken:
    """Return a way of three stages that took so much each; an idle gateway takes a tenth of a core."""
    quiet = Seen(Phase("idle", 0.0, 3.0, Cpu(0.3, 0.0, 0.0)), 0, 0, gap=0.001, control_gap=0.0, late=0.0, beyond=())
    stages = (Phase(name, 3.0, 3.0 + seconds, Cpu(cpu, 0.0, 0.0), 10**6) for name in whole.PARALLEL)
    seen = [quiet, *(Seen(each, 10**6, 0, 0.05, 0.0, 0.0, ()) for each in stages)]
    return whole.Taken("openai", lines, seen, Floor(json=10.0, orjson=2.5, cat=0.5, sha256=1.0), 0.02)


def test_the_whole_way_is_told_in_units_of_the_floor() -> None:
    text = whole.stages(taken(1_000_000, 8.0, 4.0))
    assert "| create, split | 0.80 | 3.20 | 8.0 | 0.50 | 4.00 | 8.00 | 0 | 1.0 |" in text
    assert "| in all | 2.40 | 9.60 | 24.0 | 0.50 | 12.00 | 24.00 |" in text
    assert "| - without answers to the probers | 2.28 | 9.12 | 22.8 |" in text
    assert "| floor: orjson reads and writes the lines | 0.25 | 1.00 | 2.5 |" in text
    assert "The whole way: 2.28 times `json`, bound 2.5: within." in text
    assert "create, split 0.50, collect 0.50, merge 0.50, bound 0.6 on two cores: within" in text
    slow = whole.stages(taken(1_000_000, 12.0, 9.0))
    assert "3.33 times `json`, bound 2.5: EXCEEDED" in slow
    assert "bound 0.6 on two cores: EXCEEDED" in slow


def test_what_a_line_costs_is_compared_over_the_sizes() -> None:
    same = [taken(10_000, 8.0, 4.0), taken(10_000, 8.8, 4.0)]
    assert "in units of `json` 11%, bound 15%: within" in whole.growth(same)
    assert "in units of `json` 42%, bound 15%: EXCEEDED" in whole.growth([*same, taken(10_000, 11.2, 4.0)])


def test_a_floor_is_of_all_lines_however_many_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "lines", 400)
    read: list[bytes] = []
    monkeypatch.setattr(floor, "MOST", 100)
    monkeypatch.setattr(floor, "_json", read.append)
    found = floor.of_file(tmp_path / "lines", 400, tmp_path / "beside")
    assert len(read) == 100
    assert found.orjson > 0
    assert [each.name for each in tmp_path.iterdir()] == ["lines"]


def test_a_bench_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(home: Path) -> None:
        (home / "left").mkdir(parents=True)
        raise ValueError("no such thing")

    assert not _ran("broken", broken, tmp_path / "broken")
    assert _ran("other", Path.mkdir, tmp_path / "other")
    said = capsys.readouterr().out
    assert "### broken FAILED" in said
    assert "ValueError: no such thing" in said
    assert list(tmp_path.iterdir()) == []


def test_every_row_of_a_table_has_every_column() -> None:
    lines = report.table(("a", "b"), [("x", 1), ("y", 2)]).splitlines()
    assert lines == ["| a | b |", "|---|---:|", "| x | 1 |", "| y | 2 |"]


def test_the_machine_is_described_without_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LOOK_SECONDS", 0.01)
    text = report.machine(["start", "--quick"])
    assert "`python -m bench start --quick`" in text
    assert os.uname().nodename not in text.replace(os.uname().release, "")


def test_an_unknown_bench_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["whole", "speeed"])
    assert ended.value.code == 2
    assert "unknown: speeed" in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_said_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whole", "--sizes", "999999999999", "--dir", str(tmp_path)]) == 2
    assert "GB of disk are needed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
