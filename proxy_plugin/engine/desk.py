"""What every step works with: the gateway, the batch folders, and which step a row wants next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from proxy_plugin.config import OWN_KEY_PREFIX, Options, VirtualKey
from proxy_plugin.fingerprints import fingerprint
from proxy_plugin.gateway import Gateway
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Account, BatchProvider, Credentials, PartFile, Submission, TryLater
from proxy_plugin.routing.route import Route, decode_route, forwarded_headers
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import RegistryFull
from proxy_plugin.storage.tables import batches, files, parts
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow, SubmissionRow

T = TypeVar("T")
WAIT_FOR_KEY = 60.0  # seconds until a part whose virtual key is missing is looked at again

FILE_STEP = {"uploaded": "scan"}
BATCH_STEP = {"validating": "validate", "splitting": "split", "running": "follow", "merging": "merge"}
PART_STEP = {
    "planned": "admit",
    "staging": "stage",
    "staged": "intend",
    "running": "poll",
    "ended": "fetch",
    "stored": "collect",
    "collected": "audit",  # due only where a guess was made
}
SUBMISSION_STEP = {"intent": "send", "sent": "doubt", "unknown": "look_up"}


class Key(NamedTuple):
    """Names one row of the reconciler."""

    kind: str  # file, batch or part
    id: str
    n: int = 0


class AccountMissing(TryLater):
    """Nobody has the credentials of a part now."""


class KeyMissing(AccountMissing):
    """The part's virtual key is not configured now; an operator can bring it back."""

    def __init__(self, slug: str) -> None:
        reason = "is not configured, or its environment variable is missing"
        super().__init__(f"virtual key {slug} {reason}", after=WAIT_FOR_KEY)


class CredentialsMissing(AccountMissing):
    """The part's caller brought a provider key, and the gateway has been restarted since; the caller can help."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"the key behind {slug} has to be given again by the caller", after=WAIT_FOR_KEY)


def backoff(tries: int, first: float, longest: float) -> float:
    """Return the pause in seconds before the next try: 1.6 times longer each time."""
    return float(min(first * 1.6 ** min(tries, 30), longest))


@dataclass(frozen=True, slots=True)
class Desk:
    """One gateway's means for its steps."""

    gateway: Gateway
    folders: BatchFolders
    fetching: set[str] = field(default_factory=set)  # ids of the batches whose pictures are fetched now

    def now(self) -> float:
        """Return wall-clock seconds."""
        return self.gateway.clock.now()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run a point read."""
        return self.gateway.registry.read_now(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run a transaction; durable when this returns."""
        return await self.gateway.registry.write(work)

    async def insist(self, work: Callable[[Connection], T]) -> T:
        """Run a transaction whose loss would cost money; on a full disk it waits until there is space."""
        while True:
            try:
                return await self.gateway.registry.write(work)
            except RegistryFull:
                await asyncio.sleep(1.0)

    def next_step(self, key: Key) -> tuple[str, Any] | None:
        """Return the step this row wants now and the row itself; None if it is not due."""
        row: Any = self.read(lambda c: _row(c, key))
        if row is None or row.due_at is None or row.due_at > self.now():
            return None
        if key.kind == "file":
            name = FILE_STEP.get(row.state)
        elif key.kind == "batch":
            name = BATCH_STEP.get(row.state)
        else:
            name = PART_STEP.get(row.state) or self._submission_step(row)
        return None if name is None else (name, row)

    def trace_id(self, key: Key) -> str | None:
        """Return the trace id of the request that created the row's batch."""
        return None if key.kind == "file" else self.batch(key.id).trace_id

    def _submission_step(self, part: PartRow) -> str | None:
        open_one = self.read(lambda c: parts.open_submission(c, part))
        return SUBMISSION_STEP[open_one.state] if open_one is not None else None

    async def postpone(self, key: Key, due_at: float) -> None:
        """Let a row rest until `due_at` and count the try."""

        def later(conn: Connection) -> None:
            if key.kind == "file":
                files.postpone(conn, key.id, due_at)
            elif key.kind == "batch":
                batches.postpone(conn, key.id, due_at, tries=1)
            else:
                parts.postpone(conn, key.id, key.n, due_at)

        await self.write(later)

    def batch(self, batch_id: str) -> BatchRow:
        """Return a batch that is known to exist."""
        row = self.read(lambda c: batches.get(c, batch_id))
        assert row is not None
        return row

    def route(self, batch: BatchRow) -> Route:
        """Return the route stored with the batch."""
        return decode_route(batch.route)

    def submission(self, part: PartRow) -> SubmissionRow:
        """Return the part's open submission, which must exist."""
        row = self.read(lambda c: parts.open_submission(c, part))
        assert row is not None
        return row

    def lane(self, part: PartRow) -> BatchProvider:
        """Return the adapter of the part's provider."""
        return catalog.load(part.provider)

    def virtual_key(self, slug: str) -> Options:
        """Return the operator's settings for a part's account; a caller's own has the defaults. Raises KeyMissing."""
        return Options() if slug.startswith(OWN_KEY_PREFIX) else self._configured(slug)

    def _configured(self, slug: str) -> VirtualKey:
        found = self.gateway.config.virtual_keys.get(slug)
        if found is None:
            raise KeyMissing(slug)
        return found

    def account(self, part: PartRow) -> Account:
        """Return the provider account of a part. Raises KeyMissing or CredentialsMissing."""
        credentials = self._credentials(part)
        text = self.lane(part).account_key(credentials)
        http = self.gateway.http
        if carried := forwarded_headers(self.batch(part.batch_id).route):
            http = http.carrying(carried)
        return Account(part.slug, credentials, http, fingerprint(self.gateway.secret, text))

    def _credentials(self, part: PartRow) -> Credentials:
        if not part.slug.startswith(OWN_KEY_PREFIX):
            return self._configured(part.slug).credentials
        found = self.gateway.own_keys.credentials(self.batch(part.batch_id))
        if found is None:
            raise CredentialsMissing(part.slug)
        return found

    def folder(self, part: PartRow) -> Path:
        """Return the folder of the part's batch."""
        return self.folders.folder(part.batch_id)

    def document(self, part: PartRow) -> PartFile:
        """Return the part's native document."""
        split = self.batch(part.batch_id).split_dir
        assert split is not None
        return PartFile(
            mark=part.mark,
            path=self.folder(part) / split / part.file,
            bytes=part.bytes,
            lines=part.lines,
            sha256=part.sha256,
            endpoint=part.endpoint,
            model=part.model,
            partition=part.partition_key,
        )

    def attempt(self, part: PartRow, row: SubmissionRow) -> Submission:
        """Return a submission in the words of an adapter."""
        staged = msgspec.json.decode(part.staged or "{}", type=dict[str, str])
        return Submission(part=self.document(part), staged=staged, fence=row.fence)


Step = Callable[[Desk, Any], Awaitable[None]]


def _row(conn: Connection, key: Key) -> object:
    if key.kind == "file":
        return files.get(conn, key.id)
    if key.kind == "batch":
        return batches.get(conn, key.id)
    return parts.get(conn, key.id, key.n)
