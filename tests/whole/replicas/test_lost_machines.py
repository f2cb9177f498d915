"""Each step on another machine: what a row names or implies is in the store, so nothing else has to be there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.engine.direct import watch
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from proxy_plugin.storage.tables import files, parts
from tests.support.accounting import code_of
from tests.support.cloud_stores import AnyStore
from tests.support.lines import jsonl
from tests.support.lost_machines import lose_machines, objects, share
from tests.support.object_store import failing
from tests.support.stand_ins import QUICK
from tests.support.store_front import Fault
from tests.whole.lanes.rig import CHAT, Stand, chats
from tests.whole.lanes.world import World, opened

LANES = ("anthropic", *(pytest.param(name, marks=pytest.mark.slow) for name in ("openai", "mistral-ai", "bedrock")))
REVOKING = ("vertex-ai", *(pytest.param(name, marks=pytest.mark.slow) for name in ("openai", "bedrock")))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """The stand-ins of all lanes."""
    with Sandbox(options=QUICK) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the store that all machines share."""
    share(monkeypatch, f"file://{tmp_path / 'store'}")
    return tmp_path / "store"


async def codes(world: World, batch: Any) -> Counter[str]:
    rows = await world.rows(batch.output_file_id) + await world.rows(batch.error_file_id)
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return Counter(map(code_of, rows))


@pytest.mark.parametrize("name", LANES)
async def test_a_batch_whose_every_step_has_a_machine_of_its_own(
    name: str, sandbox: Sandbox, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.control.reset()
    stand, lost = Stand(sandbox, find(name)), lose_machines(monkeypatch)
    lines = [{**line, "body": {**line["body"], "model": stand.stand_in.models[0]}} for line in chats(6)]
    async with opened(tmp_path / "data", sandbox, stand.key(max_lines_per_job=4)) as world:
        batch = await world.until((await world.create(lines)).id)
        assert (batch.status, await codes(world, batch)) == ("completed", {"200": 6})
        output = await world.client.files.content(batch.output_file_id)
        assert [json.loads(line)["custom_id"] for line in output.content.splitlines()] == [
            line["custom_id"] for line in lines
        ]
        ledger = await world.client.get(f"/batches/{batch.id}/lines", cast_to=str)
        assert len(ledger.splitlines()) == 6
        assert sum(job["lines_run"] for job in sandbox.control.jobs()) == 6
        assert lost["scan"] == lost["split"] == lost["merge"] == 1 <= lost["collect"]
        named = {batch.input_file_id, batch.output_file_id}
        kept = await world.gateway.registry.read(files.kept)
    assert kept == named
    assert {key.rpartition("/")[2].partition(".")[0] for key in objects(store)} == named


@pytest.mark.parametrize("name", REVOKING)
async def test_a_create_that_never_arrived_is_revoked_and_staged_under_another_name(
    name: str, sandbox: Sandbox, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an adapter notes beside a document, names that must not come again among it, outlives the machine."""
    sandbox.control.reset()
    stand, lost = Stand(sandbox, find(name)), lose_machines(monkeypatch)
    lines = [{**line, "body": {**line["body"], "model": stand.stand_in.models[0]}} for line in chats(4)]
    stand.faults({"kind": "drop", "on": stand.stand_in.create, "times": 2})
    async with opened(tmp_path / "data", sandbox, stand.key()) as world:
        batch = await world.until((await world.create(lines)).id)
        assert (batch.status, await codes(world, batch)) == ("completed", {"200": 4})
        kept = await world.gateway.registry.read(parts.of_batch, batch.id)
    staged = [json.loads(part.staged or "{}") for part in kept]
    assert lost["stage"] == 3  # a name for each create that may yet be accepted
    assert [each.get("object", "-2.jsonl").endswith("-2.jsonl") for each in staged] == [True]
    assert sum(job["lines_run"] for job in sandbox.control.jobs()) == 4


async def test_answers_of_ordinary_calls_go_from_machine_to_machine(
    sandbox: Sandbox, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn of the part is on another machine, and makes no call again."""
    sandbox.control.reset()
    monkeypatch.setattr(watch, "LONGEST_TURN", 0.05)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
    stand, lost = Stand(sandbox, find("openai")), lose_machines(monkeypatch)
    stand.options(delay_seconds=0.05)
    limits = {"concurrency": 2, "retries": 2, "timeout_seconds": 20}
    async with opened(tmp_path / "data", sandbox, stand.key(direct_limits=limits)) as world:
        file = await world.client.files.create(file=("a.jsonl", jsonl(chats(8))), purpose="batch")
        body: dict[str, Any] = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "immediate"}
        batch = await world.until((await world.client.batches.create(**body)).id)
        assert (batch.status, await codes(world, batch)) == ("completed", {"200": 8})
        called = Counter(each["id"].strip() for each in await world.calls("call.chat.completions"))
    assert lost["answer"] > 2
    assert set(called.values()) == {1}


@pytest.mark.slow
async def test_a_store_that_refuses_loses_and_cuts_costs_no_line(
    sandbox: Sandbox, object_store: AnyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.control.reset()
    stand = Stand(sandbox, find("openai"))
    with failing(object_store) as (behind, front):
        front.faults = [
            Fault("refuse", each=10, statuses=(503, 429, 500)),
            Fault("drop_after", each=11),
            Fault("cut", each=7),
        ]
        share(monkeypatch, f"{object_store.bucket()}/replicas", dict(behind.options))
        lose_machines(monkeypatch)
        async with opened(tmp_path / "data", sandbox, stand.key(max_lines_per_job=4)) as world:
            batch = await world.until((await world.create(chats(12))).id)
            assert (batch.status, await codes(world, batch)) == ("completed", {"200": 12})
        assert all(fault.fired for fault in front.faults)
    assert sum(job["lines_run"] for job in stand.jobs()) == 12
