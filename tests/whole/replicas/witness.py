"""What the providers saw: their logs are the witness that no job was doubled, no line lost and no cap exceeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import our_mark

Jobs = list[Mapping[str, Any]]


def ours(sandbox: Sandbox) -> Jobs:
    """Return the jobs that are ours, of all providers."""
    return [job for job in sandbox.control.jobs() if our_mark(job)]


def check_paid_once(jobs: Jobs, sent: Mapping[str, int]) -> None:
    """Each provider ran each of its lines once, and each part of ours once."""
    ran = Counter[str]()
    for job in jobs:
        ran[job["provider"]] += job["lines_run"]
    assert +ran == Counter(sent), "lines that ran are not the lines that were sent"
    runs = Counter((job["provider"], our_mark(job)) for job in jobs if job["lines_run"])
    assert {part: count for part, count in runs.items() if count > 1} == {}, "jobs were made twice"


def most_at_once(jobs: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    """Return how many jobs of each account there were at a time, from their acceptance to their end."""
    moments: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for job in jobs:
        ended = inf if job["ended_at"] is None else job["ended_at"]
        moments.setdefault((job["provider"], job["account"]), []).extend([(job["created_at"], 1), (ended, -1)])
    return {account: _highest(sorted(changes)) for account, changes in moments.items()}


def _highest(changes: Iterable[tuple[float, int]]) -> int:
    """Return the highest sum on the way; at one moment an end comes before a beginning."""
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
