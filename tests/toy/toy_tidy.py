"""The toy lane with one power more: it gives the labels of its parts back when nobody needs them any more."""

from __future__ import annotations

from dataclasses import replace

from proxy_plugin.providers.base import Account, Refused, Submission
from tests.toy.toy_lane import CAPABILITIES, ToyLane, ask

NOT_THERE = 404


class TidyToy(ToyLane):
    """See `proxy_plugin.providers.base.Leaves`."""

    async def clear(self, account: Account, submission: Submission, job: str | None) -> None:  # noqa: ARG002
        try:
            await ask(account, "DELETE", f"labels/{submission.part.mark}")
        except Refused as refused:
            if refused.status != NOT_THERE:
                raise


TIDY_TOY = TidyToy(replace(CAPABILITIES, provider="toy-tidy", title="Tidy Toys"))
