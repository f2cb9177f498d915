"""What a worker is told of a part that is answered by ordinary calls, and what it tells."""

from __future__ import annotations

import time
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Literal

import msgspec

from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.providers.direct.base import Outgoing

PROGRESS, STOP, LEASE = "progress.json", "stop.json", "lease.json"
LAPSED = 15.0  # seconds for calls that run when the lease is over


class AnswerJob(msgspec.Struct, frozen=True):
    """`folder` has the answers, of whichever life; `pace` is the file of the key's pace. Paths are absolute.

    `provider` is that of a direct lane, `host` the base URL of the account. Before `held`, monotonic, no call begins:
    another replica that had this account was told so.
    """

    provider: str
    endpoint: str
    document: str
    folder: str
    pace: str
    host: str
    limits: CallLimits
    outgoing: Outgoing = Outgoing()
    held: float = 0.0


class Stop(msgspec.Struct, frozen=True):
    """Begin no call. Those that run are waited for so many seconds; `for_good`: nothing of the part is called again."""

    seconds: float
    for_good: bool = False


class Lease(msgspec.Struct, frozen=True):
    """No call begins behind this time of the machine's monotonic clock: then another replica may make them."""

    until: float


class Wait(msgspec.Struct, frozen=True):
    """What keeps the part waiting, `reason` in the words of waits, and until when (Unix time)."""

    reason: str
    next_at: float
    said: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How many records have a row, by whether it is an answer, and the bytes of all rows. `calls` of this process.

    `held` is the Unix time until which the provider wants the account left alone, 0.0 where it has not asked for it.
    """

    completed: int = 0
    failed: int = 0
    bytes: int = 0
    calls: int = 0
    wait: Wait | None = None
    held: float = 0.0


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


def write(folder: Path, name: str, what: Progress | Stop | Lease) -> None:
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
        return Stop(LAPSED) if time.monotonic() > lease_in(folder) else None
    except msgspec.DecodeError:
        return Stop(0.0)


def lease_in(folder: Path) -> float:
    """Return until when calls may begin, by the monotonic clock. Blocking."""
    try:
        return msgspec.json.decode((folder / LEASE).read_bytes(), type=Lease).until
    except FileNotFoundError:
        return inf
