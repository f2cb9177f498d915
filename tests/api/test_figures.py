"""`/metrics` tells every figure of the list, in its order, with no label that the list does not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy_plugin.api import operations
from proxy_plugin.ground.observing.figures import FIGURES, OF_ALL, PREFIX
from tests.support.rows import BATCH_ID, put_batch, put_file
from tests.support.served import Served, running
from tests.support.waiting import answered

KEY = "key-of-the-monitoring"
SAMPLE = re.compile(r"(\w+?)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
TENANTS = {"workspace", "virtual_key"}


async def told(served: Served) -> str:
    async with served.session.get(served.url + "/metrics", headers={"Authorization": f"Bearer {KEY}"}) as answer:
        assert answer.status == 200
        return await answer.text()


@pytest.mark.parametrize("key", [None, KEY])
async def test_the_answer_is_the_list(tmp_path: Path, key: str | None) -> None:
    async with running(tmp_path, server={"metrics_key": key}) as served:
        served.gateway.timings.provider_steps.observe(0.3, "lane")
        served.gateway.timings.provider_steps.observe(0.3, "other")
        await served.call("GET", "/v1/files")
        text = await told(served)
    families = re.findall(rf"# TYPE {PREFIX}(\w+) (\w+)", text)
    assert families == [(each.name, each.kind) for each in FIGURES]
    for figure in FIGURES:
        allowed = {*figure.labels, "le"} - (set() if key else TENANTS)
        for name, labels, _ in SAMPLE.findall(text):
            if re.fullmatch(rf"{PREFIX}{figure.name}(_bucket|_sum|_count)?", name):
                assert {label for label, _ in LABEL.findall(labels)} <= allowed, name
    assert f'{PREFIX}request_duration_seconds_count{{method="GET",route="/v1/files",status="2xx"}} 1' in text
    many = [f'{PREFIX}provider_step_duration_seconds_count{{virtual_key="{slug}"}} 1' for slug in ("lane", "other")]
    assert all((line in text) is (key is not None) for line in many)
    assert (f"{PREFIX}provider_step_duration_seconds_count 2" in text) is (key is None)


async def test_steps_of_the_engine_are_counted_and_batches_when_they_end(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry, state="validating", due_at=0.0)
        served.gateway.engine.wake()

        async def counted() -> bool:
            return f'{PREFIX}step_duration_seconds_count{{step="validate",outcome="done"}}' in await told(served)

        await answered(counted)


async def test_a_batch_past_its_window_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry, due_at=None)
        await put_batch(served.gateway.registry, "batch_new", due_at=None, expires_at=int(served.clock.now()))
        await put_batch(served.gateway.registry, "batch_done", state="completed")
        text = await told(served)
    assert f"{PREFIX}batches_past_window 1\n" in text
    assert BATCH_ID not in text


async def test_help_says_of_which_figures_each_replica_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the others a gateway tells without its database, too."""

    async def away() -> str:
        return "connection refused"

    monkeypatch.setattr(operations, "LOOK_KEPT", -1.0)
    async with running(tmp_path, server={"metrics_key": KEY}) as served:
        text = await told(served)
        monkeypatch.setattr(type(served.gateway.registry), "away", staticmethod(away))
        alone = await told(served)
    of_all = {name for name, about in re.findall(rf"# HELP {PREFIX}(\w+) (.*)", text) if about.endswith(OF_ALL)}
    of_it = re.findall(rf"# TYPE {PREFIX}(\w+)", alone)
    assert of_all == {each.name for each in FIGURES} - {*of_it}
    assert {"batches", "cost_usd_total"} <= of_all
    assert {"ready", "uploads_running", "request_duration_seconds"} <= {*of_it}
