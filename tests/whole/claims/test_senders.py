"""A create that a replica has marked as sent and was stopped with: it is not given up while that replica is there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.engine.steps_submission import STILL_THERE
from proxy_plugin.ground import failpoints
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.storage.errors import CommitInDoubt
from proxy_plugin.storage.sqlite import SqliteRegistry
from proxy_plugin.storage.tables.submissions import SubmissionRow
from tests.whole.claims.world import Theft, ask, opened
from tests.whole.lanes.rig import chats

STOPPED = "stopped"


async def test_who_was_stopped_with_a_create_may_send_it_until_it_is_gone(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.control.reset()
    async with opened(tmp_path, sandbox, "anthropic", monkeypatch, on_unknown="resend") as world:
        theft = Theft(world, "send.sent", monkeypatch, sender=STOPPED)
        monkeypatch.setattr(failpoints, "passing", theft.passing)
        batch = await world.create(chats(3))
        await theft.over()
        assert ask(tmp_path, "SELECT state, sender FROM submissions")[0][:] == ("sent", STOPPED)
        query = "INSERT INTO replicas (name, version, started_at, seen_at) VALUES (?, '', 0, 0)"
        ask(tmp_path, query, STOPPED)
        theft.undo()

        async def is_waited_for() -> bool:
            return any(row[0] == STILL_THERE for row in ask(tmp_path, "SELECT detail FROM waits"))

        await world.until_true(is_waited_for)
        assert ask(tmp_path, "SELECT lookups FROM submissions")[0][0] >= 2
        assert [job for job in await sandbox.jobs() if not job["stranger"]] == []
        ask(tmp_path, "UPDATE replicas SET gone_at = ?", time.time())
        ended = await world.until(batch.id)
        assert (ended.status, ended.request_counts.completed) == ("completed", 3)
        assert len([job for job in await sandbox.jobs() if not job["stranger"]]) == 1


async def test_a_create_whose_mark_is_in_doubt_was_surely_not_sent(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row says that it was, and on a lane without labels nothing would ever prove that it was not."""
    sandbox.control.reset()
    write, lost = SqliteRegistry.write, list[SubmissionRow]()

    async def doubtful(self: SqliteRegistry, *args: Any, **kwargs: Any) -> Any:
        found = await write(self, *args, **kwargs)
        if isinstance(found, SubmissionRow) and found.state == "sent" and not lost:
            lost.append(found)
            raise CommitInDoubt("nobody knows whether it is there")
        return found

    monkeypatch.setattr(SqliteRegistry, "write", doubtful)
    async with opened(tmp_path, sandbox, "anthropic", monkeypatch) as world:
        batch = await world.create(chats(3))
        ended = await world.until(batch.id)
        assert (ended.status, ended.request_counts.completed) == ("completed", 3)
        assert lost
        told = [row[0] for row in ask(tmp_path, "SELECT state FROM submissions ORDER BY n")]
        assert told == ["refused", "accepted"]
        assert len([job for job in await sandbox.jobs() if not job["stranger"]]) == 1
