"""What every step works with: the gateway, the batch folders, and what an adapter is told of a part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar, cast

import msgspec

from proxy_plugin.config import OWN_KEY_PREFIX, Options, VirtualKey
from proxy_plugin.engine.replicas.claims import Claims, NoClaims
from proxy_plugin.engine.sharing.answers import Gathering
from proxy_plugin.engine.spend.carrier import Carrier
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground.fingerprints import fingerprint
from proxy_plugin.ground.turns import Places
from proxy_plugin.lines.manifest import ASSIGNMENT
from proxy_plugin.lines.ways import half
from proxy_plugin.providers.base import Account, BatchProvider, Credentials, PartFile, Submission, TryLater
from proxy_plugin.routing.route import Route, decode_route, forwarded_headers, places_of
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import CommitInDoubt, DatabaseAway, RegistryFull
from proxy_plugin.storage.tables import batches, clearings, files, parts, submissions
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.rescues import rescue_of
from proxy_plugin.storage.tables.submissions import SubmissionRow

P = ParamSpec("P")
T = TypeVar("T")
FETCHING = 8  # batches whose pictures are fetched at once
GROWTH = 1.6  # from one pause to the next
AWAY_PAUSE = 1.0  # seconds between tries of what must be written
WAIT_FOR_KEY = 60.0  # seconds until a part whose virtual key is missing is looked at again


class Key(NamedTuple):
    """Names one row of the reconciler."""

    kind: str  # file, batch, part or clearing
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


def backoff(tries: int, first: float, longest: float, growth: float = GROWTH) -> float:
    """Return the pause in seconds before the next try: so many times longer each time."""
    return float(min(first * growth ** min(tries, 30), longest))


@dataclass(frozen=True, slots=True)
class Desk:
    """One gateway's means for its steps.

    What an adapter is told of a part comes from the part and its batch, which the step has read: nothing is awaited
    between a durable `sent` and the create.
    """

    gateway: Gateway
    folders: BatchFolders
    claims: Claims = field(default_factory=NoClaims)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)  # the gateway stops: what can wait for the next start
    fetching: Places[str] = field(default_factory=lambda: Places(FETCHING))  # ids of batches that want pictures
    answers: Gathering = field(default_factory=Gathering)  # of ordinary calls, where replicas share them
    carrier: Carrier = field(default_factory=Carrier)  # to LiteLLM
    reports: asyncio.Event = field(default_factory=asyncio.Event)  # one is due to it

    def now(self) -> float:
        """Return wall-clock seconds."""
        return self.gateway.clock.now()

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a point read. What it returns may be old as soon as something else is awaited."""
        return await self.gateway.registry.read(work, *args, **kwargs)

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a transaction; durable when this returns. Raises ClaimLost where the row is another replica's now."""
        return await self.gateway.registry.write(self.claims.guard(work), *args, **kwargs)

    async def insist(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a transaction whose loss would cost money; it waits until there is space, and a database.

        Raises CommitInDoubt: whether it happened the row tells, and what it would have said the provider does;
        ClaimLost where the row is another replica's now, which looks for what this one has begun.
        """
        while True:
            try:
                return await self.gateway.registry.write(self.claims.guard(work), *args, **kwargs)
            except CommitInDoubt:
                raise
            except (RegistryFull, DatabaseAway):
                await asyncio.sleep(AWAY_PAUSE)

    async def trace_id(self, key: Key) -> str | None:
        """Return the trace id of the request that created the row's batch."""
        return None if key.kind == "file" else await self.read(batches.trace_id, key.id)

    async def batch(self, batch_id: str) -> BatchRow:
        """Return a batch that is known to exist."""
        row = await self.read(batches.get, batch_id)
        assert row is not None
        return row

    async def submission(self, part: PartRow) -> SubmissionRow:
        """Return the part's open submission, which must exist."""
        row = await self.read(submissions.undecided, part)
        assert row is not None
        return row

    def route(self, batch: BatchRow) -> Route:
        """Return the route stored with the batch."""
        return decode_route(batch.route)

    def lane(self, part: PartRow) -> BatchProvider:
        """Return the adapter of the part's provider; of a part that is answered by calls what both ways have."""
        return cast("BatchProvider", half(part.provider, part.way))

    def virtual_key(self, slug: str) -> Options:
        """Return the operator's settings for a part's account; a caller's own has the defaults. Raises KeyMissing."""
        return Options() if slug.startswith(OWN_KEY_PREFIX) else self._configured(slug)

    def _configured(self, slug: str) -> VirtualKey:
        found = self.gateway.config.virtual_keys.get(slug)
        if found is None:
            raise KeyMissing(slug)
        return found

    def account(self, part: PartRow, batch: BatchRow) -> Account:
        """Return the provider account of a part. Raises KeyMissing or CredentialsMissing."""
        credentials = self._credentials(part, batch)
        text = self.lane(part).account_key(credentials)
        http = self.gateway.http
        if carried := forwarded_headers(batch.route):
            http = http.carrying(carried)
        return Account(part.slug, credentials, http, fingerprint(self.gateway.secret, text))

    def _credentials(self, part: PartRow, batch: BatchRow) -> Credentials:
        if not part.slug.startswith(OWN_KEY_PREFIX):
            held = self._configured(part.slug).credentials
            said = places_of(batch.route, part.slug)
            return held.placed(said) if said else held
        found = self.gateway.own_keys.credentials(batch)
        if found is None:
            raise CredentialsMissing(part.slug)
        return found

    def document(self, part: PartRow, batch: BatchRow) -> PartFile:
        """Return the part's native document."""
        assert batch.split_dir is not None
        made = part.cut is not None or rescue_of(part).assignment is not None  # and not by the split
        home = self.folder(part) if made else self.folder(part) / batch.split_dir
        return PartFile(
            mark=part.mark,
            path=home / part.file,
            bytes=part.bytes,
            lines=part.records,
            sha256=part.sha256,
            endpoint=part.endpoint,
            model=part.model,
            partition=part.partition_key,
            window=batch.expires_at - batch.created_at,
        )

    def assignment(self, part: PartRow, batch: BatchRow) -> Path:
        """Return the file that tells which lines a part has."""
        return self.folder(part) / (rescue_of(part).assignment or f"{batch.split_dir}/{ASSIGNMENT}")

    def submission_for(self, part: PartRow, batch: BatchRow, row: SubmissionRow) -> Submission:
        """Return a submission in the words of an adapter."""
        staged = msgspec.json.decode(part.staged or "{}", type=dict[str, str])
        return Submission(part=self.document(part, batch), staged=staged, fence=row.fence)

    def folder(self, part: PartRow) -> Path:
        """Return the folder of the part's batch."""
        return self.folders.folder(part.batch_id)


def postpone(conn: Connection, key: Key, due_at: float, held_until: float | None = None) -> None:
    """Let a row rest until `due_at` and count the try. `held_until`: whoever wakes a part, it rests until then."""
    if key.kind == "file":
        files.postpone(conn, key.id, due_at)
    elif key.kind == "batch":
        batches.postpone(conn, key.id, due_at, tries=1)
    elif key.kind == "clearing":
        clearings.postpone(conn, key.id, key.n, due_at)
    else:
        parts.postpone(conn, key.id, key.n, due_at, held_until)
