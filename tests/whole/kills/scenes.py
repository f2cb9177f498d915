"""What the kill campaign must know about each lane, as data: its stand-in, its scenes, and why it lacks another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy_plugin.providers.sandbox.answers import Style
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.stack import lane

COUNT, PER_JOB = 50, 20  # lines of a batch, and of each job but the last
PARTS = 3
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
    in_turn: bool = False  # no two creates are in doubt at once
    resent: bool = False  # a part is sent again on a guess
    doubled: int = 0  # jobs that are thereby made twice


@dataclass(frozen=True)
class Lane:
    """One provider. `quick` are options of its stand-in; strangers, where there are some, come with every lookup."""

    provider: str
    model: str
    quick: Mapping[str, Any]
    scenes: Mapping[str, Scene]
    without: Mapping[str, str]  # a scene, a step or a test that others have -> why it cannot happen here
    free_calls: tuple[str, ...] = ()  # what it asks of the provider that may be repeated
    results: str = ""  # that which reads results
    style: Style = "digest"
    labelled: bool = True  # do its jobs carry our mark?
    errors_paid: bool = True  # is a line that is answered with an error paid for?

    @property
    def crowded(self) -> bool:
        """Whether strangers come."""
        return "strangers_on_list" in self.quick

    def prepare(self, sandbox: Sandbox, **options: Any) -> None:
        """Make the stand-in forget all and be quick."""
        sandbox.control.reset()
        sandbox.control.options(self.provider, **{**self.quick, **options})

    def key(self, sandbox: Sandbox, **options: Any) -> dict[str, Any]:
        """Return settings of a virtual key for this lane."""
        return lane(sandbox, provider=self.provider, **options)

    def may_wait(self, what: Scene) -> bool:
        """Tell whether a batch may stay unfinished here, because a create that never arrived is waited for."""
        return not self.labelled and what.key.get("on_unknown", "wait") == "wait"

    def unpaid(self, marked: Mapping[int, str]) -> int:
        """Return how many of the lines with these markers cost nothing."""
        return 0 if self.errors_paid else sum("sandbox:error" in text for text in marked.values())


def around(*names: str) -> tuple[str, ...]:
    """Return the points before and after each step."""
    return tuple(f"{name}.{when}" for name in names for when in ("before", "after"))


def strangers(*run_seconds: float, lines: int = PER_JOB) -> dict[str, Any]:
    """Return the option that lets strangers with jobs of a part's size come with every lookup."""
    return {"strangers_on_list": {"batches": len(run_seconds), "lines": lines, "run_seconds": run_seconds}}


LOST = {"on": "batches.create", "kind": "drop_after", "times": 1}
NEVER = {"on": "batches.create", "kind": "drop", "times": 1}
FOREVER = 600.0  # seconds that a stranger's job runs: longer than any scene


def late(seconds: float) -> dict[str, Any]:
    """Return the fault of a create that is accepted when its client is long gone."""
    return {"on": "batches.create", "kind": "late", "seconds": seconds, "times": 1}


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
LOOK_UP = (*around("look_up"), "look_up.acted")

OPENAI = Lane(
    provider="openai",
    model="gpt-4.1-nano",
    quick={"validate_seconds": 0.05, "run_seconds": 0.3, "finalize_seconds": 0.02, "cancel_seconds": 0.1},
    scenes={
        "ordinary": Scene((*around(*BATCH_STEPS, *PART_STEPS), *INSIDE, "send.sent")),
        "reply lost": Scene(LOOK_UP, faults=(LOST,)),
        "cut off": Scene(around("doubt"), first="send.sent:1"),
        "never arrived": Scene(
            ("revoke.before", "revoke.noted", "revoke.acted", "look_up.after"),
            faults=(NEVER,),
        ),
        "cancelled": CANCELLED,
    },
    without=dict.fromkeys(
        (
            *("adopted provisionally", "a stranger's job adopted", "one create at a time", "came too late, sent again"),
            *("never arrived, waits", "never arrived, sent again", "audit"),
        ),
        "jobs carry our label and lost creates are revoked: nothing is provisional, nothing is guessed",
    ),
    free_calls=("files.create", "files.content", "batches.retrieve", "batches.list", "files.retrieve"),
    results="files.content",
)

GUESS = {"on_unknown": "resend"}
QUIET = strangers(0.0, 0.0)  # have ended when they are seen, so a lookup can find that nothing of ours is there
ANTHROPIC = Lane(
    provider="anthropic",
    model="claude-haiku-4-5",
    style="echo",
    labelled=False,
    errors_paid=False,
    quick={"run_seconds": 0.3, "cancel_seconds": 0.1, "answers": "echo", **strangers(0.0, FOREVER, FOREVER)},
    scenes={
        "ordinary": Scene((*around(*BATCH_STEPS, *PART_STEPS), *INSIDE)),
        "reply lost": Scene(LOOK_UP, faults=(LOST,)),
        "cut off": Scene(around("doubt"), first="send.acted:1"),
        "cancelled": CANCELLED,
        "adopted provisionally": Scene(
            ("look_up.after", *around("poll"), "confirm.acted", *around("fetch")),
            faults=(LOST,),
            sandbox={**QUIET, "run_seconds": 3},
            happened="adopted provisionally",
        ),
        "a stranger's job adopted": Scene(
            ("look_up.after", *around("poll"), "confirm.acted"),
            faults=(late(0.4),),
            key={"max_jobs_in_flight": 1},  # so that no other part's call brings one more stranger
            sandbox=strangers(0.3),
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
    free_calls=("batches.retrieve", "batches.list", "batches.results"),
    results="batches.results",
)
LANES = {each.provider: each for each in (OPENAI, ANTHROPIC)}
