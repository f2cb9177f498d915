"""One batch over four accounts of two stand-ins, killed at every step: what goes wrong in one lane stays in it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.engine.steps import STEPS
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.accounting import (
    ask,
    check_answers,
    check_marked,
    check_paid_once,
    check_strangers_left_alone,
    history,
    our_mark,
)
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, Gateway
from tests.whole.kills.lives import Lives, until_settled
from tests.whole.kills.scenes import (
    ANTHROPIC,
    CANCELLED,
    CUT,
    GUESS,
    LOOK_UP,
    LOST,
    NEVER,
    OPENAI,
    PART_STEPS,
    Scene,
    around,
    some,
    strangers,
)

PER_JOB, COUNT = 12, 60
TURNS = (  # the account and the model that lines name in turn, 10 lines each
    ("red", "gpt-4.1-nano"),
    ("north", "claude-haiku-4-5"),
    ("green", "gpt-4.1-nano"),
    ("south", "claude-haiku-4-5"),
    ("red", "gpt-4.1-mini"),
    ("north", "claude-sonnet-4-5"),
)
JOBS = {"red": 2, "green": 1, "north": 2, "south": 1}  # red's models do not share a job, north's share and are too many
PROVIDERS = {"red": "openai", "green": "openai", "north": "anthropic", "south": "anthropic"}
KINDS = ("error=400", "missing", "duplicate", "foreign")
MARKED = {first + 8 * n: f"[[sandbox:{kind}]]" for first in (6, 7) for n, kind in enumerate(KINDS)}  # in both lanes
UNPAID = {7}  # Anthropic takes nothing for a line that is answered with an error
SETTLE = 1.0  # longer than any create takes to be accepted when kills come at random, so that no guess is wrong
QUIET = strangers(0.0, 0.0, lines=PER_JOB)
NO_MONEY = {"status": 400, "code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached."}
SEEDS = (2, 50)  # the suite's slice, the campaign's


@dataclass(frozen=True)
class Mixed(Scene):
    """`refuses` is an account that refuses every create. Options of `sandbox` are for both stand-ins."""

    refuses: str = ""
    marked: Mapping[int, str] = field(default_factory=lambda: MARKED)


def at(account: str, fault: dict[str, Any]) -> dict[str, Any]:
    """Return the fault as one account has it, while the others work."""
    return {**fault, "account": account}


def refusing(account: str) -> Mixed:
    """Return the scene in which one account refuses everything."""
    fault = {"on": "batches.create", "kind": "status", "times": None, **NO_MONEY}
    return Mixed(ORDINARY, faults=(at(account, fault),), refuses=account)


ORDINARY = ANTHROPIC.scenes["ordinary"].points
SCENES = {
    "ordinary": Mixed((*ORDINARY, "send.sent")),
    "reply lost in the lane with labels": Mixed(LOOK_UP, faults=(at("red", LOST),)),
    "reply lost in the lane without labels": Mixed(LOOK_UP, faults=(at("north", LOST),)),
    "cut off": Mixed(around("doubt"), first="send.sent:1"),
    "never arrived, revoked": Mixed(OPENAI.scenes["never arrived"].points, faults=(at("green", NEVER),)),
    "never arrived, sent again": Mixed(
        (*LOOK_UP, *around("audit"), "audit.acted"), faults=(at("south", NEVER),), resent=True
    ),
    "never arrived, waits": Mixed(LOOK_UP, faults=(at("south", NEVER),), key={"on_unknown": "wait"}, end=""),
    "adopted provisionally": Mixed(
        ("confirm.acted", *around("poll", "fetch")),
        faults=(at("north", LOST),),
        sandbox={"run_seconds": 4},
        happened="adopted provisionally",
    ),
    "cancelled": Mixed(CANCELLED.points, cancel=True, end="cancelled", sandbox=CANCELLED.sandbox),
    "a line is refused by name": Mixed(CUT, marked={**MARKED, 25: "[[sandbox:poison]]"}, happened="cut"),
    "an account with labels refuses": refusing("green"),
    "an account without labels refuses": refusing("north"),
}


def poisoned(what: Mixed) -> set[int]:
    """Return the lines that are not taken, so that nobody pays for them."""
    return {n for n, text in what.marked.items() if "poison" in text}


def account_of(n: int) -> str:
    return TURNS[n % len(TURNS)][0]


def mixed_lines(marked: Mapping[int, str], tag: str = "") -> list[dict[str, Any]]:
    lines = chat_lines(COUNT, marker=marked, tag=tag)
    for n, line in enumerate(lines):
        slug, model = TURNS[n % len(TURNS)]
        line["body"]["model"] = f"@{slug}/{model}"
    return lines


def four_accounts(home: Path, sandbox: Sandbox, **options: Any) -> Gateway:
    """Make the stand-ins forget all, and a gateway with an account of its own for every slug, named by the lines."""
    sandbox.control.reset()
    sandbox.control.options("openai", **{**OPENAI.options, "answers": "echo"})
    sandbox.control.options("anthropic", **{**ANTHROPIC.options, **QUIET})
    common = {"max_lines_per_job": PER_JOB, "settle_seconds": 0.5, **GUESS, **options}
    keys = {slug: find(name).virtual_key(sandbox.url(name), f"sk-{slug}", **common) for slug, name in PROVIDERS.items()}
    return Gateway(home, keys, asks={"x-portkey-virtual-key": ""})


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    keys = [f"{account}=sk-{account}" for account in PROVIDERS]
    with Sandbox(providers=["openai", "anthropic"], keys=keys) as running:
        yield running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case is a scene, a point, which of its passes in a life is the last, and how many lives; or a seed."""
    whole = bool(metafunc.config.getoption("--campaign"))
    if "point" in metafunc.fixturenames:
        metafunc.parametrize(("scene", "point", "nth", "times"), campaign_cases() if whole else slice_cases())
    elif "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(SEEDS[whole]))


EVERY = [(scene, point) for scene, what in SCENES.items() for point in what.points]


def slice_cases() -> list[tuple[str, str, int, int]]:
    """Return a seeded slice: every second scene, as lanes alone have them too, and those that only this batch has."""
    found = some(EVERY)
    kept = [case for n, case in enumerate(found) if n % 2 or SCENES[case[0]].refuses]
    return [(scene, point, 1, 1) for scene, point in kept]


def campaign_cases() -> list[tuple[str, str, int, int]]:
    """Return one to three kills a point, and one where a step of parts is passed for the third time."""
    once = [(*case, 1, times) for case in EVERY for times in (1, 2, 3)]
    return once + [("ordinary", point, 3, 1) for point in around(*PART_STEPS)]


def test_every_engine_step_is_killed_on_both_sides_in_a_mixed_batch() -> None:
    # These lanes leave nothing and make no calls, and lines that name their account go nowhere.
    steps = set(STEPS) - {"clear", "rescue", "answer"}
    assert set(around(*steps)) <= {point for what in SCENES.values() for point in what.points}


def test_kill_a_mixed_batch(scene: str, point: str, nth: int, times: int, sandbox: Sandbox, tmp_path: Path) -> None:
    what = SCENES[scene]
    gateway = four_accounts(tmp_path, sandbox, **what.key)
    for provider in ("openai", "anthropic"):
        sandbox.control.options(provider, **what.sandbox)
    sandbox.control.faults(list(what.faults))
    try:
        check_scene(what, f"{point}:{nth}", times, gateway, sandbox)
    finally:
        gateway.close()


def check_scene(what: Mixed, fail: str, times: int, gateway: Gateway, sandbox: Sandbox) -> None:
    lines, least = mixed_lines(what.marked), 1 + bool(what.first)
    parts = sum(JOBS.values()) - JOBS.get(what.refuses, 0)
    waits = what.key.get("on_unknown") == "wait"
    life = Lives(gateway, [*filter(None, [what.first]), *[fail] * times], least)
    until = partial(until_settled, gateway, sandbox, parts, may_wait=waits)
    batch = life.run(jsonl(lines), until, cancel_after=parts if what.cancel else None)
    assert life.kills >= least, f"{fail} was never passed"
    stuck = batch["status"] not in ENDS
    assert stuck if waits else batch["status"] == what.end
    if not stuck:
        check_rows(gateway, batch, lines, refused_by=what.refuses, cancelled=what.cancel)
    check_accounts(sandbox, lines, without=[what.refuses], partly=what.cancel or stuck, unpaid=UNPAID | poisoned(what))
    check_history(what, gateway, sandbox)


def check_rows(
    gateway: Gateway, batch: dict[str, Any], lines: list[dict[str, Any]], *, refused_by: str, cancelled: bool
) -> None:
    """Every line once and in order; errors are those with a marker, and all of the account that refuses."""
    check_answers(gateway, batch, lines, cancelled=cancelled or bool(refused_by), style="echo")
    if refused_by:
        refused = {line["custom_id"] for n, line in enumerate(lines) if account_of(n) == refused_by}
        rows = {row["custom_id"]: row for row in gateway.rows(batch["error_file_id"])}
        assert {rows[each]["response"]["body"]["error"]["message"] for each in refused} == {NO_MONEY["message"]}
        others = [line for line in lines if line["custom_id"] not in refused]
        check_marked(others, {key: row for key, row in rows.items() if key not in refused})
    ledger = gateway.call("GET", f"/batches/{batch['id']}/lines").splitlines()
    assert [json.loads(row)["virtual_key"] for row in ledger] == [account_of(n) for n in range(COUNT)]


def check_accounts(
    sandbox: Sandbox, lines: list[dict[str, Any]], *, without: Collection[str], partly: bool, unpaid: Collection[int]
) -> None:
    """Each account accepted each of its own jobs once and ran each of its own lines once, and nobody else's."""
    theirs = [n for n in range(COUNT) if account_of(n) not in without]
    free = sum(n in unpaid for n in theirs)
    check_paid_once(sandbox, [lines[n] for n in theirs], cancelled=partly, unpaid=free)
    accepted = Counter((entry["account"], our_mark(entry)) for entry in sandbox.control.log())
    assert set(accepted.values()) == {1}, f"accepted more than once: {accepted}"
    jobs = Counter(account for account, _ in accepted)
    ran = Counter[str]()
    for job in sandbox.control.jobs():
        if our_mark(job):
            ran[job["account"]] += job["lines_run"]
    due = Counter(account_of(n) for n in theirs if n not in unpaid)
    expected = {account: count for account, count in JOBS.items() if account not in without}
    assert jobs <= Counter(expected) if partly else (jobs, ran) == (expected, due)
    assert ran <= due


def check_history(what: Mixed, gateway: Gateway, sandbox: Sandbox) -> None:
    """The scene was what its name says, and strangers came to no harm."""
    check_strangers_left_alone(sandbox)
    assert guesses(gateway) or not what.resent, "nothing was guessed, so nothing was tested"
    if what.happened:
        assert what.happened in history(gateway), history(gateway)


def guesses(gateway: Gateway) -> int:
    return int(ask(gateway, "SELECT COUNT(*) FROM submissions WHERE guessed = 1")[0][0])


def test_kill_a_mixed_batch_at_random(seed: int, sandbox: Sandbox, tmp_path: Path) -> None:
    chance = random.Random(seed)
    gateway = four_accounts(tmp_path, sandbox, settle_seconds=SETTLE, max_jobs_in_flight=chance.choice([1, 2, None]))
    kind, account = chance.choice(["drop_after", "drop", "stall", "status_after"]), chance.choice([*PROVIDERS])
    fault = {"on": "batches.create", "kind": kind, "times": None, "chance": 0.5}
    sandbox.control.faults([at(account, fault | ({"seconds": 0.2} if kind == "stall" else {}))])
    lines = mixed_lines({}, str(seed))
    gateway.start()
    try:
        batch_id = gateway.create(gateway.upload(jsonl(lines)))["id"]
        for _ in range(chance.randint(1, 3)):
            time.sleep(chance.random() * 1.2)
            gateway.kill()
            gateway.start()
        sandbox.control.faults([])
        batch = gateway.until(batch_id, seconds=90)
        assert batch["status"] == "completed"
        check_rows(gateway, batch, lines, refused_by="", cancelled=False)
        check_accounts(sandbox, lines, without=(), partly=False, unpaid=())
        check_strangers_left_alone(sandbox)
    finally:
        gateway.close()
