"""The contract between the gateway and one provider's native batch lane.

An adapter is one stateless object. Its pure half (`translate`, `row`) runs in worker processes, its calling
half on the gateway's event loop. The gateway decides when to act and remembers what happened; the adapter
knows how the provider is spoken to. A call fails in one of three ways, a line in one: see `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from msgspec import Struct
from pydantic import BaseModel, ConfigDict

from proxy_plugin.providers.api_base import AS_IT_IS, ApiBase
from proxy_plugin.providers.errors import (
    AtWork,
    LineRejected,
    NoToken,
    OutcomeUnknown,
    ProviderError,
    Refused,
    Short,
    TooLarge,
    TryLater,
)
from proxy_plugin.providers.marks import (
    MARK_LENGTH,
    NATIVE_ID_LENGTH,
    ORDINAL_LENGTH,
    make_mark,
    native_id,
    request_id,
    split_native_id,
    split_request_id,
)
from proxy_plugin.providers.powers import Cancels, Confirms, Leaves, Probes, Revokes, StoresFiles
from proxy_plugin.providers.stored import Content, NewFile, StoredFile

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http, Origin
    from proxy_plugin.providers.signing.signer import Signer

__all__ = [
    "MARK_LENGTH",
    "NATIVE_ID_LENGTH",
    "ORDINAL_LENGTH",
    "Account",
    "AtWork",
    "BatchProvider",
    "Cancels",
    "Capabilities",
    "Confirms",
    "Content",
    "Credentials",
    "Framing",
    "InputMode",
    "JobEnd",
    "JobState",
    "JobStatus",
    "Leaves",
    "LineIn",
    "LineRejected",
    "Native",
    "NewFile",
    "NoToken",
    "OutcomeUnknown",
    "PartFile",
    "Probes",
    "ProviderError",
    "Refused",
    "Revokes",
    "Row",
    "Short",
    "Sighting",
    "StoredFile",
    "StoresFiles",
    "Submission",
    "Target",
    "TooLarge",
    "TryLater",
    "Usage",
    "make_mark",
    "native_id",
    "request_id",
    "split_native_id",
    "split_request_id",
]


class InputMode(Enum):
    """How a job receives its lines."""

    FILE = "file"
    INLINE = "inline"
    BUCKET = "bucket"
    DIRECT = "direct"  # there is no job: each line is a call of its own


@dataclass(frozen=True, slots=True)
class Framing:
    """The bytes around and between native lines, so that a part file on disk is the document that is sent."""

    prefix: bytes = b""
    separator: bytes = b"\n"
    suffix: bytes = b"\n"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one batch lane can do. Adapters name the source of every number (page, date). None: no limit is known."""

    provider: str  # Portkey's name
    title: str
    endpoints: frozenset[str]
    input_mode: InputMode
    default_host: str  # with the names of credentials that it holds: `https://{aws_region}.example`
    model_patterns: tuple[str, ...] = ()  # globs of models that are named without a provider and can only be this one's
    native: Mapping[str, str] = field(
        default_factory=dict
    )  # url of its own bodies -> the one as whose they are answered
    api_base: ApiBase = AS_IT_IS  # how LiteLLM's setting of this name becomes `custom_host`
    litellm: Mapping[str, str] = field(default_factory=dict)  # further settings of LiteLLM -> credentials
    framing: Framing = Framing()
    min_lines: int | None = None  # of one native job, where the operator says nothing
    max_lines: int | None = None  # of one native job
    max_bytes: int | None = None  # of one native document, framing included
    max_line_bytes: int | None = None
    max_inputs: int | None = None  # sum of `Native.inputs` in one job (embedding inputs)
    one_model_per_job: bool = False
    accepts_label: bool = False  # can our mark be stamped on a job and be read from a list?
    min_poll_seconds: float = 5.0
    settle_seconds: float = 900.0  # how late an accepted create may still appear in the lane's own list
    results_kept_seconds: float = 30 * 86400
    discount: float = 0.0  # share of the list price that a batch saves
    priced_as: str = ""  # the provider whose list prices hold here too
    billing_codes: frozenset[str] = frozenset()  # codes of refusals that end only when somebody pays or raises a limit
    wrong_key: tuple[str, ...] = ()  # code or words of a refusal other than 401 and 403 that is about the key alone
    caveats: tuple[str, ...] = ()  # for callers, shown before money is spent
    known_by: str = ""  # what tells our job from a stranger's, where it is not our mark on the job

    def require(self, endpoint: str) -> None:
        """Raise LineRejected for an endpoint that the lane does not run."""
        if endpoint not in self.endpoints:
            message = f"{self.title} does not run {endpoint} in batches"
            raise LineRejected(message, code="unsupported_endpoint", param="url")

    @property
    def found_by(self) -> str:
        """Say how a create whose reply was lost is found."""
        return self.known_by or ("our mark in its list" if self.accepts_label else "marks in its results")

    def host(self, credentials: Credentials) -> str:
        """Return the base URL of an account; in capitals what it does not name."""
        named = {name: value or name.upper() for name, value in credentials}
        return credentials.base_url() or self.default_host.format_map(named)


class Credentials(BaseModel):
    """Base of every adapter's credential model. Field names are Portkey's headers without `x-portkey-`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    # Fields -> variables of the environment, LiteLLM's, that say them where an account of the operator's does not. What
    # callers bring is never filled so.
    gaps: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    operators: ClassVar[frozenset[str]] = frozenset()  # fields that lead to the machine's own: no caller brings them

    custom_host: str | None = None
    """Replaces the provider's own base URL, version path included. Example: https://llm.example/v1"""

    def base_url(self) -> str | None:
        """Return where calls go, None for the provider's own host."""
        return self.custom_host

    def says(self, name: str, text: str) -> bool:
        """Tell whether a field of these says what a text of a request does, which may write it in another way."""
        return text == str(getattr(self, name))

    def is_open(self, name: str) -> bool:  # noqa: ARG002
        """Tell whether these leave a field to requests that run on them: a place, nothing that proves an account."""
        return False

    def placed(self, said: Mapping[str, str]) -> Self:  # noqa: ARG002
        """Return these with what a request said of fields that are open. Raises ValueError: pydantic's."""
        return self

    def borrowed(self) -> str | None:
        """Name the setting by which these act as the machine, or lead to its files and hosts; None where they do not.

        No caller may bring such ones.
        """
        return None


@dataclass(frozen=True, slots=True)
class Account:
    """One provider account an adapter may act for. `fingerprint` changes when the account behind the key may have."""

    slug: str
    credentials: Credentials = field(repr=False)
    http: Http = field(repr=False)
    fingerprint: str = ""

    def origin(
        self,
        base_url: str,
        secret_headers: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        *,
        signer: Signer | None = None,
    ) -> Origin:
        """Bind calls to a base URL, see `Http.origin`. Accounts of different callers may share a slug, no pause."""
        name = f"{self.slug}\x1f{self.fingerprint}"
        return self.http.origin(name, base_url, secret_headers, headers, params, signer=signer)


class LineIn(Struct, frozen=True, gc=False):  # of each line, so no dataclass: to make a frozen one takes 0.5 us
    """One OpenAI-style line on its way out. `body` is the exact JSON text that the client uploaded."""

    native_id: str
    endpoint: str
    body: bytes
    model: str


@dataclass(frozen=True, slots=True)
class Target:
    """What the route says about a line beyond its account."""

    model: str | None = None  # replaces body.model
    drop_params: bool = False  # leave out what the lane cannot honour
    strict_params: bool = False  # leave out not even what only hints


class Native(Struct, frozen=True, gc=False):
    """A translated line: one record of the native document, without separators or newlines."""

    data: bytes
    inputs: int = 1
    partition: str = ""  # lines with different values never share a job
    dropped: tuple[str, ...] = ()  # what was left out or changed, `formats.losses`


@dataclass(frozen=True, slots=True)
class PartFile:
    """The native document of one part, on disk, complete and immutable."""

    mark: str
    path: Path
    bytes: int
    lines: int  # records of the document: a line that is several requests has one for each
    sha256: str
    endpoint: str
    model: str | None  # set when the lane wants one model a job
    partition: str = ""
    window: int = 86_400  # seconds that the batch is given


@dataclass(frozen=True, slots=True)
class Submission:
    """What is durably known of one attempt to create a job. `staged` is what `stage` returned."""

    part: PartFile
    staged: Mapping[str, str]
    fence: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """The answer of one lookup.

    `jobs`, newest first, carry our mark where the lane accepts a label; where it does not, they are the jobs behind
    the fence that could be ours, and `Confirms.confirm` tells which is. `control` is True only if this very lookup also
    saw something of ours that the same account must show; without it an empty `jobs` proves nothing.
    """

    jobs: tuple[str, ...]
    control: bool
    listed: bool = True  # could the jobs be read at all?


class JobState(Enum):
    """Where a native job stands."""

    VALIDATING = "validating"
    RUNNING = "running"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    ENDED = "ended"  # results, possibly partial or none, are ready
    FAILED = "failed"  # nothing ran


class JobEnd(Enum):
    """Why a job ended."""

    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One poll. Counts are None while the provider does not tell. `mark` is the label read from the job itself."""

    state: JobState
    mark: str | None = None
    end: JobEnd | None = None
    completed: int | None = None
    failed: int | None = None
    results: Mapping[str, str] = field(default_factory=dict)  # what `fetch` needs
    refusal: Refused | None = None  # with FAILED: why
    retryable: bool = False  # with FAILED: nothing ran for lack of quota, the same part may be submitted again
    poll_after: float | None = None  # seconds, when the provider named them
    unnamed: bool = False  # with ENDED: answers are counted whose results are not named yet, so a later poll names more
    reading: int = 0  # for `fetch`: how often results were read that were too few
    last: bool = False  # for `fetch`: they are not read again


class Usage(Struct, frozen=True, gc=False):
    """Token counts of one answered line, in OpenAI's batch words. Those of caches are among the input tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0  # written to a cache, for however long
    cache_write_1h_tokens: int = 0  # those of them that are kept for an hour


class Row(Struct, frozen=True, gc=False):  # of each line: a frozen dataclass takes 1 us to make, this 0.1 [measured]
    """One native result as OpenAI's output row: `response` and `error` are JSON texts, exactly one is not None."""

    native_id: str
    ok: bool  # which file the row belongs to: True only for an answer with a 2xx status
    response: bytes | None = None
    error: bytes | None = None
    code: str | None = None  # of a row that is not ok, for the ledger: the error code or the HTTP status
    model: str | None = None
    usage: Usage | None = None


class BatchProvider(Protocol):
    """One native batch lane."""

    capabilities: Capabilities
    credentials: type[Credentials]

    def account_key(self, credentials: Credentials) -> str:
        """Text that is equal for equal accounts: host, key, organisation. Hashed by the gateway, never stored clear."""

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return the provider's form of one line, carrying `line.native_id`. Pure. Raises `LineRejected`."""

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read one line of a stored result file named `source`; None for a blank one. Pure. ValueError: corrupt.

        `endpoint` is the one that the job's lines named, whose shape the answers must have.
        """

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Bring the document to where the job will read it; return what `create` needs ({} where lines go inline).

        Nothing is paid for here, so it may run twice; with `again` an earlier, interrupted run is looked for first.
        Raises `TryLater`, `AtWork` while the provider is at work on it, or `Refused`; here, in `create` and in a job
        that FAILED a refusal may name lines.
        """

    async def fence(self, account: Account) -> str | None:
        """Return the newest job id of the account, None if it has none. Raises `TryLater` or `Refused`."""

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the job and return its id.

        Raises `TryLater` only when the provider provably did not accept (no connection, 429; with status 404 the part
        is staged anew), `Refused`, or `OutcomeUnknown` for everything else, a 5xx included.
        """

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Look for jobs of this submission newer than its fence. Raises `TryLater` or `Refused`."""

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. An unknown status word is `TryLater`, never a guess. Raises `TryLater` or `Refused`."""

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:
        """Store every result file of an ended job in `folder`, complete and fsynced; return the file names.

        The names are the `source` of `row`; `.NAME` and `NAME.part` are the adapter's own. A retry has the same folder:
        what is whole there is not read again in one reading. What is cut is `Short`, the `last` reading takes it. What
        unpacks to more than is taken is `TooLarge`, and what stands before it is stored.
        """
