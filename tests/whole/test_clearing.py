"""Nothing of a part stays in a store of its account, whatever kills the gateway, and no batch waits for that.

The lane is from outside the tree, and its service keeps a label of every part until the lane gives it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.accounting import ask
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway
from tests.support.waiting import until
from tests.toy.toy_service import ToyService, served
from tests.whole.kills.lives import Lives

LINES = 10  # two jobs of toy's
STRANGER = ("toy-key", "zzzzzzzzzz")


@pytest.fixture
def service() -> Iterator[ToyService]:
    with served(ToyService(labels={STRANGER})) as running:
        yield running


@pytest.fixture
def gateway(service: ToyService, tmp_path: Path) -> Iterator[Gateway]:
    key = {"provider": "toy-tidy", "api_key": "toy-key", "custom_host": service.url}
    made = Gateway(tmp_path, {"lane": key}, env={"PYTHONPATH": _path()})
    yield made
    made.close()


def _path() -> str:
    root = Path(__file__).parents[2]
    return f"{root / 'tests' / 'toy'}:{root}"


def until_cleared(gateway: Gateway, service: ToyService) -> None:
    until(lambda: service.labels == {STRANGER} and not ask(gateway, "SELECT 1 FROM clearings"), gateway.tail)


@pytest.mark.parametrize("point", ["stage.noted", "stage.acted", "clear.before", "clear.acted", "clear.after"])
def test_nothing_is_left_after_a_kill(gateway: Gateway, service: ToyService, point: str) -> None:
    lives = Lives(gateway, [f"{point}:1"], 1)
    batch = lives.run(jsonl(chat_lines(LINES, model="wool-1")), gateway.until)
    assert lives.kills == 1
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", LINES)
    until_cleared(gateway, service)
    assert len(service.accepted) == 2


def test_a_batch_is_completed_although_its_objects_cannot_be_deleted(gateway: Gateway, service: ToyService) -> None:
    service.faults.keeps_labels = 10_000
    gateway.start()
    batch = gateway.until(gateway.create(gateway.upload(jsonl(chat_lines(LINES, model="wool-1"))))["id"])
    assert batch["status"] == "completed"
    sample = 'proxy_plugin_uncleared_parts{virtual_key="lane",state="due"}'
    until(lambda: gateway.samples().get(sample) == 2, gateway.tail)
    until(lambda: gateway.log.read_text().count("objects_not_cleared") == 2, gateway.tail)
    gateway.kill()
    service.faults.keeps_labels = 0
    gateway.start()
    until_cleared(gateway, service)
    assert gateway.log.read_text().count("objects_not_cleared") == 2, "once for each part"


@pytest.mark.parametrize("seal_key", ["a seal key", None])
def test_the_key_of_a_caller_serves_until_nothing_is_left(
    service: ToyService, tmp_path: Path, seal_key: str | None
) -> None:
    """Sealed it does so by itself; else the caller gives it again, as for a batch that runs."""
    own = {"x-portkey-virtual-key": "", "x-portkey-provider": "toy-tidy", "x-portkey-custom-host": service.url}
    gateway = Gateway(
        tmp_path,
        {},
        server={"custom_hosts": ["127.0.0.1"]},
        sections={"secrets": {"seal_key": seal_key}} if seal_key else {},
        env={"PYTHONPATH": _path()},
        asks={**own, "Authorization": "Bearer toy-key"},
    )
    service.faults.keeps_labels = 10_000
    try:
        gateway.start()
        batch_id = gateway.create(gateway.upload(jsonl(chat_lines(LINES, model="wool-1"))))["id"]
        assert gateway.until(batch_id)["status"] == "completed"
        until(lambda: gateway.log.read_text().count("objects_not_cleared") == 2, gateway.tail)
        gateway.kill()
        service.faults.keeps_labels = 0
        gateway.asks = {"x-portkey-virtual-key": ""} if seal_key else gateway.asks
        gateway.start()
        gateway.batch(batch_id)
        until_cleared(gateway, service)
        gateway.kill()
        assert b"toy-key" not in b"".join(path.read_bytes() for path in gateway.data.rglob("*") if path.is_file())
        assert ask(gateway, "SELECT sealed FROM batches") == [(None,)]
    finally:
        gateway.close()
