"""What a worker does with kept answers: look them up while it splits a file, keep them when it collects rows."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from proxy_plugin.answers.complete import ENDPOINTS, checker
from proxy_plugin.answers.keys import NO_KEY, KeyFile, KeyReader, Occurrences, digest_of, key_of
from proxy_plugin.answers.shelf import Shelf
from proxy_plugin.answers.values import Answer, Origin

if TYPE_CHECKING:
    from proxy_plugin.answers.store import KeptAnswers


class Looking(msgspec.Struct, frozen=True):
    """Of whom, and how old, an answer may be. `accounts` has the fingerprint of each virtual key that is known now.

    With `refresh` none is given, and what comes is kept. `native`: answers come in a lane's own shape. `repeats` is a
    file that says how many equal lines each had before it in the file that it was copied from.
    """

    shelf: Shelf
    workspace: str
    accounts: dict[str, str]
    now: float
    max_age: float
    namespace: str = ""
    refresh: bool = False
    native: bool = False
    repeats: str | None = None


class Given(NamedTuple):
    """Lines that were answered, with how many bytes, and lines that were looked up in vain."""

    hits: int = 0
    missed: int = 0
    bytes: int = 0


class LineKey(NamedTuple):
    """The key of a line, and how many equal lines came before it."""

    key: bytes
    repeat: int


class Lookup:
    """The kept answers of one file's lines, which come in order. `job` None: none are wanted."""

    def __init__(self, job: Looking | None, keys: Path | None = None) -> None:
        self._job = job
        self._store = None if job is None or job.refresh else _store(job.shelf)
        self._keys = None if job is None or keys is None else KeyFile(keys)
        self._occurrences, self._repeats = Occurrences(), KeyReader(None if job is None else job.repeats)
        self._hits = self._missed = self._bytes = 0

    def __bool__(self) -> bool:
        """Tell whether any answers are kept."""
        return self._job is not None

    def key(
        self, ordinal: int, slug: str, endpoint: str, model: str, identity: str, records: Iterable[bytes]
    ) -> LineKey | None:
        """Return the key of a line that goes to an account, None where its answer is not kept.

        `identity` is the native id in its `records`, without which equal lines are equal.
        """
        account = self._job.accounts.get(slug) if self._job is not None else None
        if self._job is None or account is None or endpoint not in ENDPOINTS:
            return None
        own = identity.encode()
        facts = (self._job.workspace, self._job.namespace, account, endpoint, model, str(self._job.native))
        digest = digest_of(facts, (record.replace(own, b"") for record in records))
        repeat = self._occurrences.next(digest, self._repeats.repeat(ordinal))
        return LineKey(key_of(digest, repeat), repeat)

    def find(self, ordinal: int, asked: LineKey | None) -> Answer | None:
        """Return the answer to give, and count it or that there is none."""
        if asked is None or self._job is None:
            return None
        answer = None if self._store is None else self._store.get(asked.key)
        if answer is None or self._job.now - answer.at > self._job.max_age:
            self._missed += 1
            return None
        self._hits += 1
        self._bytes += len(answer.text)
        self._note(ordinal, NO_KEY, asked.repeat)
        return answer

    def sent(self, ordinal: int, asked: LineKey | None) -> None:
        """Note under which key the answer of a line that is sent is to be kept."""
        if asked is not None:
            self._note(ordinal, *asked)

    def _note(self, ordinal: int, key: bytes, repeat: int) -> None:
        if self._keys is not None:
            self._keys.add(ordinal, key, repeat)

    @property
    def counts(self) -> Given:
        """What was found so far."""
        return Given(self._hits, self._missed, self._bytes)

    def finish(self) -> None:
        """Return when the keys are durable, but for their folder."""
        if self._keys is not None:
            self._keys.close()

    def __enter__(self) -> Lookup:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._repeats.close()
        if self._store is not None:
            self._store.close()


class Keeping(msgspec.Struct, frozen=True):
    """Where the answers of a part are kept, and the file with the keys of its lines."""

    shelf: Shelf
    keys: str
    now: float


class Keeper:
    """Keeps the whole answers among the rows of one part; `job` None: none."""

    def __init__(self, job: Keeping | None, endpoint: str, mark: str) -> None:
        self._job, self._mark, self._is_whole = job, mark, checker(endpoint)
        self._stack = ExitStack()
        self._keys: KeyReader | None = None
        self._store: KeptAnswers | None = None

    def take(self, ordinal: int, model: str | None, text: bytes) -> None:
        """Keep the answer of a line, if it is whole."""
        if self._keys is None or self._store is None or self._job is None:
            return
        key = self._keys.key(ordinal)
        if key is not None and self._is_whole(text):
            self._store.put(key, Answer(self._job.now, Origin(self._mark, model), text))

    def __enter__(self) -> Keeper:
        if self._job is not None and Path(self._job.keys).exists():
            self._keys = self._stack.enter_context(KeyReader(self._job.keys))
            self._store = self._stack.enter_context(_store(self._job.shelf))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()


def _store(shelf: Shelf) -> KeptAnswers:
    from proxy_plugin.answers.store import KeptAnswers  # noqa: PLC0415 - not for the gateway's own process

    return KeptAnswers(shelf)
