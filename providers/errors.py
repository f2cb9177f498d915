"""How a call to a provider may fail, and how a line.

Every call has three ways to fail, and no fourth:

    ProviderError
     |- TryLater        provably nothing was accepted, or nothing can be paid twice: safe to repeat
     |- Refused         the provider will not take this: give up and tell why
     `- OutcomeUnknown  a create may have been accepted: look it up, never repeat it on a guess

and one line has one:

    LineRejected        this lane cannot express this line
"""

from __future__ import annotations

from collections.abc import Mapping


class ProviderError(Exception):
    """Base of the three answers to a call that failed. `str()` is safe to log: no secret, no user text."""

    timed_out = False  # no answer came in time
    unreachable = False  # no connection was made, or it broke
    said: Refused | None = None  # what the body of an answer that was no success says, cleaned


class TryLater(ProviderError):
    """Repeat the call, not before `after` seconds from now where the provider said so."""

    def __init__(self, message: str, *, after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.after, self.status = after, status


class OutcomeUnknown(ProviderError):
    """The request left, no answer proves what became of it. Only raised by `create` and `StoresFiles.store_file`."""


class Refused(ProviderError):
    """The provider said no for good. `code`, `message`, `param` go into the error row of every line of the part."""

    def __init__(self, message: str, *, code: str, status: int | None = None, param: str | None = None) -> None:
        super().__init__(f"{code}: HTTP {status}" if status else code)
        self.message, self.code, self.status, self.param = message, code, status, param


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
