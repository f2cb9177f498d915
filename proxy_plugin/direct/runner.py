"""Answer the lines of one part by ordinary calls (worker process).

Each answer is on the disk before its place is free for another call, so a crash repeats at most the calls in flight.
Whatever ends the process, the next one goes on with the records that have no row yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy_plugin.direct.answers import Answers
from proxy_plugin.direct.crew import Crew
from proxy_plugin.direct.gate import Gate
from proxy_plugin.direct.job import AnswerFacts, AnswerJob
from proxy_plugin.direct.journal import Journal
from proxy_plugin.direct.pace import KeyPace
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Credentials
from proxy_plugin.providers.direct.base import DirectLane


def answer(job: AnswerJob, secrets: Mapping[str, Any]) -> AnswerFacts:
    """Make the calls. `secrets` are the fields of the account's credentials, as they were checked.

    Raises OSError, and Busy where the process of an earlier life has not ended.
    """
    lane = catalog.direct(job.provider)
    return asyncio.run(_answered(job, lane, lane.credentials.model_construct(**secrets)))


async def _answered(job: AnswerJob, lane: DirectLane, credentials: Credentials) -> AnswerFacts:
    journal = Journal(Path(job.pace), time.time, time.monotonic)
    pace = KeyPace(job.limits, journal.note)
    async with Answers(Path(job.folder)) as answers:
        pace.restore(journal.notes(), time.monotonic())
        journal.open()
        pace.hold(now := time.monotonic(), job.held - now)
        caller = lane.caller(credentials, job.host, job.outgoing)
        try:
            return await Crew(job, Gate(pace), answers, caller, lane.capabilities.billing_codes).work()
        finally:
            await caller.close()
            journal.close()
