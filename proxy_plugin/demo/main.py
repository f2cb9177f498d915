"""`proxy-plugin demo`: the main job end to end, with a real gateway process in front of the sandbox.

One file is written, uploaded, run as one batch over several native jobs, downloaded and checked line by line. Nothing
here is a short cut: the demo knows the gateway's HTTP surface and nothing else of it. Both processes end with the demo,
whatever ends the demo.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from proxy_plugin.demo.client import Client, connected
from proxy_plugin.demo.job import run_job
from proxy_plugin.demo.plan import INPUT, Plan, planned, write_config, write_lines
from proxy_plugin.demo.processes import gateway_process, last_lines, while_alive
from proxy_plugin.demo.screen import DemoFailed, Screen, megabytes
from proxy_plugin.demo.servers import ServerFailed
from proxy_plugin.providers.sandbox import virtual_keys
from proxy_plugin.providers.sandbox.process import Sandbox, SandboxError

ENDING = (signal.SIGINT, signal.SIGTERM)
MOST_REPLICAS = 20
JOB_SECONDS = 7.0  # how long the sandbox takes for a job, instead of hours

NOTICE = "The provider is a sandbox on this machine: no model runs, nothing leaves the machine, nothing is paid."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `main` reads to the parser of the subcommand."""
    parser.add_argument("--provider", default="openai", help="whose native batch service the sandbox plays")
    parser.add_argument("--lines", type=_positive, default=2000, metavar="N", help="lines of the batch (2000)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR", help="./demo-output")
    parser.add_argument(
        "--replicas", type=_several, default=0, metavar="N", help="gateways over one database and one store, from 2 on"
    )
    parser.add_argument("--keep", action="store_true", help="leave gateway and sandbox running until Ctrl-C")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


def _several(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 2 <= int(text) <= MOST_REPLICAS):
        raise argparse.ArgumentTypeError(f"must be a whole number from 2 to {MOST_REPLICAS}")
    return int(text)


def main(args: argparse.Namespace | Sequence[str]) -> int:
    """Run the demo with a command line, parsed or not: the options are only known once this module is imported.

    Returns 0, 1 if anything is not as promised, or 128 + the number of the signal that ended it.
    """
    if not isinstance(args, argparse.Namespace):
        parser = argparse.ArgumentParser(prog="proxy-plugin demo", description="The main job, end to end.")
        add_arguments(parser)
        args = parser.parse_args(args)
    return asyncio.run(_until_signal(args, Screen()))


async def _until_signal(args: argparse.Namespace, screen: Screen) -> int:
    """Let the first SIGINT or SIGTERM unwind everything in order; further ones change nothing."""
    work = asyncio.create_task(_demo(args, screen))
    caught: list[int] = []

    def stop(number: int) -> None:
        if not caught:
            caught.append(number)
            work.cancel()

    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        screen.say("Stopped: the gateway and the sandbox have ended.")
        return 128 + caught[0] if caught else 1


async def _demo(args: argparse.Namespace, screen: Screen) -> int:
    with tempfile.TemporaryDirectory(prefix="proxy-plugin-demo-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "gateway.log"
        try:
            plan = planned(args, Path(folder))
            await _run(plan, screen, log)
        except (DemoFailed, SandboxError, ServerFailed, aiohttp.ClientError, OSError) as error:
            screen.fail(error, last_lines(log))
            return 1
    return 0


async def _run(plan: Plan, screen: Screen, log: Path) -> None:
    screen.say(f"proxy-plugin demo: {plan.lines:,} lines, one batch, provider {plan.provider}")
    screen.say(NOTICE)
    size = await asyncio.to_thread(write_lines, plan)
    screen.say(f"{plan.output / INPUT}: {plan.lines:,} lines, {megabytes(size)}")
    options = virtual_keys.paced(plan.provider, JOB_SECONDS)
    async with (
        Sandbox(providers=[plan.provider], options=options, directory=plan.home / "sandbox") as sandbox,
        _gateways(plan, screen, sandbox, log) as ended,
        connected(plan) as client,
    ):
        await while_alive(ended, _worked(plan, screen, sandbox, client, size))


@asynccontextmanager
async def _gateways(plan: Plan, screen: Screen, sandbox: Sandbox, log: Path) -> AsyncIterator[Coroutine[Any, Any, int]]:
    """Run one gateway, or replicas behind a front; yield what returns the status of one that ends by itself."""
    if plan.replicas:
        from proxy_plugin.demo.replicas import fleet  # noqa: PLC0415 - a server and its libraries, for this form alone

        async with fleet(plan, screen, sandbox, log) as running:
            yield running.ended()
        return
    config = await asyncio.to_thread(write_config, plan, sandbox.url(plan.provider))
    async with gateway_process(config, log) as gateway:
        yield gateway.wait()


async def _worked(plan: Plan, screen: Screen, sandbox: Sandbox, client: Client, size: int) -> None:
    await run_job(plan, screen, sandbox, client, size)
    if plan.keep:
        await _until_asked(screen)


async def _until_asked(screen: Screen) -> None:
    """Go on until a signal, which from now on is no interruption."""
    asked = asyncio.Event()
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    screen.say("Gateway and sandbox go on running: Ctrl-C ends both.")
    await asked.wait()
