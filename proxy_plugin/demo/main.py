"""`proxy-plugin demo`: the main job end to end, with a real gateway process in front of the sandbox.

One file is written, uploaded, run as one batch over several native jobs, downloaded and checked line by line. Nothing
here is a short cut: the demo knows the gateway's HTTP surface and nothing else of it. Both processes end with the demo,
whatever ends the demo.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
import yaml

from proxy_plugin.demo.lines import write_input
from proxy_plugin.demo.screen import Screen, Show, megabytes
from proxy_plugin.providers.catalog import canonical
from proxy_plugin.providers.sandbox import virtual_keys
from proxy_plugin.providers.sandbox.process import Sandbox, SandboxError

SLUG = "demo"
INPUT, OUTPUT, ERRORS = "input.jsonl", "output.jsonl", "error.jsonl"
ENDING = (signal.SIGINT, signal.SIGTERM)
ENDS = frozenset({"completed", "failed", "expired", "cancelled"})
JOB_SHARE = 0.3  # of the lines in one native job: four jobs
JOBS_AT_ONCE = 2  # so that some wait for others, as under a real quota
JOB_SECONDS = 7.0  # how long the sandbox takes for a job, instead of hours
START_SECONDS = 30.0
STOP_SECONDS = 5.0
LOOK_SECONDS = 0.25  # between two looks at the batch
STALL_SECONDS = 120.0  # without any change before the demo gives up
PIECE = 64 * 1024
LOG_LINES = 20
_GOOD_REQUEST = ('"event": "request"', '"status": 200')
HOST = "127.0.0.1"

NOTICE = "The provider is a sandbox on this machine: no model runs, nothing leaves the machine, nothing is paid."
CLOSING = "Remember: the provider was a sandbox. No model ran, nothing was paid; the answers are echoes of the lines."

T = TypeVar("T")


class DemoFailed(Exception):
    """The demo cannot go on, or found what must not be. The message is for the person in front of the screen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `main` reads to the parser of the subcommand."""
    parser.add_argument("--provider", default="openai", help="whose native batch service the sandbox plays")
    parser.add_argument("--lines", type=_positive, default=2000, metavar="N", help="lines of the batch (2000)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR", help="./demo-output")
    parser.add_argument("--keep", action="store_true", help="leave gateway and sandbox running until Ctrl-C")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError("must be a whole number above 0")
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
            plan = _plan(args, Path(folder))
            await _run(plan, screen, log)
        except (DemoFailed, SandboxError, aiohttp.ClientError, OSError) as error:
            screen.fail(error, _last_lines(log))
            return 1
    return 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run of the demo does, and where. `home` is temporary, `output` stays."""

    provider: str
    model: str
    endpoint: str
    lines: int
    output: Path
    home: Path
    port: int
    key: str
    keep: bool

    @property
    def url(self) -> str:
        """The gateway's base URL, as an SDK takes it."""
        return f"http://{HOST}:{self.port}/v1"


def _plan(args: argparse.Namespace, home: Path) -> Plan:
    provider = canonical(args.provider)
    try:
        model, endpoint = virtual_keys.model_and_endpoint(provider)
    except LookupError as error:
        raise DemoFailed(str(error)) from error
    return Plan(
        provider=provider,
        model=model,
        endpoint=endpoint,
        lines=args.lines,
        output=Path(args.output),
        home=home,
        port=_free_port(),
        key=f"demo-{secrets.token_hex(12)}",
        keep=args.keep,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def _run(plan: Plan, screen: Screen, log: Path) -> None:
    screen.say(f"proxy-plugin demo: {plan.lines:,} lines, one batch, provider {plan.provider}")
    screen.say(NOTICE)
    size = await asyncio.to_thread(_write, plan)
    screen.say(f"{plan.output / INPUT}: {plan.lines:,} lines, {megabytes(size)}")
    options = virtual_keys.paced(plan.provider, JOB_SECONDS)
    async with Sandbox(providers=[plan.provider], options=options, directory=plan.home / "sandbox") as sandbox:
        config = await asyncio.to_thread(_write_config, plan, sandbox.url(plan.provider))
        async with gateway_process(config, log) as gateway, _client(plan) as client:
            await _while_alive(gateway, _job(plan, screen, sandbox, client, size))


def _write(plan: Plan) -> int:
    plan.output.mkdir(parents=True, exist_ok=True)
    for name in (OUTPUT, ERRORS):  # of an earlier run
        (plan.output / name).unlink(missing_ok=True)
    return write_input(plan.output / INPUT, plan.lines, plan.model, plan.endpoint)


def _write_config(plan: Plan, sandbox_url: str) -> Path:
    limits = {"max_lines_per_job": max(1, round(plan.lines * JOB_SHARE)), "max_jobs_in_flight": JOBS_AT_ONCE}
    ours = {
        "server": {"host": HOST, "port": plan.port},
        "storage": {"data_dir": str(plan.home / "var")},
        "api_keys": [{"name": SLUG, "key": plan.key, "workspace": SLUG, "virtual_keys": [SLUG]}],
        "virtual_keys": {SLUG: virtual_keys.virtual_key(plan.provider, sandbox_url) | limits},
        "engine": {"poll_seconds_first": 0.5, "poll_seconds_max": 5},
    }
    path = plan.home / "config.yaml"
    path.write_text(yaml.safe_dump({"proxy_plugin": ours}, sort_keys=False), encoding="utf-8")
    return path


# The gateway's process


@asynccontextmanager
async def gateway_process(config: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `proxy-plugin serve`, its output in `log`. A session of its own keeps the terminal's Ctrl-C away from it."""
    command = (sys.executable, "-m", "proxy_plugin", "serve", "--config", str(config))
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        with _guard(process.pid):
            yield process
    finally:
        await _stopped(process)


@contextmanager
def _guard(pid: int) -> Iterator[None]:
    """Have `pid` ended by a shell that outlives this process: its pipe closes even when nothing here can still act."""
    command = ("/bin/sh", "-c", 'read -r _; kill "$1"', "sh", str(pid))
    quiet = subprocess.DEVNULL
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
    ) as shell:
        try:
            yield
        finally:
            shell.kill()  # before `pid` is waited for, after which the number could be another process's


async def _stopped(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _while_alive(process: asyncio.subprocess.Process, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. Raises DemoFailed as soon as the process ends before it."""
    job, end = asyncio.create_task(work), asyncio.create_task(process.wait())
    try:
        await asyncio.wait({job, end}, return_when=asyncio.FIRST_COMPLETED)
        if job.done() and isinstance(job.exception(), aiohttp.ClientError):
            await asyncio.wait({end}, timeout=1.0)  # a broken connection may be the first sign of its death
        if end.done() and not (job.done() and job.exception() is None):
            raise DemoFailed(f"the gateway ended with status {end.result()}")
        return job.result()
    finally:
        job.cancel()
        end.cancel()
        await asyncio.gather(job, end, return_exceptions=True)


def _last_lines(log: Path) -> list[str]:
    """Return the end of the log, without the demo's own successful looks at the batch: four a second."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            telling = (line.rstrip("\n") for line in file if not all(word in line for word in _GOOD_REQUEST))
            return list(deque(telling, LOG_LINES))
    except FileNotFoundError:
        return []


# The client: what any caller could do with curl


class Client:
    """The demo's calls. Each raises DemoFailed for an error answer and aiohttp.ClientError for none."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session, self._base = session, base

    async def until_healthy(self) -> None:
        """Return when the gateway serves."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(aiohttp.ClientConnectionError):
                async with self._session.get(self._base.removesuffix("/v1") + "/healthz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
        raise DemoFailed(f"the gateway does not serve {START_SECONDS:.0f} s after its start")

    async def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Return the JSON answer."""
        async with self._session.request(method, self._base + path, **request) as answer:
            await _refuse_errors(answer)
            return dict(await answer.json())

    async def upload(self, path: Path, show: Show) -> dict[str, Any]:
        """Stream a batch input file; `show` follows the bytes."""
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", _pieces(path, show), filename=path.name, content_type="application/jsonl")
        return await self.call("POST", "/files", data=form, headers={"x-portkey-provider": f"@{SLUG}"})

    async def download(self, file_id: str, path: Path, show: Show) -> None:
        """Stream a file's content to `path`; `show` follows the bytes."""
        done = 0
        async with self._session.get(f"{self._base}/files/{file_id}/content") as answer:
            await _refuse_errors(answer)
            with await asyncio.to_thread(path.open, "wb") as file:
                async for piece in answer.content.iter_chunked(PIECE):
                    done += await asyncio.to_thread(file.write, piece)
                    show(done, megabytes(done))


@asynccontextmanager
async def _client(plan: Plan) -> AsyncIterator[Client]:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
    async with aiohttp.ClientSession(headers={"x-portkey-api-key": plan.key}, timeout=timeout) as session:
        yield Client(session, plan.url)


async def _refuse_errors(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 400:
        said = (await answer.text())[:1000]
        raise DemoFailed(f"{answer.method} {answer.url.path}: HTTP {answer.status}: {said}")


async def _pieces(path: Path, show: Show) -> AsyncIterator[bytes]:
    done = 0
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
            done += len(piece)
            show(done, megabytes(done))


# The job


async def _job(plan: Plan, screen: Screen, sandbox: Sandbox, client: Client, size: int) -> None:
    started = time.monotonic()
    await client.until_healthy()
    screen.say(f"Gateway: {plan.url}, virtual key @{SLUG}; sandbox: {sandbox.url(plan.provider)}")
    with screen.bar("upload", size) as show:
        file = await client.upload(plan.output / INPUT, show)
    order = {"input_file_id": file["id"], "endpoint": plan.endpoint, "completion_window": "24h"}
    batch = await client.call("POST", "/batches", json=order, headers={"x-portkey-provider": f"@{SLUG}"})
    batch = await _followed(client, screen, batch["id"], plan.lines)
    for field, name in (("output_file_id", OUTPUT), ("error_file_id", ERRORS)):
        await _download(plan, screen, client, batch.get(field), name)
    counts = await asyncio.to_thread(check_results, *(plan.output / name for name in (INPUT, OUTPUT, ERRORS)))
    check_counts(batch["request_counts"], plan.lines, *counts)
    jobs = len(await sandbox.jobs())
    _show_end(plan, screen, batch, jobs, time.monotonic() - started)
    if plan.keep:
        await _until_asked(screen)


async def _until_asked(screen: Screen) -> None:
    """Go on until a signal, which from now on is no interruption."""
    asked = asyncio.Event()
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    screen.say("Gateway and sandbox go on running: Ctrl-C ends both.")
    await asked.wait()


async def _followed(client: Client, screen: Screen, batch_id: str, total: int) -> dict[str, Any]:
    """Return the batch when it has ended. Raises DemoFailed if it did not complete, or does not get on."""
    last, since = "", time.monotonic()
    with screen.bar("batch", total) as show:
        while True:
            batch = await client.call("GET", f"/batches/{batch_id}")
            done, note = _progress(batch, total)
            show(done, note)
            if batch["status"] in ENDS:
                break
            last, since = note, since if note == last else time.monotonic()
            if time.monotonic() > since + STALL_SECONDS:
                raise DemoFailed(f"no change for {STALL_SECONDS:.0f} s: {note}")
            await asyncio.sleep(LOOK_SECONDS)
    if batch["status"] != "completed":
        raise DemoFailed(f"the batch ended as {batch['status']}: {batch.get('errors', 'no reason given')}")
    return batch


def _progress(batch: dict[str, Any], total: int) -> tuple[int, str]:
    counts = batch.get("request_counts", {})
    completed, failed = counts.get("completed", 0), counts.get("failed", 0)
    return completed + failed, f"{batch['status']}, {completed:,} completed, {failed:,} failed of {total:,}"


async def _download(plan: Plan, screen: Screen, client: Client, file_id: str | None, name: str) -> None:
    if file_id is None:  # no line failed, or none was answered
        return
    file = await client.call("GET", f"/files/{file_id}")
    with screen.bar(name, file["bytes"]) as show:
        await client.download(file_id, plan.output / name, show)


# The check


class _Row(msgspec.Struct):
    custom_id: str


def check_results(source: Path, output: Path, errors: Path) -> tuple[int, int]:
    """Return the rows in the output and in the error file. An absent file is an empty one.

    Raises DemoFailed unless every custom_id of `source` is in exactly one of them, once, and both are in its order.
    """
    counts, files = [0, 0], (_ids(output), _ids(errors))
    heads = [next(ids, None) for ids in files]
    for number, custom_id in enumerate(_ids(source), 1):
        if custom_id not in heads:
            raise DemoFailed(f"line {number}: its row is missing, or not in input order")
        at = heads.index(custom_id)
        counts[at] += 1
        heads[at] = next(files[at], None)
    if heads != [None, None]:
        raise DemoFailed("a result file holds rows that answer no line, or answer one twice")
    return counts[0], counts[1]


def _ids(path: Path) -> Iterator[str]:
    decode = msgspec.json.Decoder(_Row).decode
    with suppress(FileNotFoundError), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decode(line).custom_id
            except msgspec.DecodeError:
                raise DemoFailed(f"{path}, row {number}: not a row with a custom_id") from None


def check_counts(said: dict[str, int], lines: int, answered: int, failed: int) -> None:
    """Raise DemoFailed unless the batch's `request_counts` say what the files hold."""
    held = {"total": lines, "completed": answered, "failed": failed}
    if said != held:
        raise DemoFailed(f"request_counts say {said}, the files hold {held}")


# What is shown


def _show_end(plan: Plan, screen: Screen, batch: dict[str, Any], jobs: int, seconds: float) -> None:
    counts = batch["request_counts"]
    screen.table(
        {
            "lines": f"{plan.lines:,}",
            "answered": f"{counts['completed']:,}",
            "failed": f"{counts['failed']:,}",
            "native jobs at the provider": f"{jobs:,}",
            "seconds": f"{seconds:.1f}",
            "checked": "every custom_id is there exactly once and in input order; request_counts match the files",
            "output": str(plan.output.resolve()),
        }
    )
    screen.say("The same by hand" + (":" if plan.keep else ", while a gateway runs (`proxy-plugin demo --keep`):"))
    screen.say(f"\n{_by_hand(plan, batch)}\n")
    screen.say(CLOSING)


def _by_hand(plan: Plan, batch: dict[str, Any]) -> str:
    source, order = shlex.quote(str(plan.output / INPUT)), msgspec.json.encode(_order(plan, batch)).decode()
    key, provider = f'-H "x-portkey-api-key: {plan.key}"', f'-H "x-portkey-provider: @{SLUG}"'
    return f"""\
curl {plan.url}/files {key} {provider} -F purpose=batch -F file=@{source}
curl {plan.url}/batches {key} {provider} -H "content-type: application/json" -d '{order}'
curl {plan.url}/batches/{batch["id"]} {key}
curl {plan.url}/files/{batch.get("output_file_id") or batch.get("error_file_id")}/content {key}

from openai import OpenAI
client = OpenAI(base_url="{plan.url}", api_key="{plan.key}", default_headers={{"x-portkey-provider": "@{SLUG}"}})
file = client.files.create(file=open({str(plan.output / INPUT)!r}, "rb"), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="{plan.endpoint}", completion_window="24h")
print(client.batches.retrieve(batch.id).request_counts)"""


def _order(plan: Plan, batch: dict[str, Any]) -> dict[str, str]:
    return {"input_file_id": batch["input_file_id"], "endpoint": plan.endpoint, "completion_window": "24h"}
