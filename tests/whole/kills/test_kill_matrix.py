"""Promises 1 and 2 at every step: kill the gateway there, start it again, and look at what the provider saw."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from proxy_plugin.engine.steps import STEPS
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.accounting import (
    check_answers,
    check_one_at_a_time,
    check_paid_once,
    check_strangers_left_alone,
    history,
)
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, Gateway
from tests.whole.kills.lives import Lives, in_doubt, sample, until_cleared, until_sample, until_settled
from tests.whole.kills.scenes import (
    CAMPAIGNS,
    COUNT,
    KINDS,
    Campaign,
    Scene,
    around,
    campaign,
    some,
)

Case = tuple[str, str, str, int]  # provider, scene, point, kills


def cases(provider: str) -> list[tuple[str, str]]:
    """Return every scene of a stand-in with each of its points."""
    return [(scene, point) for scene, what in CAMPAIGNS[provider].scenes.items() for point in what.points]


def chosen(*, campaign: bool) -> list[Case]:
    """Return three kills a point for `make kills`; for the test suite a seeded slice with one each.

    Two lanes, one of each kind, have every scene and every step between them, others every scene.
    """
    every = {name: [(name, scene, point) for scene, point in cases(name)] for name in CAMPAIGNS}
    if campaign:
        return [(*case, times) for found in every.values() for case in found for times in (1, 2, 3)]
    found = some((case for name in KINDS for case in every[name]), steps=True)
    found += [case for name in CAMPAIGNS if name not in KINDS for case in some(every[name])]
    return [(provider, scene, point, 1) for provider, scene, point in found]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "times" in metafunc.fixturenames:
        picked = chosen(campaign=bool(metafunc.config.getoption("--campaign")))
        metafunc.parametrize(("provider", "scene", "point", "times"), picked)


@pytest.mark.parametrize("provider", CAMPAIGNS)
def test_every_engine_step_is_killed_on_both_sides_or_says_why_not(provider: str) -> None:
    killed = {point for _, point in cases(provider)}
    reasons = CAMPAIGNS[provider].without
    needed = [step for step in STEPS if not reasons.get(step)]
    assert set(around(*needed)) <= killed
    assert killed.isdisjoint(around(*(step for step in STEPS if step in reasons)))


def test_a_lane_that_leaves_objects_has_the_step_killed_that_clears_them() -> None:
    own = campaign(replace(find("openai"), leaves=True))
    assert set(around("clear")) <= {point for scene in own.scenes.values() for point in scene.points}
    assert not {"clear", "cleared up"} & own.without.keys()
    assert CAMPAIGNS["openai"].without["clear"], "which has nothing to clear"


@pytest.mark.parametrize("provider", CAMPAIGNS)
def test_every_lane_has_every_scene_or_says_why_not(provider: str) -> None:
    own = CAMPAIGNS[provider]
    every = {scene for each in CAMPAIGNS.values() for scene in each.scenes}
    assert every <= own.scenes.keys() | own.without.keys()
    assert not own.scenes.keys() & own.without.keys()
    assert all(own.without.values())


def test_kill(
    provider: str, scene: str, point: str, times: int, sandbox: Sandbox, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    own = CAMPAIGNS[provider]
    what = own.scenes[scene]
    own.prepare(sandbox)
    sandbox.control.options(provider, **what.sandbox)
    sandbox.control.faults(list(what.faults))
    key = own.key(sandbox, max_lines_per_job=what.per_job, **what.key)
    keys = {"lane": key} | ({"second": key} if what.onward else {})
    gateway = Gateway(tmp_path, keys, before=pytestconfig.getoption("--before"), asks=what.asks)
    gateway.endpoint = own.stand_in.endpoint
    try:
        check_scene(own, what, f"{point}:1", times, gateway, sandbox)
    finally:
        gateway.close()


def check_scene(own: Campaign, what: Scene, fail: str, times: int, gateway: Gateway, sandbox: Sandbox) -> None:
    lines, least = (
        chat_lines(COUNT, marker=what.marked, model=own.stand_in.model, url=own.stand_in.endpoint),
        1 + bool(what.first),
    )
    life = Lives(gateway, [*filter(None, [what.first]), *[fail] * times], least)
    until = partial(until_settled, gateway, sandbox, what.parts, may_wait=own.may_wait(what))
    batch = life.run(jsonl(lines), until, cancel_after=what.parts if what.cancel else None)
    if own.stand_in.leaves:
        life.insist(lambda _: until_cleared(gateway, sandbox, own.stand_in.provider))
    assert life.kills >= least, f"{fail} was never passed"
    stuck = batch["status"] not in ENDS
    if stuck:  # a kill can cut off any create that is on its way
        life.insist(lambda _: until_sample(gateway, "unresolved_submissions", in_doubt(gateway)))
    else:
        assert batch["status"] == what.end
        found = partial(check_answers, cancelled=what.cancel, style=own.stand_in.answers)
        life.insist(lambda _: found(gateway, batch, lines))
    life.insist(lambda _: check_guesses(what, gateway))  # an audit may still come to its kill
    partly = what.cancel or stuck
    twice = {n: what.marked[n] for n in what.onward}
    unpaid = own.unpaid(what.marked) + own.unpaid(twice)
    asked = [*lines, *(lines[n] for n in twice)]
    check_paid_once(sandbox, asked, cancelled=partly, unpaid=unpaid, doubled=what.doubled)
    check_history(own, what, gateway, sandbox)


def check_guesses(what: Scene, gateway: Gateway) -> None:
    """What was sent again on a guess, and what came of it, is counted, over restarts too; without guesses, nothing."""
    if what.doubled:
        until_sample(gateway, "doubled_jobs_total", what.doubled)
    assert bool(sample(gateway, "resent_on_a_guess_total")) == what.resent
    assert sample(gateway, "doubled_jobs_total") == what.doubled


def check_history(own: Campaign, what: Scene, gateway: Gateway, sandbox: Sandbox) -> None:
    """The scene was what its name says, and strangers came to no harm."""
    if own.strangers:
        check_strangers_left_alone(sandbox)
    if what.in_turn:
        check_one_at_a_time(gateway, what.key["settle_seconds"])
    if what.happened:
        assert what.happened in history(gateway), history(gateway)
