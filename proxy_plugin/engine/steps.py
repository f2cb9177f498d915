"""The one table of steps: which row wants which step in which state, and what the step asks of the machine.

A part that is `creating` has no step of its own: that of its open submission is taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from proxy_plugin.engine.audit import audit
from proxy_plugin.engine.desk import Desk, Key
from proxy_plugin.engine.direct.answer import answer_part
from proxy_plugin.engine.housekeeping import clear
from proxy_plugin.engine.onward.rescue import rescue
from proxy_plugin.engine.steps_batch import follow, split_batch, validate
from proxy_plugin.engine.steps_cut import cut
from proxy_plugin.engine.steps_file import scan_file
from proxy_plugin.engine.steps_merge import merge_batch
from proxy_plugin.engine.steps_part import admit, poll, stage
from proxy_plugin.engine.steps_results import collect_rows, fetch
from proxy_plugin.engine.steps_submission import doubt, intend, look_up, send
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, clearings, files, parts, submissions


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with a row of one kind while it is in one state.

    `run` gets the row; a submission's step gets its part. It returns until when (Unix seconds) the row rests where that
    is all that it has changed, else nothing. The failpoints NAME.before and NAME.after stand around it.
    """

    name: str
    kind: str  # file, batch, part, submission or clearing: whose state tells
    state: str
    run: Callable[[Desk, Any], Awaitable[float | None]]
    heavy: bool = False  # fills the disk: not while it is full, whose last bytes are for ids
    transfer: bool = False  # holds about 1 MB of buffers and the loop's attention


TABLE = (
    Step("scan", "file", "uploaded", scan_file, heavy=True),
    Step("validate", "batch", "validating", validate),
    Step("split", "batch", "splitting", split_batch, heavy=True),
    Step("follow", "batch", "running", follow),
    Step("merge", "batch", "merging", merge_batch, heavy=True),
    Step("admit", "part", "planned", admit),
    Step("answer", "part", "answering", answer_part, heavy=True),
    Step("stage", "part", "staging", stage, transfer=True),
    Step("intend", "part", "staged", intend),
    Step("send", "submission", "intent", send),
    Step("doubt", "submission", "sent", doubt),
    Step("look_up", "submission", "unknown", look_up),
    Step("poll", "part", "running", poll),
    Step("fetch", "part", "ended", fetch, heavy=True, transfer=True),
    Step("collect", "part", "stored", collect_rows, heavy=True),
    Step("cut", "part", "cutting", cut, heavy=True),
    Step("rescue", "part", "rescuing", rescue, heavy=True),
    Step("audit", "part", "collected", audit),  # due only where a guess was made
    Step("clear", "clearing", "due", clear),
)
STEPS = {step.name: step for step in TABLE}
CALLING = frozenset({"stage", "send", "look_up", "poll", "fetch"})  # they wait for a provider's answers
_BY_STATE = {(step.kind, step.state): step for step in TABLE}


async def next_step(desk: Desk, key: Key) -> tuple[Step, Any] | None:
    """Return the step that a row wants now and the row itself; None if it is not due."""
    return await desk.read(_next, key, desk.now())


def _next(conn: Connection, key: Key, now: float) -> tuple[Step, Any] | None:
    row = _row(conn, key)
    if row is None or row.due_at is None or row.due_at > now:
        return None
    step = _BY_STATE.get((key.kind, row.state))
    if step is None and key.kind == "part":
        submission = submissions.undecided(conn, row)
        step = None if submission is None else _BY_STATE["submission", submission.state]
    return None if step is None else (step, row)


def _row(conn: Connection, key: Key) -> Any:
    if key.kind == "file":
        return files.get(conn, key.id)
    if key.kind == "clearing":
        return clearings.get(conn, key.id, key.n)
    return batches.get(conn, key.id) if key.kind == "batch" else parts.get(conn, key.id, key.n)
