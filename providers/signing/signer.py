"""What an `Origin` asks before each call: the headers that prove the account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call as it will leave. `sha256` hashes its body, in hex; it may read a file, so it belongs on a thread."""

    method: str
    url: str  # whole, with its query
    headers: Mapping[str, str] = field(repr=False)
    sha256: Callable[[], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """The headers that prove an account for one call, and what of them is masked wherever a provider repeats it.

    `kept`: the token or the keys that they were made of, where those are renewed.
    """

    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(default="", repr=False)
    kept: str = field(default="", repr=False)


class Signer(Protocol):
    """Proves one account, call by call. Where a key in a header does, there is no signer.

    `ended`: codes of refusals, beside HTTP 401, which say that what it signs with has ended, so that nothing was taken.
    """

    @property
    def ended(self) -> frozenset[str]: ...

    async def sign(self, call: Outgoing) -> Signed:
        """Return the headers for one call. Raises `TryLater`, as nothing has been sent."""

    async def renew(self, refused: Signed) -> bool:
        """Tell whether `sign` has other headers now than these, which were answered with 401 or `ended`.

        Raises `TryLater`.
        """
