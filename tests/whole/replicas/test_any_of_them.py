"""Whichever replica is asked, it is one gateway: files, batches, names of creates and caps are all of them's."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers
from tests.support.accounting import check_paid_once as check_paid_once_by
from tests.support.files_app import FORM_TYPE, closing, part
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, Gateway
from tests.whole.replicas.rig import Replicas, Shared, replicas
from tests.whole.replicas.witness import most_at_once, ours

Keys = Callable[..., dict[str, dict[str, Any]]]
ORDER = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}


def renewed(gateway: Gateway, number: signal.Signals = signal.SIGTERM) -> None:
    """Restart a replica, which is asked to end, or killed."""
    gateway.kill(number)
    gateway.start()


def test_a_client_goes_from_one_replica_to_the_next_while_each_is_restarted(
    sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    lines = chat_lines(40)
    with replicas(tmp_path, 4, one_lane(max_lines_per_job=10), shared) as fleet:
        fleet.start()
        receives, creates, tells, gives = fleet.gateways
        file_id = receives.upload(jsonl(lines))
        renewed(receives)
        batch_id = creates.create(file_id)["id"]
        renewed(creates, signal.SIGKILL)
        while (batch := tells.batch(batch_id))["status"] not in ENDS:
            renewed(tells)
        renewed(gives, signal.SIGKILL)
        assert batch["status"] == "completed"
        check_answers(gives, batch, lines)
        for one, other in pairwise(fleet.gateways):
            assert one.rows(batch["output_file_id"]) == other.rows(batch["output_file_id"])
    check_paid_once_by(sandbox, lines)


@pytest.mark.slow
def test_parts_of_one_file_may_go_to_any_of_them(
    sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    lines = chat_lines(30)
    content = jsonl(lines)
    pieces = [content[start : start + 1_000] for start in range(0, len(content), 1_000)]
    with replicas(tmp_path, 3, one_lane(), shared) as fleet:
        fleet.start()
        first, second, third = fleet.gateways
        told = {"filename": "in.jsonl", "purpose": "batch", "bytes": len(content), "mime_type": "application/jsonl"}
        upload = first.call("POST", "/uploads", told)["id"]
        forms = [part("data", each, "blob") + closing() for each in pieces]
        path, kind = f"/uploads/{upload}/parts", {"content-type": FORM_TYPE}
        ids = [fleet.gateways[n % 3].call("POST", path, form, headers=kind)["id"] for n, form in enumerate(forms)]
        made = second.call("POST", f"/uploads/{upload}/complete", {"part_ids": ids})["file"]
        assert third.call("GET", f"/files/{made['id']}/content") == content
        batch = third.until(first.create(made["id"])["id"])
        check_answers(second, batch, lines)
    check_paid_once_by(sandbox, lines)


def test_creates_with_one_key_sent_to_all_replicas_at_once_are_one_batch(
    sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    lines = chat_lines(5)
    with replicas(tmp_path, 3, one_lane(), shared) as fleet:
        fleet.start()
        file_id = fleet.gateways[0].upload(jsonl(lines))

        def create(n: int) -> str:
            body, asked = {"input_file_id": file_id, **ORDER}, {"idempotency-key": "the-same"}
            return str(fleet.gateways[n % 3].call("POST", "/batches", body, headers=asked)["id"])

        with ThreadPoolExecutor(12) as pool:
            made = set(pool.map(create, range(24)))
        assert len(made) == 1
        assert shared.ask("SELECT COUNT(*) FROM batches") == [(1,)]
        fleet.gateways[1].until(made.pop())
    check_paid_once_by(sandbox, lines)


@pytest.mark.parametrize("cap", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_cap_is_one_number_for_all_replicas(
    cap: int, sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    keys = one_lane(run_seconds=0.3, max_lines_per_job=1, max_jobs_in_flight=cap)
    with replicas(tmp_path, 3, keys, shared) as fleet:
        fleet.start()
        batches = [(gateway, made(fleet, n)) for n, gateway in enumerate(fleet.gateways)]
        ended = [gateway.until(batch_id)["request_counts"] for gateway, batch_id in batches]
    assert ended == [{"total": 4, "completed": 4, "failed": 0}] * 3
    assert list(most_at_once(ours(sandbox)).values()) == [cap]


def made(fleet: Replicas, n: int) -> str:
    """Upload and create at one replica; every line is a job."""
    gateway = fleet.gateways[n]
    return str(gateway.create(gateway.upload(jsonl(chat_lines(4, tag=str(n)))))["id"])
