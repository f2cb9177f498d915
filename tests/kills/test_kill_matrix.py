"""Promises 1 and 2 at every step: kill the gateway there, start it again, and look at what the provider saw."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from providers.sandbox.process import Sandbox
from proxy_plugin.engine import STEPS
from tests.accounting import check_answers, check_paid_once
from tests.stack import Gateway, GatewayGone, chat_lines, jsonl, lane

T = TypeVar("T")
COUNT, PER_JOB = 50, 20
MARKED = {7: "[[sandbox:error=400]]", 23: "[[sandbox:missing]]", 31: "[[sandbox:duplicate]]", 44: "[[sandbox:foreign]]"}
QUICK = {"validate_seconds": 0.05, "run_seconds": 0.3, "finalize_seconds": 0.02, "cancel_seconds": 0.1}


@dataclass(frozen=True)
class Scene:
    """What makes a step happen. `first` is killed before the kill that is meant, to get there at all."""

    points: tuple[str, ...]
    faults: tuple[dict[str, Any], ...] = ()
    first: str = ""
    cancel: bool = False
    end: str = "completed"


def around(*names: str) -> tuple[str, ...]:
    """Return the points before and after each step."""
    return tuple(f"{name}.{when}" for name in names for when in ("before", "after"))


ORDINARY = (
    "scan",
    "validate",
    "split",
    "follow",
    "merge",
    "admit",
    "stage",
    "intend",
    "send",
    "poll",
    "fetch",
    "collect",
)
SCENES = {
    "ordinary": Scene(
        (
            *around(*ORDINARY),
            *("scan.acted", "split.acted", "merge.acted", "merge.published", "stage.acted"),
            *("send.fenced", "send.sent", "send.acted", "fetch.acted", "collect.acted"),
            *("ingest.temp", "ingest.synced", "ingest.renamed", "ingest.row", "create.before", "create.after"),
        )
    ),
    "reply lost": Scene(
        (*around("look_up"), "look_up.acted"), faults=({"on": "batches.create", "kind": "drop_after", "times": 1},)
    ),
    "cut off": Scene(around("doubt"), first="send.sent:1"),
    "never arrived": Scene(
        ("revoke.before", "revoke.noted", "revoke.acted", "look_up.after"),
        faults=({"on": "batches.create", "kind": "drop", "times": 1},),
    ),
    "cancelled": Scene(
        ("cancel.before", "cancel.after", "cancel_job.before", "cancel_job.acted"), cancel=True, end="cancelled"
    ),
}
CASES = [(scene, point) for scene, what in SCENES.items() for point in what.points]


def test_every_engine_step_is_killed_on_both_sides() -> None:
    killed = {point for _, point in CASES}
    assert set(around(*STEPS)) <= killed


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(options={"openai": QUICK}) as running:
        yield running


@pytest.fixture
def gateway(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    sandbox.control.reset()
    sandbox.control.options("openai", **QUICK)
    made = Gateway(tmp_path, {"lane": lane(sandbox, max_lines_per_job=PER_JOB)})
    yield made
    made.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Three kills a point are the campaign: `make kills`."""
    if "times" in metafunc.fixturenames:
        metafunc.parametrize("times", [1, 2, 3] if metafunc.config.getoption("--campaign") else [1])


@pytest.mark.parametrize(("scene", "point"), CASES)
def test_kill(scene: str, point: str, times: int, gateway: Gateway, sandbox: Sandbox) -> None:
    what = SCENES[scene]
    sandbox.control.faults(list(what.faults))
    if what.cancel:
        sandbox.control.options("openai", run_seconds=30)
    lines = chat_lines(COUNT, marker=MARKED)
    life = Lives(gateway, [*filter(None, [what.first]), *[f"{point}:1"] * times])
    batch = life.run(jsonl(lines), cancel=what.cancel)
    assert life.kills >= 1 + bool(what.first), f"{point} was never passed"
    assert batch["status"] == what.end
    check_answers(gateway, batch, lines, cancelled=what.cancel)
    check_paid_once(sandbox, lines, cancelled=what.cancel)


class Lives:
    """A gateway that is killed as often as its list says, and a client that does not give up."""

    def __init__(self, gateway: Gateway, fails: list[str]) -> None:
        self._gateway, self._fails = gateway, fails
        self._planned = len(fails)
        self.kills = 0

    def run(self, content: bytes, *, cancel: bool) -> dict[str, Any]:
        """Upload, create and follow one batch to its end, starting the gateway again whenever it is gone."""
        self._start()
        file_id = self._insist(lambda _: self._gateway.upload(content))
        batch_id = self._insist(lambda again: self._gateway.create(file_id, retry=again)["id"])
        if cancel:
            self._insist(lambda _: self._gateway.until(batch_id, {"in_progress"}))
            self._insist(lambda _: self._wait_for_job())
            self._insist(lambda _: self._gateway.call("POST", f"/batches/{batch_id}/cancel"))
        batch = self._insist(lambda _: self._gateway.until(batch_id, seconds=90))
        while self.kills < self._planned:  # a step's last point may come after the client has seen the end
            self._bury()
            self._start()
            batch = self._insist(lambda _: self._gateway.until(batch_id, seconds=90))
        return batch

    def _wait_for_job(self) -> None:
        self._gateway.until_event(lambda log: '"event": "part_accepted"' in log)

    def _insist(self, act: Callable[[int], T]) -> T:
        for again in range(10):
            try:
                return act(min(again, 1))
            except GatewayGone:
                self._bury()
                self._start()
        raise AssertionError("the gateway keeps dying")

    def _start(self) -> None:
        fail = self._fails.pop(0) if self._fails else ""
        self._gateway.start(fail=fail)
        if not self._gateway.alive():
            self._bury()
            self._start()

    def _bury(self) -> None:
        process = self._gateway.process
        assert process is not None
        assert process.wait(10) == -signal.SIGKILL, f"the gateway ended by itself:\n{self._gateway.tail()}"
        self.kills += 1
