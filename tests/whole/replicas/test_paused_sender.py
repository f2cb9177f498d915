"""A replica that stops between the commit of `sent` and its create: whatever the others do, there is one job.

Lanes that take the input of a lost create away need not wait for its sender; the others do, for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers, check_paid_once, our_mark
from tests.support.lines import chat_lines, jsonl
from tests.support.waiting import until
from tests.whole.kills.scenes import CAMPAIGNS
from tests.whole.replicas.rig import Replicas, Shared, replicas

Keys = Callable[..., dict[str, dict[str, Any]]]
SETTLE = 0.5  # seconds after which a create that cannot be found would be given up
LOOKS = 5  # at the provider's list, each longer after the last than the settle time at the end
LINES = 5


@contextmanager
def stopped_at(
    point: str, provider: str, sandbox: Sandbox, shared: Shared, one_lane: Keys, home: Path
) -> Iterator[tuple[Replicas, str]]:
    """Yield two replicas and a batch, whose create the first one stopped at; only then did the second one start."""
    own = CAMPAIGNS[provider].stand_in
    keys = one_lane(provider, settle_seconds=SETTLE)
    with replicas(home, 2, keys, shared, endpoint=own.endpoint) as fleet:
        first, second = fleet.gateways
        first.start(fail=f"{point}:1:stop")
        lines = chat_lines(LINES, model=own.model, url=own.endpoint)
        batch_id = first.create(first.upload(jsonl(lines)))["id"]
        fleet.until_stopped(0)
        assert sandbox.control.log() == []
        second.start()
        yield fleet, batch_id
        batch = second.until(batch_id, seconds=120)
        check_answers(second, batch, lines, style=own.answers)
        check_paid_once(sandbox, lines)
        marks = [our_mark(entry) for entry in sandbox.control.log()]
        assert len(marks) == 1, f"a part was sent more than once: {marks}"


def lookups(provider: str, sandbox: Sandbox) -> int:
    """Return how often a lost create was looked for."""
    looks = CAMPAIGNS[provider].stand_in.lookup
    return sum(entry["op"] == looks for entry in sandbox.control.requests())


@pytest.mark.parametrize("provider", ["anthropic", pytest.param("fireworks-ai", marks=pytest.mark.slow)])
def test_what_a_living_sender_may_still_send_is_not_sent_by_another(
    provider: str, sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    with stopped_at("send.sent", provider, sandbox, shared, one_lane, tmp_path) as (fleet, _):
        looked = lookups(provider, sandbox)
        until(lambda: lookups(provider, sandbox) >= looked + LOOKS, fleet.gateways[1].tail, 120)
        assert sandbox.control.log() == []
        assert shared.ask("SELECT state FROM submissions") in ([("sent",)], [("unknown",)])
        fleet.go_on(0)


@pytest.mark.slow
def test_what_can_be_revoked_is_sent_by_another_and_then_by_nobody(
    sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    """The input of the paused create is gone, so the part need not wait for its sender."""
    with stopped_at("send.sent", "openai", sandbox, shared, one_lane, tmp_path) as (fleet, _):
        until(sandbox.control.log, fleet.gateways[1].tail, 120)
        fleet.go_on(0)


@pytest.mark.slow
def test_a_sender_that_died_is_found_out(sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path) -> None:
    with stopped_at("send.sent", "openai", sandbox, shared, one_lane, tmp_path) as (fleet, _):
        fleet.gateways[0].kill()


@pytest.mark.slow
def test_a_sender_without_its_session_sends_nothing(
    sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    """The database was restarted: the others cannot see any more that the sender lives, and give its create up."""
    with stopped_at("send.sent", "openai", sandbox, shared, one_lane, tmp_path) as (fleet, _):
        shared.databases.server.restart()
        until(sandbox.control.log, fleet.gateways[1].tail, 120)
        fleet.go_on(0)


@pytest.mark.slow
def test_a_sender_that_stopped_before_it_wrote_commits_nothing(
    sandbox: Sandbox, shared: Shared, one_lane: Keys, tmp_path: Path
) -> None:
    """Its claim goes to another meanwhile, who sends; what it still writes is refused."""
    with stopped_at("send.fenced", "openai", sandbox, shared, one_lane, tmp_path) as (fleet, _):
        until(sandbox.control.log, fleet.gateways[1].tail, 120)
        fleet.go_on(0)
