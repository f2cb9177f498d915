"""What ends a command early, each with the exit code that scripts see.

CommandError
 |- Misuse         2  the caller or the machine must change something; nothing was sent
 |- Unreachable    2  no answer, or none that a gateway gives; `sent` tells whether the request may have arrived
 |- Refused        3  the gateway said no, and why
 |- Declined       3  it said no, and what that means; or it lacks the route
 `- Interrupted  130  Ctrl-C, with what goes on and what does not
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

OK, UNFINISHED, UNUSABLE, REFUSED, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141


class CommandError(Exception):
    """A sentence for the person at the terminal, with its remedy."""

    code = UNFINISHED


class Misuse(CommandError):
    """The command cannot work like this."""

    code = UNUSABLE


class Unreachable(CommandError):
    """There is no answer of a gateway. `sent`: the request may have been acted on all the same."""

    code = UNUSABLE

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Refused(CommandError):
    """The gateway answered 4xx or 5xx. `reason`, `error_code` and `param` are the gateway's own words."""

    code = REFUSED

    def __init__(
        self, status: int, reason: str, *, error_code: str | None = None, param: str | None = None, retry: bool = True
    ) -> None:
        self.status, self.reason, self.error_code, self.param, self.retry = status, reason, error_code, param, retry
        super().__init__(f"the gateway refused ({status}): {_sentence(reason)}{_remedy(status, error_code)}")

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered in a moment."""
        return self.retry and (self.status in (408, 429) or self.status >= 500)


class Declined(CommandError):
    """The gateway will not or cannot do this; the message says what that means here."""

    code = REFUSED


class Interrupted(CommandError):
    """Ctrl-C at a moment of which there is something to say."""

    code = INTERRUPTED


@contextmanager
def interrupted_says(text: str) -> Iterator[None]:
    """Turn Ctrl-C into a sentence. Raises Interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(text) from None


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _remedy(status: int, code: str | None) -> str:
    if status == 401:
        return " Give the gateway's key in PORTKEY_API_KEY or with --api-key."
    if code is not None and code.startswith(("invalid_virtual_key", "virtual_key_")):
        return " Name a virtual key of this gateway with --virtual-key; the gateway's `proxy-plugin check` lists them."
    return ""
