"""What a worker is told of a part that is answered by ordinary calls, and what it tells."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.providers.direct.base import Outgoing

PROGRESS, STOP = "progress.json", "stop.json"


class AnswerJob(msgspec.Struct, frozen=True):
    """`folder` has the answers, of whichever life; `pace` is the file of the key's pace. Paths are absolute.

    `provider` is that of a direct lane, `host` the base URL of the account.
    """

    provider: str
    endpoint: str
    document: str
    folder: str
    pace: str
    host: str
    limits: CallLimits
    outgoing: Outgoing = Outgoing()


class Stop(msgspec.Struct, frozen=True):
    """Begin no call. Those that run are waited for so many seconds; `for_good`: nothing of the part is called again."""

    seconds: float
    for_good: bool = False


class Wait(msgspec.Struct, frozen=True):
    """What keeps the part waiting, `reason` in the words of waits, and until when (Unix time)."""

    reason: str
    next_at: float
    said: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How many records have a row, by whether it is an answer, and the bytes of all rows. `calls` of this process."""

    completed: int = 0
    failed: int = 0
    bytes: int = 0
    calls: int = 0
    wait: Wait | None = None


class AccountRefusal(msgspec.Struct, frozen=True):
    """Why the account is refused, in the provider's words."""

    status: int
    code: str
    message: str
    param: str | None = None


class AnswerFacts(msgspec.Struct, frozen=True):
    """How a task ended: every record has a row, it was stopped, or the account is refused."""

    end: Literal["completed", "stopped", "refused"]
    progress: Progress
    refusal: AccountRefusal | None = None


def write(folder: Path, name: str, what: Progress | Stop) -> None:
    """Replace a small file that others read. It is told anew after a crash, so nothing is synced. Raises OSError."""
    beside = folder / f"{name}.new"
    beside.write_bytes(msgspec.json.encode(what))
    beside.replace(folder / name)


def progress_in(folder: Path) -> Progress:
    """Return how far a part is; nothing where that cannot be read. Blocking."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((folder / PROGRESS).read_bytes(), type=Progress)
    return Progress()


def stop_in(folder: Path) -> Stop | None:
    """Return whether and how a part is to be stopped. Blocking."""
    try:
        return msgspec.json.decode((folder / STOP).read_bytes(), type=Stop)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        return Stop(0.0)
