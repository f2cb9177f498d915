"""What some lanes can do beside the contract of `base`; the gateway asks by `isinstance` what one can.

Their names are those of `base` too, which is where a package of somebody else's takes them from.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from proxy_plugin.providers.stored import Content, NewFile, StoredFile

if TYPE_CHECKING:
    from proxy_plugin.providers.base import Account, PartFile, Submission


@runtime_checkable
class Cancels(Protocol):
    """Lanes whose jobs can be cancelled."""

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation. A job that has already ended is no error. Results made so far stay readable."""


@runtime_checkable
class Revokes(Protocol):
    """Lanes that can make a lost create harmless before the part is sent again."""

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Take away what the lost create would read, so that its late acceptance could run nothing.

        Returns only when that is certain. Raises `TryLater` or `Refused`.
        """


@runtime_checkable
class Confirms(Protocol):
    """Lanes without labels, whose jobs show our mark only in their results. Required where `accepts_label` is False."""

    async def confirm(self, account: Account, job: str, part: PartFile) -> bool | None:
        """Tell from its results whether a job is this part's; None while it has none to show.

        Reads no more than the head of the results. Raises `TryLater`, `Short` where they have no head, or `Refused`.
        """


@runtime_checkable
class Probes(Protocol):
    """Lanes whose `fence` asks for nothing, so that it cannot tell whether an account is usable."""

    async def probe(self, account: Account) -> None:
        """Make one cheap call that costs nothing and needs key, host and path. Raises `TryLater` or `Refused`."""


@runtime_checkable
class StoresFiles(Protocol):
    """Lanes whose provider keeps files for other purposes than batches. `file_purposes` may be empty."""

    file_purposes: frozenset[str]

    async def store_file(self, account: Account, file: NewFile) -> StoredFile:
        """Store a file under its name.

        Raises `TryLater` only when the provider provably stored nothing, `Refused`, or `OutcomeUnknown` for everything
        else: a second call could make a second file.
        """

    def read_file(self, account: Account, file: str, asked: Mapping[str, str]) -> AbstractAsyncContextManager[Content]:
        """Open a file's content; `asked` are the caller's `Range` and `If-Range`, which a provider may ignore.

        Raises `TryLater` or `Refused` at the start, and `TryLater` when the content breaks off while it is read.
        """

    async def delete_file(self, account: Account, file: str) -> None:
        """Delete a file. One that is not there is no error. Raises `TryLater` or `Refused`."""


@runtime_checkable
class Leaves(Protocol):
    """Lanes whose parts leave objects in a store of the account's own, which nobody else takes away."""

    async def clear(self, account: Account, submission: Submission, job: str | None) -> None:
        """Delete what a part left there: its document, an upload that was not finished, and the results of `job`.

        Called when the rows of the part are ours for good, or it never had any; `submission.staged` is {} where staging
        never ended. May be called again; what is gone is no error. Deletes nothing that does not bear the part's mark.
        Raises `TryLater` or `Refused`.
        """
