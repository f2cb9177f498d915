"""Worker processes: spawned, crash alone, leave with the gateway and when idle."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from proxy_plugin.ground.workers import OutOfBudget, Terms, WorkerDied, Workers
from tests.support.waiting import eventually

TERMS = Terms("workspace", 60.0)


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
    assert await workers.run(TERMS, math.sqrt, 9.0) == 3.0
    with pytest.raises(ValueError, match="math domain"):
        await workers.run(TERMS, math.sqrt, -1.0)
    await workers.close()


async def test_a_crash_fails_one_task_and_no_other() -> None:
    workers = Workers(2)
    results = await asyncio.gather(
        workers.run(TERMS, os._exit, 9),
        *(workers.run(TERMS, math.sqrt, float(n)) for n in range(50)),
        return_exceptions=True,
    )
    assert isinstance(results[0], WorkerDied)
    assert results[1:] == [math.sqrt(n) for n in range(50)]
    await workers.close()


async def test_a_worker_killed_once_costs_nothing(tmp_path: Path) -> None:
    workers = Workers(1)
    flag = tmp_path / "flag"
    assert await workers.run(TERMS, die_first_time, str(flag)) == "second life"
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
    await workers.run(TERMS, math.sqrt, 4.0)
    assert children() - before
    await eventually(lambda: not children() - before)
    assert await workers.run(TERMS, math.sqrt, 4.0) == 2.0
    await workers.close()


def test_workers_die_with_a_killed_gateway(tmp_path: Path) -> None:
    script = tmp_path / "gateway.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio, os, time
        from proxy_plugin.ground.workers import Terms, Workers
        TERMS = Terms("w", 60.0)
        async def main():
            workers = Workers(2)
            print(await workers.run(TERMS, os.getpid), flush=True)
            await workers.run(TERMS, time.sleep, 400)
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


async def test_a_task_that_takes_too_much_work_is_ended_wherever_it_hangs() -> None:
    """In one call into C that never comes back to the interpreter."""
    workers = Workers(1)
    with pytest.raises(OutOfBudget, match="CPU"):
        await workers.run(Terms("w", 1.0), sum, itertools.repeat(0))
    assert await workers.run(TERMS, math.sqrt, 4.0) == 2.0
    await workers.close()


async def test_each_task_has_a_budget_of_its_own() -> None:
    workers = Workers(1)
    for _ in range(4):
        await workers.run(Terms("w", 1.0), spend, 0.6)
    await workers.close()


async def test_a_task_that_waits_too_long_is_ended() -> None:
    workers = Workers(1)
    with pytest.raises(OutOfBudget, match="not enough"):
        await workers.run(Terms("w", 0.1), time.sleep, 600)
    await workers.close()


async def test_a_timeout_of_the_function_is_its_own_error() -> None:
    workers = Workers(1)
    with pytest.raises(TimeoutError, match="of the disk"):
        await workers.run(TERMS, time_out)
    await workers.close()


async def test_a_cancelled_task_is_killed(tmp_path: Path) -> None:
    workers, note = Workers(1), tmp_path / "pid"
    task = asyncio.create_task(workers.run(TERMS, hang, str(note)))
    await eventually(note.exists)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await eventually(lambda: not psutil.pid_exists(int(note.read_text())))
    assert await workers.run(TERMS, math.sqrt, 4.0) == 2.0
    await workers.close()


async def test_one_workspace_leaves_a_worker_to_the_others(tmp_path: Path) -> None:
    workers = Workers(2)
    tasks = [asyncio.create_task(workers.run(TERMS, hang, str(tmp_path / str(n)))) for n in range(3)]
    await eventually(lambda: any(tmp_path.iterdir()))
    assert await workers.run(Terms("another", 60.0), math.sqrt, 4.0) == 2.0
    assert len(list(tmp_path.iterdir())) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await workers.close()


async def test_a_gateway_of_one_workspace_gives_it_all_workers(tmp_path: Path) -> None:
    workers = Workers(2, shared=False)
    tasks = [asyncio.create_task(workers.run(TERMS, hang, str(tmp_path / str(n)))) for n in range(3)]
    await eventually(lambda: len(list(tmp_path.iterdir())) == 2)
    await workers.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await workers.close()


def spend(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def time_out() -> None:
    raise TimeoutError("of the disk")


def hang(note: str) -> None:
    path = Path(note)
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)
    time.sleep(600)
