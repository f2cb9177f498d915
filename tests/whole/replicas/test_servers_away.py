"""A database and a store that are away for a while: nothing is lost, and clients are told to come back."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.demo.postgres import Postgres
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers, check_paid_once
from tests.support.lines import chat_lines, jsonl
from tests.support.object_store import failing
from tests.support.store_front import Fault
from tests.support.waiting import until
from tests.whole.replicas.rig import Replicas, Shared, replicas

RARER = ("refuse", "drop", "cut")
Keys = Callable[..., dict[str, dict[str, Any]]]


def refused(fleet: Replicas) -> str | None:
    """Ask the first replica for its batches; return a refusal's status and `Retry-After`, None for an answer."""
    try:
        fleet.gateways[0].call("GET", "/batches")
    except urllib.error.HTTPError as refusal:
        return f"{refusal.code} {refusal.headers['Retry-After']}"
    return None


def comes_and_goes(fleet: Replicas, sandbox: Sandbox, server: Postgres, number: int | None) -> None:
    """Stop the database in the middle of the work, by a signal, until a client has met that, and start it again."""
    first, done = fleet.gateways[0], len(sandbox.control.log())
    until(lambda: len(sandbox.control.log()) > done, first.tail)
    server.stop(number)
    try:
        said = until(lambda: refused(fleet), first.tail)
    finally:
        server.start()
    assert re.fullmatch(r"503 [1-9]\d*", said)
    until(lambda: refused(fleet) is None, first.tail)


@pytest.mark.slow  # the storm has it, too, but for what clients are told
def test_a_database_that_goes_and_comes_loses_nothing(
    sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    lines = chat_lines(40)
    with replicas(tmp_path, 2, one_lane(max_lines_per_job=4, max_jobs_in_flight=2), shared) as fleet:
        fleet.start()
        first, second = fleet.gateways
        batch_id = first.create(first.upload(jsonl(lines)))["id"]
        comes_and_goes(fleet, sandbox, shared.databases.server, None)
        comes_and_goes(fleet, sandbox, shared.databases.server, Postgres.CRASH)
        batch = second.until(batch_id)
        check_answers(second, batch, lines)
        assert (first.alive(), second.alive()) == (True, True)
    check_paid_once(sandbox, lines)


@pytest.mark.parametrize("kind", ["drop_after", *(pytest.param(each, marks=pytest.mark.slow) for each in RARER)])
def test_a_store_that_fails_now_and_then_loses_nothing(
    kind: Any, sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    lines = chat_lines(30)
    assert shared.store is not None
    with failing(shared.store) as (store, front):
        front.faults = [fault := Fault(kind, each=4)]
        own = Shared(shared.databases, store, shared.bucket, shared.url)
        with replicas(tmp_path, 2, one_lane(max_lines_per_job=5), own) as fleet:
            fleet.start()
            first, second = fleet.gateways
            file_id = fleet.insist(lambda: first.upload(jsonl(lines)))
            batch_id = fleet.insist(lambda: second.create(file_id))["id"]
            batch = second.until(batch_id)
            front.faults = []
            check_answers(second, batch, lines)
    assert fault.fired
    check_paid_once(sandbox, lines)
