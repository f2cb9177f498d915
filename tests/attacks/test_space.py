"""Nobody takes more than a share of the disk: announcements, headers that grow lines, batches, hostile results."""

from __future__ import annotations

import json
import os
import socket
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.attacks.rig import MOST_HEALTHZ, Tenant, Town, check, key_of, show
from tests.support.waiting import until

MEGABYTE = 2**20
EDGE = "edge"


def lines(count: int, size: int = 0) -> bytes:
    """Return a batch file of so many lines, each with so many bytes of text beside what is needed."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"line-{n}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "gpt-4.1-nano",
                    "messages": [{"role": "user", "content": f"Say {n} {os.urandom(size // 2).hex()}"}],
                },
            }
        ).encode()
        + b"\n"
        for n in range(count)
    )


def restarted(town: Town, **limits: Any) -> Town:
    """Start the gateway again under other limits."""
    town.kill()
    town.limits = limits
    town.write_config()
    town.start()
    return town


def refusal(tenant: Tenant, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Make a call that is to be refused; return status and code."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        tenant.call(method, path, body)
    return caught.value.code, str(json.loads(caught.value.read())["error"]["code"])


def fill(tenant: Tenant, content: bytes) -> None:
    """Upload the same a hundred times. Raises HTTPError."""
    for _ in range(100):
        tenant.upload(content)


def ready(town: Town) -> str:
    """Return the word of /readyz."""
    try:
        return str(town.call("GET", "/readyz", root=True)["status"])
    except urllib.error.HTTPError as error:
        return str(json.loads(error.read())["status"])  # of a 503


def waiting(tenant: Tenant, batch_id: str) -> str | None:
    """Return what a batch waits for."""
    found = tenant.call("GET", f"/batches/{batch_id}")
    assert found["status"] not in ("failed", "expired")
    return (found.get("x_status") or {}).get("waiting_for")


@contextmanager
def silent(town: Town, workspace: str, announced: int) -> Iterator[socket.socket]:
    """Begin an upload of so many bytes, and send its first few."""
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: g\r\nx-portkey-api-key: {key_of(workspace)}\r\n"
        f"content-length: {announced}\r\n"
        f"content-type: multipart/form-data; boundary={EDGE}\r\n\r\n--{EDGE}\r\n"
        'content-disposition: form-data; name="file"; filename="f.jsonl"\r\n\r\n{"custom_id":'
    )
    with socket.create_connection(("127.0.0.1", town.port), 30) as sock:
        sock.sendall(head.encode())
        yield sock


@dataclass
class Growth:
    """The most bytes that were seen below a folder."""

    most: int = 0


def size_of(folder: Path) -> int:
    """Return how many bytes the files below a folder have."""
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(at) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


@contextmanager
def growing(folder: Path) -> Iterator[Growth]:
    """Watch a folder until the block ends."""
    seen, done = Growth(), threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            seen.most = max(seen.most, size_of(folder))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


# ---- uploads ----


def test_uploads_that_announce_much_and_send_nothing(town: Town, campaign: bool) -> None:
    quiet = town.watch(1.5)
    with ExitStack() as stack:
        for _ in range(400 if campaign else 90):
            stack.enter_context(silent(town, "attacker", 2 * 2**30 - 1))
        until(lambda: town.samples()["proxy_plugin_uploads_running"] >= 75)
        with town.watching() as seen:
            assert ready(town) == "ready"
            assert town.bystander.upload(lines(3))
        assert town.samples()["proxy_plugin_uploads_running"] <= 76, "no more than their share"
    show("75 silent uploads of 2 GB", quiet, seen)
    check(quiet, seen)
    assert town.attacker.upload(lines(3))


def test_not_ready_while_uploads_are_refused(town: Town) -> None:
    restarted(town, max_uploads=4)
    with ExitStack() as stack:
        for workspace in ("attacker", "attacker", "attacker", "attacker", "bystander"):
            stack.enter_context(silent(town, workspace, MEGABYTE))
        until(lambda: ready(town) == "too many uploads")
    until(lambda: ready(town) == "ready")


def test_files_and_batches_are_bounded_by_workspace(town: Town) -> None:
    town.virtual_keys["stuck"] = town.virtual_keys["lane"] | {"custom_host": "http://127.0.0.1:9/v1"}
    restarted(town, max_workspace_files=3, max_open_batches=2)
    files = [town.attacker.upload(lines(1)) for _ in range(3)]
    with pytest.raises(urllib.error.HTTPError) as caught:
        town.attacker.upload(lines(1))
    assert (caught.value.code, json.loads(caught.value.read())["error"]["code"]) == (429, "too_many_files")
    announced = {"filename": "f", "purpose": "batch", "bytes": 10, "mime_type": "m"}
    assert refusal(town.attacker, "POST", "/uploads", announced) == (429, "too_many_files")
    body = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    stuck = town.tenant("attacker", "stuck")
    for file in files[:2]:
        stuck.call("POST", "/batches", body | {"input_file_id": file})
    assert refusal(stuck, "POST", "/batches", body | {"input_file_id": files[2]}) == (429, "too_many_batches")
    assert town.victim.until(town.victim.create(town.victim.upload(lines(2)))["id"])["request_counts"]["completed"] == 2


# ---- batches ----


def test_a_header_that_makes_much_of_little(town: Town, campaign: bool) -> None:
    count, most = (20_000, 16 * MEGABYTE) if campaign else (4_000, 4 * MEGABYTE)
    restarted(town, max_file_bytes=most, max_line_bytes=64 * 1024)
    quiet = town.watch(1.5)
    config = {"virtual_key": "lane", "override_params": {"user": "x" * 6_000}}
    file = town.attacker.upload(lines(count))
    with growing(town.data / "batches") as seen_bytes, town.watching() as seen:
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        headers = {"x-portkey-config": json.dumps(config), "x-portkey-virtual-key": ""}
        batch = town.attacker.call("POST", "/batches", body, headers=headers)
        ended = town.attacker.until(batch["id"])
    show(f"{count} lines of which each gets 6 KB more, {seen_bytes.most / MEGABYTE:.0f} MB at most", quiet, seen)
    check(quiet, seen)
    counts = ended["request_counts"]
    assert counts["total"] == count
    assert 0 < counts["failed"] < count
    assert counts["completed"] * 6_000 < most
    assert seen_bytes.most < 4 * most


def test_a_full_workspace_waits_and_others_do_not(town: Town, sandbox: Sandbox) -> None:
    restarted(town, max_workspace_bytes=550_000)
    sandbox.control.options(run_seconds=3600)
    file = town.attacker.upload(lines(50, 4_000))
    first = town.attacker.create(file)["id"]
    until(sandbox.control.log, "its job, which runs for an hour")
    second = town.attacker.create(file)["id"]
    until(lambda: waiting(town.attacker, second) == "workspace_full")
    assert ready(town) == "ready"
    sandbox.control.options(run_seconds=0.2)
    ended = town.bystander.until(town.bystander.create(town.bystander.upload(lines(50, 4_000)))["id"])
    assert ended["request_counts"]["completed"] == 50
    town.attacker.call("POST", f"/batches/{first}/cancel")
    assert town.attacker.until(first)["status"] == "cancelled"
    assert town.attacker.until(second)["request_counts"]["completed"] == 50, "what has waited goes on"


def test_a_batch_that_waits_for_room_can_be_cancelled(town: Town) -> None:
    restarted(town, max_workspace_bytes=300_000)
    batch = town.attacker.create(town.attacker.upload(lines(50, 4_000)))["id"]
    until(lambda: waiting(town.attacker, batch) == "workspace_full")
    town.attacker.call("POST", f"/batches/{batch}/cancel")
    ended = town.attacker.until(batch)
    assert (ended["status"], ended["request_counts"]["failed"]) == ("cancelled", 50)


def test_paid_results_come_into_a_workspace_that_is_full(town: Town, sandbox: Sandbox) -> None:
    restarted(town, max_workspace_bytes=600_000)
    sandbox.control.options(run_seconds=3600)
    batch = town.attacker.create(town.attacker.upload(lines(20, 2_000)))["id"]
    until(lambda: town.attacker.call("GET", f"/batches/{batch}")["status"] == "in_progress")
    with pytest.raises(urllib.error.HTTPError) as caught:
        fill(town.attacker, lines(1, 20_000))
    assert caught.value.code == 507
    sandbox.control.advance(3600)
    assert town.attacker.until(batch)["request_counts"]["completed"] == 20


# ---- results ----


@pytest.mark.parametrize("slug", ["lane", "claude"])
def test_results_without_end(town: Town, sandbox: Sandbox, slug: str, campaign: bool) -> None:
    share = (64 if campaign else 8) * MEGABYTE
    restarted(town, max_workspace_bytes=share)
    quiet = town.watch(1.5)
    on = "files.content" if slug == "lane" else "batches.results"
    provider = "openai" if slug == "lane" else "anthropic"
    model = "gpt-4.1-nano" if slug == "lane" else "claude-haiku-4-5"
    attacker = town.tenant("attacker", slug)
    file = attacker.upload(lines(3).replace(b"gpt-4.1-nano", model.encode()))
    sandbox.control.faults([{"on": on, "provider": provider, "kind": "endless", "times": 6}])
    with growing(town.data) as seen_bytes, town.watching() as seen:
        batch = attacker.create(file)["id"]
        until(lambda: sandbox.control.faults()[0]["fired"] == 6)
        assert town.bystander.upload(lines(3))
        ended = attacker.until(batch)
    show(f"{slug}: results without end, {seen_bytes.most / MEGABYTE:.0f} MB at most", quiet, seen)
    assert not seen.failed, "the victim was served"
    assert seen.worst("healthz") < MOST_HEALTHZ  # its batch may meet the endless answers itself
    assert ended["request_counts"] == {"total": 3, "completed": 3, "failed": 0}, "and what was paid for came in the end"
    assert seen_bytes.most < 2 * share + 32 * MEGABYTE


def test_results_that_come_packed(town: Town, sandbox: Sandbox) -> None:
    packed = {"kind": "status", "status": 200, "headers": {"content-encoding": "gzip"}, "body": "\x1f\x8b"}
    sandbox.control.faults([{"on": on, "times": 3} | packed for on in ("files.content", "batches.retrieve")])
    batch = town.attacker.create(town.attacker.upload(lines(3)))["id"]
    until(lambda: all(rule["fired"] == 3 for rule in sandbox.control.faults()))
    assert town.attacker.until(batch)["request_counts"]["completed"] == 3
