"""Worker processes: spawned, crash alone, leave with the gateway and when idle."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from proxy_plugin.ground.workers import WorkerDied, Workers
from tests.support.waiting import eventually


def children() -> set[int]:
    living = set()
    for child in psutil.Process().children(recursive=True):
        try:
            if "resource_tracker" not in " ".join(child.cmdline()):
                living.add(child.pid)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue  # it has just left
    return living


async def test_results_and_errors_come_back() -> None:
    workers = Workers(2)
    assert await workers.run(math.sqrt, 9.0) == 3.0
    with pytest.raises(ValueError, match="math domain"):
        await workers.run(math.sqrt, -1.0)
    await workers.close()


async def test_a_crash_fails_one_task_and_no_other() -> None:
    workers = Workers(2)
    results = await asyncio.gather(
        workers.run(os._exit, 9), *(workers.run(math.sqrt, float(n)) for n in range(50)), return_exceptions=True
    )
    assert isinstance(results[0], WorkerDied)
    assert results[1:] == [math.sqrt(n) for n in range(50)]
    await workers.close()


async def test_a_worker_killed_once_costs_nothing(tmp_path: Path) -> None:
    workers = Workers(1)
    flag = tmp_path / "flag"
    assert await workers.run(die_first_time, str(flag)) == "second life"
    await workers.close()


def die_first_time(flag: str) -> str:
    path = Path(flag)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second life"


async def test_idle_workers_leave() -> None:
    workers = Workers(2, idle_seconds=0.2)
    before = children()
    await workers.run(math.sqrt, 4.0)
    assert children() - before
    await eventually(lambda: not children() - before)
    assert await workers.run(math.sqrt, 4.0) == 2.0
    await workers.close()


def test_workers_die_with_a_killed_gateway(tmp_path: Path) -> None:
    script = tmp_path / "gateway.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio, os, time
        from proxy_plugin.ground.workers import Workers
        async def main():
            workers = Workers(2)
            print(await workers.run(os.getpid), flush=True)
            await workers.run(time.sleep, 600)
        if __name__ == "__main__":
            asyncio.run(main())
        """)
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        gateway.stdout.readline()
        family = psutil.Process(gateway.pid).children(recursive=True)
        assert family
        gateway.kill()
        _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
