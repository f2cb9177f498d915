"""The demo's job: one file uploaded, run as a batch, downloaded, checked, and told how to be done by hand."""

from __future__ import annotations

import asyncio
import shlex
import time
from typing import Any

import msgspec

from proxy_plugin.demo.check import check_counts, check_results
from proxy_plugin.demo.client import Client
from proxy_plugin.demo.plan import ERRORS, INPUT, OUTPUT, SLUG, Plan
from proxy_plugin.demo.screen import DemoFailed, Screen
from proxy_plugin.providers.sandbox.process import Sandbox

ENDS = frozenset({"completed", "failed", "expired", "cancelled"})
LOOK_SECONDS = 0.25  # between two looks at the batch
STALL_SECONDS = 120.0  # without any change before the demo gives up

CLOSING = "Remember: the provider was a sandbox. No model ran, nothing was paid; the answers are echoes of the lines."


async def run_job(plan: Plan, screen: Screen, sandbox: Sandbox, client: Client, size: int) -> None:
    """Run the plan's one batch; `size` is that of its input file. Raises DemoFailed and aiohttp.ClientError."""
    started = time.monotonic()
    await client.until_healthy()
    screen.say(f"Gateway: {plan.url}, virtual key @{SLUG}; sandbox: {sandbox.url(plan.provider)}")
    with screen.bar("upload", size) as show:
        file = await client.upload(plan.output / INPUT, show)
    order = _order(plan, file["id"])
    batch = await client.call("POST", "/batches", json=order, headers={"x-portkey-provider": f"@{SLUG}"})
    batch = await _followed(client, screen, batch["id"], plan.lines)
    for field, name in (("output_file_id", OUTPUT), ("error_file_id", ERRORS)):
        await _download(plan, screen, client, batch.get(field), name)
    counts = await asyncio.to_thread(check_results, *(plan.output / name for name in (INPUT, OUTPUT, ERRORS)))
    check_counts(batch["request_counts"], plan.lines, *counts)
    jobs = len(await sandbox.jobs())
    _show_end(plan, screen, batch, jobs, time.monotonic() - started)


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
        raise DemoFailed(f"the batch ended as {batch['status']}: {batch.get('errors') or 'no reason given'}")
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
    screen.say("Next: `proxy-plugin init` makes a configuration of your own.")


def _by_hand(plan: Plan, batch: dict[str, Any]) -> str:
    source, order = (
        shlex.quote(str(plan.output / INPUT)),
        msgspec.json.encode(_order(plan, batch["input_file_id"])).decode(),
    )
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


def _order(plan: Plan, file_id: str) -> dict[str, str]:
    return {"input_file_id": file_id, "endpoint": plan.endpoint, "completion_window": "24h"}
