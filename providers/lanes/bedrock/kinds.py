"""The two APIs of Bedrock's batches, chosen by a part's partition or the id of its job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from proxy_plugin.providers.base import Account, JobStatus, PartFile, Submission
from proxy_plugin.providers.lanes.bedrock import jobs, openai_batch
from proxy_plugin.providers.lanes.bedrock.rows import OPENAI


class Kind(Protocol):
    """What both modules have."""

    RESULTS: tuple[str, ...]

    def order(self, account: Account, part: PartFile, uri: str) -> dict[str, str]:
        """Return the create of a job that reads the document at this address."""

    async def create(self, account: Account, staged: Mapping[str, str]) -> str:
        """Create the job."""

    async def found(self, account: Account, submission: Submission) -> list[str]:
        """Return the jobs of this staging."""

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll."""

    async def stop(self, account: Account, job: str) -> None:
        """Ask for a stop."""


def kind_of(text: str) -> Kind:
    """Return the API of a partition or of a job's id."""
    return openai_batch if text.partition(":")[0] == OPENAI else jobs
