"""Replicas that die, stop and lose their servers: no line is lost, no job is doubled, no cap is exceeded."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.cloud_stores import AnyStore
from tests.support.object_store import failing
from tests.support.postgres import Databases
from tests.support.store_front import Fault
from tests.whole.kills.all_lanes import LANES
from tests.whole.kills.scenes import GUESS, strangers
from tests.whole.replicas.rig import Replicas, Shared, replicas
from tests.whole.replicas.storm import Clients, Pace, Weather, lanes_of
from tests.whole.replicas.witness import check_paid_once, most_at_once, ours

PACES = {
    False: Pace(batches=8, lines=8, lanes=4, clients=8, cap=1, seconds=3, every=1, stopped=1.5, restarts=1),
    True: Pace(batches=200, lines=24, lanes=6, clients=24, cap=2, seconds=600, every=5, stopped=90, restarts=2),
}
CHOSEN = os.environ.get("STORM", "")  # of the campaign, as in STORM=batches=60,seconds=180
COUNT = 3
RUN_SECONDS = {False: 0.2, True: 4.0}  # of a job
SETTLE = 2.0  # longer than any create here takes to be accepted, so that no guess is wrong
SEED = 20261130


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(providers=[each.served for each in LANES]) as running:
        yield running


def pace_of(campaign: bool) -> Pace:
    """Return the pace of the suite's slice, or of the campaign as it was asked for."""
    pace, chosen = PACES[campaign], (each.split("=") for each in CHOSEN.split(",") if each)
    return replace(pace, **{name: type(getattr(pace, name))(value) for name, value in chosen}) if campaign else pace


def keys_of_all(sandbox: Sandbox, run_seconds: float, cap: int) -> dict[str, dict[str, Any]]:
    """Make the stand-ins forget all, and return an account of its own for every lane."""
    sandbox.control.reset()
    for each in LANES:
        own = {**each.quick, **each.unlimited, "run_seconds": run_seconds, "answers": "echo"}
        guests = {} if each.labelled else strangers(0.0, 0.0, lines=1)
        sandbox.control.options(each.provider, **{**own, **guests})
    common: dict[str, Any] = {"settle_seconds": SETTLE, "max_jobs_in_flight": cap}
    keys = {each.provider: each.virtual_key(sandbox.url(each.provider), **common) for each in LANES}
    for each in LANES:
        keys[each.provider] |= {} if each.labelled else GUESS
    return keys


def braved(fleet: Replicas, pace: Pace, databases: Databases | None) -> tuple[Clients, Weather]:
    """Let the clients send their batches through the weather, and return both when all batches have been checked."""
    clients = Clients(fleet, pace)
    weather = Weather(fleet, pace, random.Random(SEED), databases)
    sending = threading.Thread(target=(failures := Kept(clients.run)), daemon=True)
    fleet.start()
    sending.start()
    weather.run(sending.is_alive)
    sending.join()
    failures.raise_()
    return clients, weather


class Kept:
    """A call on a thread, whose failure is kept for whoever waits."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._failure: BaseException | None = None

    def __call__(self) -> None:
        try:
            self._act()
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits
            self._failure = error

    def raise_(self) -> None:
        if self._failure is not None:
            raise self._failure


def check_witnesses(sandbox: Sandbox, clients: Clients, pace: Pace) -> Mapping[tuple[str, str], int]:
    """All that was sent ran once, and no account had more jobs at a time than it may."""
    wanted = Counter[str]()
    for n in range(pace.batches):
        wanted.update(lanes_of(n, pace)[k % pace.lanes] for k in range(pace.lines))
    assert clients.sent == wanted
    jobs = ours(sandbox)
    check_paid_once(jobs, wanted)
    assert sandbox.control.violations() == []
    most = most_at_once(jobs)
    over = {account: count for account, count in most.items() if count > pace.cap}
    assert over == {}, f"more than {pace.cap} jobs at once"
    return most


def told(clients: Clients, weather: Weather, most: Mapping[tuple[str, str], int], jobs: int, refused: int) -> None:
    """Print the table of the campaign."""
    took, cap = sorted(clients.seconds), clients.pace.cap
    full = sum(n == cap for n in most.values())
    print(  # noqa: T201
        f"\nbatches {len(took)}, lines {clients.sent.total()}, jobs {jobs}, weather {dict(weather.happened)},"
        f" store refused {refused}, calls made again {dict(clients.replicas.again)},"
        f" most jobs at once {max(most.values())} of {cap} (reached by {full} accounts),"
        f" seconds of a batch: median {took[len(took) // 2]:.1f}, longest {took[-1]:.1f}"
    )


@pytest.mark.timeout(1800)
def test_a_storm(
    campaign: bool, sandbox: Sandbox, databases: Databases, object_store: AnyStore, tmp_path: Path
) -> None:
    pace = pace_of(campaign)
    keys = keys_of_all(sandbox, RUN_SECONDS[campaign], pace.cap)
    with failing(object_store) as (store, front):
        front.faults = [fault := Fault("refuse", each=10)]
        shared = Shared(databases, store, object_store.bucket())
        with replicas(tmp_path, COUNT, keys, shared, asks={"x-portkey-virtual-key": ""}) as fleet:
            clients, weather = braved(fleet, pace, databases)
            most = check_witnesses(sandbox, clients, pace)
    told(clients, weather, most, len(ours(sandbox)), fault.fired)
    assert weather.happened["killed"] >= 2
    assert fault.fired


@pytest.mark.slow
@pytest.mark.parametrize("form", ["embedded", "on PostgreSQL"])
def test_a_storm_over_one_gateway_alone(form: str, sandbox: Sandbox, databases: Databases, tmp_path: Path) -> None:
    """What is told of several is true of one, too, with its own database and files or with files alone."""
    pace = PACES[False]
    keys = keys_of_all(sandbox, RUN_SECONDS[False], pace.cap)
    shared = None if form == "embedded" else Shared(databases)
    with replicas(tmp_path, 1, keys, shared, asks={"x-portkey-virtual-key": ""}) as fleet:
        clients, weather = braved(fleet, pace, databases if shared else None)
        most = check_witnesses(sandbox, clients, pace)
    told(clients, weather, most, len(ours(sandbox)), 0)
