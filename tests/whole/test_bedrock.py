"""Batches on Bedrock by a whole gateway: too few lines are not sent, and an upload may be killed between its parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.bedrock.stand_in import BUCKET, ROLE, STAND_IN
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers
from tests.support.lines import jsonl
from tests.support.stack import Gateway, lane
from tests.support.waiting import until

pytest.importorskip("botocore")
PARTS, PIECE = 3, 4096


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture(scope="module")
def sandbox(home: Path) -> Iterator[Sandbox]:
    options = {"bedrock": {**STAND_IN.quick, "answers": "echo"}}
    with Sandbox(providers=["bedrock"], options=options, directory=home) as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, sandbox: Sandbox) -> Iterator[Gateway]:
    sandbox.control.reset()
    keys = {
        "lane": lane(sandbox, provider="bedrock", aws_s3_part_bytes=PIECE),
        "open": lane(sandbox, provider="bedrock", aws_s3_bucket=None, aws_batch_role_arn=None),
        "hundred": lane(sandbox, provider="bedrock", min_lines_per_job=None),
        "uncalled": lane(sandbox, provider="bedrock", min_lines_per_job=50, direct_calls="never"),
    }
    found = Gateway(tmp_path, keys, engine={"poll_seconds_first": 0.05, "poll_seconds_max": 0.2})
    found.start()
    yield found
    found.close()


def lines(count: int, size: int = 1) -> list[dict[str, Any]]:
    said = [f"Say {n} {'x' * size}" for n in range(count)]
    return [
        {
            "custom_id": f"line-{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": STAND_IN.model, "messages": [{"role": "user", "content": text}]},
        }
        for n, text in enumerate(said)
    ]


def puts(sandbox: Sandbox) -> int:
    return sum(each["op"] == "objects.put" for each in sandbox.control.requests())


def test_too_few_lines_become_error_rows_before_anything_is_sent(gateway: Gateway, sandbox: Sandbox) -> None:
    for slug, count, may_be_called in (("hundred", 99, True), ("uncalled", 49, False)):
        gateway.asks = {"x-portkey-virtual-key": slug}
        batch = gateway.until(gateway.create(gateway.upload(jsonl(lines(count))))["id"])
        rows = gateway.rows(batch["error_file_id"])
        assert [row["custom_id"] for row in rows] == [f"line-{n}" for n in range(count)]
        for row in rows:
            error = row["error"] or row["response"]["body"]["error"]
            assert error["code"] == "too_few_lines"
            assert "min_lines_per_job" in error["message"]
            assert ("direct: true" in error["message"]) is may_be_called
    assert [each["op"] for each in sandbox.control.requests()] == []


@pytest.mark.parametrize("sent", range(PARTS))
def test_an_upload_that_is_killed_between_its_parts_is_one_object_and_one_job(
    gateway: Gateway, sandbox: Sandbox, home: Path, sent: int
) -> None:
    gateway.asks = {"x-portkey-virtual-key": "lane"}
    wanted = lines(PARTS * 4 - 2, PIECE // 4 - 150)
    sandbox.control.faults([{"on": "objects.put", "kind": "stall", "seconds": 3600, "skip": sent, "times": None}])
    batch = gateway.create(gateway.upload(jsonl(wanted)))
    until(lambda: puts(sandbox) == PARTS, "all parts to be on their way")
    gateway.kill()
    sandbox.control.faults([])
    gateway.start()
    done = gateway.until(batch["id"])
    check_answers(gateway, done, wanted, style="echo")
    assert len(sandbox.control.log()) == 1
    assert sum(job["lines_run"] for job in sandbox.control.jobs()) == len(wanted)
    assert list((home / "bedrock" / "parts").iterdir()) == []
    inputs = list((home / "bedrock" / "buckets").rglob("input.jsonl"))
    assert len(inputs) <= 1


def test_a_virtual_key_that_names_no_place_runs_where_its_requests_say(gateway: Gateway, sandbox: Sandbox) -> None:
    gateway.asks = {"x-portkey-virtual-key": "open"}
    place = {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/below/"}}
    sandbox.control.faults([{"on": "batches.create", "kind": "stall", "seconds": 3600}])
    wanted = lines(2)
    wanted[1]["body"]["messages"][0]["content"] = "[[sandbox:error=429]]"
    batch = gateway.create(gateway.upload(jsonl(wanted)), role_arn=ROLE, output_data_config=place)
    until(lambda: len(sandbox.control.log()) == 1, "the job to be made")
    gateway.kill()
    gateway.start()
    done = gateway.until(batch["id"])
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert len(sandbox.control.log()) == 1
    again = gateway.until(gateway.call("POST", f"/batches/{batch['id']}/retry")["id"])
    assert gateway.rows(again["error_file_id"])[0]["response"]["status_code"] == 429, "it ran, where the create said"
    stored = {str(each["id"]) for each in sandbox.control.requests() if each["op"] == "objects.put"}
    assert len(stored) == 2
    assert all(each.startswith("below/pp-") for each in stored)
    until(lambda: not sandbox.control.left("bedrock"), "nothing to be left")
