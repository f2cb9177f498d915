"""A file to Bedrock and one to Vertex AI, create to submitted: this gateway and LiteLLM's SDK, on the same servers.

Behind them come the gateways as wholes, see `bench.gateways`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench import gateways, processes, report
from bench.lines import MEGABYTE, write_lines
from bench.memory import ENGINE, Accepted
from bench.probe import Watch, largest
from bench.rig import SETTLE_SECONDS, Rig, Seen

ROOT = Path(__file__).parent.parent
PEER = ROOT / ".venv-peers" / "bin" / "python"
LINES = 100_000
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lane:
    """A provider, and how LiteLLM's SDK is told what a virtual key of ours holds: arguments of both of its calls."""

    provider: str
    title: str
    model: str
    arguments: Callable[[Json, str], Json]
    creates: bool = True  # can LiteLLM's create be pointed at a stand-in?


@dataclass(frozen=True, slots=True)
class Taken:
    """What one side took: seconds before the create and from it until the job was accepted; CPU; bytes; seconds.

    `gap` is None where there is no event loop that serves others.
    """

    who: str
    before: float
    submitted: float
    cpu: float
    idle: int
    peak: int
    gap: float | None = None


def _bedrock(key: Json, model: str) -> Json:
    return {
        "custom_llm_provider": "bedrock",
        "model": model,
        "s3_bucket_name": key["aws_s3_bucket"],
        "s3_endpoint_url": key["s3_endpoint_url"],
        "aws_bedrock_control_plane_endpoint": key["custom_host"],
        "aws_batch_role_arn": key["aws_batch_role_arn"],
        "aws_access_key_id": key["aws_access_key_id"],
        "aws_secret_access_key": key["aws_secret_access_key"],
        "aws_region_name": "us-east-1",
    }


def _vertex(key: Json, model: str) -> Json:  # noqa: ARG001 - the lines name it
    account = json.loads(key["vertex_service_account_json"])
    return {
        "custom_llm_provider": "vertex_ai",
        "vertex_project": key["vertex_project_id"],
        "vertex_location": key["vertex_region"],
        "vertex_credentials": json.dumps(account | {"token_uri": key["google_token_url"]}),
        "gcs_bucket_name": key["vertex_storage_bucket_name"],
        "api_base": key["gcs_endpoint_url"],
    }


LANES = (
    Lane("bedrock", "Amazon Bedrock, Claude", "anthropic.claude-haiku-4-5-20251001-v1:0", _bedrock),
    Lane("vertex-ai", "Vertex AI, Gemini", "gemini-2.5-flash", _vertex, creates=False),
)


def run(home: Path, lines: int) -> None:
    """Print a table for each lane, and that of the gateways. Without `make bench-peers` others' rows are missing."""
    done = [report.done(each.title, partial(_lane, home, each, lines)) for each in LANES]
    report.say(
        "`submitted`: from the create until the provider has accepted the job; LiteLLM translates and stores while the"
        " file is uploaded, so both of its calls count; at Vertex AI the upload alone, its create knows Google only."
        " Memory is the PSS of the whole tree. Same servers, one after"
        " the other. `x`: how often this gateway's figure it is, for both calls together."
    )
    done.append(report.done("gateways", partial(gateways.run, home / "gateways", lines)))
    if not all(done):
        raise RuntimeError("not every comparison could be made")


def _lane(home: Path, each: Lane, lines: int) -> None:
    """Print the table of a lane."""
    report.note(f"peers: {lines:,} lines, {each.title}")
    found, version = measure(home / each.provider, each, lines)
    report.say(f"### {lines:,} lines to {each.title}: LiteLLM {version}")
    report.say(report.table(_HEAD, [_row(one, found[0]) for one in found]))


_HEAD = (
    *("who", "x seconds", "x CPU", "x growth"),
    *("upload, s", "submitted, s", "CPU s", "idle, MB", "peak, MB", "growth, MB", "largest gap, ms"),
)


def _row(each: Taken, ours: Taken) -> tuple[str, ...]:
    pairs = (
        (each.before + each.submitted, ours.before + ours.submitted),
        (each.cpu, ours.cpu),
        (each.peak - each.idle, ours.peak - ours.idle),
    )
    ratios = (f"{theirs / mine:.2g}" if mine > 0 else "-" for theirs, mine in pairs)
    sizes = (each.idle, each.peak, each.peak - each.idle)
    gap = "-" if each.gap is None else f"{each.gap * 1000:.0f}"
    times = f"{each.before:.1f}", f"{each.submitted:.1f}", f"{each.cpu:.1f}"
    return each.who, *ratios, *times, *(f"{size / MEGABYTE:.0f}" for size in sizes), gap


def measure(home: Path, lane: Lane, lines: int) -> tuple[list[Taken], str]:
    """Return what each side took, and LiteLLM's version."""
    home.mkdir(parents=True)
    source = home / "input.jsonl"
    write_lines(source, lines, provider=lane.provider, models=[lane.model])
    with Rig(home / "rig", ENGINE, provider=lane.provider) as rig:
        key = rig.virtual_keys()["lane"]
        theirs, version = _litellm(home, lane, source, key)
        rig.settle(SETTLE_SECONDS)
        return [_ours(rig, source, lines), *theirs], version


def _ours(rig: Rig, source: Path, lines: int) -> Taken:
    client, accepted, idle = rig.client(), Accepted(rig.gateway.log), rig.idle_bytes()
    with rig.phase("upload"):
        file_id = client.upload(source)
        rig.until(lambda: client.call("GET", f"/files/{file_id}")["status"] == "processed")
    order = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    with rig.phase("submit"):
        client.call("POST", "/batches", order)
        rig.until(lambda: accepted.lines() == lines)
    _, upload, submit = rig.finish()
    return _taken(upload, submit, idle)


def _taken(upload: Seen, submit: Seen, idle: int) -> Taken:
    return Taken(
        "proxy-plugin",
        upload.phase.seconds,
        submit.phase.seconds,
        upload.phase.cpu.gateway + submit.phase.cpu.gateway,
        idle,
        idle + max(upload.growth, submit.growth),
        max(upload.gap, submit.gap),
    )


def _litellm(home: Path, lane: Lane, source: Path, key: Json) -> tuple[list[Taken], str]:
    if not PEER.exists():
        return [], "is not installed (make bench-peers)"
    arguments = lane.arguments(key, lane.model)
    order = {"file": str(source), "upload": arguments, "create": arguments if lane.creates else None}
    with _started(order) as process:
        assert process.stdout is not None
        version = json.loads(process.stdout.readline())["version"]
        time.sleep(SETTLE_SECONDS)
        idle, watch = _tree(process.pid), Watch("memory", process.pid, home / "memory")
        began = time.monotonic()
        _tell(process)
        took = json.loads(process.stdout.readline())
        seen = watch.stop().during(began, time.monotonic())
    return [Taken("LiteLLM", 0.0, took["upload"] + took["create"], took["cpu"], idle, int(largest(seen)))], version


@contextmanager
def _started(order: Json) -> Iterator[subprocess.Popen[str]]:
    command = [str(PEER), "-m", "bench.peers_litellm"]
    quiet = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    process = subprocess.Popen(command, cwd=ROOT, env=quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _tell(process, json.dumps(order))
        yield process
    finally:
        process.kill()
        process.wait(30)


def _tell(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _tree(pid: int) -> int:
    return int(median(sum(map(processes.pss, processes.tree(pid))) for _ in range(5)))
