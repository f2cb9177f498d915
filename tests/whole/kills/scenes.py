"""What the kill campaign must know about each stand-in beyond its record: its scenes, and why it lacks another's.

There are two kinds: those whose jobs carry our label and whose input can be deleted, and those that have neither.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn, every
from tests.support.stack import lane

COUNT, PER_JOB = 50, 20  # lines of a batch, and of each job but the last
PARTS = 3
EVEN = 25  # lines of each job where all have as many
IN_ORDER = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "lane"}, {"virtual_key": "second"}]}
KINDS = ("openai", "anthropic")  # one lane of each kind: between them every scene and step is killed in the suite
MARKED = {7: "[[sandbox:error=400]]", 23: "[[sandbox:missing]]", 31: "[[sandbox:duplicate]]", 44: "[[sandbox:foreign]]"}


@dataclass(frozen=True)
class Scene:
    """What makes a step happen. `first` is killed before the kill that is meant, to get there at all."""

    points: tuple[str, ...]
    faults: tuple[dict[str, Any], ...] = ()
    first: str = ""
    cancel: bool = False
    end: str = "completed"  # "": the batch must not end; it need not where lost creates are waited for
    key: Mapping[str, Any] = field(default_factory=dict)  # more settings of the virtual key
    sandbox: Mapping[str, Any] = field(default_factory=dict)  # more options of the stand-in
    happened: str = ""  # an event that the history of the batch must have
    per_job: int = PER_JOB  # lines
    in_turn: bool = False  # no two creates are in doubt at once
    resent: bool = False  # a part is sent again on a guess
    doubled: int = 0  # jobs that are thereby made twice
    marked: Mapping[int, str] = field(default_factory=lambda: MARKED)  # markers of the sandbox, by line
    onward: tuple[int, ...] = ()  # lines that fail and are asked again on another virtual key

    @property
    def parts(self) -> int:
        """Into how many jobs the lines go."""
        return -(-COUNT // self.per_job)

    @property
    def asks(self) -> dict[str, str]:
        """Headers of its calls beside those of all."""
        return {"x-portkey-virtual-key": "", "x-portkey-config": json.dumps(IN_ORDER)} if self.onward else {}


@dataclass(frozen=True)
class Campaign:
    """One stand-in's campaign. Where there are strangers, they come with every lookup."""

    stand_in: StandIn
    scenes: Mapping[str, Scene]
    without: Mapping[str, str]  # a scene, a step or a test that others have -> why it cannot happen here
    strangers: Mapping[str, Any] = field(default_factory=dict)  # options of the stand-in

    @property
    def options(self) -> dict[str, Any]:
        """The options of the stand-in: a job takes long enough to be killed in."""
        own = self.stand_in
        return {**own.quick, "run_seconds": 0.3, "cancel_seconds": 0.1, "answers": own.answers, **self.strangers}

    def prepare(self, sandbox: Sandbox, **options: Any) -> None:
        """Make the stand-in forget all and be quick."""
        sandbox.control.reset()
        sandbox.control.options(self.stand_in.provider, **{**self.options, **options})

    def key(self, sandbox: Sandbox, **options: Any) -> dict[str, Any]:
        """Return settings of a virtual key for this stand-in."""
        return lane(sandbox, provider=self.stand_in.provider, **options)

    def may_wait(self, what: Scene) -> bool:
        """Tell whether a batch may stay unfinished here, because a create that never arrived is waited for."""
        return not self.stand_in.labelled and what.key.get("on_unknown", "wait") == "wait"

    def unpaid(self, marked: Mapping[int, str]) -> int:
        """Return how many of the lines with these markers cost nothing."""
        free = ["sandbox:poison", *([] if self.stand_in.errors_paid else ["sandbox:error"])]
        return sum(any(each in text for each in free) for text in marked.values())


def around(*names: str) -> tuple[str, ...]:
    """Return the points before and after each step."""
    return tuple(f"{name}.{when}" for name in names for when in ("before", "after"))


def strangers(*run_seconds: float, lines: int = PER_JOB) -> dict[str, Any]:
    """Return the option that lets strangers with jobs of a part's size come with every lookup."""
    return {"strangers_on_list": {"batches": len(run_seconds), "lines": lines, "run_seconds": run_seconds}}


Point = tuple[str, ...]
"""Whatever else, and at its end a scene and a point in it at which the gateway is killed."""


def some(every: Iterable[Point], *, steps: bool = False) -> list[Point]:
    """Return points by a seeded choice, so that each scene is killed once; with `steps` each step is, too."""
    mixed, chosen, met = list(every), list[Point](), set[str]()
    random.Random(20261121).shuffle(mixed)
    for each in mixed:
        wanted = {each[-2], each[-1].partition(".")[0]} if steps else {each[-2]}
        if wanted - met:
            chosen.append(each)
            met |= wanted
    return chosen


def in_part(points: Iterable[str]) -> list[Any]:
    """Return points as parameters of a test: the suite has one of each step, the campaign all."""
    every = tuple(points)
    kept = {point for _, point in some((("", point) for point in every), steps=True)}
    return [pytest.param(each, marks=[] if each in kept else pytest.mark.slow) for each in every]


LOST = {"on": "batches.create", "kind": "drop_after", "times": 1}
NEVER = {"on": "batches.create", "kind": "drop", "times": 1}
FOREVER = 600.0  # seconds that a stranger's job runs: longer than any scene


def late(seconds: float, *, behind: str = "") -> dict[str, Any]:
    """Return the fault of a create that is accepted when its client is long gone: so long behind the next such call."""
    return {"on": "batches.create", "kind": "late", "seconds": seconds, "times": 1, "behind": behind}


def late_results(stand_in: StandIn) -> Scene:
    """Return the scene of jobs that have ended some looks before their results are found."""
    points = (*around("fetch", "collect"), "fetch.acted", "collect.acted")
    return Scene(points, sandbox=dict.fromkeys(stand_in.late, 2))


BATCH_STEPS = ("scan", "validate", "split", "follow", "merge")
PART_STEPS = ("admit", "stage", "intend", "send", "poll", "fetch", "collect")
INSIDE = (
    *("scan.acted", "split.acted", "merge.acted", "merge.published", "stage.acted"),
    *("send.fenced", "send.acted", "fetch.acted", "collect.acted"),
    *("ingest.temp", "ingest.synced", "ingest.renamed", "ingest.row", "create.before", "create.after"),
)
CANCELLED = Scene(
    ("cancel.before", "cancel.after", "cancel_job.before", "cancel_job.acted"),
    cancel=True,
    end="cancelled",
    sandbox={"run_seconds": 30},
)
ONWARD = Scene(
    (*around("rescue"), "rescue.acted"),
    marked={**MARKED, 23: MARKED[7]},  # of a job with nothing but a missing line some lanes wait for results, an hour
    onward=(7, 23),
    happened="rescued",
)
LOOK_UP = (*around("look_up"), "look_up.acted")
CUT = (*around("cut"), "cut.acted")
POISONED = {
    "a line refused by name": Scene(CUT, marked={**MARKED, 25: "[[sandbox:poison]]"}, happened="cut"),
    "a line refused without a name": Scene(CUT, marked={**MARKED, 25: "[[sandbox:poison=silent]]"}, happened="cut"),
}


def labelled(stand_in: StandIn) -> Campaign:
    """Return the campaign of a stand-in whose jobs carry our label and whose lost creates are revoked."""
    assert stand_in.uploads, "no scenes are written yet for a lane with labels and nothing to revoke"
    return Campaign(
        stand_in,
        scenes={
            "ordinary": Scene((*around(*BATCH_STEPS, *PART_STEPS), *INSIDE, "send.sent")),
            "results late": late_results(stand_in),
            "reply lost": Scene(LOOK_UP, faults=(LOST,)),
            "cut off": Scene(around("doubt"), first="send.sent:1"),
            "never arrived": Scene(
                ("revoke.before", "revoke.noted", "revoke.acted", "look_up.after"),
                faults=(NEVER,),
            ),
            "cancelled": CANCELLED,
            "lines go on": ONWARD,
            **POISONED,
        },
        without=dict.fromkeys(
            (
                *("adopted provisionally", "a stranger's job adopted", "one create at a time"),
                *("came too late, sent again", "never arrived, waits", "never arrived, sent again", "audit"),
            ),
            "jobs carry our label and lost creates are revoked: nothing is provisional, nothing is guessed",
        ),
    )


GUESS = {"on_unknown": "resend"}
QUIET = strangers(0.0, 0.0)  # have ended when they are seen, so a lookup can find that nothing of ours is there


def unlabelled(stand_in: StandIn) -> Campaign:
    """Return the campaign of a stand-in whose lost creates are adopted provisionally, waited for or guessed."""
    return Campaign(
        stand_in,
        scenes={
            "ordinary": Scene((*around(*BATCH_STEPS, *PART_STEPS), *INSIDE)),
            "results late": late_results(stand_in),
            "reply lost": Scene(LOOK_UP, faults=(LOST,)),
            "cut off": Scene(around("doubt"), first="send.acted:1"),
            "cancelled": CANCELLED,
            "lines go on": ONWARD,
            **POISONED,
            "adopted provisionally": Scene(
                ("look_up.after", *around("poll"), "confirm.acted", *around("fetch")),
                faults=(LOST,),
                sandbox={**QUIET, "run_seconds": 3},
                happened="adopted provisionally",
            ),
            "a stranger's job adopted": Scene(
                ("look_up.after", *around("poll"), "confirm.acted"),
                faults=(late(0.1, behind="batches.list"),),  # so that the first lookup shows the stranger's alone
                key={"max_jobs_in_flight": 1},  # so that no other part's call brings one more stranger
                sandbox=strangers(0.3, lines=EVEN),
                per_job=EVEN,  # whichever part is sent first, the stranger's job is as large
                happened="not ours after all",
            ),
            "one create at a time": Scene(
                ("send.no_turn", *around("send"), "look_up.after"),
                faults=(late(0.4),),
                key={"settle_seconds": 2},
                sandbox=QUIET,
                in_turn=True,
            ),
            "never arrived, waits": Scene(
                ("send.sent", *around("doubt"), "look_up.before", "look_up.acted", "look_up.after"),
                first="send.sent:1",
                sandbox=QUIET,
                end="",
            ),
            "never arrived, sent again": Scene(
                (*around("doubt"), *LOOK_UP, "send.sent", *around("audit"), "audit.acted"),
                first="send.sent:1",
                key=GUESS,
                sandbox=QUIET,
                resent=True,
            ),
            "came too late, sent again": Scene(
                (*around("audit"), "audit.acted"),
                faults=(late(4),),
                key=GUESS,
                sandbox=QUIET,
                resent=True,
                doubled=1,
            ),
        },
        without={
            "never arrived": "lines travel in the create, so nothing is staged that could be revoked",
            "test_an_acceptance_later_than_the_settle_time_runs_nothing": "no revoke: see test_in_doubt",
            "test_a_create_that_never_arrived_is_sent_again_after_the_settle_time": "see test_in_doubt",
            "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "for lack of quota a create is 429",
            "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "lines are checked only when the job runs",
        },
        strangers=strangers(0.0, FOREVER, FOREVER),
    )


CLEARED = {"cleared up": Scene(("stage.noted", *around("clear"), "clear.acted"), happened="cleared")}
NO_CALLS = {"answer": "its lines go as jobs; ordinary calls are killed in tests/whole/direct"}
NOTHING_LEFT = dict.fromkeys((*CLEARED, "clear"), "jobs leave nothing in a store of the account")


def campaign(stand_in: StandIn) -> Campaign:
    """Return the campaign of a stand-in, without what its record says that it lacks."""
    made, lacks = (labelled if stand_in.labelled else unlabelled)(stand_in), stand_in.lacks
    every, none = (CLEARED, {}) if stand_in.leaves else ({}, NOTHING_LEFT)
    scenes = {name: scene for name, scene in {**made.scenes, **every}.items() if name not in lacks}
    return replace(made, scenes=scenes, without={**made.without, **NO_CALLS, **none, **lacks})


CAMPAIGNS = {each.provider: campaign(each) for each in every()}
OPENAI, ANTHROPIC = CAMPAIGNS["openai"], CAMPAIGNS["anthropic"]
