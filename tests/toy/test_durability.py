"""What a worker reports as done would survive a power cut: seen in the system calls, not in the code."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.lines.collect import collect
from proxy_plugin.lines.cut import CutJob, cut_document
from proxy_plugin.lines.manifest import ASSIGNMENT, PartSpec
from proxy_plugin.lines.merge import merge
from proxy_plugin.lines.split import split
from tests.toy.toy_batch import ToyBatch, chat

pytestmark = pytest.mark.usefixtures("toys")

RUN = "import pickle, sys; function, job = pickle.load(open(sys.argv[1], 'rb')); function(job)"
CALLS = "trace=openat,write,pwrite64,fsync,fdatasync,rename,renameat,mkdir,unlink,rmdir"
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (\S+)")
ROOT = Path(__file__).parents[2]


def system_calls(folder: Path, function: Callable[[Any], object], job: Any) -> list[tuple[str, str, str]]:
    """Return (call, arguments, result) of every successful call of a process that runs `function(job)`."""
    (folder / "job").write_bytes(pickle.dumps((function, job)))
    trace = folder / "trace"
    command = ["strace", "-f", "-y", "-s", "0", "-e", CALLS, "-o", str(trace), sys.executable, "-c", RUN]
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    done = subprocess.run(
        [*command, str(folder / "job")], env=os.environ | {"PYTHONPATH": path}, capture_output=True, check=False
    )
    if b"ptrace" in done.stderr:
        pytest.skip("this machine does not let processes be traced")
    assert done.returncode == 0, done.stderr
    found = [CALL.match(line) for line in trace.read_text().splitlines()]
    return [(each[1], each[2], each[3]) for each in found if each and not each[3].startswith("-")]


def unsynced(calls: list[tuple[str, str, str]], below: Path) -> tuple[set[str], set[str]]:
    """Return what was synced below a folder, and what was changed there after its last sync."""
    synced, dirty = set[str](), set[str]()
    for name, arguments, result in calls:
        paths = re.findall(r'"([^"]*)"', arguments)
        held = re.match(r"\d+<([^>]*)>", arguments)
        if name == "openat" and "O_CREAT" in arguments:
            dirty |= {result.partition("<")[2].rstrip(">"), str(Path(paths[0]).parent)}
        elif name in {"write", "pwrite64"} and held:
            dirty.add(held[1])
        elif name in {"fsync", "fdatasync"} and held:
            dirty.discard(held[1])
            synced.add(held[1])
        elif name in {"mkdir", "rename"}:
            dirty |= {str(Path(path).parent) for path in paths}
            dirty = {paths[1] if path == paths[0] and name == "rename" else path for path in dirty}
    inside = {path for path in dirty if Path(path).is_relative_to(below)}
    return {path for path in synced if Path(path).is_relative_to(below)}, inside


def cut_job(batch: ToyBatch, part: PartSpec, folder: Path) -> CutJob:
    return CutJob(
        provider=part.provider,
        part=part.n,
        mark=part.mark,
        lines=part.lines,
        document=str(batch.folder / "split" / part.file),
        assignment=str(batch.folder / "split" / ASSIGNMENT),
        index=str(batch.index),
        folder=str(folder),
        out=(1,),
        pieces=2,
    )


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_file_and_folder_is_synced_after_its_last_change(tmp_path: Path) -> None:
    home = tmp_path / "batch"
    batch = ToyBatch(
        home, [*(chat(f"id {n}", f"text {n}", max_tokens=n * 200) for n in range(20)), chat("bad", seed=1)]
    )
    parts = batch.split().parts
    collects = [batch.collect_job(part, batch.woven(part)) for part in parts[:1]]
    batch.rows[parts[0].n] = collects[0].folder
    cut = cut_job(batch, parts[0], home / "cut")
    jobs: list[tuple[Callable[[Any], object], Any, set[str]]] = [
        (split, batch.split_job("again"), {"manifest.json.new", "assignment", "00000.native", "000000.rows", "again"}),
        (collect, collects[0], {"000000.rows", "rows-0"}),
        (cut_document, cut, {"00000.native", "00001.native", "cut"}),
        (merge, batch.merge_job(name="merged"), {"output.jsonl", "error.jsonl", "ledger.jsonl", "merged"}),
    ]
    for function, job, expected in jobs:
        synced, left = unsynced(system_calls(tmp_path, function, job), home)
        assert expected | {"batch"} <= {Path(path).name for path in synced}
        assert left == set(), f"{function.__name__} left changes that a power cut would take"
