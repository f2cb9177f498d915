"""The demo with replicas: PostgreSQL, an object store, gateways that share both, and a front where clients call.

One gateway is killed while the batch runs; the others take over what it did.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy_plugin.demo.front import Front
from proxy_plugin.demo.object_store import ObjectStore
from proxy_plugin.demo.plan import Plan, write_config
from proxy_plugin.demo.postgres import Postgres
from proxy_plugin.demo.processes import gateway_process
from proxy_plugin.demo.screen import Screen
from proxy_plugin.demo.servers import HOST, free_port
from proxy_plugin.providers.sandbox.process import Sandbox

LOOK_SECONDS = 0.1
VICTIM = 0  # whom the demo kills


@dataclass
class Fleet:
    """The gateways of one demo."""

    screen: Screen
    processes: Sequence[asyncio.subprocess.Process]
    killed: set[int] = field(default_factory=set)

    async def ended(self) -> int:
        """Return the exit status of the first gateway that ends without having been killed."""
        ends = {asyncio.create_task(each.wait()): each for each in self.processes}
        try:
            while True:
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if ends.pop(task).pid not in self.killed:
                        return task.result()
        finally:
            for task in ends:
                task.cancel()

    async def kill_one(self, sandbox: Sandbox) -> None:
        """Kill a gateway as soon as the provider has a job: nothing is left that the gateway could still do."""
        while not await sandbox.jobs():  # noqa: ASYNC110 - nobody tells when a provider gets one
            await asyncio.sleep(LOOK_SECONDS)
        process = self.processes[VICTIM]
        self.killed.add(process.pid)
        process.kill()
        left = len(self.processes) - 1
        self.screen.say(f"Killed replica {VICTIM + 1} of {left + 1} (kill -9): the others take over what it did.")


@asynccontextmanager
async def fleet(plan: Plan, screen: Screen, sandbox: Sandbox, log: Path) -> AsyncIterator[Fleet]:
    """Run everything that replicas need, and them; one dies on the way. Raises ServerFailed."""
    async with AsyncExitStack() as stack:
        storage = await asyncio.to_thread(_servers, plan, stack)
        ports, started = [free_port() for _ in range(plan.replicas)], []
        for n, port in enumerate(ports):
            config = await asyncio.to_thread(_config, plan, sandbox, storage, n, port)
            started.append(await stack.enter_async_context(gateway_process(config, log)))
        front = Front([f"http://{HOST}:{port}" for port in ports], plan.port)
        await front.start()
        stack.push_async_callback(front.stop)
        where = ", ".join(map(str, ports))
        screen.say(f"PostgreSQL, an object store, {plan.replicas} replicas (ports {where}) and a front before them.")
        running = Fleet(screen, started)
        killer = asyncio.create_task(running.kill_one(sandbox))
        stack.callback(killer.cancel)
        yield running


def _servers(plan: Plan, stack: AsyncExitStack) -> dict[str, Any]:
    """Start PostgreSQL and the object store, and return how gateways reach them."""
    if os.geteuid() == 0:
        plan.home.chmod(0o711)  # PostgreSQL runs as another user
    database, store = Postgres(plan.home / "postgres"), ObjectStore(plan.home / "store")
    for server in (database, store):
        stack.callback(server.stop)
        server.start()
    url = f"{store.bucket('demo')}/batches"
    return {"database_url": database.url(), "blob_url": url, "blob_options": dict(store.options)}


def _config(plan: Plan, sandbox: Sandbox, storage: dict[str, Any], number: int, port: int) -> Path:
    name = f"replica-{number + 1}"
    own = {**storage, "data_dir": str(plan.home / name), "replica": name}
    return write_config(plan, sandbox.url(plan.provider), name, storage=own, server={"host": HOST, "port": port})
