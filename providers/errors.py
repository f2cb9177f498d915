"""How a call to a provider may fail, and how a line.

Every call has three ways to fail, and no fourth:

    ProviderError
     |- TryLater        provably nothing was accepted, or nothing can be paid twice: safe to repeat
     |   |- AtWork      the provider is still at work on what it was sent: asked again as a job is
     |   |- Short       an answer of results came to its end and is less than was announced
     |   |   `- TooLarge  it is packed, and unpacks to more than is taken
     |   `- NoToken     what is to prove the account could not be had, and nothing was sent
     |- Refused         the provider will not take this: give up and tell why
     `- OutcomeUnknown  a create may have been accepted: look it up, never repeat it on a guess

and one line has one:

    LineRejected        this lane cannot express this line
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BadLine:
    """One record of a part's document that the provider will not take, counted from 1, and its words about it."""

    record: int
    message: str
    code: str
    param: str | None = None


class ProviderError(Exception):
    """Base of the three answers to a call that failed. `str()` is safe to log: no secret, no user text."""

    timed_out = False  # no answer came in time
    unreachable = False  # no connection was made, or it broke
    disk_full = False  # the disk here took no more of the answer
    said: Refused | None = None  # what the body of an answer that was no success says, cleaned


class TryLater(ProviderError):
    """Repeat the call, not before `after` seconds from now where the provider said so."""

    def __init__(self, message: str, *, after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.after, self.status = after, status


class NoToken(TryLater):
    """What is to prove the account could not be had, so that nothing was sent. The text says what can be done."""


class AtWork(TryLater):
    """The provider is still at work on what was uploaded. Only raised by `stage`, and polled like a job."""


class Short(TryLater):
    """Results end before they should. Only raised by `fetch` and `confirm`, and repeated a bounded number of times."""


class TooLarge(Short):
    """Results unpack to more than is taken, whenever they are read: what stands before is stored. For `fetch` alone."""


class OutcomeUnknown(ProviderError):
    """The request left, no answer proves what became of it. Only raised by `create` and `StoresFiles.store_file`."""


class Refused(ProviderError):
    """The provider said no for good. `code`, `message`, `param` go into the error row of every line of the part.

    `lines`: the records that the provider names. `divisible`: nothing ran, and it may be single lines that it refuses,
    so that it may take the others of the part without them. Account, route and quota are never a line's fault.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        param: str | None = None,
        lines: tuple[BadLine, ...] = (),
        divisible: bool = False,
    ) -> None:
        super().__init__(f"{code}: HTTP {status}" if status else code)
        self.message, self.code, self.status, self.param = message, code, status, param
        self.lines, self.divisible = lines, divisible


class LineRejected(Exception):
    """This lane cannot express this line; the rest of the file runs. `message` names the field and the remedy.

    `params`: all fields that are refused, where there are several; `param` is the first of them. `codes` has those of
    fields that are refused for another reason than the first.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "unsupported_parameter",
        param: str | None = None,
        params: tuple[str, ...] = (),
        codes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.param = message, code, param
        self.codes = codes or {}
        self.params = params or (() if param is None else (param,))
