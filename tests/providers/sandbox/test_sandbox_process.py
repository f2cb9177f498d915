"""The sandbox as a process: its one line of output, its end, its log on disk, its coroutines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import AsyncOpenAI, OpenAI

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox, SandboxError
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[3]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_prints_one_line_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "proxy_plugin.providers.sandbox", "--provider", "openai"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        assert facts == {"url": facts["url"], "providers": {"openai": f"{facts['url']}/openai/v1"}}
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, b"", b"")


def test_a_parent_that_is_dead_already_is_noticed() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    command = [sys.executable, "-m", "proxy_plugin.providers.sandbox", f"--with-parent={dead.pid}"]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, cwd=ROOT, timeout=10).returncode == 0


def test_it_ends_with_its_parent() -> None:
    script = (
        "import os, signal; from proxy_plugin.providers.sandbox.process import Sandbox; "
        "s = Sandbox().start(); print(s.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT, check=False)
    assert child.returncode == -signal.SIGKILL
    until(lambda: gone(int(child.stdout)))


async def test_coroutines_log_on_disk_and_options_at_start(tmp_path: Path) -> None:
    options = {"openai": {"run_seconds": 1000, "max_lines": 1}}
    async with (
        Sandbox(keys=["team=sk-a"], options=options, directory=tmp_path) as sandbox,
        AsyncOpenAI(base_url=sandbox.url("openai"), api_key="sk-a", max_retries=0) as client,
    ):
        line: dict[str, Any] = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "m"}}
        file = await client.files.create(file=("a.jsonl", json.dumps(line).encode()), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/completions", completion_window="24h", metadata={"m": "🙂"}
        )
        (entry,) = await sandbox.log()
        assert json.loads((tmp_path / "accepted-openai.jsonl").read_text()) == entry
        assert entry == {
            "at": entry["at"],
            "provider": "openai",
            "account": "team",
            "batch_id": batch.id,
            "input_file_id": file.id,
            "input_filename": "a.jsonl",
            "metadata": {"m": "🙂"},
            "lines": 1,
        }
        assert (await sandbox.options())["max_lines"] == 1
        before = await sandbox.advance(0)
        assert await sandbox.advance(10) >= before + 10
        assert [job["id"] for job in await sandbox.jobs()] == [batch.id]
        assert [one["op"] for one in await sandbox.requests()] == ["files.create", "batches.create"]
        assert len((await sandbox.strangers(key="sk-a"))["batches"]) == 1
        assert await sandbox.keys([DEFAULT_KEY]) != ["team"]
        assert len(await sandbox.faults([{"kind": "drop"}])) == 1
        assert await sandbox.violations() == []
        pid = sandbox.pid
        await sandbox.reset()
        assert (await sandbox.log(), await sandbox.jobs(), await sandbox.faults()) == ([], [], [])
        assert (await client.batches.list()).data == []
    assert gone(pid)


def test_a_copy_of_an_api_is_served_under_its_own_name() -> None:
    options = {"acme": {"max_lines": 7}}
    with Sandbox(providers=["openai", "acme=openai"], options=options) as sandbox:
        assert sandbox.url("acme").endswith("/acme/v1")
        with OpenAI(base_url=sandbox.url("acme"), api_key=DEFAULT_KEY) as client:
            file = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
            client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
        with OpenAI(base_url=sandbox.url("openai"), api_key=DEFAULT_KEY) as client:
            assert list(client.files.list()) == []
        assert {each["provider"] for each in sandbox.control.log()} == {"acme"}
        assert [sandbox.control.options(name)["max_lines"] for name in ("acme", "openai")] == [7, 50_000]


def test_a_start_that_fails_says_so() -> None:
    with pytest.raises(SandboxError, match="status 2"):
        Sandbox(providers=["acme"]).start()
    with pytest.raises(SandboxError, match="status 2"):
        Sandbox(providers=["acme=acme"]).start()
    with pytest.raises(SandboxError, match="status 1"):
        Sandbox(options={"openai": {"run_secs": 1}}).start()
    with Sandbox() as running, pytest.raises(SandboxError, match="status 1"):
        Sandbox(port=int(running.control.url.rpartition(":")[2])).start()


def test_unfinished_work_does_not_outlive_it(tmp_path: Path) -> None:
    line = '{"custom_id":"%d","method":"POST","url":"/v1/completions","body":{"model":"m","prompt":"p"}}\n'
    with Sandbox(directory=tmp_path) as sandbox:
        with OpenAI(base_url=sandbox.url(), api_key=DEFAULT_KEY) as client:
            data = "".join(line % number for number in range(40_000)).encode()
            file = client.files.create(file=("a.jsonl", data), purpose="batch")
            client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
        until(lambda: len(psutil.Process(sandbox.pid).children(recursive=True)) > 1)
        workers = [child.pid for child in psutil.Process(sandbox.pid).children(recursive=True)]
        os.kill(sandbox.pid, signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in workers))


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with Sandbox(directory=tmp_path) as sandbox:
        where = urllib.parse.urlsplit(sandbox.url())
        with socket.create_connection((str(where.hostname), int(where.port or 0))) as client:
            client.sendall(
                b"POST /openai/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-sandbox\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
                b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + b"x" * 100_000
            )
            until(lambda: any((tmp_path / "openai/files").iterdir()))
        until(lambda: not any((tmp_path / "openai/files").iterdir()))
        assert [(one["op"], one["status"]) for one in sandbox.control.requests()] == [("files.create", 0)]


def test_a_stand_in_without_a_bucket_has_nothing_left(sandbox: Sandbox) -> None:
    assert sandbox.control.left("openai") == []
    with pytest.raises(SandboxError, match="no provider is called nobody"):
        sandbox.control.left("nobody")
