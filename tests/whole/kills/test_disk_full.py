"""A full disk at each durable step: a clear state, nothing lost, and on it goes when space returns."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers, check_paid_once
from tests.support.folders import files_below
from tests.support.full_disk import fill
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane
from tests.support.waiting import until
from tests.whole.kills.scenes import OPENAI, in_part

LINES = chat_lines(40)
CONTENT = jsonl(LINES)


@pytest.fixture
def fresh(sandbox: Sandbox) -> Sandbox:
    OPENAI.prepare(sandbox)
    return sandbox


def gateway_on(home: Path, sandbox: Sandbox, data_dir: Path | None = None) -> Gateway:
    return Gateway(home, {"lane": lane(sandbox, max_lines_per_job=20)}, data_dir=data_dir)


INSIDE = (
    *("scan.acted", "split.row", "split.written", "split.acted", "stage.acted", "send.fenced", "fetch.acted"),
    *(
        "collect.row",
        "collect.written",
        "collect.acted",
        "merge.row",
        "merge.written",
        "merge.acted",
        "merge.published",
    ),
)


@pytest.mark.parametrize("point", in_part(INSIDE))
def test_no_space_inside_a_step_is_waited_out(point: str, fresh: Sandbox, tmp_path: Path) -> None:
    gateway = gateway_on(tmp_path, fresh)
    gateway.start(fail=f"{point}:1:enospc")
    try:
        batch = gateway.until(gateway.create(gateway.upload(CONTENT))["id"])
        assert "step_failed" in gateway.log.read_text(), f"{point} was never passed"
        check_answers(gateway, batch, LINES)
        check_paid_once(fresh, LINES)
    finally:
        gateway.close()


@pytest.mark.parametrize("point", ["ingest.temp", "ingest.synced", "ingest.renamed"])
def test_no_space_in_an_upload_is_507_and_leaves_nothing(point: str, fresh: Sandbox, tmp_path: Path) -> None:
    gateway = gateway_on(tmp_path, fresh)
    gateway.start(fail=f"{point}:1:enospc")
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            gateway.upload(CONTENT)
        assert refused.value.code == 507
        assert refused.value.headers["x-should-retry"] == "false"
        assert files_below(gateway.data / "files") == []
        assert not list((gateway.data / "tmp").iterdir())
        batch = gateway.until(gateway.create(gateway.upload(CONTENT))["id"])
        check_answers(gateway, batch, LINES)
    finally:
        gateway.close()


@pytest.fixture
def small(fresh: Sandbox, small_disk: Path, tmp_path: Path) -> Iterator[Gateway]:
    gateway = gateway_on(tmp_path, fresh, small_disk / "data")
    gateway.start()
    yield gateway
    gateway.close()


def filler(gateway: Gateway) -> Path:
    """Fill the gateway's disk to the last byte."""
    path = gateway.data.parent / "filler"
    fill(path)
    return path


def test_an_upload_on_a_full_disk_is_507_and_works_again_afterwards(small: Gateway) -> None:
    full = filler(small)
    with pytest.raises(urllib.error.HTTPError) as refused:
        small.upload(jsonl(chat_lines(4000)))
    assert refused.value.code == 507
    full.unlink()
    time.sleep(1.1)  # the gateway asks the file system once a second
    batch = small.until(small.create(small.upload(CONTENT))["id"])
    check_answers(small, batch, LINES)


def test_a_disk_that_fills_before_the_split(small: Gateway, fresh: Sandbox) -> None:
    file_id = small.upload(CONTENT)
    until(lambda: small.call("GET", f"/files/{file_id}")["status"] == "processed")
    full = filler(small)
    batch = small.create(file_id)  # the ballast makes room for the row
    assert not ready(small)
    time.sleep(3)
    assert small.batch(batch["id"])["status"] == "validating"
    assert fresh.control.log() == []
    full.unlink()
    ended = small.until(batch["id"])
    assert ready(small)
    check_answers(small, ended, LINES)
    check_paid_once(fresh, LINES)


def test_a_disk_that_fills_while_the_create_is_answered_keeps_the_job_id(small: Gateway, fresh: Sandbox) -> None:
    fresh.control.faults([{"on": "batches.create", "kind": "stall", "seconds": 2, "times": 2}])
    batch = small.create(small.upload(CONTENT))
    until(lambda: len(fresh.control.log()) == 2)
    full = filler(small)
    until(lambda: small.log.read_text().count('"event": "part_accepted"') == 2)
    small.kill()
    full.unlink()
    small.start()
    ended = small.until(batch["id"])
    check_answers(small, ended, LINES)
    check_paid_once(fresh, LINES)
    assert len(fresh.control.log()) == 2


def test_a_disk_that_fills_before_the_results_arrive(small: Gateway, fresh: Sandbox) -> None:
    fresh.control.options("openai", run_seconds=1)
    batch = small.create(small.upload(CONTENT))
    until(lambda: len(fresh.control.log()) == 2)
    full = filler(small)
    until(lambda: all(job["status"] == "completed" for job in fresh.control.jobs()))
    time.sleep(2.5)
    assert small.batch(batch["id"])["status"] in {"in_progress", "finalizing"}
    full.unlink()
    ended = small.until(batch["id"])
    check_answers(small, ended, LINES)
    check_paid_once(fresh, LINES)


def ready(gateway: Gateway) -> bool:
    try:
        gateway.call("GET", "/readyz", root=True)
    except urllib.error.HTTPError:
        return False
    return True
