"""What the suite asks of a provider's stand-in: to run, to misbehave on command, and to tell what it saw."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

FOREIGN = "0" * 18
"""The native id of a foreign row: of the right form, the first line's ordinal behind the mark of a job of nobody's."""


@dataclass
class Call:
    """One request as the stand-in saw it.

    `at` is when it came in, in seconds of a steady clock. `status` 0: no answer was sent (yet).
    """

    at: float
    name: str
    status: int = 0


class Wire(Protocol):
    """One stand-in, spoken to over real HTTP by the gateway and by method calls by the tests.

    Troubles are armed before the traffic that they are for; each adds to those in force. A stranger's calls meet none
    of them and are in no list. Marks are the labels that the gateway stamps on its jobs.
    """

    secrets: tuple[str, ...]
    """Every key that the provider would accept."""

    calls: frozenset[str]
    """All kinds of calls that the lane can make, cancels and lookups included."""

    create_call: str
    """The one of them that creates a job."""

    def start(self) -> None:
        """Return when it listens, if it has a server of its own.

        Jobs take a small part of a second unless `slow` says otherwise.
        """

    def stop(self) -> None:
        """End it, started or not."""

    def reset(self) -> None:
        """Forget every job, call and trouble."""

    def virtual_key(self, **options: Any) -> dict[str, Any]:
        """Return the settings of a virtual key that leads here; `options` replace or add some."""

    def lose_reply(self, n: int) -> None:
        """Accept the next `n` creates, but close the connection instead of answering."""

    def error_after_accept(self, n: int, status: int) -> None:
        """Accept the next `n` creates, but answer with this HTTP status, a 5xx."""

    def never_arrives(self, n: int) -> None:
        """Close the connection of the next `n` creates without accepting anything."""

    def too_many(self, n: int, retry_after: float, *, calls: Collection[str] | None = None, skip: int = 0) -> None:
        """Refuse with 429 and these seconds to wait: of each kind of call, behind `skip` good ones, the next `n`."""

    def refuse_every(self, n: int, offset: int = 0) -> None:
        """Refuse with 429 every `n`-th call of any kind, behind the first `offset`."""

    def results_late(self, n: int) -> None:
        """Let jobs that are created from now on end `n` looks before their results can be found, with counts."""

    def empty(self, n: int) -> None:
        """Let the next `n` downloads of results come to a clean end before their first byte."""

    def tell(self, completed: int, failed: int) -> None:
        """Let jobs that are created from now on tell these counts when they have ended."""

    def downloads(self) -> Mapping[str, int]:
        """Return how often each result was given whole to the gateway, by its name at the provider."""

    def truncate(self, n: int) -> None:
        """Cut the next `n` downloads of results short."""

    def slow(self, seconds: float, *, obey: float = 0.05) -> None:
        """Let jobs that are created from now on run that long, and take `obey` seconds to end when cancelled."""

    def stranger(self, n: int) -> None:
        """Let somebody else create `n` jobs in the same account."""

    def accepted(self) -> list[str]:
        """Return the mark of every accepted create of the gateway, in order."""

    def ran(self) -> dict[str, int]:
        """Return how many lines were run, and so must be paid for, by the mark of their jobs."""

    def cancelled(self) -> list[str]:
        """Return what was asked to be cancelled, in order: the job's mark, or other text for a stranger's job."""

    def requests(self) -> list[Call]:
        """Return every call of the gateway, in order."""

    def complaints(self) -> list[str]:
        """Return what the gateway sent that a provider must never see, without values."""
